//! The findings about the stores.

use authd_api::{
    ErrorCode, Finding, FleetState, FleetStatus, LocalStore, StoreKind, StoreState, StoreStatus,
};

/// The store of the profiles; in a fleet, the database, its clock, and the store of this machine.
/// `is_elsewhere` means that the store of this machine works, and the profiles are not there.
pub(super) fn findings(status: StoreStatus, is_elsewhere: bool) -> Vec<Finding> {
    let StoreStatus { kind, state, detail, fallback, local, fleet } = status;
    let is_fleet = kind == Some(StoreKind::Postgres);
    let mut findings = Vec::new();
    if is_fleet {
        findings.extend(fleet.as_ref().map(|fleet| in_use(fleet, state, detail)));
    } else {
        let store = of_machine("store", LocalStore { kind, state, detail, fallback }, false);
        let remedy = store.remedy.clone().filter(|_| !is_elsewhere);
        findings.push(Finding { remedy, ..store });
        findings.extend(fleet.as_ref().map(not_in_use));
    }
    findings.extend(fleet.as_ref().and_then(clock));
    findings.extend(local.map(|local| of_machine("local store", local, true)));
    findings
}

/// A store of this machine. On a node of a fleet it has everything but the profiles, and no remedy
/// is a migration, which would move the profiles of all nodes.
fn of_machine(check: &str, store: LocalStore, is_node: bool) -> Finding {
    let detail = store.detail.unwrap_or_else(|| "not tried yet".to_owned());
    match (store.state, store.fallback) {
        (StoreState::Ready, None) => Finding::ok(check, detail),
        (StoreState::Ready, Some(cause)) => {
            let finding = Finding::ok(check, format!("{detail}, instead of a keychain: {cause}"));
            let remedy = "to use a keychain once one works: authctl store migrate --to keychain";
            if is_node { finding } else { finding.remedy(remedy) }
        }
        (StoreState::Locked, _) => Finding::failed(check, detail, ErrorCode::StoreLocked)
            .remedy("unlock the keychain; authd continues by itself"),
        (StoreState::Unavailable | StoreState::Unknown, _) => {
            Finding::failed(check, detail, ErrorCode::StoreUnavailable).remedy(if is_node {
                "start the keychain; or for files, set local = \"file\" in [store.postgres]"
            } else {
                "start the keychain; or for files: authctl store migrate --to file"
            })
        }
    }
}

/// The database that has the profiles.
fn in_use(fleet: &FleetStatus, state: StoreState, detail: Option<String>) -> Finding {
    let detail = detail.unwrap_or_else(|| fleet.server.clone());
    if state != StoreState::Ready {
        let contact = match fleet.lag_ms {
            Some(lag) => format!("; it last answered {} s ago", lag / 1000),
            None => String::new(),
        };
        return Finding::failed("store", format!("{detail}{contact}"), ErrorCode::StoreUnavailable).remedy(
            "until the database answers, authd serves valid tokens and renews none; it tries again by itself",
        );
    }
    Finding::ok("store", format!("{detail}, {}", describe(fleet)))
}

/// The database that has no profile of this machine.
fn not_in_use(fleet: &FleetStatus) -> Finding {
    let FleetStatus { server, detail, .. } = fleet;
    match (fleet.state, detail) {
        (FleetState::Unavailable, Some(detail)) => {
            Finding::warning("fleet", format!("configured, and not in use: {detail}"))
        }
        _ => Finding::ok("fleet", format!("configured, and not in use: {server}, {}", describe(fleet)))
            .remedy("to move the logins there: authctl store migrate --to postgres"),
    }
}

fn describe(fleet: &FleetStatus) -> String {
    let FleetStatus { node, schema, server_version, latency_ms, lag_ms, .. } = fleet;
    let mut text = format!("schema {schema}, node {node}");
    if let Some(version) = server_version {
        text += &format!(", version {version}");
    }
    if let (Some(latency), Some(lag)) = (latency_ms, lag_ms) {
        text += &format!("; answered {} s ago after {latency} ms", lag / 1000);
    }
    text
}

/// The clock of the database.
fn clock(fleet: &FleetStatus) -> Option<Finding> {
    let detail = fleet.clock_text()?;
    if !fleet.clocks_differ() {
        return Some(Finding::ok("fleet clock", detail));
    }
    let remedy = "set the clocks, here and on the database's server: timedatectl set-ntp true";
    Some(Finding::warning("fleet clock", detail).remedy(remedy))
}

#[cfg(test)]
mod tests {
    use authd_api::FindingState;

    use super::*;

