//! The requests that a kill interrupts, and a model of the profiles after each.

use std::{fmt, io, time::Duration};

use authd_sandbox::{Account, Fault, Route, Sandbox, test_daemon::TestDaemon};
use serde_json::{Value, json};

use crate::{
    Random,
    authorization_server::EMAIL,
    invariants::{ProfileUser, Reply, Snapshot, codex_home},
};

/// A request. Most of them concern the profile with this name.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Refresh(String),
    /// A refresh whose answer the provider delays by up to 15 ms.
    SlowRefresh(String),
    SignInAgain(String, Account),
    Replace(String, Account),
    SignInNew(String, Account),
    Rename(String, String),
    Default(String),
    Logout(String),
    ApiKey,
    Export(String),
    Import(String),
    Install(String),
    Uninstall,
    /// Signs in at the defined provider.
    DefinedSignIn(String),
    DefinedRefresh(String),
}

/// The expected state of a daemon, and the content of Codex's login file before authd supplied it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) now: Snapshot,
    pub(crate) original: String,
}

const ABSENT: &str = "absent";

/// The accounts that can sign in.
pub(crate) fn accounts() -> Vec<Account> {
    let mut all = Account::presets();
    for n in 4..7 {
        all.push(Account {
            name: format!("user-{n}"),
            email: format!("user-{n}@example.net"),
            user_id: format!("user-Person00000000000000000{n}"),
            account_id: format!("9f0c6d3e-0000-4b7b-9a44-6d1b54a3c00{n}"),
            ..Account::plus()
        });
    }
    all
}

impl Model {
    /// The account of this profile.
    fn account(&self, name: &str) -> Option<Account> {
        let user = self.now.profiles.get(name)?;
        accounts().into_iter().find(|account| account.email == user.email)
    }

    /// An account without a login.
    fn free_account(&self, random: &mut Random) -> Option<Account> {
        let known = |account: &Account| {
            let login = format!("login of {}", account.name);
            self.now.profiles.values().any(|user| user.email == account.email)
                || self.now.codex == login
                || self.original == login
        };
        pick(accounts().into_iter().filter(|account| !known(account)).collect(), random)
    }

    fn is_supplied(&self) -> bool {
        self.now.codex.starts_with("supplied")
    }

    /// Content of Codex's login file while this profile supplies it.
    fn supplied_by(&self, name: &str) -> String {
        match self.account(name) {
            Some(account) if account.organization_id.is_none() => {
                format!("supplied from {}", account.name)
            }
            _ => "supplied from a key".to_owned(),
        }
    }

    /// A random request that the daemon can fulfil now.
    pub(crate) fn request(&self, random: &mut Random) -> Request {
        loop {
            if let Some(request) = self.draw(random) {
                return request;
            }
        }
    }

    fn draw(&self, random: &mut Random) -> Option<Request> {
        let all: Vec<String> = self.now.profiles.keys().cloned().collect();
        let users: Vec<String> = all.iter().filter(|name| self.account(name).is_some()).cloned().collect();
        // A profile that supplies Codex stays: the model does not cover a supplied home without its
        // profile.
        let is_supplied = |name: &String| self.now.codex == self.supplied_by(name);
        let removable: Vec<String> =
            users.iter().filter(|name| users.len() > 1 && !is_supplied(name)).cloned().collect();
        let free = format!("p{}", random.below(1_000_000));
        let defined = all.iter().find(|name| self.now.profiles[*name].email == EMAIL).cloned();
        Some(match random.below(17) {
            0 => Request::Refresh(pick(users, random)?),
            1 | 2 => Request::SlowRefresh(pick(users, random)?),
            3 | 4 => {
                let name = pick(users, random)?;
                Request::SignInAgain(name.clone(), self.account(&name)?)
            }
            5 => Request::Replace(pick(removable, random)?, self.free_account(random)?),
            6 => Request::SignInNew(free, self.free_account(random)?),
            7 => Request::Rename(pick(all, random)?, free),
            8 => Request::Default(pick(all, random)?),
            9 => Request::Logout(pick(removable, random)?),
            10 => Request::ApiKey,
            11 if self.now.codex == ABSENT => Request::Export(pick(removable, random)?),
            11 | 12 if self.now.codex.starts_with("login") => Request::Import(free),
            13 if self.is_supplied() => Request::Uninstall,
            12 | 13 => Request::Install(pick(users, random)?),
            14 => Request::DefinedSignIn(defined.unwrap_or(free)),
            15 | 16 => Request::DefinedRefresh(defined?),
            _ => return None,
        })
    }

