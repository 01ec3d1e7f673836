//! Attacks on the doors of shares: with a wrong key, another host, or as a web page, no request
//! gets a success, reaches the upstream or changes anything.

use std::{fs, path::PathBuf};

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    helpers::{AUTHD, sandbox},
    share_client::{Holder, both},
};

/// The path of every valid request here, below a door's relay.
pub(crate) const ALLOWED: &str = "models?client_version=0.34.0";

/// A daemon with two profiles, and a share of each door that allows the headers and one path.
pub(crate) struct Target {
    pub(crate) sandbox: Sandbox,
    pub(crate) daemon: TestDaemon,
    pub(crate) shares: [Holder; 2],
    before: Value,
}

impl Target {
    pub(crate) async fn new() -> Self {
        let sandbox = sandbox().await;
        let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
        daemon.sign_in("me", "plus").await;
        daemon.sign_in("other", "business").await;
        let shares = both(&daemon, json!({"profile": "me", "allow": "headers", "paths": ["models"]})).await;
        for share in &shares {
            assert_eq!(share.models().await, 200);
        }
        sandbox.clear_requests();
        let mut target = Self { sandbox, daemon, shares, before: Value::Null };
        target.before = target.state().await;
        target
    }

    /// Everything that a request could change.
    async fn state(&self) -> Value {
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.daemon.state()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let files: Vec<_> = files.iter().map(|file| (file, fs::read(file).ok())).collect();
        json!({
            "profiles": self.daemon.get("/v1/profiles").await,
            "shares": self.daemon.get("/v1/shares").await,
            "files": files,
        })
    }

    /// Sends the bytes of a request, which must be refused.
    pub(crate) async fn expect_refused(&self, share: &Holder, request: &[u8]) -> String {
        let response = exchange(share, request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(300)]);
        assert!(response.starts_with("HTTP/1.1 4"), "{shown}\n{response}");
        assert!(!response.contains("HTTP/1.1 2"), "{shown}\n{response}");
        assert!(!response.to_ascii_lowercase().contains("\r\naccess-control-"), "{shown}\n{response}");
        assert!(self.sandbox.requests().is_empty(), "{shown}\n{:?}", self.sandbox.requests());
        response
    }

    /// Checks that the refused requests have changed nothing, and that the shares still work.
    pub(crate) async fn expect_unchanged(&self) {
        assert_eq!(self.state().await, self.before);
        for share in &self.shares {
            assert_eq!(share.models().await, 200);
        }
    }
}

/// Sends bytes, and returns everything that the daemon sends until it closes the connection.
async fn exchange(share: &Holder, request: &[u8]) -> String {
    let mut stream = share.connect().await.unwrap();
    // The daemon may close the connection before it has read everything.
    stream.write_all(request).await.ok();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.ok();
    String::from_utf8_lossy(&response).into_owned()
}

/// The head of a request with the credentials of a share, except for the `Host`.
pub(crate) fn head(share: &Holder, line: &str, fields: &str) -> String {
    let key = if share.is_loopback() {
        format!("Authorization: Bearer {}\r\n", share.key())
    } else {
        String::new()
    };
    format!("{line} HTTP/1.1\r\nConnection: close\r\n{key}{fields}\r\n")
}

/// The `Host` field of a share's door.
pub(crate) fn host(share: &Holder) -> String {
    format!("Host: {}\r\n", if share.is_loopback() { share.address() } else { "authd".to_owned() })
}

