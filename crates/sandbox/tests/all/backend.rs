//! Responses and errors of the ChatGPT backend and of the API.

use std::time::Duration;

use crate::common::*;
use authd_sandbox::{Account, Config, Route, Routing, Sandbox};
use serde_json::{Value, json};

const RESPONSES: &str = "/backend-api/codex/responses";

/// A signed-in client of the ChatGPT backend.
struct Client {
    sandbox: Sandbox,
    bearer: String,
    account_id: String,
}

impl Client {
    async fn of(account: Account) -> Self {
        Self::with(Config::with_accounts([account.clone()]), account).await
    }

    async fn with(config: Config, account: Account) -> Self {
        let (name, account_id) = (account.name, account.account_id);
        let sandbox = Sandbox::start(config).await.unwrap();
        let tokens = sign_in(&sandbox, &name).await;
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        Self { sandbox, bearer, account_id }
    }

    fn headers(&self) -> [(&str, &str); 2] {
        [("authorization", &self.bearer), ("chatgpt-account-id", &self.account_id)]
    }

    async fn get(&self, path: &str) -> Answer {
        get(&self.sandbox, path, &self.headers()).await
    }

    async fn ask(&self, body: &Value) -> Answer {
        post_json(&self.sandbox, RESPONSES, &self.headers(), body).await
    }
}

fn question(text: &str) -> Value {
    json!({
        "model": "gpt-5.5", "instructions": "You are a helpful assistant.", "store": false, "stream": true,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}],
    })
}

fn events(stream: &str) -> Vec<Value> {
    let event = |text: &str| {
        let (name, data) = text.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    stream.split_terminator("\n\n").map(event).collect()
}

#[tokio::test]
async fn response_is_streamed_as_by_the_provider() {
    let client = Client::of(Account::plus()).await;
    let answer = client.ask(&question("What is 2+2?")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    for name in ["x-request-id", "x-codex-primary-used-percent", "x-codex-secondary-reset-at", "date"] {
        assert!(answer.headers.contains_key(name), "{name}");
    }
    let events = events(&answer.body);
    let mut kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert!(kinds.iter().filter(|kind| **kind == "response.output_text.delta").count() > 2);
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert!(text.contains("= 4"), "{text}");
    let last = &events.last().unwrap()["response"];
    assert_eq!((&last["status"], &last["output"]), (&json!("completed"), &json!([])));
    let usage = &last["usage"];
    assert!(usage["total_tokens"].as_u64().unwrap() > 0, "{usage}");
}

#[tokio::test]
async fn invalid_body_has_the_error_message_of_the_provider() {
    let client = Client::of(Account::plus()).await;
    let system = json!([{"type": "message", "role": "system", "content": "x"}]);
    let refusals = [
        ("stream", json!(false), "Stream must be set to true"),
        ("stream", Value::Null, "Stream must be set to true"),
        ("store", json!(true), "Store must be set to false"),
        ("store", Value::Null, "Store must be set to false"),
        ("instructions", Value::Null, "Instructions are required"),
        ("input", json!("2+2"), "Input must be a list"),
        ("input", system, "System messages are not allowed"),
        ("max_output_tokens", json!(5), "Unsupported parameter: max_output_tokens"),
        ("temperature", json!(1), "Unsupported parameter: temperature"),
        (
            "model",
            json!("gpt-0"),
            "The 'gpt-0' model is not supported when using Codex with a ChatGPT account.",
        ),
    ];
    for (name, value, detail) in refusals {
        let mut body = question("2+2");
        match value {
            Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
            value => body[name] = value,
        }
        let answer = client.ask(&body).await;
        assert_eq!((answer.status, answer.json()), (400, json!({"detail": detail})));
    }
}

#[tokio::test]
async fn item_of_an_earlier_response_is_not_stored() {
    let client = Client::of(Account::plus()).await;
    let own = question("2+2")["input"][0].clone();
    for (item, status) in [
        (json!({"type": "item_reference", "id": "msg_1"}), 400),
        (json!({"type": "reasoning", "id": "rs_1", "summary": []}), 400),
        (json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}), 200),
        (json!({"type": "reasoning", "summary": []}), 200),
        (json!({"type": "message", "id": "msg_1", "role": "assistant", "content": "4"}), 200),
    ] {
        let mut body = question("2+2");
        body["input"] = json!([own, item]);
        let answer = client.ask(&body).await;
        assert_eq!(answer.status, status, "{item}: {}", answer.body);
        assert_eq!(answer.body.contains("Items are not persisted"), status == 400, "{}", answer.body);
    }
}

