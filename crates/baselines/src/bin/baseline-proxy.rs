//! Baseline for the relay: a reverse proxy of plain hyper from a Unix socket to an upstream. It
//! only replaces the address. Usage: `baseline-proxy SOCKET HOST:PORT`

use anyhow::Context;
use hyper::{Request, Uri, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::UnixListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let socket = args.next().context("baseline-proxy SOCKET HOST:PORT")?;
    let upstream = args.next().context("baseline-proxy SOCKET HOST:PORT")?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Incoming>();
    let listener = UnixListener::bind(socket)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (client, upstream) = (client.clone(), upstream.clone());
        let forward = service_fn(move |mut request: Request<Incoming>| {
            let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
            let address = format!("http://{upstream}{path}").parse::<Uri>();
            let client = client.clone();
            async move {
                *request.uri_mut() = address?;
                request.headers_mut().remove("host");
                anyhow::Ok(client.request(request).await?)
            }
        });
        // An error of a connection must not stop the others.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), forward));
    }
}
