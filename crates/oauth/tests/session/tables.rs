//! The documented rules, one line each: when (in seconds), what happens, what the session does about it,
//! and how it stands then. Rows of a table follow each other.

use std::time::Duration;

use Do::{Ask, Exchanged, Fails, Probed, Refreshed, SaveFails, Saved, SignIn, Stop, Tick, Use, Wake, Want};
use authd_oauth::{
    ApiKey, Effect, Event, Grant, Mode,
    ProfileStatus::{self, Expired, LoginRequired, Ready, Refreshing, Unsaved},
    ProviderError, Record, RefreshAnswer, Rejected, Session,
    schedule::later,
};
use jiff::Timestamp;

use crate::model::{Provider, refused};

/// What happens. A result is that of the newest call.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    Tick,
    Use,
    Want(u64),
    Ask(Option<u64>),
    Wake,
    Stop,
    SignIn,
    Probed(bool),
    Saved,
    SaveFails,
    /// An access token that lives so long, and a new refresh token.
    Refreshed(u64),
    Exchanged,
    /// The refresh, or the exchange, that is in flight.
    Fails(ProviderError),
}

pub(crate) type Row = (u64, Do, &'static str, ProfileStatus);

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

/// Goes through a table, and gives the session as it is then.
pub(crate) fn follow(record: Record, rows: &[Row]) -> Session {
    let mut session = Session::restored(record, 3, at(0));
    let (mut ticket, mut exchanging) = (0, false);
    for (seconds, what, does, stands) in rows {
        let event = match what.clone() {
            Tick => Event::Ticked,
            Use => Event::Used(at(*seconds)),
            Want(span) => Event::Wanted(Duration::from_secs(span)),
            Ask(rejected) => Event::RefreshAsked(rejected.map(rejection)),
            Wake => Event::Woke,
            Stop => Event::Stopping,
            SignIn => Event::SignedIn(Box::new(grant(Mode::ChatGpt, HOUR, *seconds)), "next".into()),
            Probed(reached) => Event::Probed(ticket, reached),
            Saved => Event::Saved(ticket, Ok(())),
            SaveFails => Event::Saved(ticket, Err(crate::luck::unsaved("it is locked"))),
            Refreshed(lifetime) => Event::Refreshed(ticket, Ok(answer(lifetime))),
            Exchanged => Event::Exchanged(ticket, Ok(ApiKey::new("sk-new"))),
            Fails(failure) if exchanging => Event::Exchanged(ticket, Err(failure)),
            Fails(failure) => Event::Refreshed(ticket, Err(failure)),
        };
        let effect = session.apply(event, at(*seconds));
        let (word, begun) = word(&effect);
        ticket = begun.unwrap_or(ticket);
        exchanging = matches!(effect, Effect::Exchange(..));
        let found = (word, session.status(at(*seconds)));
        assert_eq!(found, (*does, *stands), "at {seconds} s, {what:?}: {session:#?}");
    }
    session
}

pub(crate) fn answer(lifetime: u64) -> RefreshAnswer {
    let body = format!(r#"{{"access_token":"at-new","refresh_token":"rt-new","expires_in":{lifetime}}}"#);
    RefreshAnswer::parse(body.as_bytes()).unwrap()
}

fn word(effect: &Effect) -> (&'static str, Option<u64>) {
    match effect {
        Effect::Rest => ("rest", None),
        Effect::Probe(ticket) => ("probe", Some(*ticket)),
        Effect::Save(ticket, record) if record.journal.is_some() => ("journal", Some(*ticket)),
        Effect::Save(ticket, _) => ("save", Some(*ticket)),
        Effect::Refresh(ticket, _) => ("refresh", Some(*ticket)),
        Effect::Exchange(ticket, _) => ("exchange", Some(*ticket)),
    }
}

fn busy(status: u16, retry_after: Option<u64>) -> Do {
    Fails(ProviderError::Unavailable { status, retry_after: retry_after.map(Duration::from_secs) })
}

fn unanswered() -> Do {
    Fails(ProviderError::NoResponse { detail: String::new() })
}

fn reused() -> Do {
    Fails(refused("refresh_token_reused"))
}

#[test]
fn a_refresh_is_journalled_sent_and_saved_when_it_is_due() {
    follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (2_800, Use, "rest", Ready), // due a fifth ahead: at 2880 s, give or take 72
            (2_960, Tick, "journal", Refreshing),
            (2_961, Tick, "rest", Refreshing), // one call at a time
            (2_961, Saved, "refresh", Refreshing),
            (2_962, Refreshed(HOUR), "save", Ready),
            (2_963, Saved, "rest", Ready),
            (2_962 + 2_800, Tick, "rest", Ready),
            (2_962 + 2_960, Tick, "journal", Refreshing),
        ],
    );
}

