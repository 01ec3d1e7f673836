//! Snapshots of the text that people read.

use authd_api::{CallbackStatus, ErrorCode, Problem, StoreKind, StoreState, StoreStatus};

use jiff::tz::TimeZone;

use super::*;

const PLAIN: Style = Style(false);

/// A terminal of 80 columns in Central Europe, at 15:00.
fn screen() -> Screen {
    let now = "2026-11-23T14:00:00Z".parse().unwrap();
    Screen { now, zone: TimeZone::fixed(jiff::tz::offset(1)), width: Some(80), style: PLAIN }
}

fn profile(name: &str) -> Profile {
    Profile {
        name: name.parse().unwrap(),
        default: false,
        state: ProfileState::Ready,
        sign_in_required: false,
        mode: Some(Mode::ChatGpt),
        mode_reason: Some("plan plus is personal".into()),
        email: Some("user@example.com".into()),
        plan: Some("plus".into()),
        account_id: Some("bc3618e3".into()),
        organization_id: None,
        project_id: None,
        generation: 7,
        expires_at: Some("2026-11-23T14:52:10Z".parse().unwrap()),
        refresh_at: None,
        last_refresh: None,
        last_error: None,
        own_credential: false,
        provider: None,
        issuer: None,
        resource: None,
        scopes: Vec::new(),
        missing_scopes: Vec::new(),
        routing_error: None,
        claimed_by: None,
    }
}

fn example_profiles() -> Vec<Profile> {
    let signed_out = Problem::new(
        ErrorCode::LoginRequired,
        "profile \"old\" is signed out: the refresh token was used twice",
    )
    .hint("run: authctl login old");
    vec![
        Profile { default: true, ..profile("default") },
        Profile {
            state: ProfileState::LoginRequired,
            expires_at: Some("2026-11-23T13:00:00Z".parse().unwrap()),
            last_error: Some(signed_out),
            ..profile("old")
        },
        Profile {
            mode: Some(Mode::ApiKey),
            plan: Some("business".into()),
            email: Some("somebody.with.a.rather.long.name@subsidiary.example.com".into()),
            expires_at: None,
            ..profile("a-name-that-goes-on-for-a-while")
        },
        Profile {
            mode: None,
            email: None,
            plan: None,
            expires_at: None,
            state: ProfileState::Expired,
            ..profile("x")
        },
    ]
}

fn daemon() -> Status {
    Status {
        version: "0.1.0".into(),
        pid: 4711,
        started_at: "2026-11-23T11:55:00Z".parse().unwrap(),
        callback: CallbackStatus {
            state: CallbackState::Listening,
            addresses: vec!["127.0.0.1:1455".into(), "[::1]:1455".into()],
            detail: None,
        },
        store: StoreStatus {
            kind: Some(StoreKind::Keychain),
            state: StoreState::Ready,
            detail: None,
            fallback: None,
            local: None,
            fleet: None,
        },
        profiles: Some(4),
        pending_logins: 1,
        shares: Some(2),
        audit: None,
        default_profile: Some(ProfileName::first()),
        model: None,
    }
}