#[tokio::test]
async fn key_in_any_other_form_is_refused() {
    let target = Target::new().await;
    let [_, share] = &target.shares;
    let other = Holder::new(&target.daemon, json!({"profile": "other", "door": "loopback"})).await;
    let ended = Holder::new(&target.daemon, json!({"profile": "me", "door": "loopback"})).await;
    let unshare = format!("/v1/shares/{}", ended.id());
    assert_eq!(target.daemon.request("DELETE", &unshare, &[], "").await.status.as_u16(), 204);
    let stored: Value =
        serde_json::from_slice(&fs::read(target.daemon.state().join("shares.json")).unwrap()).unwrap();
    let hash = stored["shares"][share.id()]["key_hash"].as_str().unwrap();
    let key = share.key();
    let (id, secret) = key.strip_prefix("authd_share_").unwrap().split_once('.').unwrap();
    let (_, other_secret) = other.key().split_once('.').unwrap();
    let swapped_case: String = key
        .chars()
        .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    let bearer = [
        "",
        " ",
        &key[..key.len() - 1],
        &key[1..],
        &format!("{key}x"),
        &format!("{key}="),
        &format!("{key}."),
        &format!("{key}\u{e9}"),
        &format!("\u{a0}{key}"),
        &format!("\"{key}\""),
        &format!("{key} {key}"),
        &format!("{key}, Bearer {key}"),
        &format!("{key},"),
        &format!("{key};"),
        &format!("{key}\0"),
        &key.replace('.', "%2e"),
        &swapped_case,
        &key.to_ascii_lowercase(),
        &key.to_ascii_uppercase(),
        &key.repeat(2),
        &"k".repeat(10 << 10),
        &format!("{key}{}", "k".repeat(10 << 10)),
        &format!("authd_share_{id}"),
        &format!("authd_share_{id}."),
        &format!("authd_share_.{secret}"),
        &format!("authd_share_{id}..{secret}"),
        &format!("authd_share_{id}.{other_secret}"),
        &format!("authd_share_{}.{secret}", other.id()),
        &format!("authd_share_{}.{secret}", target.shares[0].id()),
        &format!("authd_share_{}.", target.shares[0].id()),
        &format!("authd_share_{id}.{hash}"),
        id,
        secret,
        hash,
        ended.key(),
        &STANDARD.encode(key),
    ]
    .map(|token| format!("Authorization: Bearer {token}\r\n"));
    let whole = [
        String::new(),
        format!("Authorization: {key}\r\n"),
        format!("Authorization:Bearer{key}\r\n"),
        format!("Authorization: Bearer\t{key}\r\n"),
        format!("Authorization: Bearer%20{key}\r\n"),
        format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{key}:"))),
        format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("user:{key}"))),
        format!("Authorization: Token {key}\r\n"),
        format!("Authorization: Bearer {key}\r\nAuthorization: Bearer {key}\r\n"),
        format!("Authorization: Bearer x\r\nAuthorization: Bearer {key}\r\n"),
        format!("Authorization: Bearer\r\n {key}\r\n"),
        format!("Proxy-Authorization: Bearer {key}\r\n"),
        format!("Authorization : Bearer {key}\r\n"),
        format!("X-Api-Key: {key}\r\napi-key: {key}\r\nOpenAI-Api-Key: {key}\r\n"),
        format!("Cookie: authorization=Bearer {key}\r\n"),
        format!("Sec-WebSocket-Protocol: openai-insecure-api-key.{key}\r\n"),
    ];
    let host = host(share);
    for path in ["/v1/models", "/v1/profiles/-/headers", "/v1/profiles/-/relay/models"] {
        for credentials in bearer.iter().chain(&whole) {
            let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{host}{credentials}\r\n");
            let response = target.expect_refused(share, request.as_bytes()).await;
            // hyper refuses a malformed head with 400.
            assert!(
                response.starts_with("HTTP/1.1 401") || response.starts_with("HTTP/1.1 400"),
                "{credentials}: {response}"
            );
        }
        for name in ["key", "api_key", "api-key", "access_token", "authorization"] {
            let request = format!("GET {path}?{name}={key} HTTP/1.1\r\nConnection: close\r\n{host}\r\n");
            target.expect_refused(share, request.as_bytes()).await;
        }
    }
    let log = target.daemon.log();
    assert!(!log.contains(secret) && !log.contains(hash), "the log has a key");
}

