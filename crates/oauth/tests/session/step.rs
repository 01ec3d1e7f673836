//! What can happen in the world, and how a number means a step: small numbers mean simple steps, so that
//! a shrunk failure reads well.

use std::time::Duration;

use authd_oauth::Mode;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Time passes.
    Wait(Duration),
    /// Time passes until the session wants to be woken.
    WaitUntilDue,
    /// The machine sleeps, and wakes.
    Sleep(Duration),
    /// A client uses the profile.
    Use,
    /// A client needs a credential that lasts this long.
    Want(Duration),
    /// A refresh is asked for.
    Ask(Rejected),
    /// A call (the nth that has not) takes effect out there; nobody here knows yet.
    Happen(usize, Luck),
    /// The result of a call (the nth that is out) arrives; if it has not happened yet, it does now.
    Report(usize, Luck),
    /// A result arrives a second time.
    Replay(usize),
    /// The default mark moves here.
    Mark,
    /// A move of the grant begins, or ends.
    Intend(bool),
    /// The wall clock is set by this many seconds.
    SetClock(i64),
    /// The store has answered another call.
    StoreReady,
    /// Somebody signs in under the same name.
    SignIn(Mode, Duration),
    /// Somebody revokes the grant elsewhere.
    Revoke,
    /// The daemon is killed, and started again after this time.
    Crash(Duration),
    /// The same, and the clock was set by this many seconds meanwhile.
    CrashAndSetClock(i64),
    /// The daemon is told to stop.
    Stop,
}

/// Why a refresh is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// A person says so.
    Nothing,
    /// An upstream refused the credential that is served.
    Served,
    /// An upstream refused one that was replaced long ago.
    Stale,
    /// An upstream refused one of the same generation, and of another grant.
    OtherGrant,
}

/// How a call goes. Each kind of call takes from it what applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    /// It is answered, and the new access token lives this long.
    Answered(Duration),
    /// It is answered by a provider that did not rotate.
    Kept(Duration),
    /// Nothing was sent; or the store failed; or the network is not there.
    Unsent,
    /// It was sent and never arrived.
    RequestLost,
    /// It took effect, and the answer is lost; the store wrote, and says it failed.
    AnswerLost,
    /// It took effect, and something on the way spoiled the answer.
    AnswerSpoiled,
    /// It is answered with a new refresh token, and without an access token.
    OnlyRotated,
    /// The provider is busy, and asks for a pause.
    Busy(Option<Duration>),
    /// The provider acted, and then failed.
    Broke,
    /// The provider refuses for good.
    Refused,
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

/// Lifetimes: an hour, ten days, a blink, a minute, six minutes, and dead on arrival.
const LIFETIMES: [Duration; 6] =
    [seconds(3_600), seconds(864_000), seconds(20), seconds(90), seconds(360), Duration::ZERO];

/// What clients want.
const SPANS: [Duration; 4] = [seconds(60), seconds(0), seconds(900), seconds(3_600)];

/// What a provider asks for: nothing, seconds, an hour, a mistake.
const RETRY_AFTER: [Option<Duration>; 5] =
    [None, Some(seconds(0)), Some(seconds(7)), Some(seconds(900)), Some(seconds(1_000_000))];

/// How far a clock is set: a little, hours, and years.
const SETTINGS: [i64; 6] = [-90, 3_700, -3_700, 30 * 86_400, -30 * 86_400, 1_000_000_000];

/// How the world is disposed. The same number means another step in another mood.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    /// Everything happens.
    Any,
    /// The network and the provider fail most of the time.
    BadNetwork,
    /// The store fails most of the time.
    BadStore,
    /// Sign-ins, crashes and late results.
    Restless,
}

/// The `n`th of the choices, over and over.
fn pick<T: Copy>(choices: &[T], n: u8) -> T {
    choices[usize::from(n) % choices.len()]
}

impl Step {
    /// The step that a number means.
    pub(crate) fn of(word: u32, mood: Mood) -> Self {
        let [kind, a, b, c] = word.to_le_bytes();
        let luck = Luck::of(b, c, mood);
        match kind % 36 {
            0..=2 => Self::Wait(pick(&PAUSES, a)),
            3..=5 => Self::WaitUntilDue,
            6 => Self::Sleep(pick(&PAUSES, a)),
            7 => Self::Use,
            8..=9 => Self::Want(pick(&SPANS, a)),
            10..=12 => {
                let rejected = [Rejected::Nothing, Rejected::Served, Rejected::Stale, Rejected::OtherGrant];
                Self::Ask(pick(&rejected, a))
            }
            13..=24 => Self::Report(usize::from(a % 4), luck),
            25..=26 => Self::Happen(usize::from(a % 4), luck),
            27 => Self::Replay(usize::from(a)),
            28 => match mood {
                Mood::Restless | Mood::Any => Self::Crash(pick(&PAUSES, a)),
                Mood::BadNetwork => Self::Sleep(pick(&PAUSES, a)),
                Mood::BadStore => Self::WaitUntilDue,
            },
            29 => match mood {
                Mood::Restless | Mood::Any => {
                    Self::SignIn(pick(&[Mode::ChatGpt, Mode::ApiKey], a), pick(&LIFETIMES, b))
                }
                Mood::BadNetwork | Mood::BadStore => Self::Ask(Rejected::Served),
            },
            30 if a < 64 => Self::Revoke,
            31 if a < 64 => Self::Stop,
            32 => Self::Mark,
            33 => Self::Intend(a < 128),
            34 if a < 192 => Self::SetClock(pick(&SETTINGS, a)),
            34 => Self::CrashAndSetClock(pick(&SETTINGS, b)),
            35 => Self::StoreReady,
            _ => Self::Report(0, Luck::Answered(pick(&LIFETIMES, a))),
        }
    }
}

impl Luck {
    /// The luck that a number means.
    fn of(kind: u8, detail: u8, mood: Mood) -> Self {
        let lifetime = pick(&LIFETIMES, detail);
        let well = match mood {
            Mood::Any | Mood::Restless => 128,
            Mood::BadNetwork | Mood::BadStore => 80,
        };
        if kind < well {
            return if kind < well / 8 { Self::Kept(lifetime) } else { Self::Answered(lifetime) };
        }
        match (mood, kind % 8) {
            (_, 0..=1) | (Mood::BadStore, 2..=5) => Self::Unsent,
            (_, 2) => Self::RequestLost,
            (_, 3) => Self::AnswerLost,
            (_, 4) if detail < 64 => Self::OnlyRotated,
            (_, 4) => Self::AnswerSpoiled,
            (_, 5) => Self::Busy(pick(&RETRY_AFTER, detail)),
            (_, 6) => Self::Broke,
            _ if detail < 64 => Self::Refused,
            _ => Self::Busy(pick(&RETRY_AFTER, detail)),
        }
    }

    /// A lifetime for what the luck yields.
    pub(crate) fn lifetime(self) -> Duration {
        match self {
            Self::Answered(lifetime) | Self::Kept(lifetime) => lifetime,
            _ => LIFETIMES[0],
        }
    }
}
