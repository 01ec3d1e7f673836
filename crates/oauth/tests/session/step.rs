//! The initial states and steps of a simulation, and the mapping of numbers to steps. Small numbers
//! map to simple steps, so that a shrunk failure is readable.

use std::time::Duration;

use authd_oauth::Mode;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// The initial state of a simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InitialState {
    SignedIn(Mode),
    /// A saved record whose tokens have this remaining lifetime.
    Restored(Mode, Duration),
    /// A crash during a refresh.
    Journalled(Mode),
}

impl InitialState {
    /// Maps a number to a state.
    pub(crate) fn of(n: u8) -> Self {
        match n % 12 {
            0 => Self::SignedIn(Mode::ChatGpt),
            1..=2 => Self::Restored(Mode::ChatGpt, HOUR),
            3 => Self::Restored(Mode::ChatGpt, Duration::ZERO),
            4 => Self::Journalled(Mode::ChatGpt),
            5 => Self::SignedIn(Mode::ApiKey),
            6 => Self::Restored(Mode::ApiKey, HOUR),
            7 => Self::Journalled(Mode::ApiKey),
            8 => Self::SignedIn(Mode::Bearer),
            9 => Self::Restored(Mode::Bearer, HOUR),
            10 => Self::Restored(Mode::Bearer, Duration::ZERO),
            _ => Self::Journalled(Mode::Bearer),
        }
    }
}

/// One step of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Time passes.
    Wait(Duration),
    /// Time passes until the next wake-up.
    WaitUntilDue,
    /// The machine sleeps and resumes.
    Sleep(Duration),
    /// A client uses the profile.
    Use,
    /// A client requests a credential that is valid for this long.
    RequestCredential(Duration),
    /// A refresh is requested.
    RequestRefresh(RejectedKind),
    /// A server reports that the grant lacks a scope, or that another grant does.
    ReportMissingScope(&'static str, RejectedKind),
    /// The nth call in flight is executed; its result is not delivered yet.
    Execute(usize, Outcome),
    /// The result of the nth call in flight is delivered. The call is executed first, if necessary.
    Deliver(usize, Outcome),
    /// A result is delivered a second time.
    Replay(usize),
    /// The profile becomes the default.
    SetDefaultRank,
    /// A move of the grant begins or ends.
    SetIntent(bool),
    /// The wall clock is set by this many seconds.
    SetClock(i64),
    /// The store completed another call.
    StoreReady,
    /// A new sign-in under the same name.
    SignIn(Mode, Duration),
    /// The grant is revoked at the provider.
    Revoke,
    /// The daemon is killed and restarts after this time.
    Crash(Duration),
    /// The same, and the clock is set by this many seconds meanwhile.
    CrashAndSetClock(i64),
    /// The daemon stops.
    Stop,
}

/// The reason for a refresh request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectedKind {
    /// A plain request.
    Nothing,
    /// An upstream rejected the credential that is served.
    Served,
    /// An upstream rejected an old credential.
    Stale,
    /// An upstream rejected a credential of the same generation and another grant.
    OtherGrant,
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It succeeds, and the new access token has this lifetime.
    Success(Duration),
    /// It succeeds, and the provider states no lifetime.
    SuccessWithoutLifetime,
    /// It succeeds, and the provider does not rotate the refresh token.
    SuccessWithoutRotation(Duration),
    /// Nothing is sent, the store fails, or the network is down.
    NotSent,
    /// The request is lost.
    RequestLost,
    /// It takes effect and the response is lost. A save takes effect and reports a failure.
    ResponseLost,
    /// It takes effect and the response is invalid.
    InvalidResponse,
    /// The response contains a new refresh token and no access token.
    NoAccessToken,
    /// The provider asks for a pause.
    RateLimited(Option<Duration>),
    /// The provider executes it and then fails.
    ServerError,
    /// The provider rejects it with a code that does not end the grant.
    RejectedForNow,
    /// The provider rejects it permanently.
    Rejected,
    /// The provider rejects it permanently, and would accept it later.
    RejectedWrongly,
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Pauses around every constant of the schedule.
const PAUSES: [Duration; 12] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(250),
    seconds(1),
    seconds(3),
    seconds(29),
    seconds(61),
    seconds(301),
    seconds(2_900),
    seconds(3_700),
    seconds(2 * 86_400),
    seconds(9 * 86_400),
];

/// Lifetimes of access tokens, in seconds: typical, long, short and zero.
const LIFETIMES: [Duration; 6] =
    [seconds(3_600), seconds(864_000), seconds(20), seconds(90), seconds(360), Duration::ZERO];

/// The lifetimes that clients request.
const SPANS: [Duration; 4] = [seconds(60), seconds(0), seconds(900), seconds(3_600)];

