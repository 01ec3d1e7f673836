//! The callback server as browsers and other programs meet it: the page in a real Chromium, and two
//! clients that want the port as the Codex CLI does.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use serde_json::json;

use crate::support::{AUTHD, daemon, sandbox, start};

/// A Chromium without a window, on its own profile; none if the machine has none.
fn chromium(daemon: &TestDaemon, args: &[&str]) -> Option<String> {
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
async fn the_page_in_a_real_browser_says_who_is_signed_in() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    sandbox.set_next_account(Some("plus"));
    let (_, url) = start(&daemon, json!({})).await;
    let Some(page) = tokio::task::block_in_place(|| chromium(&daemon, &["--dump-dom", &url])) else { return };
    for words in
        ["You are signed in", "user@example.com", "Plus", "close this tab", "lang=\"en\"", "<main", "<h1"]
    {
        assert!(page.contains(words), "no {words:?} in {page}");
    }
    // Opened again it says so, and what it looks like is kept beside the build: on a phone, in light and dark.
    let shots = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut seen = Vec::new();
    let callback = sandbox.browser().redirect(&start(&daemon, json!({})).await.1, "plus").await.unwrap();
    for (name, more) in [("light", None), ("dark", Some("--blink-settings=preferredColorScheme=0"))] {
        let shot = shots.join(format!("page-{name}.png"));
        let file = format!("--screenshot={}", shot.display());
        let args: Vec<&str> = [Some(file.as_str()), Some("--window-size=390,844"), more, Some(&callback)]
            .into_iter()
            .flatten()
            .collect();
        tokio::task::block_in_place(|| chromium(&daemon, &args));
        seen.push(std::fs::read(shot).unwrap());
    }
    assert!(seen[0].len() > 5_000 && seen[0] != seen[1], "dark looks different from light");
    // A refusal looks like one, and says what to do.
    let refused = format!("{}?error=access_denied&state={}", callback.split('?').next().unwrap(), "unknown");
    let page = tokio::task::block_in_place(|| chromium(&daemon, &["--dump-dom", &refused])).unwrap();
    assert!(page.contains("class=\"bad\"") && page.contains("authctl login"), "{page}");
}

/// What the Codex CLI does when its port is in use: it asks for it, and then tries to bind it for two
/// seconds (protocol.md, section 2). Returns the answer to its request, and the port if it got it.
fn codex_wants(port: u16) -> (String, Option<TcpListener>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET /cancel HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    drop(stream);
    let bound = (0..10).find_map(|_| {
        std::thread::sleep(Duration::from_millis(200));
        TcpListener::bind(("127.0.0.1", port)).ok()
    });
    (answer, bound)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_codex_clients_get_the_port_one_after_the_other_and_it_comes_back() {
    let sandbox = sandbox().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let callback = format!("yield = \"2s\"\nports = [{port}]");
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).callback(&callback)).await;
    let status = async || daemon.get("/v1/status").await["callback"].clone();
    // While somebody signs in here, the port stays.
    let (login, _) = start(&daemon, json!({})).await;
    let (answer, bound) = tokio::task::block_in_place(|| codex_wants(port));
    assert!(answer.starts_with("HTTP/1.1 409") && bound.is_none(), "{answer}");
    daemon.request("DELETE", &format!("/v1/logins/{}", login["id"].as_str().unwrap()), &[], "").await;
    for client in 1..=2 {
        let (answer, bound) = tokio::task::block_in_place(|| codex_wants(port));
        assert!(answer.starts_with("HTTP/1.1 200"), "client {client}: {answer}");
        assert!(bound.is_some(), "client {client} gets the port");
        drop(bound);
        while status().await["state"] != "listening" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    daemon.sign_in("default", "plus").await;
}
