//! Rules for the tokens of a defined provider: rejections that no refresh answers, and scopes that
//! a server asks for.

use std::{sync::Arc, time::Duration};

use authd_oauth::{
    Credential, Effect, Event, GrantSecrets, Mode,
    ProfileStatus::{LoginRequired, Ready, Refreshing},
    REJECTION_PAUSE, Record, Session,
};

use crate::{
    model::rejected_with,
    tables::{
        Action::{Fails, RequestRefresh, Saved, Tick},
        HOUR, at, follow, record,
    },
};

/// The record of a token of an hour, as `change` leaves its grant.
fn bearer(change: impl FnOnce(&mut authd_oauth::BearerGrant)) -> Record {
    let mut record = record(Mode::Bearer, HOUR);
    let GrantSecrets::Bearer(grant) = &mut record.grant.secrets else { panic!("{record:?}") };
    change(grant);
    record
}

fn without_refresh_token(lifetime: Option<u64>) -> Record {
    bearer(|grant| {
        grant.tokens.refresh_token = None;
        grant.tokens.expires_at = lifetime.map(at);
    })
}

const PAUSE: u64 = REJECTION_PAUSE.as_secs();

#[test]
fn second_rejection_of_a_token_without_refresh_token_ends_its_use() {
    for lifetime in [None, Some(HOUR)] {
        let session = follow(
            without_refresh_token(lifetime),
            &[
                (60, RequestRefresh(None), "wait", Ready),
                (60, RequestRefresh(Some(4)), "wait", Ready), // of an older credential
                (61, RequestRefresh(Some(5)), "wait", Ready),
                (62, RequestRefresh(Some(5)), "wait", Ready), // the same failure of the upstream
                (61 + PAUSE, RequestRefresh(Some(5)), "wait", LoginRequired),
            ],
        );
        assert!(session.flags().rejected && session.flags().spent);
    }
}

/// A personal access token of OpenAI has no refresh token either.
#[test]
fn second_rejection_of_a_personal_access_token_ends_its_use() {
    let identity = authd_oauth::Identity::default();
    let token = authd_oauth::AccessToken::new("at-1");
    let mut record = record(Mode::ChatGpt, HOUR);
    record.grant = authd_oauth::Grant::personal_access_token(token, identity, at(0));
    let session = follow(
        record,
        &[
            (0, Tick, "wait", Ready),
            (60, RequestRefresh(None), "wait", Ready),
            (61, RequestRefresh(Some(5)), "wait", Ready),
            (62, RequestRefresh(Some(5)), "wait", Ready),
            (61 + PAUSE, RequestRefresh(Some(5)), "wait", LoginRequired),
        ],
    );
    assert!(session.flags().rejected && session.flags().spent && session.refresh_at().is_none());
}

#[test]
fn acceptance_makes_the_next_rejection_a_first_one() {
    let rows = [(60, RequestRefresh(Some(5)), "wait", Ready)];
    let mut session = follow(without_refresh_token(None), &rows);
    assert!(session.flags().rejected && session.is_unconfirmed());
    session.apply(Event::Accepted(5), at(61));
    assert!(!session.flags().rejected);
    let rejected = authd_oauth::Rejected { generation: 5, grant_id: None };
    session.apply(Event::RefreshRequested(Some(rejected)), at(60 + PAUSE));
    assert_eq!(session.status(at(60 + PAUSE)), Ready);
}

#[test]
fn token_that_expires_without_a_refresh_token_needs_a_sign_in() {
    follow(
        without_refresh_token(Some(HOUR)),
        &[(HOUR - 1, Tick, "wait", Ready), (HOUR, Tick, "wait", LoginRequired)],
    );
}

/// Nothing else would ever show that the token is dead.
#[test]
fn token_of_unknown_lifetime_is_spent_when_both_servers_reject_it() {
    let refused = || Fails(rejected_with("invalid_grant"));
    follow(
        bearer(|grant| grant.tokens.expires_at = None),
        &[
            (60, RequestRefresh(Some(5)), "journal", Refreshing),
            (60, Saved, "refresh", Refreshing),
            (61, refused(), "save", LoginRequired),
        ],
    );
    follow(
        bearer(|grant| grant.tokens.expires_at = None),
        &[
            (60, RequestRefresh(None), "journal", Refreshing),
            (60, Saved, "refresh", Refreshing),
            (61, refused(), "save", Ready), // the upstream has not rejected it
            (61, Saved, "wait", Ready),
            (62, RequestRefresh(Some(5)), "journal", Refreshing),
            (62, Saved, "refresh", Refreshing),
            (63, refused(), "save", LoginRequired),
        ],
    );
}

/// Reports scopes, and returns those that the profile lacks now.
fn report(session: &mut Session, scopes: &[&str]) -> Vec<String> {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    if let Effect::Save(ticket, _) = session.apply(Event::ScopesMissing(None, scopes), at(1)) {
        session.apply(Event::Saved(ticket, Ok(())), at(1));
    }
    let credential: &Arc<Credential> = session.credential();
    credential.authority.as_ref().unwrap().missing_scopes.clone()
}

#[test]
fn missing_scopes_need_a_sign_in_that_has_not_requested_them() {
    let record = bearer(|grant| {
        Arc::make_mut(&mut grant.authority).requested_scopes = vec!["read".to_owned()];
    });
    let mut session = Session::restored(record, 3, at(0));
    assert_eq!(report(&mut session, &["read"]), [] as [&str; 0]);
    assert_eq!(session.status(at(1)), Ready);
    assert_eq!(report(&mut session, &["write", "read", "write"]), ["write"]);
    assert_eq!(report(&mut session, &["admin", "write"]), ["write", "admin"]);
    assert_eq!(session.status(at(1)), LoginRequired);
    assert_eq!(session.credential().generation, 5);
    assert!(session.is_settled(), "the scopes are saved");
}

#[test]
fn missing_scopes_are_bounded() {
    let mut session = Session::restored(bearer(|_| ()), 3, at(0));
    for number in 0..300 {
        report(&mut session, &[&format!("scope-{number}")]);
    }
    assert_eq!(report(&mut session, &["one-more"]).len(), authd_oauth::definition::MAX_SCOPES);
    assert!(session.credential().remaining(at(1)) > Duration::ZERO);
}