#[test]
fn a_wish_is_met_as_far_as_a_refresh_can_meet_it() {
    for (seconds, span, does) in [
        (60, 900, "rest"),           // it lasts that long
        (2_760, 900, "journal"),     // it does not, and a new one would
        (60, 3_600, "rest"),         // none lasts that long
        (10, 3_595, "rest"),         // this one is as new as can be
        (60, 3_550, "journal"),      // a new one would do
        (2_700, 60, "rest"),         // not due, and good enough
        (3_545, 60, "journal"),      // the last minute
        (2_700, 999_999, "rest"),    // a refresh would not help
        (3_000, 999_999, "journal"), // it is due anyway
    ] {
        follow(record(Mode::ChatGpt, HOUR), &[(seconds, Want(span), does, stands_after(does))]);
    }
}

fn stands_after(does: &str) -> ProfileStatus {
    if does == "rest" { Ready } else { Refreshing }
}

#[test]
fn only_the_current_generation_can_be_rejected() {
    for (rejected, does) in [(None, "journal"), (Some(5), "journal"), (Some(4), "rest"), (Some(6), "rest")] {
        follow(record(Mode::ChatGpt, HOUR), &[(60, Ask(rejected), does, stands_after(does))]);
    }
}

#[test]
fn a_refused_key_is_renewed_with_a_new_id_token_and_at_most_every_five_minutes() {
    let session = follow(
        record(Mode::ApiKey, HOUR),
        &[
            (9_000, Tick, "rest", Ready), // a key does not expire with the tokens
            (9_000, Ask(Some(4)), "rest", Ready),
            (9_000, Ask(Some(5)), "journal", Refreshing),
            (9_000, Saved, "refresh", Refreshing),
            (9_001, Refreshed(HOUR), "save", Ready),
            (9_001, Saved, "exchange", Refreshing),
            (9_002, busy(429, Some(100)), "rest", Ready),
            (9_101, Tick, "rest", Ready),
            (9_102, Tick, "exchange", Refreshing), // the id token is new enough
            (9_103, Exchanged, "save", Ready),
            (9_104, Saved, "rest", Ready),
            (9_402, Ask(None), "journal", Refreshing), // not yet five minutes: the tokens only
            (9_402, Saved, "refresh", Refreshing),
            (9_402, Refreshed(HOUR), "save", Ready),
            (9_402, Saved, "rest", Ready),
            (9_403, Ask(Some(6)), "journal", Refreshing),
            (9_403, Saved, "refresh", Refreshing),
            (9_403, Refreshed(HOUR), "save", Ready),
            (9_403, Saved, "exchange", Refreshing),
            (9_404, Fails(refused("invalid_subject_token")), "save", LoginRequired),
        ],
    );
    assert_eq!(session.credential().generation, 6, "a refresh brings no new key");
}

