//! The upstream of the relay and of its baseline. `…/event` returns one server-sent event,
//! `…/bytes/N` returns N bytes, `…/small` returns a short answer with its length. It prints its
//! address. Usage: `baseline-upstream`

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

/// The size of a body frame, in bytes.
const FRAME_SIZE: usize = 64 << 10;

/// The short answer.
const SMALL: &[u8] = br#"{"object":"list","data":[{"id":"a-model","object":"model"}]}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout().lock(), "{}", listener.local_addr()?)?;
    let frame = Bytes::from(vec![b'x'; FRAME_SIZE]);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let frame = frame.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let response = respond(request.uri().path(), &frame);
            async move { Ok::<_, Infallible>(response) }
        });
        // An error of a connection must not stop the others.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn respond(
    path: &str,
    frame: &Bytes,
) -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible> + use<>> {
    let length = path.rsplit_once("/bytes/").and_then(|(_, length)| length.parse::<usize>().ok());
    let is_small = path.ends_with("/small");
    let (content_type, frames, frame) = match length {
        Some(length) => ("application/octet-stream", length.div_ceil(FRAME_SIZE), frame.clone()),
        None if is_small => ("application/json", 1, Bytes::from_static(SMALL)),
        None => ("text/event-stream", 1, Bytes::from_static(b"event: first\ndata: {}\n\n")),
    };
    let frames = stream::iter(0..frames).map(move |_| Ok(Frame::data(frame.clone())));
    let mut response = Response::new(StreamBody::new(frames));
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static(content_type));
    if is_small {
        headers.insert("content-length", SMALL.len().into());
    }
    response
}
