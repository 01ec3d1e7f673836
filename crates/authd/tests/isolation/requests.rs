//! What a share gives and refuses. All requests come from the isolated shell: with curl, and with
//! `authctl` as a user runs it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    shell::{Outcome, Shell},
    surroundings::Mounts,
    user::binaries,
};

/// The directory of a share of the profile `me` that allows the headers.
const WITH_HEADERS: &str = "/run/authd";

/// The directory of a share of the profile `work` that allows only the relay.
const RELAY_ONLY: &str = "/run/relay";

/// The prefix of the relay.
const RELAY: &str = "/v1/profiles/-/relay";

/// The path of the headers.
const HEADERS: &str = "/v1/profiles/-/headers";

/// A running daemon with its shares, and a shell that reaches only them.
struct Fixture {
    sandbox: Sandbox,
    daemon: TestDaemon,
    shares: Vec<Value>,
    shell: Shell,
    /// Whether the shell runs as the daemon's user. Otherwise `authctl` must be told the user.
    same_user: bool,
    /// A variable for `authctl`.
    environment: String,
}

/// An HTTP response, as curl prints it.
struct Reply {
    status: u16,
    body: String,
}

/// Checks a share's socket from the shell that `start` makes.
pub(crate) async fn check(start: impl FnOnce(&Mounts) -> Command, same_user: bool) {
    let mut fixture = Fixture::new(start, same_user).await;
    fixture.only_the_shares_are_within_reach().await;
    fixture.allowed_requests_succeed().await;
    fixture.authctl_works_through_the_shares().await;
    fixture.other_requests_are_refused_and_change_nothing().await;
    fixture.mounted_directory_outlives_a_restart().await;
    fixture.ended_share_is_gone().await;
}

impl Fixture {
    async fn new(start: impl FnOnce(&Mounts) -> Command, same_user: bool) -> Self {
        let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
        let config = TestDaemonConfig::new(binaries().join("authd"), &sandbox).store("file");
        let daemon = TestDaemon::start(config).await;
        daemon.sign_in("me", "plus").await;
        daemon.sign_in("work", "business").await;
        let mut shares = Vec::new();
        for body in [json!({"profile": "me", "allow": "headers"}), json!({"profile": "work"})] {
            shares.push(daemon.post("/v1/shares", body).await);
        }
        let places = [(directory(&shares[0]), WITH_HEADERS), (directory(&shares[1]), RELAY_ONLY)];
        let command = start(&Mounts { binaries: binaries(), shares: places });
        Self { sandbox, daemon, shares, shell: Shell::start(command), same_user, environment: String::new() }
    }

    async fn only_the_shares_are_within_reach(&mut self) {
        for share in &self.shares {
            let directory = directory(share);
            let facts = |path: &Path| {
                let found = fs::metadata(path).unwrap();
                (found.mode() & 0o777, found.uid())
            };
            let own = rustix::process::geteuid().as_raw();
            assert_eq!(facts(directory.parent().unwrap()), (0o700, own));
            assert_eq!(facts(&directory), (0o755, own));
            assert_eq!(facts(&directory.join("authd.sock")), (0o666, own));
        }
        let socket = self.daemon.socket();
        for (path, is_reached) in [(socket, false), (Path::new(WITH_HEADERS).join("authd.sock"), true)] {
            let line = format!("curl -s --unix-socket {} http://authd/v1/status", path.display());
            let outcome = self.shell.run(&line).await;
            // 7: the connection failed.
            assert_eq!(outcome.code, if is_reached { 0 } else { 7 }, "{line}: {outcome:?}");
        }
    }

