//! The stores, and the database of the fleet.

use authd_api::{FleetState, FleetStatus, LocalStore, StoreKind, StoreState, StoreStatus};

use crate::{output::Style, sanitize::line};

/// What changes a store that the daemon chose because no keychain worked.
const MOVE_TO_KEYCHAIN: &str = "instead of a keychain; to use one: authctl store migrate --to keychain";

/// The indentation of the lines below the first one of `authctl status`.
const INDENT: &str = "          ";

/// The store without the cause of a failure, which can be a whole D-Bus error. In a fleet also this
/// node.
pub(super) fn in_status(store: &StoreStatus, style: Style) -> String {
    let works = matches!(store.state, StoreState::Ready | StoreState::Unknown);
    let mut text = if works {
        self::store(store, style)
    } else {
        let text = self::store(&StoreStatus { detail: None, ..store.clone() }, style);
        format!("{text}; for the cause and a remedy: authctl doctor")
    };
    if works && store.fallback.is_some() {
        text += &format!("\n{INDENT}{MOVE_TO_KEYCHAIN}");
    }
    if store.kind != Some(StoreKind::Postgres) {
        return text;
    }
    if let Some(fleet) = &store.fleet {
        text += &format!("\nnode      {}{}", line(&fleet.node), contact(fleet));
        if let Some(clock) = fleet.clock_text().filter(|_| fleet.clocks_differ()) {
            text += &format!("\n{INDENT}{}", style.yellow(&clock));
        }
    }
    if let Some(local) = store.local.as_ref().filter(|local| local.state != StoreState::Ready) {
        let local = self::local(&LocalStore { detail: None, ..local.clone() }, style);
        text += &format!("\nlocal     {local}; for the cause and a remedy: authctl doctor");
    }
    text
}

/// The stores with all that is known of the fleet.
pub(crate) fn store_in_full(store: &StoreStatus, style: Style) -> String {
    let mut text = self::store(store, style) + "\n";
    if let Some(fleet) = &store.fleet {
        text += &self::fleet(fleet, store.kind == Some(StoreKind::Postgres), style);
    }
    if let Some(local) = &store.local {
        text += &format!("this machine: {}\n", self::local(local, style));
    }
    text
}

fn fleet(fleet: &FleetStatus, is_used: bool, style: Style) -> String {
    let FleetStatus { server, schema, server_version, detail, .. } = fleet;
    let mut text = String::new();
    if !is_used {
        let state = match fleet.state {
            FleetState::Connected => style.green("connected"),
            FleetState::Connecting => "not contacted yet".to_owned(),
            FleetState::Unavailable => style.yellow("unavailable"),
            FleetState::Unknown => "in an unknown state".to_owned(),
        };
        let detail = detail_suffix(Some(detail.as_ref().unwrap_or(server)));
        text += &format!("fleet, not in use, {state}{detail}\n");
        text += "  to move the logins there: authctl store migrate --to postgres\n";
    }
    text += &format!("  node {}, schema {}", line(&fleet.node), line(schema));
    text += &server_version.as_ref().map(|found| format!(", version {}", line(found))).unwrap_or_default();
    text += &format!("{}\n", contact(fleet));
    text += &fleet.clock_text().map(|clock| format!("  {clock}\n")).unwrap_or_default();
    if is_used {
        let FleetStatus { claims_granted, claims_waited, takeovers, conflicts, reconnections, .. } = fleet;
        text += &format!(
            "  since the start of authd: {claims_granted} renewals allowed, {claims_waited} delayed, \
             {takeovers} taken over;\n  {conflicts} outdated writes, {reconnections} reconnections\n"
        );
    }
    text
}

/// When the database last answered.
fn contact(fleet: &FleetStatus) -> String {
    let Some(lag) = fleet.lag_ms else { return String::new() };
    let ago = match lag / 1000 {
        0 => "now".to_owned(),
        seconds => format!("{seconds} s ago"),
    };
    match fleet.latency_ms {
        Some(latency) => format!(", answered {ago} after {latency} ms"),
        None => format!(", answered {ago}"),
    }
}

/// The store that took a login.
pub(crate) fn saved_in(store: &StoreStatus) -> Option<String> {
    let place = match store.kind? {
        StoreKind::Keychain => "the keychain",
        StoreKind::File => "encrypted files",
        StoreKind::Memory => "memory: nothing survives authd",
        StoreKind::Postgres => "the database of the fleet: all its nodes can use it",
        StoreKind::Unknown => return None,
    };
    let why = store.fallback.as_ref().map(|_| format!("; {MOVE_TO_KEYCHAIN}")).unwrap_or_default();
    Some(format!("  Saved in {place}{why}"))
}

