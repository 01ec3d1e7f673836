//! The loopback door and a real Chromium: a page of another origin that has even the key of a share
//! reaches nothing through it, and neither does a name that resolves to this machine.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
};

use serde_json::json;

use crate::{
    browser::chromium,
    helpers::{daemon, sandbox},
    share_client::Holder,
};

/// Sends a request in every way in which a page can, and writes the results into the document.
const PAGE: &str = include_str!("share_browser.html");

/// Serves a page to every request on a free port, which it returns.
fn serve(page: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let length = page.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n");
            stream.write_all(format!("{head}Connection: close\r\n\r\n{page}").as_bytes()).ok();
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_of_another_origin_gets_nothing_through_a_share() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({"door": "loopback"})).await;
    assert_eq!(share.models().await, 200);
    sandbox.clear_requests();
    let address = share.address();
    let share_port = address.rsplit_once(':').unwrap().1;
    let port = serve(PAGE.replace("KEY", share.key()).replace("PORT", share_port));
    // The attacker's name resolves to this machine (DNS rebinding).
    let resolve = "--host-resolver-rules=MAP evil.test 127.0.0.1";
    let open = |url: &str| tokio::task::block_in_place(|| chromium(&daemon, &[resolve, "--dump-dom", url]));
    let Some(page) = open(&format!("http://evil.test:{port}/")) else { return };
    let results = page.split_once("<pre id=\"results\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let results = results.unwrap_or_else(|| panic!("{page}")).0;
    assert!(results.ends_with("complete") && !results.contains(" got"), "{results}");
    let rebound = open(&format!("http://evil.test:{share_port}/v1/models?client_version=0.34.0")).unwrap();
    assert!(rebound.contains("\"forbidden\""), "{rebound}");
    // The browser has sent most of these requests: the daemon has refused them.
    let metrics = daemon.request("GET", "/v1/metrics", &[], "").await.text();
    let refused = metrics.lines().find_map(|line| {
        line.strip_prefix("authd_share_requests_total{door=\"loopback\",result=\"refused\"} ")
    });
    let refused: u32 = refused.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap();
    assert!(refused >= 20, "{refused} refused");
    assert!(sandbox.requests().is_empty(), "{:?}", sandbox.requests());
}
