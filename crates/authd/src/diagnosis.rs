//! `GET /v1/diagnosis`: what could keep people from signing in or programs from their credentials, looked
//! at now, each with its remedy. It spends no token and changes nothing.

use std::time::Duration;

use authd_api::{CallbackState, Diagnosis, ErrorCode, Finding, FindingState, Profile, StoreState};
use authd_oauth::{Endpoint, HostProbe};
use futures_util::future::join_all;
use jiff::Timestamp;

use crate::{callback::CallbackFacts, clock, reply, server::Front};

mod holder;

/// A clock that is off by more than this makes good tokens look bad.
const SKEW: Duration = Duration::from_secs(60);

/// Looks at everything.
pub(crate) async fn diagnose(front: &Front, endpoint: &Endpoint) -> Diagnosis {
    let facts = front.callback.borrow().clone();
    let holder = match facts.taken {
        // The tables of all processes are read for that.
        Some(port) => tokio::task::spawn_blocking(move || holder::of(port)).await.unwrap_or_default(),
        None => None,
    };
    let mut findings = vec![store(front), callback(&facts, |_| holder.clone())];
    findings.push(ok("network", endpoint.egress_summary()));
    let visits = join_all(endpoint.hosts().into_iter().map(|host| endpoint.visit(host))).await;
    let now = clock::now();
    findings.extend(visits.iter().map(host));
    findings.extend(visits.iter().find_map(|visit| visit.date).map(|date| clock_of(date, now)));
    let directory = front.keeper.directory();
    let profiles = directory.profiles.keys().filter_map(|name| reply::profile_of(&directory, name, now));
    findings.extend(profiles.map(|profile| self::profile(&profile)));
    Diagnosis { findings }
}

fn store(front: &Front) -> Finding {
    let status = reply::store(front.store.borrow().clone());
    let detail = status.detail.unwrap_or_else(|| "it has not been tried yet".to_owned());
    match status.state {
        StoreState::Ready => ok("store", detail),
        StoreState::Locked => failed("store", detail, ErrorCode::StoreLocked)
            .remedy("unlock the keychain; authd goes on by itself"),
        StoreState::Unavailable | StoreState::Unknown => failed("store", detail, ErrorCode::StoreUnavailable)
            .remedy("start the keychain; or for files: authctl store migrate --to file"),
    }
}

/// Where browsers return to. `holder` names the program that listens on a port, which keeps another from it
/// only if the system said so: it may as well reserve the port.
fn callback(facts: &CallbackFacts, holder: impl Fn(u16) -> Option<String>) -> Finding {
    let why = || match (facts.taken, &facts.detail) {
        (Some(port), _) => {
            let holder = holder(port);
            format!("port {port} is held by {}", holder.as_deref().unwrap_or("another program"))
        }
        (None, Some(detail)) => detail.clone(),
        (None, None) => "it has not started yet".to_owned(),
    };
    match facts.state {
        CallbackState::Listening if facts.detail.is_some() => {
            let port = facts.port().unwrap_or_default();
            warning("callback", format!("browsers return to port {port}, because {}", why()))
                .remedy("nothing needs to be done; authd takes its port back when it is free")
        }
        CallbackState::Listening => {
            let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
            ok("callback", format!("browsers return to {}", addresses.join(" and ")))
        }
        CallbackState::Yielded => {
            warning("callback", "its port is left to another program for a while".to_owned())
                .remedy("wait, or sign in with: authctl login --paste")
        }
        CallbackState::Unavailable | CallbackState::Unknown => {
            let remedy = if facts.taken.is_some() {
                "end that program, or sign in with: authctl login --device, or --paste"
            } else {
                "name other ports in [callback] of authd.toml, or sign in with: authctl login --device, or --paste"
            };
            failed("callback", why(), ErrorCode::CallbackUnavailable).remedy(remedy)
        }
    }
}

fn host(visit: &HostProbe) -> Finding {
    match &visit.answer {
        Ok(status) => ok(&visit.host, format!("answers ({status}) after {} ms", visit.took.as_millis())),
        Err(failure) => failed(&visit.host, failure.to_string(), ErrorCode::ProviderUnreachable)
            .remedy("check the network; behind a proxy or a CA of your own, see [network] in authd.toml"),
    }
}

/// The provider's clock, as its answers date themselves (RFC 9110, section 6.6.1).
fn clock_of(date: Timestamp, now: Timestamp) -> Finding {
    let skew = Duration::try_from(now.duration_since(date).abs()).unwrap_or_default();
    let detail = format!("this machine's clock and the provider's are {} s apart", skew.as_secs());
    if skew <= SKEW {
        ok("clock", detail)
    } else {
        warning("clock", detail).remedy("set the clock: timedatectl set-ntp true")
    }
}

fn profile(profile: &Profile) -> Finding {
    let name = format!("profile {}", profile.name);
    match &profile.last_error {
        None => ok(&name, profile.email.clone().unwrap_or_else(|| "a key".to_owned())),
        Some(problem) => {
            let finding = failed(&name, problem.detail.clone(), problem.code);
            problem.hint.as_ref().map_or(finding.clone(), |hint| finding.remedy(hint))
        }
    }
}

fn finding(check: &str, state: FindingState, detail: String) -> Finding {
    Finding { check: check.to_owned(), state, detail, remedy: None, code: None }
}

fn ok(check: &str, detail: String) -> Finding {
    finding(check, FindingState::Ok, detail)
}

fn warning(check: &str, detail: String) -> Finding {
    finding(check, FindingState::Warning, detail)
}

fn failed(check: &str, detail: String, code: ErrorCode) -> Finding {
    Finding { code: Some(code), ..finding(check, FindingState::Failed, detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_named_only_of_a_port_that_is_taken() {
        let holder = |_: u16| Some("nc (process 7)".to_owned());
        let reserved = "port 80 may not be used here: the system reserves it";
        for (taken, holder, told) in [
            (Some(1455), &holder as &dyn Fn(u16) -> Option<String>, "port 1455 is held by nc (process 7)"),
            (Some(1455), &|_| None, "port 1455 is held by another program"),
            (None, &holder, reserved),
        ] {
            let mut facts = CallbackFacts::default();
            (facts.taken, facts.detail) = (taken, Some(reserved.to_owned()));
            let finding = callback(&facts, holder);
            assert_eq!(finding.detail, told);
            let remedy = finding.remedy.unwrap_or_default();
            assert_eq!(remedy.starts_with("end that program"), taken.is_some(), "{remedy}");
        }
    }
}
