//! TLS mode: the real host names, and each path on its own host only.

use crate::common::*;
use authd_sandbox::{Config, Sandbox, Tls};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn sandbox() -> Sandbox {
    let tls = Some(Tls::generate().unwrap());
    Sandbox::start(Config { tls, ..Config::default() }).await.unwrap()
}

#[tokio::test]
async fn path_is_served_by_its_own_host_only() {
    let sandbox = sandbox().await;
    assert!(sandbox.ca_pem().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let path = authorize_path(&authorize_pairs());
    let at = sandbox.endpoints();
    assert_eq!(at.issuer, "https://auth.openai.com");
    let to = sandbox.browser().redirect(&format!("{}{path}", at.issuer), "plus").await.unwrap();
    assert!(to.starts_with(REDIRECT), "{to}");
    let elsewhere = sandbox.browser().open(&format!("https://chatgpt.com{path}&account=plus")).await.unwrap();
    assert_eq!(elsewhere.status, 421);
    sandbox.browser().open("https://example.com/").await.unwrap_err();
}

#[tokio::test]
async fn proxy_accepts_three_hosts() {
    let sandbox = sandbox().await;
    let proxy = sandbox.proxy_url().unwrap();
    let connect = |target: &'static str| {
        let address = proxy.strip_prefix("http://").unwrap().to_owned();
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.unwrap();
            String::from_utf8(status.to_vec()).unwrap()
        }
    };
    assert_eq!(connect("auth.openai.com:443").await, "HTTP/1.1 200");
    assert_eq!(connect("auth.openai.com:80").await, "HTTP/1.1 403");
    assert_eq!(connect("example.com:443").await, "HTTP/1.1 403");
}
