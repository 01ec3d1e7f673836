//! `GET /v1/diagnosis`: what could keep people from signing in or programs from their credentials, looked
//! at now, each with its remedy. It spends no token and changes nothing.

use std::time::Duration;

use authd_api::{CallbackState, Diagnosis, ErrorCode, Finding, FindingState, Profile, StoreState};
use authd_oauth::{Endpoint, Visit};
use futures_util::future::join_all;
use jiff::Timestamp;

use crate::{clock, reply, server::Front};

mod holder;

/// A clock that is off by more than this makes good tokens look bad.
const SKEW: Duration = Duration::from_secs(60);

/// Looks at everything.
pub(crate) async fn diagnose(front: &Front, endpoint: &Endpoint) -> Diagnosis {
    let mut findings = vec![store(front), callback(front)];
    findings.push(ok("network", endpoint.way_out()));
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

fn callback(front: &Front) -> Finding {
    let facts = front.callback.borrow().clone();
    let wanted = front.first_port;
    let holder = || match holder::of(wanted) {
        Some(holder) => format!("port {wanted} is held by {holder}"),
        None => format!("port {wanted} is held by another program"),
    };
    match facts.state {
        CallbackState::Listening if facts.detail.is_some() => {
            let port = facts.port().unwrap_or_default();
            warning("callback", format!("browsers return to port {port}, because {}", holder()))
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
            failed("callback", holder(), ErrorCode::CallbackUnavailable)
                .remedy("end that program, or sign in with: authctl login --device, or --paste")
        }
    }
}

fn host(visit: &Visit) -> Finding {
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
