//! Connections of the relay to the provider: through a proxy, without one, over TLS, and failures.

use std::fs;

use authd_sandbox::{
    Config, Fault, PROXY_USER, Route, Sandbox, Tls,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::{
    helpers::{AUTHD, reload, responses_request},
    upstream::{PATH, send_head},
};

/// A sandbox with the provider's real host names. Only its proxy leads to them.
async fn tls_sandbox() -> Sandbox {
    let tls = Some(Tls::generate().unwrap());
    Sandbox::start(Config { tls, ..Config::default() }).await.unwrap()
}

/// The URL of the sandbox's proxy, with this user.
fn proxy_for(sandbox: &Sandbox, user: &str) -> String {
    sandbox.proxy_url().unwrap().replace("http://", &format!("http://{user}@"))
}

/// A test daemon with an API key: it sends no request to the provider before the relay does.
async fn api_key_daemon(config: TestDaemonConfig<'_>) -> TestDaemon {
    let daemon = TestDaemon::start(config).await;
    let key = json!({"api_key": "sk-own", "check": false}).to_string();
    assert!(daemon.request("PUT", "/v1/profiles/own/api-key", &[], key).await.status.is_success());
    daemon
}

/// Relays a request that must not reach the provider. Returns the `detail` of the problem.
async fn expect_unreachable(daemon: &TestDaemon) -> String {
    let response = daemon.request("GET", PATH, &[], "").await;
    let problem: Value = response.json();
    assert_eq!(
        (response.status.as_u16(), &problem["code"]),
        (503, &json!("provider_unreachable")),
        "{problem}"
    );
    assert_eq!(problem["hint"], "check the network; for details: authctl doctor");
    let detail = problem["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("the provider cannot be reached: "), "{detail}");
    assert!(!detail.contains("anything") && !detail.contains("://api.openai.com"), "a URL in {detail}");
    detail
}

#[tokio::test]
async fn a_request_goes_through_a_proxy_with_authentication() {
    let sandbox = tls_sandbox().await;
    // The configuration overrides the environment, whose port is closed.
    let network = format!("[network]\nproxy = {:?}", proxy_for(&sandbox, PROXY_USER));
    let config =
        TestDaemonConfig::new(AUTHD, &sandbox).toml(&network).env("HTTPS_PROXY", "http://127.0.0.1:1");
    let daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    let path = "/v1/profiles/default/relay/responses";
    for _ in 0..2 {
        let response = daemon.request("POST", path, &[], responses_request("What is 2+2?").to_string()).await;
        assert!(response.status.is_success() && response.text().contains("= 4."), "{}", response.text());
    }
    let request = sandbox.requests_of(Route::ChatGptResponses).pop().unwrap();
    assert_eq!(request.header("proxy-authorization"), None);
    // A proxy of the environment, with the right and a wrong password.
    let proxy = proxy_for(&sandbox, PROXY_USER);
    let daemon = api_key_daemon(TestDaemonConfig::new(AUTHD, &sandbox).env("HTTPS_PROXY", &proxy)).await;
    assert_eq!(daemon.request("GET", PATH, &[], "").await.status.as_u16(), 404);
    let proxy = proxy_for(&sandbox, "me:wrong-password");
    let daemon = api_key_daemon(TestDaemonConfig::new(AUTHD, &sandbox).env("HTTPS_PROXY", &proxy)).await;
    let detail = expect_unreachable(&daemon).await;
    let proxy_url = sandbox.proxy_url().unwrap();
    assert!(detail.contains("proxy authorization required") && detail.contains(&proxy_url), "{detail}");
    assert!(!detail.contains("wrong-password") && !daemon.log().contains("wrong-password"), "{detail}");
}

/// Starts a daemon with this base URL of the API, and relays a request. Returns the first 16 bytes
/// of the first connection to the listener.
async fn first_bytes(config: TestDaemonConfig<'_>, base: &str, listener: &TcpListener) -> Vec<u8> {
    let daemon = api_key_daemon(config.toml(&format!("[provider]\napi_base_url = {base:?}"))).await;
    let _client = send_head(&daemon, &format!("GET {PATH}"), &[]).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = vec![0; 16];
    stream.read_exact(&mut received).await.unwrap();
    received
}

#[tokio::test]
async fn local_and_no_proxy_hosts_are_reached_without_a_proxy() {
    let sandbox = tls_sandbox().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let closed = "http://127.0.0.1:1";
    let variables = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].into_iter();
    let environment =
        variables.fold(TestDaemonConfig::new(AUTHD, &sandbox), |config, name| config.env(name, closed));
    let configured = TestDaemonConfig::new(AUTHD, &sandbox).toml(&format!("[network]\nproxy = {closed:?}"));
    for config in [environment, configured] {
        for host in ["127.0.0.1", "localhost"] {
            let received = first_bytes(config.clone(), &format!("http://{host}:{port}/v1"), &listener).await;
            assert_eq!(received, b"GET /v1/anything");
        }
    }
    // The daemon does not treat 0.0.0.0 as this machine, so it uses the proxy.
    let remote = format!("https://0.0.0.0:{port}/v1");
    let proxy = format!("[network]\nproxy = \"http://127.0.0.1:{port}\"");
    let config = TestDaemonConfig::new(AUTHD, &sandbox).toml(&proxy);
    assert_eq!(first_bytes(config.clone(), &remote, &listener).await, b"CONNECT 0.0.0.0:");
    // Without the proxy, the first bytes are a TLS handshake.
    for name in ["NO_PROXY", "no_proxy"] {
        let received = first_bytes(config.clone().env(name, "x.example, 0.0.0.0"), &remote, &listener).await;
        assert_eq!(received[..2], [22, 3], "{received:?}");
    }
}

#[tokio::test]
async fn an_unreachable_provider_is_explained_with_the_network_settings() {
    let sandbox = tls_sandbox().await;
    let start_with = async |address: &str, network: &str| {
        let tables = format!("[provider]\napi_base_url = \"{address}/v1\"\n[network]\n{network}");
        api_key_daemon(TestDaemonConfig::new(AUTHD, &sandbox).toml(&tables)).await
    };
    let ca = "CA file /";
    // The port is closed.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let detail = expect_unreachable(&start_with(&format!("{scheme}://{free}"), "").await).await;
        assert!(detail.contains("onnection refused") && detail.contains(ca), "{detail}");
    }
    // The listener does not respond, as a TLS server or as a proxy.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (tls, proxy) = (url.replace("http", "https"), format!("proxy = {url:?}\n"));
    for (address, network) in [(tls.as_str(), ""), ("https://api.openai.com", proxy.as_str())] {
        let detail =
            expect_unreachable(&start_with(address, &format!("{network}connect_timeout = \"1s\"")).await)
                .await;
        assert!(detail.contains("timed out"), "{detail}");
    }
    // The proxy cannot reach the host.
    let detail = expect_unreachable(&start_with("https://elsewhere.invalid", "").await).await;
    assert!(detail.contains("tunnel error: unsuccessful"), "{detail}");
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused() {
    let sandbox = tls_sandbox().await;
    let other = tempfile::NamedTempFile::new().unwrap();
    fs::write(other.path(), Tls::generate().unwrap().ca_pem()).unwrap();
    let config = TestDaemonConfig::new(AUTHD, &sandbox).env("SSL_CERT_FILE", other.path().to_str().unwrap());
    let daemon = api_key_daemon(config.clone()).await;
    let detail = expect_unreachable(&daemon).await;
    assert!(detail.contains("invalid peer certificate: "), "{detail}");
    assert!(detail.contains(other.path().to_str().unwrap()), "{detail}");
    // The configured CA is trusted in addition to the system's.
    let own = tempfile::NamedTempFile::new().unwrap();
    fs::write(own.path(), sandbox.ca_pem().unwrap()).unwrap();
    let daemon = api_key_daemon(config.toml(&format!("[network]\nca_file = {:?}", own.path()))).await;
    assert_eq!(daemon.request("GET", PATH, &[], "").await.status.as_u16(), 404);
}

/// The state of the finding about the network.
async fn network_state(daemon: &TestDaemon) -> Value {
    let findings = daemon.get("/v1/diagnosis").await["findings"].take();
    findings.as_array().unwrap().iter().find(|finding| finding["check"] == "network").unwrap()["state"]
        .clone()
}

#[tokio::test]
async fn a_reload_takes_new_certificates() {
    let sandbox = tls_sandbox().await;
    let system = tempfile::NamedTempFile::new().unwrap();
    fs::write(system.path(), Tls::generate().unwrap().ca_pem()).unwrap();
    let config = TestDaemonConfig::new(AUTHD, &sandbox);
    let daemon = api_key_daemon(config.env("SSL_CERT_FILE", system.path().to_str().unwrap())).await;
    expect_unreachable(&daemon).await;
    assert_eq!(network_state(&daemon).await, "ok");
    fs::write(system.path(), format!("# renewed\n{}", sandbox.ca_pem().unwrap())).unwrap();
    expect_unreachable(&daemon).await;
    assert_eq!(network_state(&daemon).await, "warning");
    reload(&daemon).await;
    // The relay's client, and the one for the provider.
    assert_eq!(daemon.request("GET", PATH, &[], "").await.status.as_u16(), 404);
    daemon.sign_in("default", "plus").await;
    assert_eq!(network_state(&daemon).await, "ok");
}

#[tokio::test]
async fn a_reload_takes_another_proxy_and_a_stream_ends_on_the_old_one() {
    let sandbox = tls_sandbox().await;
    let with_proxy = |proxy: &str| format!("\n[network]\nproxy = {proxy:?}\n");
    let working = with_proxy(&sandbox.proxy_url().unwrap());
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&working)).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::ChatGptResponses, Fault::HoldStream);
    let path = "/v1/profiles/default/relay/responses";
    let body = responses_request("What is 2+2?").to_string();
    let held = daemon.open("POST", path, &[], body.clone()).await.unwrap();
    let config = fs::read_to_string(daemon.config()).unwrap();
    let closed = with_proxy("http://127.0.0.1:1");
    fs::write(daemon.config(), config.replace(&working, &closed)).unwrap();
    reload(&daemon).await;
    let response = daemon.request("POST", path, &[], body.clone()).await;
    assert!(response.text().contains("127.0.0.1:1"), "{}", response.text());
    sandbox.faults().release();
    let rest = held.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&rest).contains("response.completed"));
    fs::write(daemon.config(), config).unwrap();
    reload(&daemon).await;
    assert!(daemon.request("POST", path, &[], body).await.status.is_success());
}