#[test]
fn an_unused_profile_is_refreshed_only_to_keep_it_alive() {
    follow(record(Mode::ChatGpt, HOUR), &[(2_960, Tick, "journal", Refreshing)]); // used within the week
    let last = 7 * DAY - HOUR / 2;
    let alone = [
        (last, Tick, "journal", Expired),
        (last, Saved, "refresh", Expired),
        (last, Refreshed(HOUR), "save", Expired),
        (last, Saved, "rest", Ready),
        (7 * DAY + HOUR, Tick, "rest", Expired), // unused for a week
    ];
    let kept_alive = [
        (last + 8 * DAY - 1, Tick, "rest", Expired),
        (last + 8 * DAY, Tick, "journal", Expired), // eight days after its last refresh
    ];
    follow(record(Mode::ChatGpt, HOUR), &[&alone[..], &kept_alive].concat());
    follow(record(Mode::ChatGpt, HOUR), &[&alone[..], &[(9 * DAY, Use, "journal", Expired)]].concat());
}

#[test]
fn a_lost_answer_is_remembered_when_the_token_turns_out_to_be_spent() {
    let sent = [(2_990, Tick, "journal", Refreshing), (2_991, Saved, "refresh", Refreshing)];
    let on_trust = [(2_999, Tick, "refresh", Refreshing)];
    let after_a_probe = [(2_999, Tick, "probe", Ready), (2_999, Probed(true), "refresh", Refreshing)];
    let end = [
        (3_001, reused(), "save", Ready), // what is served is good until it expires
        (3_001, Saved, "rest", Ready),
        (3_002, Ask(None), "rest", Ready), // never again
        (3_600, Tick, "rest", LoginRequired),
    ];
    for (ambiguous, again) in [
        (unanswered(), &after_a_probe[..]),
        (busy(503, None), &on_trust),
        (Fails(ProviderError::InvalidResponse { detail: String::new() }), &on_trust),
    ] {
        let lost = [(2_995, ambiguous, "rest", Ready)];
        let session = follow(record(Mode::ChatGpt, HOUR), &[&sent[..], &lost, again, &end].concat());
        let ended = session.record().ended.clone().unwrap();
        assert_eq!((ended.code.as_str(), ended.at), ("refresh_token_reused", at(3_001)));
        assert_eq!(ended.answer_lost_at, Some(at(2_990)), "when it was journalled");
    }
    for harmless in [busy(429, None), Fails(ProviderError::NotSent { detail: String::new() })] {
        let rows = [&sent[..], &[(2_995, harmless, "rest", Ready)]].concat();
        let mut session = follow(record(Mode::ChatGpt, HOUR), &rows);
        let ticket = match session.apply(Event::Ticked, at(2_999)) {
            Effect::Probe(ticket) => word(&session.apply(Event::Probed(ticket, true), at(2_999))).1,
            effect => word(&effect).1,
        };
        session.apply(Event::Refreshed(ticket.unwrap(), Err(refused("invalid_grant"))), at(3_000));
        assert_eq!(session.record().ended.clone().unwrap().answer_lost_at, None, "nothing was lost");
    }
}

#[test]
fn a_journalled_refresh_is_settled_after_a_restart_and_its_answer_counts_as_lost() {
    let crashed = Record { journal: Some(at(0)), ..record(Mode::ChatGpt, HOUR) };
    let rows = [(100, Tick, "refresh", Refreshing), (101, reused(), "save", Ready)];
    let session = follow(crashed, &rows);
    assert_eq!(session.record().ended.clone().unwrap().answer_lost_at, Some(at(0)));
}

#[test]
fn a_busy_provider_is_left_alone_as_long_as_it_says_and_at_least_two_seconds() {
    for (asked, too_early, late_enough) in
        [(None, 1, 3), (Some(0), 1, 3), (Some(40), 39, 40), (Some(999_999), 3_599, 3_600)]
    {
        let began = 10 * DAY; // long expired, so that nothing but the provider is a reason to wait
        follow(
            record(Mode::ChatGpt, HOUR),
            &[
                (began, Use, "journal", Expired),
                (began, Saved, "refresh", Expired),
                (began, busy(429, asked), "rest", Expired),
                (began, Want(60), "rest", Expired), // whoever waits, waits as well
                (began + too_early, Ask(None), "rest", Expired),
                (began + too_early, Tick, "rest", Expired),
                (began + late_enough, Tick, "refresh", Expired), // its journal entry stands
            ],
        );
    }
}