#[tokio::test]
async fn model_calls_the_function_of_the_client() {
    let client = Client::of(Account::plus()).await;
    let mut body = question("2+2");
    body["tools"] = json!([{"type": "function", "name": "calculate", "parameters": {}}]);
    body["include"] = json!(["reasoning.encrypted_content"]);
    let items: Vec<Value> = events(&client.ask(&body).await.body)
        .into_iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| event["item"].clone())
        .collect();
    let [reasoning, call] = &items[..] else { panic!("{items:?}") };
    assert!(reasoning["encrypted_content"].is_string(), "{reasoning}");
    assert_eq!(
        (&call["name"], &call["arguments"]),
        (&json!("calculate"), &json!("{\"expression\":\"2 + 2\"}"))
    );
    let result = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "2 + 2 = 4"});
    let input = body["input"].as_array_mut().unwrap();
    input.extend([reasoning.clone(), call.clone(), result]);
    let answer = client.ask(&body).await;
    assert!(answer.body.contains("2 + 2 = 4. Anything else?"), "{}", answer.body);
}

#[tokio::test]
async fn instructions_may_be_a_message_of_the_developer_with_text() {
    let client = Client::of(Account::plus()).await;
    let user = &question("2+2")["input"][0];
    let parts = json!([{"type": "input_text", "text": "Be brief."}]);
    let tools = json!({"type": "additional_tools", "role": "developer", "tools": []});
    for (first, status) in [
        (json!({"type": "message", "role": "developer", "content": "Be brief."}), 200),
        (json!({"type": "message", "role": "developer", "content": parts}), 200),
        (json!({"type": "message", "role": "developer", "content": []}), 400),
        (
            json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": ""}]}),
            400,
        ),
        (json!({"type": "message", "role": "assistant", "content": "Be brief."}), 400),
        (tools, 400),
    ] {
        for input in [json!([first, user]), json!([user, first])] {
            let mut body = question("2+2");
            body["input"] = input;
            body.as_object_mut().unwrap().remove("instructions");
            assert_eq!(client.ask(&body).await.status, status, "{body}");
            body["instructions"] = json!("Be brief.");
            assert_eq!(client.ask(&body).await.status, 200, "{body}");
        }
    }
}

#[tokio::test]
async fn token_must_be_valid_and_workspace_must_match() {
    let client = Client::of(Account::plus()).await;
    let bearer = [("authorization", client.bearer.as_str())];
    let ask = |headers: Vec<(&'static str, String)>| {
        let sandbox = &client.sandbox;
        async move {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            post_json(sandbox, RESPONSES, &headers, &question("1+1")).await
        }
    };
    assert_eq!(post_json(&client.sandbox, RESPONSES, &bearer, &question("1+1")).await.status, 403);
    let other =
        ask(vec![("authorization", client.bearer.clone()), ("chatgpt-account-id", "other".into())]).await;
    assert_eq!(other.status, 403);
    let foreign = ask(vec![("authorization", "Bearer a.b.c".into())]).await;
    assert_eq!((foreign.status, &foreign.json()["detail"]["code"]), (401, &json!("token_invalid")));

    client.sandbox.expire_access_tokens();
    let expired = client.ask(&question("1+1")).await;
    let message = "Provided authentication token is expired. Please try signing in again.";
    assert_eq!(expired.status, 401);
    assert_eq!(expired.json(), json!({"detail": {"code": "token_expired", "message": message}}));
}

#[tokio::test]
async fn token_with_zero_lifetime_is_expired() {
    let client = Client::of(Account::plus().with_lifetime(Duration::ZERO)).await;
    assert_eq!(client.get("/backend-api/me").await.json()["detail"]["code"], "token_expired");
}

#[tokio::test]
async fn fedramp_workspace_needs_its_header() {
    let client = Client::of(Account { fedramp: true, ..Account::business() }).await;
    assert_eq!(client.ask(&question("1+1")).await.status, 403);
    let headers = [&client.headers()[..], &[("x-openai-fedramp", "true")]].concat();
    assert_eq!(post_json(&client.sandbox, RESPONSES, &headers, &question("1+1")).await.status, 200);
}

#[tokio::test]
async fn account_endpoints_return_the_account() {
    let routing = Routing { backend_origin: "https://chatgpt.com".into(), region: "us".into() };
    let client = Client::of(Account { routing: Some(routing), ..Account::business() }).await;
    let id = &client.account_id;

    assert_eq!(client.get("/backend-api/codex/models").await.status, 400, "client_version is required");
    let models = client.get("/backend-api/codex/models?client_version=0.34.0").await;
    assert_eq!(models.json()["models"][0]["slug"], "gpt-5.5");
    assert!(models.headers.contains_key("etag"));
    assert_eq!(client.get("/backend-api/me").await.json()["email"], "worker@example.org");
    let check = client.get("/backend-api/accounts/check").await.json();
    assert_eq!(check["accounts"][id]["account"]["plan_type"], "business");
    let check = client.get("/backend-api/wham/accounts/check").await.json();
    assert_eq!(check["default_account_id"], **id);
    assert_eq!(check["accounts"][0]["account_routing_override"], "us");
    assert_eq!(client.get("/backend-api/wham/usage").await.json()["rate_limit"]["allowed"], true);
    let page = client.get("/backend-api/conversations?offset=1&limit=1").await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["total"]), (1, &json!(3)));
    let closed = post_json(&client.sandbox, "/backend-api/conversation", &client.headers(), &json!({})).await;
    assert_eq!(closed.status, 403);
    assert_eq!(client.sandbox.count(Route::Conversation), 1);
}