#[tokio::test]
async fn a_diagnosis_names_the_proxy_completely_and_without_its_password() {
    let sandbox = tls_sandbox().await;
    for (proxy, shown) in [
        ("http://user:pass@[::1]:1", "proxy http://[::1]:1, "),
        ("http://user:p%40ass@127.0.0.1:1", "proxy http://127.0.0.1:1, "),
        ("http://127.0.0.1:1/", "proxy http://127.0.0.1:1/, "),
    ] {
        let configured =
            TestDaemonConfig::new(AUTHD, &sandbox).toml(&format!("[network]\nproxy = {proxy:?}"));
        let inherited = TestDaemonConfig::new(AUTHD, &sandbox).env("HTTPS_PROXY", proxy);
        for config in [configured, inherited] {
            let daemon = TestDaemon::start(config).await;
            let findings = daemon.get("/v1/diagnosis").await["findings"].take();
            let details =
                findings.as_array().unwrap().iter().map(|finding| finding["detail"].as_str().unwrap());
            let named: Vec<&str> = details.filter(|detail| detail.contains(shown)).collect();
            assert!(named.len() >= 2, "{findings}");
            for detail in named {
                let count = |bracket: char| detail.matches(bracket).count();
                assert_eq!((count('('), count('[')), (count(')'), count(']')), "{detail}");
                assert!(!detail.contains("ass@"), "{detail}");
            }
        }
    }
}