#[test]
fn after_a_sleep_the_network_is_tried_before_a_token_is_spent() {
    follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (2_000, Wake, "rest", Ready), // nothing is due, so nobody asks
            (3_000, Wake, "probe", Ready),
            (3_005, Probed(false), "rest", Ready),
            (3_006, Tick, "probe", Ready), // at once, and more and more rarely
            (3_006, Probed(false), "rest", Ready),
            (3_007, Tick, "probe", Ready),
            (3_007, Probed(false), "rest", Ready),
            (3_008, Tick, "probe", Ready),
            (3_008, Probed(false), "rest", Ready),
            (3_010, Tick, "probe", Ready),
            (3_010, Probed(false), "rest", Ready),
            (3_012, Tick, "rest", Ready),      // four seconds apart by now
            (3_012, Want(900), "rest", Ready), // somebody waits: the next one is near
            (3_013, Tick, "probe", Ready),
            (3_013, Probed(true), "journal", Refreshing),
            (3_013, Wake, "rest", Refreshing), // again, before anything was sent
            (3_013, Saved, "probe", Ready),
            (3_013, Probed(true), "refresh", Refreshing),
        ],
    );
}

#[test]
fn a_refresh_waits_for_the_journal_until_the_last_minute() {
    follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (2_990, Tick, "journal", Refreshing),
            (2_990, SaveFails, "rest", Ready), // not sent
            (2_991, Tick, "rest", Ready),
            (3_545, Tick, "journal", Refreshing),
            (3_545, SaveFails, "refresh", Refreshing), // to be signed out would be worse
            (3_546, Refreshed(HOUR), "save", Ready),
            (3_547, SaveFails, "rest", Unsaved), // the new one is served, and said to be unsaved
            (3_548, Tick, "rest", Unsaved),
            (3_550, Tick, "save", Unsaved),
            (3_551, Saved, "rest", Ready),
        ],
    );
}

#[test]
fn a_daemon_that_stops_ends_what_it_began_and_begins_nothing() {
    let session = follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (2_990, Tick, "journal", Refreshing),
            (2_990, Saved, "refresh", Refreshing),
            (2_990, Stop, "rest", Refreshing),
            (2_991, Refreshed(HOUR), "save", Ready),
            (2_991, SaveFails, "rest", Unsaved),
            (2_991, Ask(None), "rest", Unsaved),
            (2_994, Tick, "save", Unsaved),
            (2_994, Saved, "rest", Ready),
            (9_000, Want(60), "rest", Expired),
        ],
    );
    assert!(session.is_settled() && !session.is_pending(at(9_000)));
    assert_eq!(session.next_wakeup(at(9_000)), None);
}

#[test]
fn a_new_sign_in_replaces_a_dead_one_and_drops_its_late_results() {
    let session = follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (2_990, Tick, "journal", Refreshing),
            (2_990, Saved, "refresh", Refreshing),
            (2_991, reused(), "save", Ready),
            (2_991, Saved, "rest", Ready),
            (4_000, Tick, "rest", LoginRequired),
            (4_000, SignIn, "save", Expired), // the old one is served until the new one is saved
            (4_001, Saved, "rest", Ready),
        ],
    );
    assert_eq!((session.credential().generation, session.record().ended.clone()), (6, None));
    let mut session = follow(
        record(Mode::ChatGpt, HOUR),
        &[(2_990, Tick, "journal", Refreshing), (2_990, Saved, "refresh", Refreshing)],
    );
    let (old, before) = (2, session.record().generation);
    session.apply(Event::SignedIn(Box::new(grant(Mode::ChatGpt, HOUR, 2_991)), "next".into()), at(2_991));
    session.apply(Event::Refreshed(old, Ok(answer(HOUR))), at(2_992));
    session.apply(Event::Refreshed(old, Err(refused("refresh_token_reused"))), at(2_992));
    assert_eq!((session.record().generation, session.record().ended.clone()), (before + 1, None));
}