    async fn allowed_requests_succeed(&mut self) {
        let own = self.daemon.get("/v1/profiles/me/headers").await;
        let reply = self.send(WITH_HEADERS, "GET", HEADERS, "").await;
        assert_eq!((reply.status, reply.json()["headers"].clone()), (200, own["headers"].clone()));
        assert!(!reply.body.contains("refresh_token"));
        for (share, models) in [(WITH_HEADERS, "models?client_version=0.34.0"), (RELAY_ONLY, "models")] {
            let reply = self.send(share, "GET", &format!("{RELAY}/{models}"), "").await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            let body = json!({
                "model": "gpt-5.5", "instructions": "Be brief.", "store": false, "stream": true,
                "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is 2+2?"}]}],
            });
            let reply = self.send(share, "POST", &format!("{RELAY}/responses"), &body.to_string()).await;
            assert!(reply.body.contains("= 4."), "{}", reply.body);
        }
    }

    async fn authctl_works_through_the_shares(&mut self) {
        if !self.same_user {
            let outcome = self.authctl(WITH_HEADERS, "headers --json").await;
            let (_, uid) =
                outcome.failed(6, "is served by another user").split_once("AUTHD_SOCKET_UID=").unwrap();
            let uid: String = uid.chars().take_while(char::is_ascii_digit).collect();
            self.environment = format!("AUTHD_SOCKET_UID={uid}");
        }
        let own = self.daemon.get("/v1/profiles/me/headers").await;
        let outcome = self.authctl(WITH_HEADERS, "headers --json").await;
        let headers: Value = serde_json::from_str(&outcome.text).unwrap();
        assert_eq!(headers["headers"], own["headers"]);
        for share in [WITH_HEADERS, RELAY_ONLY] {
            let outcome = self.authctl(share, "ask -v 'What is 2+2?'").await;
            assert!(outcome.code == 0 && outcome.text.contains("= 4."), "{outcome:?}");
            for secret in self.sandbox.issued_secrets() {
                assert!(!outcome.text.contains(&secret), "{outcome:?}");
            }
        }
        self.authctl(RELAY_ONLY, "token").await.failed(6, "the share allows only the relay");
        for command in ["status", "profiles", "logout", "export codex", "share", "ask -p work 'What?'"] {
            self.authctl(WITH_HEADERS, command).await.failed(6, "a share has only the relay");
        }
    }

    async fn other_requests_are_refused_and_change_nothing(&mut self) {
        let login = self.daemon.post("/v1/logins", json!({"profile": "other"})).await;
        let ids = [&login["id"], &self.shares[0]["id"]].map(|id| id.as_str().unwrap().to_owned());
        let before = self.state().await;
        let document = self.daemon.get("/v1/openapi.json").await;
        let mut requests = operations(&document, &ids);
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/v1/models"),
            ("POST", "/v1/responses"),
            ("DELETE", HEADERS),
            ("POST", HEADERS),
            ("TRACE", "/v1/profiles/-/relay/models"),
            ("TRACE", "/v1/profiles/-/relay"),
            ("GET", "/v1/profiles/me/relay"),
            ("GET", "/v1/profiles/-/relay/../headers"),
            ("GET", "/v1/profiles/-/relay/../../me/headers"),
            ("GET", "/v1/profiles/-/relay/%2e%2e/models"),
            ("GET", "/v1/profiles/-/relay/..%2fmodels"),
            ("GET", "/v1/profiles/-/relay//models"),
        ] {
            requests.push((method.to_owned(), path.to_owned()));
        }
        for share in [WITH_HEADERS, RELAY_ONLY] {
            for (method, path) in &requests {
                self.is_refused(share, method, path).await;
            }
        }
        self.is_refused(RELAY_ONLY, "GET", HEADERS).await;
        assert_eq!(self.state().await, before);
    }

    async fn is_refused(&mut self, share: &str, method: &str, path: &str) {
        let reply = self.send(share, method, path, "{}").await;
        assert_eq!(reply.status, 403, "{method} {path}: {}", reply.body);
        if method != "HEAD" {
            let problem = reply.json();
            assert_eq!(problem["code"], "forbidden", "{method} {path}");
            let detail = problem["detail"].as_str().unwrap();
            let reasons = ["a share has only", "the share allows only", "the path contains"];
            assert!(reasons.iter().any(|reason| detail.starts_with(reason)), "{method} {path}: {detail}");
        }
    }

    async fn mounted_directory_outlives_a_restart(&mut self) {
        self.daemon.restart().await;
        self.allowed_requests_succeed().await;
    }

    async fn ended_share_is_gone(&mut self) {
        for (share, place) in self.shares.clone().iter().zip([WITH_HEADERS, RELAY_ONLY]) {
            let path = format!("/v1/shares/{}", share["id"].as_str().unwrap());
            assert_eq!(self.daemon.request("DELETE", &path, &[], "").await.status.as_u16(), 204);
            assert!(!directory(share).exists());
            let line = format!("curl -s --unix-socket {place}/authd.sock http://authd{HEADERS}");
            let outcome = self.shell.run(&line).await;
            // 7: the connection failed. 52 and 56: the forwarding ssh closed it.
            assert!([7, 52, 56].contains(&outcome.code) && outcome.text.is_empty(), "{outcome:?}");
        }
    }

    /// Sends a request with curl.
    async fn send(&mut self, share: &str, method: &str, path: &str, body: &str) -> Reply {
        let method = match method {
            "HEAD" => "--head".to_owned(),
            "GET" => String::new(),
            _ => format!("-X {method} -H 'Content-Type: application/json' -d '{body}'"),
        };
        let line = format!(
            "curl -sS --path-as-is --unix-socket {share}/authd.sock -w '\\n%{{http_code}}' {method} 'http://authd{path}'"
        );
        let outcome = self.shell.run(&line).await;
        let (body, status) = outcome.text.rsplit_once('\n').unwrap_or(("", &outcome.text));
        let status = status.parse().unwrap_or_else(|_| panic!("{line}: {outcome:?}"));
        Reply { status, body: body.to_owned() }
    }

    /// Runs authctl with the socket of a share.
    async fn authctl(&mut self, share: &str, args: &str) -> Outcome {
        let environment = &self.environment;
        self.shell
            .run(&format!("{environment} AUTHD_SOCKET={share}/authd.sock /run/bin/authctl {args}"))
            .await
    }

    /// The state of the daemon: its responses on its own socket, its files, and how many tokens it
    /// has spent.
    async fn state(&self) -> (Vec<Value>, BTreeMap<PathBuf, Vec<u8>>, usize) {
        let mut answers = Vec::new();
        for path in ["/v1/profiles", "/v1/shares", "/v1/logins", "/v1/codex"] {
            answers.push(self.daemon.get(path).await);
        }
        let files = fs::read_dir(self.daemon.state()).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap()));
        (answers, files.collect(), self.sandbox.rotations())
    }
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

impl Outcome {
    /// Checks that the command failed with this code and message.
    fn failed(&self, code: i32, message: &str) -> &str {
        assert!(self.code == code && self.text.contains(message), "{self:?}");
        &self.text
    }
}

/// The directory of a share.
fn directory(share: &Value) -> PathBuf {
    Path::new(share["socket"].as_str().unwrap()).parent().unwrap().to_owned()
}

/// Every operation of the API, for every profile and id, except those that the shares allow.
fn operations(document: &Value, ids: &[String]) -> Vec<(String, String)> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{path}", "models");
        let (parameter, values): (_, Vec<&str>) = if path.contains("{id}") {
            ("{id}", ids.iter().map(String::as_str).collect())
        } else {
            ("{profile}", vec!["-", "me", "work"])
        };
        let values = if path.contains(parameter) { values } else { vec![""] };
        for value in values {
            let path = path.replace(parameter, value);
            if path == HEADERS || path == RELAY || path.starts_with(&format!("{RELAY}/")) {
                continue;
            }
            let methods = methods.as_object().unwrap().keys().filter(|key| *key != "parameters");
            operations.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
        }
    }
    assert!(operations.len() > 40, "{operations:?}");
    operations
}
