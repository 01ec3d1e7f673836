//! Baseline for reads: axum on a Unix socket with one route. The response has a given length, and
//! the headers of authd. Usage: `baseline-axum SOCKET LENGTH`

use anyhow::Context;
use axum::{Router, body::Body, response::Response, routing::get};
use bytes::Bytes;
use tokio::net::UnixListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let socket = args.next().context("baseline-axum SOCKET LENGTH")?;
    let length: usize = args.next().context("baseline-axum SOCKET LENGTH")?.parse()?;
    let body = Bytes::from(vec![b'x'; length]);
    let respond = move || {
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("etag", "\"1\"")
            .header("cache-control", "no-store")
            .header("authd-version", env!("CARGO_PKG_VERSION"))
            .body(Body::from(body.clone()));
        std::future::ready(response.expect("the headers are valid"))
    };
    let router = Router::new().route("/v1/profiles/{profile}/headers", get(respond));
    Ok(axum::serve(UnixListener::bind(socket)?, router).await?)
}