#[tokio::test]
async fn request_that_names_another_host_or_comes_from_a_page_is_refused() {
    let target = Target::new().await;
    for share in &target.shares {
        let own = host(share);
        let name = own.trim_start_matches("Host: ").trim_end();
        let port = name.rsplit_once(':').map_or("80", |(_, port)| port);
        let hosts = [
            "evil.example".to_owned(),
            format!("evil.example:{port}"),
            format!("localhost.evil.example:{port}"),
            format!("{name}.evil.example"),
            format!("{name}."),
            format!("localhost.:{port}"),
            format!("127.0.0.1.:{port}"),
            format!("LOCALHOST.example:{port}"),
            format!("user@{name}"),
            format!("user:password@{name}"),
            format!("{name}@evil.example"),
            format!("{name}/"),
            format!("{name}#"),
            format!("{name}?"),
            format!("{name}, evil.example"),
            format!("http://{name}"),
            format!("[::1]:{port}"),
            format!("[::ffff:127.0.0.1]:{port}"),
            format!("::1:{port}"),
            format!("127.1:{port}"),
            format!("127.0.0.2:{port}"),
            format!("127.0.0.01:{port}"),
            format!("0.0.0.0:{port}"),
            format!("0x7f000001:{port}"),
            format!("2130706433:{port}"),
            format!("127.0.0.1.nip.io:{port}"),
            format!("localhost:{port}0"),
            format!("localhost:0{port}"),
            format!("localhost:+{port}"),
            "localhost:".to_owned(),
            "localhost:1".to_owned(),
            format!("{name} "),
            format!("{name}\t x"),
            format!("{name}\u{e9}"),
            String::new(),
        ];
        let fields = hosts.iter().map(|host| format!("Host: {host}\r\n"));
        let others = [
            String::new(),
            format!("{own}{own}"),
            format!("{own}Host: evil.example\r\n"),
            format!("Host: evil.example\r\n{own}"),
            format!("X-Forwarded-Host: {name}\r\nHost: evil.example\r\n"),
            format!("{own}Origin: http://evil.example\r\n"),
            format!("{own}Origin: http://{name}\r\n"),
            format!("{own}Origin: null\r\n"),
            format!("{own}Origin:\r\n"),
            format!("{own}oRiGiN: x\r\n"),
            format!("{own}Referer: http://{name}/\r\n"),
            format!("{own}Referer:\r\n"),
            format!("{own}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"),
            format!("{own}Sec-Fetch-Site: same-site\r\n"),
            format!("{own}Sec-Fetch-Site: same-origin\r\n"),
            format!("{own}Sec-Fetch-Site: none\r\n"),
        ];
        for fields in fields.chain(others) {
            // A trailing space belongs to no value.
            if fields.trim_end() == own.trim_end() {
                continue;
            }
            for path in [share.relay(ALLOWED), "/v1/profiles/-/headers".to_owned()] {
                let request = head(share, &format!("GET {path}"), &fields);
                let response = target.expect_refused(share, request.as_bytes()).await;
                assert!(
                    response.starts_with("HTTP/1.1 403") || response.starts_with("HTTP/1.1 400"),
                    "{fields}: {response}"
                );
            }
        }
        // A target in absolute form replaces the Host, which must be right all the same.
        let path = share.relay(ALLOWED);
        for authority in hosts.iter().filter(|host| !host.is_empty() && host.trim() != name) {
            let line = format!("GET http://{authority}{path}");
            target.expect_refused(share, head(share, &line, &own).as_bytes()).await;
        }
        let line = format!("GET http://{name}{path}");
        target.expect_refused(share, head(share, &line, "Host: evil.example\r\n").as_bytes()).await;
        target.expect_refused(share, head(share, &line, "").as_bytes()).await;
    }
    target.expect_unchanged().await;
}