    fn fleet(state: FleetState, clock_ahead_ms: i64) -> FleetStatus {
        FleetStatus {
            node: "web-1".to_owned(),
            server: "PostgreSQL at db.example:5432 (database authd)".to_owned(),
            schema: "authd".to_owned(),
            server_version: Some("15.4".to_owned()),
            state,
            detail: (state == FleetState::Unavailable).then(|| "no answer".to_owned()),
            latency_ms: Some(2),
            clock_ahead_ms: Some(clock_ahead_ms),
            lag_ms: Some(3_900),
            claims_granted: 1,
            claims_waited: 0,
            takeovers: 0,
            conflicts: 0,
            reconnections: 0,
        }
    }

    fn status(kind: StoreKind, state: StoreState, fleet: FleetStatus) -> StoreStatus {
        let local = LocalStore {
            kind: Some(StoreKind::Keychain),
            state: StoreState::Locked,
            detail: Some("the collection is locked".to_owned()),
            fallback: None,
        };
        let detail = match state {
            StoreState::Ready => fleet.server.clone(),
            _ => "no answer".to_owned(),
        };
        StoreStatus {
            kind: Some(kind),
            state,
            detail: Some(detail),
            fallback: None,
            local: (kind == StoreKind::Postgres).then_some(local),
            fleet: Some(fleet),
        }
    }

    fn shown(status: StoreStatus) -> Vec<(String, FindingState, String)> {
        findings(status, false).into_iter().map(|found| (found.check, found.state, found.detail)).collect()
    }

    #[test]
    fn fleet_has_findings_about_database_clock_and_local_store() {
        let found =
            shown(status(StoreKind::Postgres, StoreState::Ready, fleet(FleetState::Connected, -5_001)));
        let expected = [
            (
                "store",
                FindingState::Ok,
                "PostgreSQL at db.example:5432 (database authd), schema authd, node web-1, version 15.4; \
                 answered 3 s ago after 2 ms",
            ),
            (
                "fleet clock",
                FindingState::Warning,
                "the clock of the database is 5.0 s behind this machine's",
            ),
            ("local store", FindingState::Failed, "the collection is locked"),
        ];
        assert_eq!(
            found,
            expected.map(|(check, state, detail)| (check.to_owned(), state, detail.to_owned()))
        );
        let down =
            status(StoreKind::Postgres, StoreState::Unavailable, fleet(FleetState::Unavailable, 5_000));
        let found = findings(down, false);
        assert_eq!(found[0].code, Some(ErrorCode::StoreUnavailable));
        assert_eq!(found[0].detail, "no answer; it last answered 3 s ago");
        assert_eq!(found[1].state, FindingState::Ok);
    }

    /// A migration would move the logins of the whole fleet.
    #[test]
    fn no_remedy_for_the_local_store_of_a_node_names_a_migration() {
        let states = [StoreState::Ready, StoreState::Locked, StoreState::Unavailable, StoreState::Unknown];
        for state in states {
            let mut node = status(StoreKind::Postgres, StoreState::Ready, fleet(FleetState::Connected, 0));
            let local = node.local.as_mut().unwrap();
            (local.state, local.fallback) = (state, Some("no D-Bus".to_owned()));
            let found = findings(node, false).pop().unwrap();
            assert_eq!(found.check, "local store");
            let remedy = found.remedy.unwrap_or_default();
            assert!(!remedy.contains("migrate"), "{state:?}: {remedy}");
            assert_eq!(remedy.is_empty(), state == StoreState::Ready, "{state:?}: {remedy}");
        }
    }

    #[test]
    fn unused_database_does_not_fail_the_diagnosis() {
        for (state, expected) in
            [(FleetState::Unavailable, FindingState::Warning), (FleetState::Connected, FindingState::Ok)]
        {
            let found = shown(status(StoreKind::File, StoreState::Ready, fleet(state, 0)));
            assert_eq!((found[0].0.as_str(), found[0].1), ("store", FindingState::Ok));
            assert_eq!((found[1].0.as_str(), found[1].1), ("fleet", expected), "{found:?}");
        }
    }

    #[test]
    fn remedy_for_a_keychain_is_not_named_if_the_profiles_are_elsewhere() {
        for is_elsewhere in [false, true] {
            let unavailable = StoreStatus {
                kind: Some(StoreKind::Keychain),
                state: StoreState::Unavailable,
                detail: Some("the logins are in PostgreSQL".to_owned()),
                fallback: None,
                local: None,
                fleet: None,
            };
            let found = findings(unavailable, is_elsewhere);
            assert_eq!((found.len(), found[0].remedy.is_none()), (1, is_elsewhere));
        }
    }
}