/// What is wrong, or where it is, after a state.
pub(super) fn detail_suffix(detail: Option<&str>) -> String {
    detail.map(|detail| format!(": {}", line(detail))).unwrap_or_default()
}

/// The store in one line.
pub(crate) fn store(store: &StoreStatus, style: Style) -> String {
    let StoreStatus { kind, state, detail, .. } = store.clone();
    local(&LocalStore { kind, state, detail, fallback: None }, style)
}

fn local(store: &LocalStore, style: Style) -> String {
    let kind = match store.kind {
        Some(StoreKind::Keychain) => "keychain",
        Some(StoreKind::File) => "encrypted files",
        Some(StoreKind::Memory) => "memory: nothing survives authd",
        Some(StoreKind::Postgres) => "fleet",
        Some(StoreKind::Unknown) => "of a newer kind",
        None => "none yet",
    };
    let state = match store.state {
        StoreState::Ready => style.green("ready"),
        StoreState::Locked => style.yellow("locked"),
        StoreState::Unavailable => style.red("unavailable"),
        StoreState::Unknown => "in an unknown state".to_owned(),
    };
    format!("{kind}, {state}{}", detail_suffix(store.detail.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style(false);

    fn fleet() -> StoreStatus {
        let server = "PostgreSQL at db.example:5432 (database authd)".to_owned();
        StoreStatus {
            kind: Some(StoreKind::Postgres),
            state: StoreState::Ready,
            detail: Some(server.clone()),
            fallback: None,
            local: Some(LocalStore {
                kind: Some(StoreKind::File),
                state: StoreState::Ready,
                detail: Some("files".to_owned()),
                fallback: None,
            }),
            fleet: Some(FleetStatus {
                node: "web-1".to_owned(),
                server,
                schema: "authd".to_owned(),
                server_version: Some("15.4".to_owned()),
                state: FleetState::Connected,
                detail: None,
                latency_ms: Some(2),
                clock_ahead_ms: Some(-120),
                lag_ms: Some(3_900),
                claims_granted: 12,
                claims_waited: 3,
                takeovers: 1,
                conflicts: 0,
                reconnections: 2,
            }),
        }
    }

    #[test]
    fn status_of_a_node_is_short_unless_something_is_wrong() {
        insta::assert_snapshot!(in_status(&fleet(), PLAIN), @r"
        fleet, ready: PostgreSQL at db.example:5432 (database authd)
        node      web-1, answered 3 s ago after 2 ms
        ");
        let mut store = fleet();
        store.state = StoreState::Unavailable;
        store.detail = Some("no answer".to_owned());
        if let (Some(fleet), Some(local)) = (&mut store.fleet, &mut store.local) {
            (fleet.clock_ahead_ms, fleet.lag_ms) = (Some(5_100), Some(900));
            local.state = StoreState::Locked;
        }
        insta::assert_snapshot!(in_status(&store, PLAIN), @r"
        fleet, unavailable; for the cause and a remedy: authctl doctor
        node      web-1, answered now after 2 ms
                  the clock of the database is 5.1 s ahead of this machine's
        local     encrypted files, locked; for the cause and a remedy: authctl doctor
        ");
    }

    #[test]
    fn store_in_full_has_all_that_is_known_of_the_fleet() {
        insta::assert_snapshot!(store_in_full(&fleet(), PLAIN), @r"
        fleet, ready: PostgreSQL at db.example:5432 (database authd)
          node web-1, schema authd, version 15.4, answered 3 s ago after 2 ms
          the clock of the database is 0.1 s behind this machine's
          since the start of authd: 12 renewals allowed, 3 delayed, 1 taken over;
          0 outdated writes, 2 reconnections
        this machine: encrypted files, ready: files
        ");
        let mut store = StoreStatus { kind: Some(StoreKind::File), local: None, ..fleet() };
        store.detail = Some("files".to_owned());
        if let Some(fleet) = &mut store.fleet {
            (fleet.state, fleet.detail) = (FleetState::Unavailable, Some("no tables".to_owned()));
            (fleet.lag_ms, fleet.clock_ahead_ms, fleet.server_version) = (None, None, None);
        }
        insta::assert_snapshot!(store_in_full(&store, PLAIN), @r"
        encrypted files, ready: files
        fleet, not in use, unavailable: no tables
          to move the logins there: authctl store migrate --to postgres
          node web-1, schema authd
        ");
        store.fleet = None;
        assert_eq!(store_in_full(&store, PLAIN), "encrypted files, ready: files\n");
    }

    #[test]
    fn login_of_a_fleet_names_its_nodes() {
        let text = saved_in(&fleet()).unwrap();
        assert_eq!(text, "  Saved in the database of the fleet: all its nodes can use it");
    }
}
