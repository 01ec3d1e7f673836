//! What stands upstream of both relays: `…/event` is answered with one server-sent event, `…/bytes/N` with
//! N bytes. It prints its address. `floor-upstream`

use std::{convert::Infallible, io::Write};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// As much as is handed to the socket at once, in bytes.
const PIECE: usize = 64 << 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout().lock(), "{}", listener.local_addr()?)?;
    let piece = Bytes::from(vec![b'x'; PIECE]);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let piece = piece.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let response = answer(request.uri().path(), &piece);
            async move { Ok::<_, Infallible>(response) }
        });
        // A client that hangs up ends its own connection only.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

fn answer(
    path: &str,
    piece: &Bytes,
) -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible> + use<>> {
    let wanted = path.rsplit_once("/bytes/").and_then(|(_, length)| length.parse::<usize>().ok());
    let (kind, pieces, piece) = match wanted {
        Some(length) => ("application/octet-stream", length.div_ceil(PIECE), piece.clone()),
        None => ("text/event-stream", 1, Bytes::from_static(b"event: first\ndata: {}\n\n")),
    };
    let frames = stream::iter(0..pieces).map(move |_| Ok(Frame::data(piece.clone())));
    let mut response = Response::new(StreamBody::new(frames));
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    response
}
