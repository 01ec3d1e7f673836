//! WebSocket connections through the relay: handshakes, errors, and the end of a connection.

use authd_sandbox::{Config, Fault, Route, Sandbox};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, ClientRequestBuilder, Message},
};

use crate::{
    doors::{ClientStream, Door, doors},
    helpers::{daemon, responses_request, sandbox},
    upstream::{PROFILE, Upstream, expect_closed, read_head, read_until},
};

type ClientSocket = WebSocketStream<ClientStream>;

/// A WebSocket as the Codex CLI opens it.
async fn open(door: &Door) -> Result<ClientSocket, tungstenite::Error> {
    let mut credentials = door.credentials().into_iter();
    let host = credentials.next().unwrap().1;
    let uri = format!("ws://{host}{}", door.relay("responses")).parse().unwrap();
    let request =
        ClientRequestBuilder::new(uri).with_header("OpenAI-Beta", "responses_websockets=2026-02-06");
    let request = credentials.fold(request, |request, (name, key)| request.with_header(name.as_str(), key));
    client_async(request, door.connect().await.unwrap()).await.map(|(socket, _)| socket)
}

/// Opens a WebSocket, which must fail, and returns the status.
async fn refused_status(door: &Door) -> u16 {
    match open(door).await {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

/// Sends a request, and reads its response. Returns the text and the last event.
async fn complete(socket: &mut ClientSocket, mut request: Value) -> (String, Value) {
    request["type"] = json!("response.create");
    socket.send(Message::text(request.to_string())).await.unwrap();
    let mut text = String::new();
    loop {
        let event = socket.next().await.unwrap().unwrap().into_text().unwrap();
        let event: Value = serde_json::from_str(&event).unwrap();
        match event["type"].as_str().unwrap() {
            "response.output_text.delta" => text += event["delta"].as_str().unwrap(),
            "response.completed" | "error" => return (text, event),
            _ => {}
        }
    }
}

#[tokio::test]
async fn one_socket_serves_several_requests_in_both_modes() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    for (profile, route) in [("default", Route::ChatGptWebSocket), ("work", Route::ApiWebSocket)] {
        for door in doors(&daemon, profile).await {
            let mut socket = open(&door).await.unwrap();
            let (text, first) = complete(&mut socket, responses_request("What is 2+2?")).await;
            assert!(text.contains("= 4."), "{text}");
            // The next request on the same socket can refer to the previous one.
            let mut next = responses_request("What is 17+25?");
            next["previous_response_id"] = first["response"]["id"].clone();
            assert!(complete(&mut socket, next).await.0.contains("= 42."));
            let (_, wrong) = complete(&mut socket, json!({"model": "gpt-5.5"})).await;
            assert_eq!((&wrong["type"], &wrong["status"]), (&json!("error"), &json!(400)));
            // The closing handshake passes in both directions.
            socket.close(None).await.unwrap();
            while let Some(message) = socket.next().await {
                assert!(matches!(message, Ok(Message::Close(_))), "{message:?}");
            }
            let request = sandbox.requests_of(route).pop().unwrap();
            assert_eq!(request.header("upgrade"), Some("websocket"));
            assert!(request.header("authorization").unwrap().starts_with("Bearer "));
        }
    }
}

#[tokio::test]
async fn a_tunnel_passes_a_proxy_and_tls() {
    let tls = Some(authd_sandbox::Tls::generate().unwrap());
    let sandbox = Sandbox::start(Config { tls, ..Config::default() }).await.unwrap();
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let mut socket = open(&Door::daemon(&daemon, "default")).await.unwrap();
    let long = responses_request(&format!("{} 2+2", "x".repeat(1 << 20)));
    assert!(complete(&mut socket, long).await.0.contains("= 4."));
}

#[tokio::test]
async fn a_refused_handshake_is_passed_on_unchanged() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for door in doors(&daemon, "default").await {
        sandbox
            .faults()
            .push(Route::ChatGptWebSocket, Fault::status(426, r#"{"detail":"Upgrade Required"}"#));
        assert_eq!(refused_status(&door).await, 426);
        sandbox.faults().push(Route::ChatGptWebSocket, Fault::status(404, ""));
        assert_eq!(refused_status(&door).await, 404);
        assert_eq!(sandbox.count(Route::Refresh), 0);
        // The provider requires the header `OpenAI-Beta`. After the error, the connection is still
        // HTTP.
        let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
        let fields = [&upgrade[..], &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]].concat();
        let mut client = door.send_head("GET", "responses", &fields).await;
        assert!(read_head(&mut client).await.starts_with("http/1.1 400"));
        assert!(read_until(&mut client, b"}").await.contains("OpenAI-Beta must be responses_websockets"));
        client.write_all(door.head("GET", "models?client_version=0.34.0", &[]).as_bytes()).await.unwrap();
        assert!(read_head(&mut client).await.starts_with("http/1.1 200"));
    }
}

#[tokio::test]
async fn a_401_causes_one_refresh_and_one_more_handshake() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for door in doors(&daemon, "default").await {
        sandbox.clear_requests();
        sandbox.expire_access_tokens();
        let mut socket = open(&door).await.unwrap();
        assert!(complete(&mut socket, responses_request("2+2")).await.0.contains("= 4."));
        assert_eq!((sandbox.count(Route::Refresh), sandbox.count(Route::ChatGptWebSocket)), (1, 2));
        // If the upstream rejects the new token too, its response passes.
        sandbox.faults().push_times(Route::ChatGptWebSocket, Fault::Unauthorized, 2);
        assert_eq!(refused_status(&door).await, 401);
        assert_eq!((sandbox.count(Route::Refresh), sandbox.count(Route::ChatGptWebSocket)), (2, 4));
        // The upstream accepts the new token, so that the next 401 causes a refresh again.
        open(&door).await.unwrap();
    }
}

