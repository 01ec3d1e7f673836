//! Shares with `compat`: programs that are written for the public Responses API.

use authd_sandbox::{Fault, Route};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    doors::Door,
    helpers::{daemon, responses_request, sandbox},
    share_client::Holder,
    upstream::{Upstream, read_head, read_until},
};

const COMPAT: &str = "responses";

#[tokio::test]
async fn request_of_the_public_api_works_in_both_modes() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    daemon.sign_in("work", "business").await;
    let body =
        json!({"model": "gpt-5.5", "input": "What is 2+2?", "temperature": 0, "max_output_tokens": 100});
    for (profile, dropped) in [("me", "max_output_tokens, temperature"), ("work", "")] {
        let share =
            Holder::new(&daemon, json!({"profile": profile, "door": "loopback", "compat": COMPAT})).await;
        let reply = share.send("POST", "/v1/responses", &[], body.to_string()).await;
        let response = reply.json();
        assert_eq!((&response["object"], &response["status"]), (&json!("response"), &json!("completed")));
        let text = response["output"][0]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("= 4."), "{text}");
        assert_eq!(
            (reply.header("content-type"), reply.header("authd-dropped")),
            ("application/json", dropped)
        );
        // A client that streams gets the stream.
        let mut streamed = body.clone();
        streamed["stream"] = json!(true);
        let reply = share.send("POST", "/v1/responses", &[], streamed.to_string()).await;
        assert!(reply.header("content-type").starts_with("text/event-stream"), "{}", reply.text());
        assert_eq!(reply.header("authd-dropped"), dropped);
        // Its last event has the output, which the backend sends in other events only.
        let last = reply.text().lines().rfind(|line| line.starts_with("data: ")).unwrap().to_owned();
        let last: Value = serde_json::from_str(&last["data: ".len()..]).unwrap();
        assert_eq!(last["type"], "response.completed");
        assert_eq!(last["response"]["output"][0]["content"][0]["text"], text);
    }
}

#[tokio::test]
async fn backend_is_asked_for_a_stream_without_compression() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({"door": "loopback", "compat": COMPAT})).await;
    let headers = [("accept", "application/json"), ("accept-encoding", "gzip, br")];
    let body = json!({"model": "gpt-5.5", "input": "What is 2+2?"}).to_string();
    assert_eq!(share.send("POST", "/v1/responses", &headers, body).await.status.as_u16(), 200);
    let request = sandbox.requests_of(Route::ChatGptResponses).pop().unwrap();
    assert_eq!(request.header("accept"), Some("text/event-stream"));
    assert_eq!(request.header("accept-encoding"), None);
}

#[tokio::test]
async fn conversation_of_a_client_that_relies_on_stored_items_goes_on() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({"door": "loopback", "compat": COMPAT})).await;
    // The output of a response is the input of the next one, as OpenAI's guides do it.
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    let mut body =
        json!({"model": "gpt-5.5", "input": [reasoning, {"role": "user", "content": "What is 2+2?"}]});
    let reply = share.send("POST", "/v1/responses", &[], body.to_string()).await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    body["input"][0] = json!({"type": "item_reference", "id": "rs_1"});
    let reply = share.send("POST", "/v1/responses", &[], body.to_string()).await;
    assert_eq!(reply.status.as_u16(), 400);
    assert!(reply.json()["detail"].as_str().unwrap().starts_with("item_reference: "), "{}", reply.text());
}

#[tokio::test]
async fn stream_arrives_while_the_response_goes_on() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({"door": "loopback", "compat": COMPAT})).await;
    let body = json!({"model": "gpt-5.5", "input": "What is 2+2?", "stream": true}).to_string();
    sandbox.faults().push(Route::ChatGptResponses, Fault::HoldStream);
    let mut stream = share.open("POST", "/v1/responses", &[], body).await.unwrap().into_body();
    let first = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"event: response.created"), "{first:?}");
    sandbox.faults().release();
    let rest = stream.collect().await.unwrap().to_bytes();
    assert!(rest.ends_with(b"}\n\n"), "{rest:?}");
}

