//! The documented rules as tables. A row is a time (in seconds), an action, the effect, and the
//! status after it. The rows of a table are applied in order.

use std::time::Duration;

use Action::{
    Exchanged, Fails, Probed, Refreshed, Request, RequestRefresh, Resume, SaveFails, Saved, SignIn, Stop,
    Tick, Use,
};
use authd_oauth::{
    ApiKey, Effect, Event, Grant, Mode,
    ProfileStatus::{self, Expired, LoginRequired, Ready, Refreshing, Unsaved},
    ProviderError, Record, RefreshResponse, Rejected, Session,
    schedule::later,
};
use jiff::Timestamp;

use crate::model::{Provider, rejected_with};

/// An event. A result is that of the newest call.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Tick,
    Use,
    Request(u64),
    RequestRefresh(Option<u64>),
    Resume,
    Stop,
    SignIn,
    Probed(bool),
    Saved,
    SaveFails,
    /// An access token with this lifetime, and a new refresh token.
    Refreshed(u64),
    Exchanged,
    /// The refresh or exchange in flight fails.
    Fails(ProviderError),
}

pub(crate) type Row = (u64, Action, &'static str, ProfileStatus);

const MINUTE: u64 = 60;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

pub(crate) fn at(seconds: u64) -> Timestamp {
    later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
}

fn grant(mode: Mode, lifetime: u64, issued: u64) -> Grant {
    Provider::default().sign_in(mode, Duration::from_secs(lifetime), at(issued))
}

pub(crate) fn record(mode: Mode, lifetime: u64) -> Record {
    Record::new(grant(mode, lifetime, 0), "grant".into(), 5)
}

fn rejection(generation: u64) -> Rejected {
    Rejected { generation, grant_id: None }
}

/// Applies a table, and returns the session.
pub(crate) fn follow(record: Record, rows: &[Row]) -> Session {
    let mut session = Session::restored(record, 3, at(0));
    let (mut ticket, mut exchanging) = (0, false);
    for (seconds, action, expected_effect, expected_status) in rows {
        let event = match action.clone() {
            Tick => Event::Ticked,
            Use => Event::Used(at(*seconds)),
            Request(span) => Event::CredentialRequested(Duration::from_secs(span)),
            RequestRefresh(rejected) => Event::RefreshRequested(rejected.map(rejection)),
            Resume => Event::Resumed,
            Stop => Event::Stopping,
            SignIn => Event::SignedIn(Box::new(grant(Mode::ChatGpt, HOUR, *seconds)), "next".into()),
            Probed(reached) => Event::Probed(ticket, reached),
            Saved => Event::Saved(ticket, Ok(())),
            SaveFails => Event::Saved(ticket, Err(crate::outcome::save_error("it is locked"))),
            Refreshed(lifetime) => Event::Refreshed(ticket, Ok(refresh_response(lifetime))),
            Exchanged => Event::Exchanged(ticket, Ok(ApiKey::new("sk-new"))),
            Fails(failure) if exchanging => Event::Exchanged(ticket, Err(failure)),
            Fails(failure) => Event::Refreshed(ticket, Err(failure)),
        };
        let effect = session.apply(event, at(*seconds));
        let (effect_name, begun) = effect_name(&effect);
        ticket = begun.unwrap_or(ticket);
        exchanging = matches!(effect, Effect::Exchange(..));
        let found = (effect_name, session.status(at(*seconds)));
        assert_eq!(found, (*expected_effect, *expected_status), "at {seconds} s, {action:?}: {session:#?}");
    }
    session
}

pub(crate) fn refresh_response(lifetime: u64) -> RefreshResponse {
    let body = format!(r#"{{"access_token":"at-new","refresh_token":"rt-new","expires_in":{lifetime}}}"#);
    RefreshResponse::parse(body.as_bytes()).unwrap()
}

fn effect_name(effect: &Effect) -> (&'static str, Option<u64>) {
    match effect {
        Effect::Wait => ("wait", None),
        Effect::Probe(ticket) => ("probe", Some(*ticket)),
        Effect::Save(ticket, record) if record.journal.is_some() => ("journal", Some(*ticket)),
        Effect::Save(ticket, _) => ("save", Some(*ticket)),
        Effect::Refresh(ticket, _) => ("refresh", Some(*ticket)),
        Effect::Exchange(ticket, _) => ("exchange", Some(*ticket)),
        Effect::Claim(ticket, ..) => ("claim", Some(*ticket)),
        Effect::Write(ticket, ..) => ("write", Some(*ticket)),
    }
}

fn busy(status: u16, retry_after: Option<u64>) -> Action {
    Fails(ProviderError::Unavailable {
        status,
        code: None,
        retry_after: retry_after.map(Duration::from_secs),
    })
}

fn no_response() -> Action {
    Fails(ProviderError::NoResponse { detail: String::new() })
}

fn reused() -> Action {
    Fails(rejected_with("refresh_token_reused"))
}

#[test]
fn due_refresh_is_journalled_sent_and_saved() {
    follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (2_800, Use, "wait", Ready), // due a fifth ahead: at 2880 s, give or take 72
            (2_960, Tick, "journal", Refreshing),
            (2_961, Tick, "wait", Refreshing), // one call at a time
            (2_961, Saved, "refresh", Refreshing),
            (2_962, Refreshed(HOUR), "save", Ready),
            (2_963, Saved, "wait", Ready),
            (2_962 + 2_800, Tick, "wait", Ready),
            (2_962 + 2_960, Tick, "journal", Refreshing),
        ],
    );
}

