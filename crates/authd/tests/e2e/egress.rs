//! The way out of relayed requests: through a proxy or around it, over TLS, and not at all.

use std::fs;

use authd_sandbox::{
    Config, PROXY_USER, Route, Sandbox, Tls,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::{
    support::{AUTHD, question},
    upstream::{PATH, say},
};

/// A sandbox under the provider's real names, which only a proxy leads to.
async fn over_tls() -> Sandbox {
    let tls = Some(Tls::generate().unwrap());
    Sandbox::start(Config { tls, ..Config::default() }).await.unwrap()
}

/// The sandbox's proxy, to be asked by this user.
fn proxy_for(sandbox: &Sandbox, user: &str) -> String {
    sandbox.proxy_url().unwrap().replace("http://", &format!("http://{user}@"))
}

/// A test daemon with a key of one's own, so that nothing is asked before the relay is.
async fn with_a_key(config: TestDaemonConfig<'_>) -> TestDaemon {
    let daemon = TestDaemon::start(config).await;
    let key = json!({"api_key": "sk-own"}).to_string();
    assert!(daemon.request("PUT", "/v1/profiles/own/api-key", &[], key).await.status.is_success());
    daemon
}

/// What a relayed request comes to that nobody can have heard of.
async fn unsent(daemon: &TestDaemon) -> String {
    let answer = daemon.request("GET", PATH, &[], "").await;
    let problem: Value = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &problem["code"]),
        (503, &json!("provider_unreachable")),
        "{problem}"
    );
    assert_eq!(problem["hint"], "check the network; authctl doctor tells more");
    let detail = problem["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("the provider cannot be reached: "), "{detail}");
    assert!(!detail.contains("anything") && !detail.contains("://api.openai.com"), "a URL in {detail}");
    detail
}

#[tokio::test]
async fn a_question_leads_through_a_proxy_that_knows_its_users() {
    let sandbox = over_tls().await;
    // The configuration goes before the environment, where nobody listens.
    let network = format!("[network]\nproxy = {:?}", proxy_for(&sandbox, PROXY_USER));
    let config =
        TestDaemonConfig::new(AUTHD, &sandbox).toml(&network).env("HTTPS_PROXY", "http://127.0.0.1:1");
    let daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    let path = "/v1/profiles/default/relay/responses";
    for _ in 0..2 {
        let answer = daemon.request("POST", path, &[], question("What is 2+2?").to_string()).await;
        assert!(answer.status.is_success() && answer.text().contains("= 4."), "{}", answer.text());
    }
    let asked = sandbox.requests_of(Route::ChatGptResponses).pop().unwrap();
    assert_eq!(asked.header("proxy-authorization"), None);
    // In the environment, too; and whom it does not know it does not let through.
    let proxy = proxy_for(&sandbox, PROXY_USER);
    let daemon = with_a_key(TestDaemonConfig::new(AUTHD, &sandbox).env("HTTPS_PROXY", &proxy)).await;
    assert_eq!(daemon.request("GET", PATH, &[], "").await.status.as_u16(), 404);
    let proxy = proxy_for(&sandbox, "me:wrong-password");
    let daemon = with_a_key(TestDaemonConfig::new(AUTHD, &sandbox).env("HTTPS_PROXY", &proxy)).await;
    let detail = unsent(&daemon).await;
    let told = sandbox.proxy_url().unwrap();
    assert!(detail.contains("proxy authorization required") && detail.contains(&told), "{detail}");
    assert!(!detail.contains("wrong-password") && !daemon.log().contains("wrong-password"), "{detail}");
}

/// Starts a daemon that takes this for the API, and asks it to relay; what the first connection to the
/// listener says is cut off at 16 bytes.
async fn first_said(config: TestDaemonConfig<'_>, base: &str, listener: &TcpListener) -> Vec<u8> {
    let daemon = with_a_key(config.toml(&format!("[provider]\napi_base_url = {base:?}"))).await;
    let _asking = say(&daemon, &format!("GET {PATH}"), &[]).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut said = vec![0; 16];
    stream.read_exact(&mut said).await.unwrap();
    said
}