#[tokio::test]
async fn stream_that_breaks_off_is_no_response() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({"door": "loopback", "compat": COMPAT})).await;
    let body =
        |stream: bool| json!({"model": "gpt-5.5", "input": "What is 2+2?", "stream": stream}).to_string();
    sandbox.faults().push_times(Route::ChatGptResponses, Fault::TruncateStream, 2);
    let reply = share.send("POST", "/v1/responses", &[], body(false)).await;
    assert_eq!(reply.status.as_u16(), 503, "{}", reply.text());
    assert!(reply.json()["detail"].as_str().unwrap().contains("stream"), "{}", reply.text());
    let streamed = share.open("POST", "/v1/responses", &[], body(true)).await.unwrap();
    assert_eq!(streamed.status().as_u16(), 200);
    assert!(streamed.into_body().collect().await.is_err(), "the client must see that the stream broke off");
}

#[tokio::test]
async fn without_compat_nothing_is_adapted() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({"door": "loopback"})).await;
    let body = json!({"model": "gpt-5.5", "input": "What is 2+2?"}).to_string();
    let reply = share.send("POST", "/v1/responses", &[], body.clone()).await;
    assert_eq!(reply.status.as_u16(), 400, "{}", reply.text());
    let request = sandbox.requests_of(Route::ChatGptResponses).pop().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&request.body).unwrap().to_string(), body);
}

#[tokio::test]
async fn request_that_cannot_be_adapted_is_refused_with_the_reason() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({"door": "loopback", "compat": COMPAT})).await;
    let mut stateful = responses_request("What is 2+2?");
    stateful["previous_response_id"] = json!("resp_1");
    let reply = share.send("POST", "/v1/responses", &[], stateful.to_string()).await;
    assert_eq!(reply.status.as_u16(), 400);
    assert!(
        reply.json()["detail"].as_str().unwrap().starts_with("previous_response_id: "),
        "{}",
        reply.text()
    );
    let reply = share.send("POST", "/v1/responses", &[], "not JSON").await;
    assert_eq!(reply.status.as_u16(), 400);
    let reply = share.send("POST", "/v1/chat/completions", &[], "{}").await;
    assert_eq!(reply.status.as_u16(), 400);
    assert!(reply.text().contains("no Chat Completions"), "{}", reply.text());
    assert_eq!(sandbox.count(Route::Other), 0);
    assert_eq!(sandbox.count(Route::ChatGptResponses), 0);
}

#[tokio::test]
async fn adapted_request_ends_with_its_client_and_with_its_share() {
    const OPEN: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
          a\r\ndata: {}\n\n\r\n";
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.signed_in_daemon(&sandbox).await;
    for (stream, unshares) in [(false, false), (false, true), (true, false), (true, true)] {
        let share = Holder::new(&daemon, json!({"door": "loopback", "compat": COMPAT})).await;
        let body = json!({"model": "gpt-5.5", "input": "What is 2+2?", "stream": stream}).to_string();
        let length = format!("Content-Length: {}", body.len());
        let mut client = Door::Share(share.clone()).send_head("POST", "responses", &[&length]).await;
        client.write_all(body.as_bytes()).await.unwrap();
        let (mut server, _) = upstream.next_request().await;
        server.write_all(OPEN).await.unwrap();
        if stream {
            read_until(&mut client, b"data: {}\n").await;
        }
        if unshares {
            let path = format!("/v1/shares/{}", share.id());
            assert_eq!(daemon.request("DELETE", &path, &[], "").await.status.as_u16(), 204);
            client.read_to_end(&mut Vec::new()).await.ok();
        } else {
            drop(client);
        }
        // The daemon cancels the request to the upstream, which would never finish its response.
        server.read_to_end(&mut Vec::new()).await.ok();
    }
}

#[tokio::test]
async fn adapted_requests_have_a_limited_amount_of_memory() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({"door": "loopback", "compat": COMPAT})).await;
    let large = format!("Content-Length: {}", 32 << 20);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let fields = [&*large, "Expect: 100-continue"];
        let mut client = Door::Share(share.clone()).send_head("POST", "responses", &fields).await;
        // The daemon reads the body now.
        assert!(read_head(&mut client).await.starts_with("http/1.1 100"));
        clients.push(client);
    }
    let body = json!({"model": "gpt-5.5", "input": "What is 2+2?"}).to_string();
    let reply = share.send("POST", "/v1/responses", &[], body).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, "1"), "{}", reply.text());
    // What is not adapted needs no memory.
    assert_eq!(share.models().await, 200);
}
