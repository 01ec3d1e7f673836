//! A WebSocket through the relay: agreed to, refused, and ended from every side.

use authd_sandbox::{Config, Fault, Route, Sandbox, test_daemon::TestDaemon};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, ClientRequestBuilder, Message},
};

use crate::{
    support::{daemon, question, sandbox},
    upstream::{Upstream, gone, head, say, until},
};

type Socket = WebSocketStream<UnixStream>;

/// A WebSocket as the Codex CLI opens it, through the relay of this profile.
async fn open(daemon: &TestDaemon, profile: &str) -> Result<Socket, tungstenite::Error> {
    let uri = format!("ws://authd/v1/profiles/{profile}/relay/responses").parse().unwrap();
    let request =
        ClientRequestBuilder::new(uri).with_header("OpenAI-Beta", "responses_websockets=2026-02-06");
    let stream = UnixStream::connect(daemon.socket()).await.unwrap();
    client_async(request, stream).await.map(|(socket, _)| socket)
}

/// The status with which a handshake was refused.
async fn refused(daemon: &TestDaemon, profile: &str) -> u16 {
    match open(daemon, profile).await {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

/// Asks, and reads to the answer's end: its text, and its last event.
async fn ask(socket: &mut Socket, mut question: Value) -> (String, Value) {
    question["type"] = json!("response.create");
    socket.send(Message::text(question.to_string())).await.unwrap();
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
async fn questions_are_answered_over_one_socket_in_both_modes() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    for (profile, route) in [("default", Route::ChatGptWebSocket), ("work", Route::ApiWebSocket)] {
        let mut socket = open(&daemon, profile).await.unwrap();
        let (text, first) = ask(&mut socket, question("What is 2+2?")).await;
        assert!(text.contains("= 4."), "{text}");
        // The same socket goes on, and remembers what came before.
        let mut next = question("What is 17+25?");
        next["previous_response_id"] = first["response"]["id"].clone();
        assert!(ask(&mut socket, next).await.0.contains("= 42."));
        let (_, wrong) = ask(&mut socket, json!({"model": "gpt-5.5"})).await;
        assert_eq!((&wrong["type"], &wrong["status"]), (&json!("error"), &json!(400)));
        // A closing handshake goes all the way and comes back.
        socket.close(None).await.unwrap();
        while let Some(message) = socket.next().await {
            assert!(matches!(message, Ok(Message::Close(_))), "{message:?}");
        }
        let asked = sandbox.requests_of(route).pop().unwrap();
        assert_eq!(asked.header("upgrade"), Some("websocket"));
        assert!(asked.header("authorization").unwrap().starts_with("Bearer "));
    }
}

#[tokio::test]
async fn a_tunnel_leads_through_a_proxy_and_tls() {
    let tls = Some(authd_sandbox::Tls::generate().unwrap());
    let sandbox = Sandbox::start(Config { tls, ..Config::default() }).await.unwrap();
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let mut socket = open(&daemon, "default").await.unwrap();
    let long = question(&format!("{} 2+2", "x".repeat(1 << 20)));
    assert!(ask(&mut socket, long).await.0.contains("= 4."));
}

#[tokio::test]
async fn a_refused_handshake_is_passed_on_as_it_is() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::ChatGptWebSocket, Fault::status(426, r#"{"detail":"Upgrade Required"}"#));
    assert_eq!(refused(&daemon, "default").await, 426);
    sandbox.faults().push(Route::ChatGptWebSocket, Fault::status(404, ""));
    assert_eq!(refused(&daemon, "default").await, 404);
    assert_eq!(sandbox.count(Route::Refresh), 0);
    // The provider wants to hear which form of the protocol it is. Refused, the connection is HTTP still.
    let asked = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    let fields = [&asked[..], &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]].concat();
    let mut client = say(&daemon, "GET /v1/profiles/default/relay/responses", &fields).await;
    assert!(head(&mut client).await.starts_with("http/1.1 400"));
    assert!(until(&mut client, b"}").await.contains("OpenAI-Beta must be responses_websockets"));
    client.write_all(b"GET /v1/status HTTP/1.1\r\nHost: authd\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn a_401_is_answered_by_one_refresh_and_one_more_handshake() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.expire_access_tokens();
    let mut socket = open(&daemon, "default").await.unwrap();
    assert!(ask(&mut socket, question("2+2")).await.0.contains("= 4."));
    assert_eq!((sandbox.count(Route::Refresh), sandbox.count(Route::ChatGptWebSocket)), (1, 2));
    // An upstream that refuses the new token too has the last word.
    sandbox.faults().push_times(Route::ChatGptWebSocket, Fault::Unauthorized, 2);
    assert_eq!(refused(&daemon, "default").await, 401);
    assert_eq!((sandbox.count(Route::Refresh), sandbox.count(Route::ChatGptWebSocket)), (2, 4));
}

#[tokio::test]
async fn long_messages_pass_whole() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let mut socket = open(&daemon, "default").await.unwrap();
    let long = question(&format!("{} 2+2", "x".repeat(12 << 20)));
    assert!(ask(&mut socket, long).await.0.contains("= 4."));
}

#[tokio::test]
async fn either_side_that_goes_ends_the_other() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    let (mut client, mut server) = upstream.tunnel(&daemon).await;
    client.write_all(b"ping").await.unwrap();
    assert_eq!(until(&mut server, b"ping").await, "ping");
    drop(client);
    gone(&mut server).await;
    let (mut client, mut server) = upstream.tunnel(&daemon).await;
    server.write_all(b"last words").await.unwrap();
    drop(server);
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "last words");
    // An upstream that will not hang up after its client has is hung up on.
    let (client, mut server) = upstream.tunnel(&daemon).await;
    let (mut deaf, _) = server.split();
    drop(client);
    gone(&mut deaf).await;
    while server.write_all(b"still here").await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_provider_that_goes_is_noticed_by_the_client() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let mut socket = open(&daemon, "default").await.unwrap();
    assert!(ask(&mut socket, question("2+2")).await.0.contains("= 4."));
    sandbox.pause().await;
    // Without a closing handshake: nobody may take this for a good end.
    let end = socket.next().await;
    assert!(matches!(end, Some(Err(_))), "{end:?}");
}

#[tokio::test]
async fn a_stop_ends_a_tunnel_in_which_nobody_speaks() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let mut daemon = upstream.daemon(&sandbox).await;
    let (mut client, mut server) = upstream.tunnel(&daemon).await;
    assert!(daemon.sigterm_and_wait().await.success());
    assert!(!daemon.log().contains("still under way"), "{}", daemon.log());
    gone(&mut client).await;
    gone(&mut server).await;
}
