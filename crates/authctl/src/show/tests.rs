//! What people see is pinned: a change of it is a decision.

use authd_api::{CallbackStatus, ErrorCode, Problem, StoreStatus};

use super::*;

const PLAIN: Paint = Paint(false);

fn now() -> Timestamp {
    "2026-11-23T14:00:00Z".parse().unwrap()
}

fn profile(name: &str) -> Profile {
    Profile {
        name: name.parse().unwrap(),
        default: false,
        state: ProfileState::Ready,
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
    }
}

fn some_profiles() -> Vec<Profile> {
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
        store: StoreStatus { kind: Some(StoreKind::Keychain), state: StoreState::Ready, detail: None },
        profiles: Some(4),
        pending_logins: 1,
        default_profile: Some(ProfileName::first()),
        model: None,
    }
}

#[test]
fn the_state_of_things_fits_a_terminal() {
    let text = status(&daemon(), &some_profiles(), now(), PLAIN);
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn trouble_is_told() {
    let mut daemon = daemon();
    daemon.store =
        StoreStatus { kind: None, state: StoreState::Locked, detail: Some("it wants its password".into()) };
    daemon.callback.state = CallbackState::Unavailable;
    daemon.callback.detail = Some("ports 1455 and 1457 are taken".into());
    insta::assert_snapshot!(status(&daemon, &[], now(), PLAIN));
}

#[test]
fn colours_take_no_room() {
    let plain = profiles(&some_profiles(), now(), PLAIN);
    let coloured = profiles(&some_profiles(), now(), Paint(true));
    let mut stripped = String::new();
    let mut parts = coloured.split('\x1b');
    stripped += parts.next().unwrap();
    for part in parts {
        stripped += part.split_once('m').unwrap().1;
    }
    assert_ne!(coloured, plain);
    assert_eq!(stripped, plain);
}

#[test]
fn a_login_ends_in_a_sentence() {
    let default = Profile { default: true, ..profile("default") };
    insta::assert_snapshot!(signed_in(&default, &ProfileName::first(), PLAIN), @r#"
    ✓ Signed in as user@example.com, plan plus, in ChatGPT mode, because plan plus is personal.
      Profile "default" is ready; try: authctl ask "What is 2+2?"
    "#);
    insta::assert_snapshot!(signed_in(&profile("default-2"), &ProfileName::first(), PLAIN), @r#"
    ✓ Signed in as user@example.com, plan plus, in ChatGPT mode, because plan plus is personal.
      Somebody else is signed in as "default", so this is profile "default-2".
      Profile "default-2" is ready; try: authctl ask -p default-2 "What is 2+2?"
    "#);
}

#[test]
fn an_unread_profile_is_shown_with_the_reason() {
    let reason = Problem::new(ErrorCode::StoreLocked, "profile \"x\" is not read: the keychain is locked")
        .hint("unlock the keychain");
    let unread = Profile { state: ProfileState::Unread, email: None, plan: None, mode: None, ..profile("x") };
    let told = Profile { last_error: Some(reason), ..unread.clone() };
    insta::assert_snapshot!(profiles(&[Profile { expires_at: None, ..told }], now(), PLAIN), @r#"
      PROFILE  WHO  PLAN  MODE  STATE   EXPIRES
      x        -    -     ?     unread  -

    ! profile "x" is not read: the keychain is locked
      unlock the keychain
    "#);
    let text = profiles(&[unread], now(), PLAIN);
    assert!(text.contains("profile \"x\" has not been read from the store yet"), "{text}");
}

#[test]
fn no_text_of_the_daemon_or_the_provider_leaves_its_place() {
    let hostile = "a\x1b]0;t\x07\nauthctl: all is well\u{202e}";
    let harmless = "a\u{FFFD}]0;t\u{FFFD}\u{FFFD}authctl: all is well\u{FFFD}";
    let problem = Problem::new(ErrorCode::ProviderRefused, hostile).hint(hostile);
    let some = || Some(hostile.to_owned());
    let profile = Profile {
        email: some(),
        plan: some(),
        mode_reason: some(),
        last_error: Some(problem),
        ..profile("default")
    };
    let mut daemon = daemon();
    daemon.version = hostile.into();
    (daemon.store.detail, daemon.callback.detail) = (some(), some());
    daemon.callback.addresses = vec![hostile.into()];
    let finding = Finding {
        check: hostile.into(),
        state: FindingState::Failed,
        detail: hostile.into(),
        remedy: some(),
        code: None,
    };
    for text in [
        status(&daemon, std::slice::from_ref(&profile), now(), PLAIN),
        signed_in(&profile, &ProfileName::first(), PLAIN),
        findings(&[finding], PLAIN),
    ] {
        assert!(text.contains(harmless), "{text:?}");
        assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("authctl:")), "{text:?}");
    }
}
