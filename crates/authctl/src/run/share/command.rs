//! Runs a command with a share in its environment. The share ends with the command: at its end
//! `authctl` ends the share, and while it runs `authctl` holds the share, so that the daemon ends
//! the share even if `authctl` is killed.

use std::{ffi::OsString, panic, path::Path, time::Duration};

use authd_api::{Client, ClientError, CreatedShare, ErrorCode, ShareBody};

use crate::{
    child::{self, OF_OTHER_ACCOUNT, Variable},
    context::{Context, with_timeout},
    env,
    error::CliResult,
};

/// Longest time that the end of a share takes. After it the daemon ends the share by itself.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait before a share is held again whose hold has ended. It is much shorter than the time that
/// the daemon waits for a holder.
const RETRY: Duration = Duration::from_secs(1);

/// The host of a loopback share.
const LOOPBACK: &str = "127.0.0.1";

/// Variables that would override the variables of a share, besides those of another account.
const REMOVED: [&str; 5] =
    ["AUTHD_SOCKET", "CHATGPT_ACCOUNT_ID", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS"];

/// Makes a share, and runs the command with it. `socket` is the value of `AUTHD_SOCKET` beside a
/// loopback share.
pub(super) async fn run(
    ctx: &Context,
    body: ShareBody,
    command: &[OsString],
    socket: Option<&Path>,
) -> CliResult {
    let mut child = child::command(command)?;
    let program_name = child.get_program().to_string_lossy().into_owned();
    let label = body.label.unwrap_or_else(|| program_name.chars().take(100).collect());
    let body = ShareBody { held: true, label: Some(label), ..body };
    let created = with_timeout(ctx.client.create_share(&body)).await?;
    child::set_variables(&mut child, variables(&created, |name| env::var(name)?.into_string().ok()));
    if let Some(socket) = socket {
        child.env("AUTHD_SOCKET", socket);
    }
    let id = &created.share.id;
    tokio::spawn(hold(ctx.client.clone(), id.clone()));
    let status = tokio::task::spawn_blocking(move || child::run(&mut child)).await;
    // The share ends with its command, whether the command started or not. After an error the
    // daemon ends the share, because nothing holds it any more.
    drop(tokio::time::timeout(END_TIMEOUT, ctx.client.end_share(id)).await);
    child::result(&program_name, status.unwrap_or_else(|error| panic::resume_unwind(error.into_panic())))
}

/// Holds a share until it has ended, also after a restart of the daemon.
async fn hold(client: Client, id: String) {
    let is_unknown = |error: &ClientError| error.code() == ErrorCode::ShareUnknown;
    while !client.hold_share(&id).await.is_err_and(|error| is_unknown(&error)) {
        tokio::time::sleep(RETRY).await;
    }
}

/// The variables that OpenAI's SDKs and the clients of authd read. `current` is the environment.
fn variables(created: &CreatedShare, current: impl Fn(&str) -> Option<String>) -> Vec<Variable> {
    let mut variables: Vec<Variable> =
        REMOVED.into_iter().chain(OF_OTHER_ACCOUNT).map(|name| (name, None)).collect();
    if let (Some(key), Some(url)) = (&created.key, &created.share.url) {
        variables.extend([("OPENAI_API_KEY", Some(key.clone())), ("OPENAI_BASE_URL", Some(url.clone()))]);
        variables.extend(without_proxy(current));
    }
    if let Some(socket) = &created.share.socket {
        variables.push(("AUTHD_SOCKET", Some(socket.clone())));
    }
    variables
}

/// The variables that keep the requests to a loopback share, and the key in them, from a proxy.
/// Some programs read the upper-case name first, others the lower-case one.
fn without_proxy(current: impl Fn(&str) -> Option<String>) -> Vec<Variable> {
    let proxies = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    if proxies.into_iter().all(|name| current(name).is_none()) {
        return Vec::new();
    }
    let (lower, upper) = (current("no_proxy"), current("NO_PROXY"));
    let value = |first: &Option<String>, second: &Option<String>| {
        let hosts = first.as_deref().or(second.as_deref()).unwrap_or_default().trim();
        match hosts {
            "" => LOOPBACK.to_owned(),
            "*" => hosts.to_owned(),
            _ if hosts.split(',').any(|host| host.trim() == LOOPBACK) => hosts.to_owned(),
            _ => format!("{hosts},{LOOPBACK}"),
        }
    };
    vec![("no_proxy", Some(value(&lower, &upper))), ("NO_PROXY", Some(value(&upper, &lower)))]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    type Variables = BTreeMap<String, String>;

    fn environment<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Variables {
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The environment of a command that has a share with these fields.
    fn changed(mut environment: Variables, door: &Value) -> Variables {
        let mut share = json!({"id": "q1Zb7RkXw0Tn", "profile": "work", "allow": "relay", "door": "socket",
            "created_at": "2026-11-23T14:00:00Z", "expires_at": "2026-11-23T15:00:00Z"});
        share.as_object_mut().unwrap().extend(door.as_object().unwrap().clone());
        let created = serde_json::from_value(share).unwrap();
        for (name, value) in variables(&created, |name| environment.get(name).cloned()) {
            match value {
                Some(value) => environment.insert(name.to_owned(), value),
                None => environment.remove(name),
            };
        }
        environment
    }

    #[test]
    fn variables_of_another_account_are_removed() {
        let (socket, url) =
            ("/run/user/1000/authd/shares/q1Zb7RkXw0Tn/authd.sock", "http://127.0.0.1:40417/v1");
        let mut current =
            environment(REMOVED.into_iter().chain(OF_OTHER_ACCOUNT).map(|name| (name, "another")));
        current.insert("HOME".to_owned(), "/home/me".to_owned());
        assert_eq!(
            changed(current.clone(), &json!({"socket": socket})),
            environment([("AUTHD_SOCKET", socket), ("HOME", "/home/me")])
        );
        assert_eq!(
            changed(current, &json!({"url": url, "key": "k"})),
            environment([("HOME", "/home/me"), ("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", url)])
        );
    }

    #[test]
    fn loopback_share_is_reached_without_the_proxy() {
        let hosts = |variables: &[(&str, &str)]| {
            let current = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let mut found = changed(current.collect(), &json!({"url": "http://127.0.0.1:1/v1", "key": "k"}));
            ["no_proxy", "NO_PROXY"].map(|name| found.remove(name).unwrap_or_default())
        };
        let proxy = ("HTTP_PROXY", "http://proxy:3128");
        assert_eq!(hosts(&[]), ["", ""]);
        assert_eq!(hosts(&[("NO_PROXY", "a.example")]), ["", "a.example"], "there is no proxy");
        assert_eq!(hosts(&[proxy]), ["127.0.0.1"; 2]);
        assert_eq!(hosts(&[("all_proxy", "socks5://proxy")]), ["127.0.0.1"; 2]);
        assert_eq!(hosts(&[proxy, ("NO_PROXY", "a.example")]), ["a.example,127.0.0.1"; 2]);
        assert_eq!(
            hosts(&[proxy, ("NO_PROXY", "a.example"), ("no_proxy", "b.example")]),
            ["b.example,127.0.0.1", "a.example,127.0.0.1"]
        );
        for complete in ["*", "localhost, 127.0.0.1"] {
            assert_eq!(hosts(&[proxy, ("no_proxy", complete)]), [complete; 2]);
        }
    }
}