#[tokio::test]
async fn long_messages_pass_completely() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let mut socket = open(&Door::daemon(&daemon, "default")).await.unwrap();
    let long = responses_request(&format!("{} 2+2", "x".repeat(12 << 20)));
    assert!(complete(&mut socket, long).await.0.contains("= 4."));
}

#[tokio::test]
async fn the_end_of_one_side_ends_the_other_side() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        let (mut client, mut server) = upstream.tunnel(&door).await;
        client.write_all(b"ping").await.unwrap();
        assert_eq!(read_until(&mut server, b"ping").await, "ping");
        drop(client);
        expect_closed(&mut server).await;
        let (mut client, mut server) = upstream.tunnel(&door).await;
        server.write_all(b"last words").await.unwrap();
        drop(server);
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "last words");
        // The daemon closes the connection to an upstream that does not close it after its client
        // has.
        let (client, mut server) = upstream.tunnel(&door).await;
        let (mut reader, _) = server.split();
        drop(client);
        expect_closed(&mut reader).await;
        while server.write_all(b"still here").await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_lost_provider_connection_is_an_error_for_the_client() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let mut socket = open(&Door::daemon(&daemon, "default")).await.unwrap();
    assert!(complete(&mut socket, responses_request("2+2")).await.0.contains("= 4."));
    sandbox.pause().await;
    // Without a closing handshake the end must be an error.
    let end = socket.next().await;
    assert!(matches!(end, Some(Err(_))), "{end:?}");
}

#[tokio::test]
async fn a_shutdown_ends_an_idle_tunnel() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let mut daemon = upstream.daemon(&sandbox).await;
    let mut tunnels = Vec::new();
    for door in doors(&daemon, PROFILE).await {
        tunnels.push(upstream.tunnel(&door).await);
    }
    assert!(daemon.sigterm_and_wait().await.success());
    assert!(!daemon.log().contains("unfinished work"), "{}", daemon.log());
    for (mut client, mut server) in tunnels {
        expect_closed(&mut client).await;
        expect_closed(&mut server).await;
    }
}