    /// The expected state after the request.
    pub(crate) fn after(&self, request: &Request) -> Self {
        let Self { mut now, mut original } = self.clone();
        let user = |account: &Account| ProfileUser { email: account.email.clone(), family: None };
        let remove = |now: &mut Snapshot, name: &String| {
            let user = now.profiles.remove(name);
            if now.default.as_ref() == Some(name) {
                now.default = None;
            }
            user
        };
        match request {
            Request::Refresh(_)
            | Request::SlowRefresh(_)
            | Request::SignInAgain(..)
            | Request::DefinedRefresh(_) => {}
            // Its profile does not become the default.
            Request::DefinedSignIn(name) => {
                let user = ProfileUser { email: EMAIL.to_owned(), family: None };
                now.profiles.insert(name.clone(), user);
            }
            Request::Replace(name, account) | Request::SignInNew(name, account) => {
                now.profiles.insert(name.clone(), user(account));
            }
            Request::Rename(from, to) => {
                let user = now.profiles.remove(from);
                now.profiles.extend(user.map(|user| (to.clone(), user)));
                if now.default.as_ref() == Some(from) {
                    now.default = Some(to.clone());
                }
            }
            Request::Default(name) => now.default = Some(name.clone()),
            Request::Logout(name) => drop(remove(&mut now, name)),
            Request::ApiKey => {
                now.profiles.insert("own".to_owned(), ProfileUser { email: String::new(), family: None });
            }
            Request::Export(name) => {
                now.codex = self.account(name).map(|it| format!("login of {}", it.name)).unwrap_or_default();
                remove(&mut now, name);
            }
            Request::Import(name) => {
                let account_name = now.codex.trim_start_matches("login of ").to_owned();
                let account = accounts().into_iter().find(|account| account.name == account_name);
                now.profiles.extend(account.as_ref().map(|account| (name.clone(), user(account))));
                let imported = Self { now: now.clone(), original: String::new() };
                now.codex = imported.supplied_by(name);
                ABSENT.clone_into(&mut original);
            }
            Request::Install(name) => {
                if !self.is_supplied() {
                    original.clone_from(&now.codex);
                }
                now.codex = self.supplied_by(name);
            }
            Request::Uninstall => now.codex = std::mem::replace(&mut original, ABSENT.to_owned()),
        }
        // Without a default, the next profile that signs in becomes the default.
        if let Request::SignInAgain(name, _)
        | Request::SignInNew(name, _)
        | Request::Replace(name, _)
        | Request::Import(name) = request
        {
            now.default.get_or_insert_with(|| name.clone());
        } else if matches!(request, Request::ApiKey) {
            now.default.get_or_insert_with(|| "own".to_owned());
        }
        Self { now, original }
    }
}