/// Values of `Retry-After`: none, seconds, minutes, and an implausible one.
const RETRY_AFTER: [Option<Duration>; 5] =
    [None, Some(seconds(0)), Some(seconds(7)), Some(seconds(900)), Some(seconds(1_000_000))];

/// Changes of the clock: seconds, hours, days and years.
const SETTINGS: [i64; 6] = [-90, 3_700, -3_700, 30 * 86_400, -30 * 86_400, 1_000_000_000];

/// The frequency of failures. A number maps to different steps in different scenarios.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scenario {
    /// All steps.
    Any,
    /// The network and the provider fail most of the time.
    BadNetwork,
    /// The store fails most of the time.
    BadStore,
    /// Many sign-ins, crashes and late results.
    Restless,
}

/// The `n`th choice, modulo their number.
fn pick<T: Copy>(choices: &[T], n: u8) -> T {
    choices[usize::from(n) % choices.len()]
}

impl Step {
    /// Maps a number to a step.
    pub(crate) fn of(number: u32, scenario: Scenario) -> Self {
        let [kind, a, b, c] = number.to_le_bytes();
        let outcome = Outcome::of(b, c, scenario);
        match kind % 37 {
            0..=2 => Self::Wait(pick(&PAUSES, a)),
            3..=5 => Self::WaitUntilDue,
            6 => Self::Sleep(pick(&PAUSES, a)),
            7 => Self::Use,
            8..=9 => Self::RequestCredential(pick(&SPANS, a)),
            10..=12 => {
                let rejected = [
                    RejectedKind::Nothing,
                    RejectedKind::Served,
                    RejectedKind::Stale,
                    RejectedKind::OtherGrant,
                ];
                Self::RequestRefresh(pick(&rejected, a))
            }
            13..=24 => Self::Deliver(usize::from(a % 4), outcome),
            25..=26 => Self::Execute(usize::from(a % 4), outcome),
            27 => Self::Replay(usize::from(a)),
            28 => match scenario {
                Scenario::Restless | Scenario::Any => Self::Crash(pick(&PAUSES, a)),
                Scenario::BadNetwork => Self::Sleep(pick(&PAUSES, a)),
                Scenario::BadStore => Self::WaitUntilDue,
            },
            29 => match scenario {
                Scenario::Restless | Scenario::Any => {
                    Self::SignIn(pick(&[Mode::ChatGpt, Mode::ApiKey, Mode::Bearer], a), pick(&LIFETIMES, b))
                }
                Scenario::BadNetwork | Scenario::BadStore => Self::RequestRefresh(RejectedKind::Served),
            },
            30 if a < 64 => Self::Revoke,
            31 if a < 64 => Self::Stop,
            32 => Self::SetDefaultRank,
            33 => Self::SetIntent(a < 128),
            34 if a < 192 => Self::SetClock(pick(&SETTINGS, a)),
            34 => Self::CrashAndSetClock(pick(&SETTINGS, b)),
            35 => Self::StoreReady,
            36 if a < 64 => Self::ReportMissingScope(
                pick(&["write", "admin"], b),
                pick(&[RejectedKind::Served, RejectedKind::OtherGrant], c),
            ),
            _ => Self::Deliver(0, Outcome::Success(pick(&LIFETIMES, a))),
        }
    }
}

impl Outcome {
    /// Maps a number to an outcome.
    fn of(kind: u8, detail: u8, scenario: Scenario) -> Self {
        let lifetime = pick(&LIFETIMES, detail);
        let success_limit = match scenario {
            Scenario::Any | Scenario::Restless => 128,
            Scenario::BadNetwork | Scenario::BadStore => 80,
        };
        if kind < success_limit {
            return if kind < success_limit / 8 {
                Self::SuccessWithoutRotation(lifetime)
            } else if kind < success_limit / 6 {
                Self::SuccessWithoutLifetime
            } else {
                Self::Success(lifetime)
            };
        }
        match (scenario, kind % 8) {
            (_, 0..=1) | (Scenario::BadStore, 2..=5) => Self::NotSent,
            (_, 2) => Self::RequestLost,
            (_, 3) => Self::ResponseLost,
            (_, 4) if detail < 64 => Self::NoAccessToken,
            (_, 4) => Self::InvalidResponse,
            (_, 5) => Self::RateLimited(pick(&RETRY_AFTER, detail)),
            (_, 6) => Self::ServerError,
            _ if detail < 32 => Self::RejectedWrongly,
            _ if detail < 64 => Self::Rejected,
            _ if detail < 160 => Self::RejectedForNow,
            _ => Self::RateLimited(pick(&RETRY_AFTER, detail)),
        }
    }

    /// The lifetime of the new access token.
    pub(crate) fn lifetime(self) -> Duration {
        match self {
            Self::Success(lifetime) | Self::SuccessWithoutRotation(lifetime) => lifetime,
            _ => LIFETIMES[0],
        }
    }
}