#[test]
fn requested_lifetime_is_provided_as_far_as_a_refresh_can() {
    for (seconds, span, does) in [
        (60, 900, "wait"),           // it is valid that long
        (2_760, 900, "journal"),     // it is not, and a new one would be
        (60, 3_600, "wait"),         // none is valid that long
        (10, 3_595, "wait"),         // it has just been issued
        (60, 3_550, "journal"),      // a new one would do
        (2_700, 60, "wait"),         // not due, and good enough
        (3_545, 60, "journal"),      // the last minute
        (2_700, 999_999, "wait"),    // a refresh would not help
        (3_000, 999_999, "journal"), // it is due anyway
    ] {
        follow(record(Mode::ChatGpt, HOUR), &[(seconds, Request(span), does, status_after(does))]);
    }
}

fn status_after(does: &str) -> ProfileStatus {
    if does == "wait" { Ready } else { Refreshing }
}

#[test]
fn only_the_current_generation_can_be_rejected() {
    for (rejected, does) in [(None, "journal"), (Some(5), "journal"), (Some(4), "wait"), (Some(6), "wait")] {
        follow(record(Mode::ChatGpt, HOUR), &[(60, RequestRefresh(rejected), does, status_after(does))]);
    }
}

#[test]
fn rejected_key_is_renewed_with_a_new_id_token_and_at_most_every_five_minutes() {
    let session = follow(
        record(Mode::ApiKey, HOUR),
        &[
            (9_000, Tick, "wait", Ready), // a key does not expire with the tokens
            (9_000, RequestRefresh(Some(4)), "wait", Ready),
            (9_000, RequestRefresh(Some(5)), "journal", Refreshing),
            (9_000, Saved, "refresh", Refreshing),
            (9_001, Refreshed(HOUR), "save", Ready),
            (9_001, Saved, "exchange", Refreshing),
            (9_002, busy(429, Some(100)), "wait", Ready),
            (9_101, Tick, "wait", Ready),
            (9_102, Tick, "exchange", Refreshing), // the id token is new enough
            (9_103, Exchanged, "save", Ready),
            (9_104, Saved, "wait", Ready),
            (9_402, RequestRefresh(None), "journal", Refreshing), // not yet five minutes: the tokens only
            (9_402, Saved, "refresh", Refreshing),
            (9_402, Refreshed(HOUR), "save", Ready),
            (9_402, Saved, "wait", Ready),
            (9_403, RequestRefresh(Some(6)), "journal", Refreshing),
            (9_403, Saved, "refresh", Refreshing),
            (9_403, Refreshed(HOUR), "save", Ready),
            (9_403, Saved, "exchange", Refreshing),
            (9_404, Fails(rejected_with("invalid_subject_token")), "save", LoginRequired),
        ],
    );
    assert_eq!(session.credential().generation, 6, "a refresh makes no new key");
}