impl Request {
    /// Sends the request. The caller may drop this future, as a client that disconnects does.
    pub(crate) async fn send(&self, daemon: &TestDaemon, sandbox: &Sandbox, random: &mut Random) -> Reply {
        let home = codex_home(daemon);
        let file = home.join("auth.json");
        let reply = match self {
            Self::Refresh(name) | Self::DefinedRefresh(name) => {
                send(daemon, "POST", &format!("{name}/refresh"), json!({})).await
            }
            Self::SlowRefresh(name) => {
                let delay = Duration::from_micros(random.below(15_000));
                sandbox.faults().push(Route::Refresh, Fault::delay(delay));
                send(daemon, "POST", &format!("{name}/refresh"), json!({})).await
            }
            Self::SignInAgain(name, account) | Self::SignInNew(name, account) => {
                sign_in(daemon, sandbox, json!({"profile": name}), account).await
            }
            Self::DefinedSignIn(name) => {
                sign_in(daemon, sandbox, json!({"profile": name, "provider": "lab"}), &Account::plus()).await
            }
            Self::Replace(name, account) => {
                sign_in(daemon, sandbox, json!({"profile": name, "replace": true}), account).await
            }
            Self::Rename(from, to) => send(daemon, "PATCH", from, json!({"name": to})).await,
            Self::Default(name) => send(daemon, "PATCH", name, json!({"default": true})).await,
            Self::Logout(name) => send(daemon, "DELETE", name, Value::Null).await,
            Self::ApiKey => {
                send(daemon, "PUT", "own/api-key", json!({"api_key": "sk-of-my-own", "check": false})).await
            }
            Self::Export(name) => {
                send(daemon, "POST", &format!("{name}/export"), json!({"target": "codex", "path": file}))
                    .await
            }
            Self::Import(name) => {
                send(daemon, "POST", "../import", json!({"source": "codex", "path": file, "profile": name}))
                    .await
            }
            Self::Install(name) => send(daemon, "PUT", &format!("{name}/codex"), json!({"home": home})).await,
            Self::Uninstall => send(daemon, "DELETE", "-/codex", json!({"home": home})).await,
        };
        reply.unwrap_or(Reply::NoAnswer)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refresh(_) | Self::SlowRefresh(_) => "refresh",
            Self::SignInAgain(..) => "sign in again",
            Self::Replace(..) => "replace",
            Self::SignInNew(..) => "sign in, new profile",
            Self::Rename(..) => "rename",
            Self::Default(_) => "default",
            Self::Logout(_) => "logout",
            Self::ApiKey => "own API key",
            Self::Export(_) => "export",
            Self::Import(_) => "import",
            Self::Install(_) => "install",
            Self::Uninstall => "uninstall",
            Self::DefinedSignIn(_) => "sign in at the defined provider",
            Self::DefinedRefresh(_) => "refresh at the defined provider",
        })
    }
}

async fn send(daemon: &TestDaemon, method: &str, path: &str, body: Value) -> io::Result<Reply> {
    let path = match path.strip_prefix("../") {
        Some(path) => format!("/v1/{path}"),
        None => format!("/v1/profiles/{path}"),
    };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = daemon.try_request(method, &path, &[], body).await?;
    Ok(if reply.status.is_success() { Reply::Success } else { Reply::Refused(reply.text()) })
}

async fn sign_in(
    daemon: &TestDaemon,
    sandbox: &Sandbox,
    body: Value,
    account: &Account,
) -> io::Result<Reply> {
    let started = daemon.try_request("POST", "/v1/logins", &[], body.to_string()).await?;
    if !started.status.is_success() {
        return Ok(Reply::Refused(started.text()));
    }
    let started = started.json();
    let url = started["authorize_url"].as_str().unwrap_or_default();
    drop(sandbox.browser().sign_in(url, &account.name).await);
    let path = format!("/v1/logins/{}?wait=5", started["id"].as_str().unwrap_or_default());
    let login = daemon.try_request("GET", &path, &[], "").await?.json();
    Ok(if login["state"] == "succeeded" { Reply::Success } else { Reply::Refused(login.to_string()) })
}

/// A random element.
fn pick<T>(mut from: Vec<T>, random: &mut Random) -> Option<T> {
    let bound = u64::try_from(from.len()).ok().filter(|length| *length > 0)?;
    Some(from.swap_remove(usize::try_from(random.below(bound)).ok()?))
}