#[tokio::test]
async fn old_client_is_offered_no_gated_model() {
    let minimal_client_versions = vec![("gpt-5.5".to_owned(), "0.150.0".to_owned())];
    let client = Client::with(Config { minimal_client_versions, ..Config::default() }, Account::plus()).await;
    for (version, first_model, status) in
        [("0.34.0", "gpt-5.4-mini", 400), ("0.150.0", "gpt-5.5", 200), ("0.171.0-alpha.1", "gpt-5.5", 200)]
    {
        let list = client.get(&format!("/backend-api/codex/models?client_version={version}")).await;
        assert_eq!(list.json()["models"][0]["slug"], first_model, "{version}");
        let headers = [&client.headers()[..], &[("version", version)]].concat();
        let answer = post_json(&client.sandbox, RESPONSES, &headers, &question("1+1")).await;
        assert_eq!(answer.status, status, "{version}: {answer:?}");
        assert_eq!(answer.body.contains("requires a newer version of Codex"), status == 400, "{answer:?}");
    }
    let unstated = post_json(&client.sandbox, RESPONSES, &client.headers(), &question("1+1")).await;
    assert_eq!(unstated.status, 400, "{unstated:?}");
}

#[tokio::test]
async fn api_requires_a_key() {
    let client = Client::of(Account::business()).await;
    let body = json!({"model": "gpt-5.5", "input": "17+25"});
    let refused = post_json(&client.sandbox, "/v1/responses", &client.headers(), &body).await;
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("Missing scopes: api.responses.write"), "{}", refused.body);

    let key = format!("Bearer {}", client.sandbox.issue_api_key("business"));
    let key = [("authorization", key.as_str())];
    let whole = post_json(&client.sandbox, "/v1/responses", &key, &body).await;
    assert_eq!(whole.status, 200, "{whole:?}");
    assert!(whole.json()["output"][0]["content"][0]["text"].as_str().unwrap().contains("42"));
    let streamed = post_json(&client.sandbox, "/v1/responses", &key, &question("6*7")).await;
    let last = events(&streamed.body).pop().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert!(last["response"]["output"][0]["content"][0]["text"].as_str().unwrap().contains("42"), "{last}");

    let models = get(&client.sandbox, "/v1/models", &key).await.json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("gpt-5.5")));
    let foreign = [key[0], ("openai-organization", "org-other")];
    assert_eq!(get(&client.sandbox, "/v1/models", &foreign).await.error_code(), "mismatched_organization");
    assert_eq!(get(&client.sandbox, "/v1/models", &[]).await.error_code(), "invalid_api_key");
}

#[tokio::test]
async fn usage_is_the_same_in_both_places_and_refuses_when_it_is_used_up() {
    let client = Client::of(Account::plus()).await;
    let used = |percent: f64| {
        json!({"account": "plus", "windows": [{"used_percent": percent, "seconds": 604_800, "resets_at": 1_900_000_000}],
            "named": [{"name": "Spark", "id": "codex_bengalfox", "windows": [{"used_percent": 7, "seconds": 18_000}]}]})
    };
    let set = async |usage: &Value| post_json(&client.sandbox, "/_sandbox/usage", &[], usage).await.status;
    assert_eq!(set(&json!({"account": "nobody"})).await, 404);
    assert_eq!(set(&used(33.5)).await, 204);
    let usage = client.get("/backend-api/wham/usage").await.json();
    // Codex reads whole numbers only.
    let window = &usage["rate_limit"]["primary_window"];
    assert_eq!((window["used_percent"].as_i64(), &window["reset_at"]), (Some(34), &json!(1_900_000_000)));
    assert_eq!(usage["rate_limit"]["secondary_window"], Value::Null);
    assert_eq!(usage["additional_rate_limits"][0]["metered_feature"], "codex_bengalfox");
    let answer = post_json(&client.sandbox, RESPONSES, &client.headers(), &question("1+1")).await;
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-codex-primary-used-percent"), "33.5");
    assert_eq!(
        (header("x-codex-primary-window-minutes"), header("x-codex-secondary-reset-at")),
        ("10080".into(), String::new())
    );
    assert_eq!(header("x-codex-bengalfox-limit-name"), "Spark");
    set(&used(100.0)).await;
    let answer = post_json(&client.sandbox, RESPONSES, &client.headers(), &question("1+1")).await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (429, &json!("usage_limit_reached")));
    assert_eq!(answer.headers["x-codex-rate-limit-reached-type"], "rate_limit_reached");
    let usage = client.get("/backend-api/wham/usage").await.json();
    assert_eq!(
        (&usage["rate_limit"]["allowed"], &usage["rate_limit"]["limit_reached"]),
        (&json!(false), &json!(true))
    );
}