#[test]
fn unused_profile_is_refreshed_only_to_keep_it_alive() {
    follow(record(Mode::ChatGpt, HOUR), &[(2_960, Tick, "journal", Refreshing)]); // used within the week
    let last = 7 * DAY - HOUR / 2;
    let alone = [
        (last, Tick, "journal", Expired),
        (last, Saved, "refresh", Expired),
        (last, Refreshed(HOUR), "save", Expired),
        (last, Saved, "wait", Ready),
        (7 * DAY + HOUR, Tick, "wait", Expired), // unused for a week
    ];
    let kept_alive = [
        (last + 8 * DAY - 1, Tick, "wait", Expired),
        (last + 8 * DAY, Tick, "journal", Expired), // eight days after its last refresh
    ];
    follow(record(Mode::ChatGpt, HOUR), &[&alone[..], &kept_alive].concat());
    follow(record(Mode::ChatGpt, HOUR), &[&alone[..], &[(9 * DAY, Use, "journal", Expired)]].concat());
}

#[test]
fn lost_response_is_recorded_when_the_token_proves_to_be_spent() {
    let sent = [(2_990, Tick, "journal", Refreshing), (2_991, Saved, "refresh", Refreshing)];
    let without_a_probe = [(2_999, Tick, "refresh", Refreshing)];
    let after_a_probe = [(2_999, Tick, "probe", Ready), (2_999, Probed(true), "refresh", Refreshing)];
    let end = [
        (3_001, reused(), "save", Ready), // the credential is served until it expires
        (3_001, Saved, "wait", Ready),
        (3_002, RequestRefresh(None), "wait", Ready), // no further refresh
        (3_600, Tick, "wait", LoginRequired),
    ];
    for (ambiguous, again) in [
        (no_response(), &after_a_probe[..]),
        (busy(503, None), &without_a_probe),
        (Fails(ProviderError::InvalidResponse { detail: String::new() }), &without_a_probe),
    ] {
        let lost = [(2_995, ambiguous, "wait", Ready)];
        let session = follow(record(Mode::ChatGpt, HOUR), &[&sent[..], &lost, again, &end].concat());
        let ended = session.record().ended.clone().unwrap();
        assert_eq!((ended.code.as_str(), ended.at), ("refresh_token_reused", at(3_001)));
        assert_eq!(ended.answer_lost_at, Some(at(2_990)), "when it was journalled");
    }
    for harmless in [busy(429, None), Fails(ProviderError::NotSent { detail: String::new() })] {
        let rows = [&sent[..], &[(2_995, harmless, "wait", Ready)]].concat();
        let mut session = follow(record(Mode::ChatGpt, HOUR), &rows);
        let ticket = match session.apply(Event::Ticked, at(2_999)) {
            Effect::Probe(ticket) => effect_name(&session.apply(Event::Probed(ticket, true), at(2_999))).1,
            effect => effect_name(&effect).1,
        };
        session.apply(Event::Refreshed(ticket.unwrap(), Err(rejected_with("invalid_grant"))), at(3_000));
        assert_eq!(session.record().ended.clone().unwrap().answer_lost_at, None, "nothing was lost");
    }
}

#[test]
fn journalled_refresh_is_repeated_after_a_restart_and_its_response_counts_as_lost() {
    let crashed = Record { journal: Some(at(0)), ..record(Mode::ChatGpt, HOUR) };
    let rows = [(100, Tick, "refresh", Refreshing), (101, reused(), "save", Ready)];
    let session = follow(crashed, &rows);
    assert_eq!(session.record().ended.clone().unwrap().answer_lost_at, Some(at(0)));
}

#[test]
fn retry_after_is_waited_for_and_at_least_two_seconds() {
    for (retry_after, too_early, late_enough) in
        [(None, 1, 3), (Some(0), 1, 3), (Some(40), 39, 40), (Some(999_999), 3_599, 3_600)]
    {
        let began = 10 * DAY; // long expired, so that only the provider causes a wait
        follow(
            record(Mode::ChatGpt, HOUR),
            &[
                (began, Use, "journal", Expired),
                (began, Saved, "refresh", Expired),
                (began, busy(429, retry_after), "wait", Expired),
                (began, Request(60), "wait", Expired), // a request does not shorten the wait
                (began + too_early, RequestRefresh(None), "wait", Expired),
                (began + too_early, Tick, "wait", Expired),
                (began + late_enough, Tick, "refresh", Expired), // its journal entry stays valid
            ],
        );
    }
}