#[tokio::test]
async fn this_machine_and_whom_no_proxy_is_for_are_reached_without_one() {
    let sandbox = over_tls().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let nobody = "http://127.0.0.1:1";
    let everywhere = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].into_iter();
    let environment =
        everywhere.fold(TestDaemonConfig::new(AUTHD, &sandbox), |daemon, name| daemon.env(name, nobody));
    let configured = TestDaemonConfig::new(AUTHD, &sandbox).toml(&format!("[network]\nproxy = {nobody:?}"));
    for config in [environment, configured] {
        for host in ["127.0.0.1", "localhost"] {
            let said = first_said(config.clone(), &format!("http://{host}:{port}/v1"), &listener).await;
            assert_eq!(said, b"GET /v1/anything");
        }
    }
    // An address that is not this machine's as far as anybody knows, and still leads here: to the proxy.
    let world = format!("https://0.0.0.0:{port}/v1");
    let proxy = format!("[network]\nproxy = \"http://127.0.0.1:{port}\"");
    let config = TestDaemonConfig::new(AUTHD, &sandbox).toml(&proxy);
    assert_eq!(first_said(config.clone(), &world, &listener).await, b"CONNECT 0.0.0.0:");
    // And here it is TLS that begins.
    for name in ["NO_PROXY", "no_proxy"] {
        let said = first_said(config.clone().env(name, "x.example, 0.0.0.0"), &world, &listener).await;
        assert_eq!(said[..2], [22, 3], "{said:?}");
    }
}

#[tokio::test]
async fn what_reached_nobody_is_told_so_with_what_is_in_force() {
    let sandbox = over_tls().await;
    let at = async |address: &str, network: &str| {
        let tables = format!("[provider]\napi_base_url = \"{address}/v1\"\n[network]\n{network}");
        with_a_key(TestDaemonConfig::new(AUTHD, &sandbox).toml(&tables)).await
    };
    let ca = "CA file /";
    // Nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let detail = unsent(&at(&format!("{scheme}://{free}"), "").await).await;
        assert!(detail.contains("onnection refused") && detail.contains(ca), "{detail}");
    }
    // Somebody listens and says nothing: to the beginning of TLS, or as a proxy.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", mute.local_addr().unwrap());
    let (tls, proxy) = (url.replace("http", "https"), format!("proxy = {url:?}\n"));
    for (address, network) in [(tls.as_str(), ""), ("https://api.openai.com", proxy.as_str())] {
        let detail = unsent(&at(address, &format!("{network}connect_timeout = \"1s\"")).await).await;
        assert!(detail.contains("timed out"), "{detail}");
    }
    // A proxy leads there alone, and says so.
    let detail = unsent(&at("https://elsewhere.invalid", "").await).await;
    assert!(detail.contains("tunnel error: unsuccessful"), "{detail}");
}

#[tokio::test]
async fn whom_nobody_vouches_for_is_told_nothing() {
    let sandbox = over_tls().await;
    let other = tempfile::NamedTempFile::new().unwrap();
    fs::write(other.path(), Tls::generate().unwrap().ca_pem()).unwrap();
    let config = TestDaemonConfig::new(AUTHD, &sandbox).env("SSL_CERT_FILE", other.path().to_str().unwrap());
    let daemon = with_a_key(config.clone()).await;
    let detail = unsent(&daemon).await;
    assert!(detail.contains("invalid peer certificate: "), "{detail}");
    assert!(detail.contains(other.path().to_str().unwrap()), "{detail}");
    // A CA of one's own is believed besides the system's.
    let own = tempfile::NamedTempFile::new().unwrap();
    fs::write(own.path(), sandbox.ca_pem().unwrap()).unwrap();
    let daemon = with_a_key(config.toml(&format!("[network]\nca_file = {:?}", own.path()))).await;
    assert_eq!(daemon.request("GET", PATH, &[], "").await.status.as_u16(), 404);
}
