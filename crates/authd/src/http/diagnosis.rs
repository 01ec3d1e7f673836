//! `GET /v1/diagnosis`: checks everything that a sign-in or a credential depends on, and names a
//! remedy for each problem. It spends no token and changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use authd_api::{
    AuditStatus, AuditTarget, CallbackState, CodexHome, CodexHomeState, Diagnosis, ErrorCode, Finding,
    FindingState, Profile, StoreState,
};
use authd_broker::{
    AddedDefinitions, CallbackServerState, Names, ProfileHandle, RegistrySnapshot, Share, now,
};
use authd_oauth::{Authority, HostProbe, OauthClient};
use authd_store::State;
use futures_util::future::join_all;
use jiff::{Timestamp, Unit};

use super::{convert, port_owner::port_owner, problem, state::AppState};

mod store;

/// A clock that is off by more than this makes valid tokens look expired.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// Most hosts of defined providers that are tried.
const MOST_HOSTS: usize = 16;

/// Runs all checks.
pub(super) async fn diagnose(state: &AppState) -> Diagnosis {
    let endpoint = &state.endpoint;
    let server = state.callback.borrow().clone();
    let owner = match server.taken {
        // Reads the tables of all processes.
        Some(port) => tokio::task::spawn_blocking(move || port_owner(port)).await.unwrap_or_default(),
        None => None,
    };
    let stores = convert::store(&state.stores);
    let is_elsewhere = stores.state != StoreState::Ready && state.stores.local().state == State::Ready;
    let mut findings = store::findings(stores, is_elsewhere);
    findings.push(callback(&server, |_| owner.clone()));
    findings.extend(exposed(&server));
    let is_outdated = endpoint.is_outdated() || state.relay.is_outdated();
    findings.push(network(endpoint.egress_summary(), is_outdated));
    let registry = state.broker.registry.snapshot();
    let authorities = authorities(&registry);
    let own = endpoint.hosts();
    let others: BTreeSet<String> = authorities.iter().filter_map(|authority| authority.host()).collect();
    let others = others.into_iter().filter(|host| !own.contains(host)).take(MOST_HOSTS);
    let hosts: Vec<String> = own.iter().cloned().chain(others).collect();
    let probes = join_all(hosts.into_iter().map(|host| endpoint.probe_host(host))).await;
    let at = now();
    findings.extend(probes.iter().map(host));
    findings.extend(probes.iter().find_map(|probe| probe.date).map(|date| clock(date, at)));
    findings.extend(client_secrets(state, &authorities).await);
    let profiles = registry.profiles.keys().filter_map(|name| convert::profile_of(&registry, name, at));
    findings.extend(profiles.map(|profile| self::profile(&profile)));
    if matches!(registry.names, Names::Known) && registry.profiles.is_empty() {
        let none =
            Finding::failed("profiles", "no profile is signed in".to_owned(), ErrorCode::LoginRequired);
        findings.push(none.remedy("run: authctl login"));
    }
    match state.broker.codex.homes().await {
        Ok(homes) => findings.extend(homes.into_iter().map(|home| codex_home(&convert::codex_home(home)))),
        Err(error) => findings.push(Finding::from_problem("codex homes", &problem::codex_home(&error))),
    }
    match state.broker.shares.all().await {
        Ok(open) => findings.extend(shares(&open, |id| state.doors.error(id))),
        Err(error) => findings.push(Finding::from_problem("shares", &problem::share(&error))),
    }
    findings.extend(state.metrics_error.borrow().as_ref().map(|error| {
        Finding::failed("metrics", error.clone(), ErrorCode::Conflict)
            .remedy("free the port, or choose another one: [metrics] listen in authd.toml")
    }));
    findings.extend(audit(&state.audit.status()));
    match state.broker.providers.added().await {
        Ok(added) => findings.extend(providers(&added)),
        Err(error) => findings.push(Finding::from_problem("providers", &problem::definition(&error))),
    }
    Diagnosis { findings }
}

/// The authorization servers and clients of the profiles.
fn authorities(registry: &RegistrySnapshot) -> Vec<Arc<Authority>> {
    let views = registry.profiles.values().map(ProfileHandle::view);
    views.filter_map(|view| view.snapshot()?.credential.authority.clone()).collect()
}