#[test]
fn network_is_probed_after_a_sleep_before_a_token_is_spent() {
    follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (2_000, Resume, "wait", Ready), // nothing is due, so nothing is probed
            (3_000, Resume, "probe", Ready),
            (3_005, Probed(false), "wait", Ready),
            (3_006, Tick, "probe", Ready), // soon, then at growing intervals
            (3_006, Probed(false), "wait", Ready),
            (3_007, Tick, "probe", Ready),
            (3_007, Probed(false), "wait", Ready),
            (3_008, Tick, "probe", Ready),
            (3_008, Probed(false), "wait", Ready),
            (3_010, Tick, "probe", Ready),
            (3_010, Probed(false), "wait", Ready),
            (3_012, Tick, "wait", Ready),         // four seconds apart by now
            (3_012, Request(900), "wait", Ready), // a client waits: the next one is soon
            (3_013, Tick, "probe", Ready),
            (3_013, Probed(true), "journal", Refreshing),
            (3_013, Resume, "wait", Refreshing), // again, before anything was sent
            (3_013, Saved, "probe", Ready),
            (3_013, Probed(true), "refresh", Refreshing),
        ],
    );
}

#[test]
fn refresh_waits_for_the_journal_until_the_last_minute() {
    follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (2_990, Tick, "journal", Refreshing),
            (2_990, SaveFails, "wait", Ready), // not sent
            (2_991, Tick, "wait", Ready),
            (3_545, Tick, "journal", Refreshing),
            (3_545, SaveFails, "refresh", Refreshing), // an expired credential would be worse
            (3_546, Refreshed(HOUR), "save", Ready),
            (3_547, SaveFails, "wait", Unsaved), // the new one is served and reported as unsaved
            (3_548, Tick, "wait", Unsaved),
            (3_550, Tick, "save", Unsaved),
            (3_551, Saved, "wait", Ready),
        ],
    );
}

#[test]
fn stopping_daemon_completes_its_call_and_begins_no_other() {
    let session = follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (2_990, Tick, "journal", Refreshing),
            (2_990, Saved, "refresh", Refreshing),
            (2_990, Stop, "wait", Refreshing),
            (2_991, Refreshed(HOUR), "save", Ready),
            (2_991, SaveFails, "wait", Unsaved),
            (2_991, RequestRefresh(None), "wait", Unsaved),
            (2_994, Tick, "save", Unsaved),
            (2_994, Saved, "wait", Ready),
            (9_000, Request(60), "wait", Expired),
        ],
    );
    assert!(session.is_settled() && !session.is_pending(at(9_000)));
    assert_eq!(session.next_wakeup(at(9_000)), None);
}

#[test]
fn sign_in_replaces_an_ended_grant_and_drops_its_late_results() {
    let session = follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (2_990, Tick, "journal", Refreshing),
            (2_990, Saved, "refresh", Refreshing),
            (2_991, reused(), "save", Ready),
            (2_991, Saved, "wait", Ready),
            (4_000, Tick, "wait", LoginRequired),
            (4_000, SignIn, "save", Expired), // the old one is served until the new one is saved
            (4_001, Saved, "wait", Ready),
        ],
    );
    assert_eq!((session.credential().generation, session.record().ended.clone()), (6, None));
    let mut session = follow(
        record(Mode::ChatGpt, HOUR),
        &[(2_990, Tick, "journal", Refreshing), (2_990, Saved, "refresh", Refreshing)],
    );
    let (old, before) = (2, session.record().generation);
    session.apply(Event::SignedIn(Box::new(grant(Mode::ChatGpt, HOUR, 2_991)), "next".into()), at(2_991));
    session.apply(Event::Refreshed(old, Ok(refresh_response(HOUR))), at(2_992));
    session.apply(Event::Refreshed(old, Err(rejected_with("refresh_token_reused"))), at(2_992));
    assert_eq!((session.record().generation, session.record().ended.clone()), (before + 1, None));
}
