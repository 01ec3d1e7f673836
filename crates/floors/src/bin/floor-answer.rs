//! The floor under a read: axum on a Unix socket, one route, an answer of a given length whose head is
//! authd's. `floor-answer SOCKET LENGTH`

use anyhow::Context;
use axum::{Router, body::Body, response::Response, routing::get};
use bytes::Bytes;
use tokio::net::UnixListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let socket = args.next().context("floor-answer SOCKET LENGTH")?;
    let length: usize = args.next().context("floor-answer SOCKET LENGTH")?.parse()?;
    let body = Bytes::from(vec![b'x'; length]);
    let answer = move || {
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("etag", "\"1\"")
            .header("cache-control", "no-store")
            .header("authd-version", env!("CARGO_PKG_VERSION"))
            .body(Body::from(body.clone()));
        std::future::ready(response.expect("these are headers"))
    };
    let router = Router::new().route("/v1/profiles/{profile}/headers", get(answer));
    Ok(axum::serve(UnixListener::bind(socket)?, router).await?)
}