/// The files with a client's secret that cannot be used, of the profiles and of the definitions.
async fn client_secrets(state: &AppState, authorities: &[Arc<Authority>]) -> Vec<Finding> {
    let configured = state.broker.providers.configured();
    let defined = configured.values().filter_map(|definition| definition.client.as_ref());
    let clients = authorities.iter().map(|authority| &authority.client).chain(defined);
    let files: BTreeMap<&PathBuf, &OauthClient> =
        clients.filter_map(|client| Some((client.secret_file.as_ref()?, client))).collect();
    let checks = files.into_values().map(|client| state.endpoint.unusable_secret(client));
    let unusable = join_all(checks).await.into_iter().flatten();
    unusable
        .map(|detail| {
            Finding::failed("client secret", detail, ErrorCode::Conflict)
                .remedy("let authd read the file, or correct client_secret_file in authd.toml")
        })
        .collect()
}

/// The proxy and the CA certificates in use.
fn network(summary: String, is_outdated: bool) -> Finding {
    if !is_outdated {
        return Finding::ok("network", summary);
    }
    Finding::warning(
        "network",
        format!("{summary}; the certificates on disk have changed since authd loaded them"),
    )
    .remedy(&format!("load them: kill -HUP {}", std::process::id()))
}

/// The addresses of the callback server that other machines can reach.
fn exposed(server: &CallbackServerState) -> Option<Finding> {
    let exposed = server.addresses.iter().filter(|address| !address.ip().is_loopback());
    let exposed: Vec<String> = exposed.map(ToString::to_string).collect();
    exposed.first()?;
    let detail = format!(
        "other machines can reach {}; it accepts only browsers that return from a sign-in",
        exposed.join(" and ")
    );
    let remedy = "remove it from [callback] addresses of authd.toml unless a container publishes the port";
    Some(Finding::warning("callback", detail).remedy(remedy))
}

/// The callback server. `owner` names the program that listens on a port. It is called only if the
/// system reported the port as used: a port can also be reserved.
fn callback(server: &CallbackServerState, owner: impl Fn(u16) -> Option<String>) -> Finding {
    let reason = || match (server.taken, &server.detail) {
        (Some(port), _) => {
            let owner = owner(port);
            format!("port {port} is used by {}", owner.as_deref().unwrap_or("another program"))
        }
        (None, Some(detail)) => detail.clone(),
        (None, None) => "it has not started yet".to_owned(),
    };
    match server.state {
        CallbackState::Listening if server.detail.is_some() => {
            let port = server.port().unwrap_or_default();
            Finding::warning("callback", format!("browsers return to port {port}, because {}", reason()))
                .remedy("no action needed; authd takes the first port back when it is free")
        }
        CallbackState::Listening => {
            let addresses: Vec<String> = server.addresses.iter().map(ToString::to_string).collect();
            Finding::ok("callback", format!("browsers return to {}", addresses.join(" and ")))
        }
        CallbackState::Yielded => {
            Finding::warning("callback", "its port is yielded to another program for a while".to_owned())
                .remedy("wait, or sign in with: authctl login --paste")
        }
        CallbackState::Unavailable | CallbackState::Unknown => {
            let remedy = if server.taken.is_some() {
                "end that program, or sign in with: authctl login --device, or --paste"
            } else {
                "name other ports in [callback] of authd.toml, or sign in with: authctl login --device, or --paste"
            };
            Finding::failed("callback", reason(), ErrorCode::CallbackUnavailable).remedy(remedy)
        }
    }
}

fn host(probe: &HostProbe) -> Finding {
    match &probe.status {
        Ok(status) => {
            Finding::ok(&probe.host, format!("answers ({status}) after {} ms", probe.elapsed.as_millis()))
        }
        Err(failure) => Finding::failed(&probe.host, failure.to_string(), ErrorCode::ProviderUnreachable)
            .remedy("check the network; behind a proxy or a CA of your own, see [network] in authd.toml"),
    }
}

/// Compares the clock with the `Date` of the provider's responses (RFC 9110, section 6.6.1).
fn clock(date: Timestamp, now: Timestamp) -> Finding {
    let skew = Duration::try_from(now.duration_since(date).abs()).unwrap_or_default();
    let detail = format!("this machine's clock and the provider's are {} s apart", skew.as_secs());
    if skew <= MAX_SKEW {
        Finding::ok("clock", detail)
    } else {
        Finding::warning("clock", detail).remedy("set the clock: timedatectl set-ntp true")
    }
}

fn profile(profile: &Profile) -> Finding {
    let name = format!("profile {}", profile.name);
    match (&profile.last_error, &profile.routing_error) {
        (Some(problem), _) => Finding::from_problem(&name, problem),
        // The credential works.
        (None, Some(problem)) => {
            Finding { state: FindingState::Warning, ..Finding::from_problem(&name, problem) }
        }
        (None, None) => {
            let claim = profile.claimed_by.as_ref().map(|node| format!("; node {node} renews it"));
            Finding::ok(&name, account(profile) + &claim.unwrap_or_default())
        }
    }
}

