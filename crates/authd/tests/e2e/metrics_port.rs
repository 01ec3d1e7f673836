//! The metrics on a port of this machine.

use std::net::TcpListener;

use authd_sandbox::test_daemon::{Reply, TestDaemon, TestDaemonConfig, send_on};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::net::TcpStream;

use crate::helpers::{AUTHD, sandbox};

async fn send(address: &str, request: http::request::Builder) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    let response = send_on(stream, request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply { status: head.status, headers: head.headers, body }
}

/// The address that the daemon says it listens on.
fn address(daemon: &TestDaemon) -> String {
    let log = daemon.log();
    let (_, rest) = log.split_once("metrics served address=").unwrap_or_else(|| panic!("{log}"));
    rest.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn port_has_the_metrics_and_nothing_else() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).toml("[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let daemon = TestDaemon::start(config).await;
    daemon.sign_in("work", "plus").await;
    let address = address(&daemon);
    let get = |path: &str| Request::get(path.to_owned()).header("host", &address);
    let metrics = send(&address, get("/metrics")).await;
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    assert!(text.contains("authd_profiles{state=\"ready\"} 1\n") && text.ends_with("# EOF\n"), "{text}");
    for path in ["/", "/v1/metrics", "/v1/status", "/v1/profiles/-/headers", "/metrics/x", "/v1/shares"] {
        assert_eq!(send(&address, get(path)).await.status, 404, "{path}");
    }
    assert_eq!(send(&address, Request::post("/metrics").header("host", &address)).await.status, 405);
    for (name, value) in [
        ("origin", "http://page.example"),
        ("referer", "http://page.example/"),
        ("sec-fetch-site", "cross-site"),
    ] {
        assert_eq!(send(&address, get("/metrics").header(name, value)).await.status, 403, "{name}");
    }
    let rebound = Request::get("/metrics").header("host", "page.example");
    assert_eq!(send(&address, rebound).await.status, 403);
    let by_name = address.replace("127.0.0.1", "localhost");
    assert_eq!(send(&address, Request::get("/metrics").header("host", by_name)).await.status, 200);
}

#[tokio::test]
async fn port_in_use_is_reported_and_tried_again() {
    let sandbox = sandbox().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let toml = format!("[metrics]\nlisten = \"{address}\"\n");
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&toml)).await;
    let finding = async || {
        let diagnosis = daemon.get("/v1/diagnosis").await;
        let findings = diagnosis["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["check"] == "metrics").cloned()
    };
    let failed = finding().await.unwrap();
    assert!(failed["detail"].as_str().unwrap().contains(&address), "{failed}");
    drop(taken);
    while finding().await.is_some() {}
    let metrics = send(&address, Request::get("/metrics").header("host", &address)).await;
    assert_eq!(metrics.status, 200);
}
