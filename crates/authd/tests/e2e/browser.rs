//! The callback server with a real Chromium, and with two clients that request the port as the
//! Codex CLI does.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use serde_json::json;

use crate::helpers::{AUTHD, daemon, sandbox, start};

/// Runs a headless Chromium and returns its output; `None` where it is not installed.
pub(crate) fn chromium(daemon: &TestDaemon, args: &[&str]) -> Option<String> {
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--virtual-time-budget=3000",
    ]);
    command.arg(format!("--user-data-dir={}", daemon.dir().join("chromium").display())).args(args);
    let output = command.env("HOME", daemon.dir()).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_in_a_real_browser_names_the_user() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    sandbox.set_next_account(Some("plus"));
    let (_, url) = start(&daemon, json!({})).await;
    let Some(page) = tokio::task::block_in_place(|| chromium(&daemon, &["--dump-dom", &url])) else { return };
    for text in
        ["You are signed in", "user@example.com", "Plus", "close this tab", "lang=\"en\"", "<main", "<h1"]
    {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
    // The screenshots stay in the build directory: a phone's window, light and dark.
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut screenshots = Vec::new();
    let callback = sandbox.browser().redirect(&start(&daemon, json!({})).await.1, "plus").await.unwrap();
    for (name, more) in [("light", None), ("dark", Some("--blink-settings=preferredColorScheme=0"))] {
        let path = directory.join(format!("page-{name}.png"));
        let file = format!("--screenshot={}", path.display());
        let args: Vec<&str> = [Some(file.as_str()), Some("--window-size=390,844"), more, Some(&callback)]
            .into_iter()
            .flatten()
            .collect();
        tokio::task::block_in_place(|| chromium(&daemon, &args));
        screenshots.push(std::fs::read(path).unwrap());
    }
    assert!(
        screenshots[0].len() > 5_000 && screenshots[0] != screenshots[1],
        "dark looks different from light"
    );
    // The page of an error has its own style, and names the next command.
    let refused = format!("{}?error=access_denied&state={}", callback.split('?').next().unwrap(), "unknown");
    let page = tokio::task::block_in_place(|| chromium(&daemon, &["--dump-dom", &refused])).unwrap();
    assert!(page.contains("class=\"bad\"") && page.contains("authctl login"), "{page}");
}

/// Does what the Codex CLI does when its port is in use: it requests the port, then tries to bind
/// it for two seconds (protocol.md, section 2). Returns the response, and the listener on success.
fn request_port_as_codex(port: u16) -> (String, Option<TcpListener>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET /cancel HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    drop(stream);
    let bound = (0..10).find_map(|_| {
        std::thread::sleep(Duration::from_millis(200));
        TcpListener::bind(("127.0.0.1", port)).ok()
    });
    (response, bound)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_goes_to_two_codex_clients_in_turn_and_returns() {
    let sandbox = sandbox().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let callback = format!("yield = \"2s\"\nports = [{port}]");
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).callback(&callback)).await;
    let status = async || daemon.get("/v1/status").await["callback"].clone();
    // The daemon keeps the port while a login is pending.
    let (login, _) = start(&daemon, json!({})).await;
    let (response, bound) = tokio::task::block_in_place(|| request_port_as_codex(port));
    assert!(response.starts_with("HTTP/1.1 409") && bound.is_none(), "{response}");
    daemon.request("DELETE", &format!("/v1/logins/{}", login["id"].as_str().unwrap()), &[], "").await;
    for client in 1..=2 {
        let (response, bound) = tokio::task::block_in_place(|| request_port_as_codex(port));
        assert!(response.starts_with("HTTP/1.1 200"), "client {client}: {response}");
        assert!(bound.is_some(), "client {client} gets the port");
        drop(bound);
        while status().await["state"] != "listening" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    daemon.sign_in("default", "plus").await;
}