/// The account of a working profile.
fn account(profile: &Profile) -> String {
    match (&profile.email, &profile.provider) {
        (Some(email), Some(provider)) => format!("{email} at provider \"{provider}\""),
        (Some(email), None) => email.clone(),
        (None, Some(provider)) => format!("signed in at provider \"{provider}\""),
        (None, None) => "signed in with an API key".to_owned(),
    }
}

fn codex_home(home: &CodexHome) -> Finding {
    let CodexHome { profile, .. } = home;
    let (shown, check) = (home.home.display(), format!("codex {}", home.home.display()));
    if let Some(problem) = &home.last_error {
        return Finding::from_problem(&check, problem);
    }
    match home.state {
        CodexHomeState::Present => Finding::ok(&check, format!("Codex uses profile \"{profile}\"")),
        CodexHomeState::Missing => {
            Finding::warning(&check, "Codex is signed out: the login was deleted".to_owned()).remedy(
                &format!(
                    "for profile \"{profile}\" again: authctl codex install -p {profile} --home {shown}"
                ),
            )
        }
        CodexHomeState::ForeignLogin => Finding::warning(
            &check,
            format!("Codex has a login of its own, and profile \"{profile}\" is not used"),
        )
        .remedy(&format!(
            "for profile \"{profile}\" again: authctl codex install -p {profile} --home {shown}; to keep \
                     that login: authctl codex uninstall --home {shown}"
        )),
        CodexHomeState::Pending | CodexHomeState::Unreadable | CodexHomeState::Unknown => {
            Finding::warning(&check, "authd has not read its login yet".to_owned())
                .remedy("try again in a moment; authd's log names the cause")
        }
    }
}

/// The shares, and each one whose door is closed. `error` is why the door of a share is closed.
fn shares(all: &[Share], error: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let Some(ends) = all.iter().map(|share| share.terms.expires_at).max() else { return Vec::new() };
    let ends = ends.round(Unit::Second).unwrap_or(ends);
    let summary = match all.len() {
        1 => format!("1 share; it ends {ends} at the latest"),
        number => format!("{number} shares; the last ends {ends} at the latest"),
    };
    let closed = all.iter().filter_map(|share| {
        let remedy = match share.terms.port {
            Some(port) => format!("free port {port}, and authd opens the door; or end the share: "),
            None => "fix the named cause, and authd opens the door; or end the share: ".to_owned(),
        };
        let finding = Finding::warning(
            &format!("share {}", share.id),
            format!("its door is closed: {}", error(&share.id)?),
        );
        Some(finding.remedy(&format!("{remedy}authctl unshare {}", share.id)))
    });
    iter::once(Finding::ok("shares", summary)).chain(closed).collect()
}

/// The audit log, unless it is off.
fn audit(status: &AuditStatus) -> Option<Finding> {
    let place = match status.to {
        AuditTarget::File => status.path.clone().unwrap_or_default(),
        AuditTarget::Journal => "journal".to_owned(),
        AuditTarget::Off | AuditTarget::Unknown => return None,
    };
    let lost = match status.lost {
        0 => String::new(),
        lost => format!("; {lost} uses since the start of authd are not in it"),
    };
    Some(match &status.error {
        None if status.lost == 0 => Finding::ok("audit log", place),
        None => Finding::warning("audit log", format!("{place}{lost}"))
            .remedy("no action needed; the log of authd names the cause"),
        Some(error) => Finding::warning("audit log", format!("cannot be written: {error}{lost}"))
            .remedy("fix the named cause, and authd writes what waits; credentials are served meanwhile"),
    })
}

/// The added providers that cannot be used.
fn providers(added: &AddedDefinitions) -> impl Iterator<Item = Finding> {
    added.iter().filter_map(|(name, definition)| {
        let found = Finding::warning(&format!("provider {name}"), definition.err()?.to_owned());
        Some(found.remedy(&format!("upgrade authd, if it is newer; or remove it: authctl mcp remove {name}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_is_named_only_for_a_used_port() {
        let owner = |_: u16| Some("nc (process 7)".to_owned());
        let reserved = "port 80 may not be used here: the system reserves it";
        for (taken, owner, detail) in [
            (Some(1455), &owner as &dyn Fn(u16) -> Option<String>, "port 1455 is used by nc (process 7)"),
            (Some(1455), &|_| None, "port 1455 is used by another program"),
            (None, &owner, reserved),
        ] {
            let mut server = CallbackServerState::default();
            (server.taken, server.detail) = (taken, Some(reserved.to_owned()));
            let finding = callback(&server, owner);
            assert_eq!(finding.detail, detail);
            let remedy = finding.remedy.unwrap_or_default();
            assert_eq!(remedy.starts_with("end that program"), taken.is_some(), "{remedy}");
        }
    }
}