#[test]
fn status_fits_80_columns() {
    let text = status(&daemon(), &example_profiles(), &Selection::default(), &screen());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn lines_are_cut_for_a_terminal_only() {
    let text = profiles(&example_profiles(), &Screen { width: None, ..screen() });
    assert!(
        text.contains("  a-name-that-goes-on-for-a-while  somebody.with.a.rather.long.name@subsidiary"),
        "{text}"
    );
    assert!(!text.contains('…'), "{text}");
}

#[test]
fn narrow_terminal_has_lines_for_each_profile() {
    let text = profiles(&example_profiles()[..1], &Screen { width: Some(40), ..screen() });
    assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
    insta::assert_snapshot!(text, @r"
    * default
        user@example.com
        plus, ChatGPT
        ready, in 52 min (15:52)
    ");
}

#[test]
fn status_shows_what_is_unavailable() {
    let mut daemon = daemon();
    daemon.store = StoreStatus {
        kind: None,
        state: StoreState::Locked,
        detail: Some("it needs its password".into()),
        fallback: None,
        local: None,
        fleet: None,
    };
    daemon.callback.state = CallbackState::Unavailable;
    daemon.callback.detail = Some("ports 1455 and 1457 are taken".into());
    insta::assert_snapshot!(status(&daemon, &[], &Selection::default(), &screen()));
}

#[test]
fn status_names_the_way_back_to_a_keychain_without_the_cause() {
    let mut daemon = daemon();
    let cause = "org.freedesktop.DBus.Error.ServiceUnknown: the name is not activatable";
    daemon.store.kind = Some(StoreKind::File);
    daemon.store.fallback = Some(cause.to_owned());
    let shown = status(&daemon, &[], &Selection::default(), &screen());
    let hint = "instead of a keychain; to use one: authctl store migrate --to keychain";
    assert!(shown.contains(hint) && !shown.contains("freedesktop"), "{shown}");
    assert_eq!(saved_in(&daemon.store).unwrap(), format!("  Saved in encrypted files; {hint}"));
}

#[test]
fn profile_that_another_node_renews_names_it() {
    let waiting = Profile { claimed_by: Some("ci-7".to_owned()), ..profile("work") };
    let text = profiles(&[waiting, profile("home")], &screen());
    assert_eq!(text.matches("ci-7").count(), 1, "{text}");
    assert!(text.contains("\n  work: node ci-7 renews it\n"), "{text}");
}

#[test]
fn colours_do_not_change_the_layout() {
    let plain = profiles(&example_profiles(), &screen());
    let coloured = profiles(&example_profiles(), &Screen { style: Style(true), ..screen() });
    let (first, rest) = coloured.split_once('\x1b').unwrap();
    let rest = rest.split('\x1b').map(|part| part.split_once('m').unwrap().1);
    let stripped = first.to_owned() + &rest.collect::<String>();
    assert_ne!(coloured, plain);
    assert_eq!(stripped, plain);
}

#[test]
fn login_result_names_account_mode_and_profile() {
    let default = Profile { default: true, ..profile("default") };
    insta::assert_snapshot!(signed_in(&default, &ProfileName::first(), PLAIN), @r#"
    ✓ Signed in as user@example.com, plan plus, in ChatGPT mode, because plan plus is personal.
      Profile "default" is ready; try: authctl ask "What is 2+2?"
    "#);
    insta::assert_snapshot!(signed_in(&profile("default-2"), &ProfileName::first(), PLAIN), @r#"
    ✓ Signed in as user@example.com, plan plus, in ChatGPT mode, because plan plus is personal.
      Profile "default" belongs to another account, so this login is profile "default-2".
      Profile "default-2" is ready; try: authctl ask -p default-2 "What is 2+2?"
    "#);
}

#[test]
fn unread_profile_is_shown_with_the_reason() {
    let reason =
        Problem::new(ErrorCode::StoreLocked, "profile \"x\" is not read: the credential store is locked")
            .hint("unlock the keychain");
    let unread = Profile { state: ProfileState::Unread, email: None, plan: None, mode: None, ..profile("x") };
    let with_reason = Profile { last_error: Some(reason), ..unread.clone() };
    insta::assert_snapshot!(profiles(&[Profile { expires_at: None, ..with_reason }], &screen()), @r#"
      PROFILE  ACCOUNT  PLAN  MODE  STATE   EXPIRES
      x        -        -     ?     unread  -

    ! profile "x" is not read: the credential store is locked
      unlock the keychain
    "#);
    let text = profiles(&[unread], &screen());
    assert!(text.contains("profile \"x\" has not been read from the store yet"), "{text}");
}

#[test]
fn profile_without_the_region_of_its_workspace_is_shown_with_the_reason() {
    let reason = Problem::new(ErrorCode::ProviderUnreachable, "the workspace's region was not received")
        .hint("authd tries again");
    let text = profiles(&[Profile { routing_error: Some(reason), ..profile("x") }], &screen());
    assert!(text.ends_with("\n! the workspace's region was not received\n  authd tries again\n"), "{text}");
}

#[test]
fn text_of_daemon_and_provider_cannot_leave_its_line() {
    let hostile = "a\x1b]0;t\x07\nauthctl: fake\u{202e}";
    let sanitized = "a\u{FFFD}]0;t\u{FFFD}\u{FFFD}authctl: fake\u{FFFD}";
    let problem = Problem::new(ErrorCode::ProviderRefused, hostile).hint(hostile);
    let hostile_text = || Some(hostile.to_owned());
    let profile = Profile {
        email: hostile_text(),
        plan: hostile_text(),
        mode_reason: hostile_text(),
        last_error: Some(problem),
        ..profile("default")
    };
    let mut daemon = daemon();
    daemon.version = hostile.into();
    (daemon.store.detail, daemon.callback.detail) = (hostile_text(), hostile_text());
    daemon.callback.addresses = vec![hostile.into()];
    let finding = Finding {
        check: hostile.into(),
        state: FindingState::Failed,
        detail: hostile.into(),
        remedy: hostile_text(),
        code: None,
    };
    for text in [
        status(&daemon, std::slice::from_ref(&profile), &Selection::default(), &screen()),
        signed_in(&profile, &ProfileName::first(), PLAIN),
        findings(&[finding], PLAIN),
    ] {
        assert!(text.contains(sanitized), "{text:?}");
        assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("authctl:")), "{text:?}");
    }
}

#[test]
fn profile_of_another_provider_is_shown_with_its_issuer_and_scopes() {
    let scopes = |all: &[&str]| all.iter().map(|scope| (*scope).to_owned()).collect();
    let missing = Problem::new(
        ErrorCode::LoginRequired,
        "a server asks for scopes that profile \"tools\" lacks: files:write",
    )
    .hint("run: authctl login tools");
    let bearer = |name: &str| Profile {
        mode: Some(Mode::Bearer),
        mode_reason: None,
        plan: None,
        provider: Some("lab".into()),
        ..profile(name)
    };
    let all = [
        Profile { expires_at: None, email: None, ..bearer("lab") },
        Profile {
            state: ProfileState::LoginRequired,
            issuer: Some("https://login.tools.example".into()),
            resource: Some("https://mcp.tools.example/mcp".into()),
            scopes: scopes(&["files:read", "openid"]),
            missing_scopes: scopes(&["files:write"]),
            last_error: Some(missing),
            ..bearer("tools")
        },
    ];
    let text = profiles(&all, &screen());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
    let narrow = profiles(&all, &Screen { width: Some(44), ..screen() });
    let (_, grants) = narrow.split_once("\n\n").unwrap();
    let (grants, _) = grants.split_once("\n\n").unwrap();
    assert!(grants.lines().all(|line| line.chars().count() <= 44), "{narrow}");
}

#[test]
fn sign_in_at_another_provider_names_its_scopes_and_a_missing_refresh_token() {
    let tools = Profile {
        provider: Some("tools".into()),
        scopes: vec!["files:read".into(), "openid".into()],
        email: None,
        refresh_at: Some("2026-11-23T14:40:00Z".parse().unwrap()),
        ..profile("tools")
    };
    insta::assert_snapshot!(signed_in(&tools, &tools.name, PLAIN), @r#"
    ✓ Signed in at provider "tools".
      Scopes: files:read openid
      Profile "tools" is ready; try: authctl headers -p tools
    "#);
    let short =
        Profile { scopes: Vec::new(), refresh_at: None, email: Some("a@example.com".into()), ..tools };
    insta::assert_snapshot!(signed_in(&short, &short.name, PLAIN), @r#"
    ✓ Signed in at provider "tools" as a@example.com.
      The provider issued no refresh token: the sign-in ends with this token.
      Profile "tools" is ready; try: authctl headers -p tools
    "#);
}
