//! The logins in memory: pending, exchanging, and those that ended recently. Every change of a
//! login's state happens here, under one lock.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use authd_api::LoginState;
use authd_oauth::{Attempt, State, schedule::later};
use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::DropGuard;

use super::{error::LoginError, snapshot::LoginSnapshot};
use crate::clock;

/// How long a login is kept after its end.
const RETENTION: Duration = Duration::from_secs(10 * 60);

/// How many ended logins are kept.
const MOST_ENDED: usize = 64;

/// Where the link to an authorize URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkTarget {
    /// To this authorize URL. The link is used now.
    AuthorizeUrl(String),
    /// The link was used before.
    Used,
    /// No pending login has this link.
    Unknown,
}

#[derive(Default)]
pub(super) struct PendingLogins {
    pub(super) entries: HashMap<String, Entry>,
    pub(super) by_state: HashMap<State, String>,
    /// The tokens of the links to authorize URLs.
    by_link: HashMap<String, String>,
    added: u64,
    /// Ended logins whose stored copy could not be deleted yet. While there are any, one task
    /// retries.
    pub(super) failed_deletes: BTreeSet<String>,
    /// Logins that are starting and not in `entries` yet.
    starting: usize,
}

/// The order in which logins started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoginOrder(u64);

pub(super) struct Entry {
    pub(super) order: LoginOrder,
    pub(super) login: watch::Sender<LoginSnapshot>,
    pub(super) replace: bool,
    /// `None` once it is used.
    pub(super) attempt: Option<Attempt>,
    /// When the login expires, on a clock that cannot be set.
    pub(super) deadline: Instant,
    /// Keeps the port of a redirect URI open that the callback server does not have.
    pub(super) listener: Option<Arc<DropGuard>>,
    link_used: bool,
    ended_at: Option<Instant>,
}

impl Entry {
    pub(super) fn new(
        login: LoginSnapshot,
        replace: bool,
        attempt: Option<Attempt>,
        deadline: Instant,
    ) -> Self {
        Self {
            order: LoginOrder::default(),
            login: watch::Sender::new(login),
            replace,
            attempt,
            deadline,
            listener: None,
            link_used: false,
            ended_at: None,
        }
    }

    pub(super) fn is_final(&self) -> bool {
        self.login.borrow().state.is_final()
    }

    pub(super) fn is_overdue(&self) -> bool {
        self.deadline <= Instant::now()
    }

    /// Starts the exchange if the login is still pending. From then on it cannot be cancelled.
    /// Returns whether it started.
    pub(super) fn claim(&self) -> bool {
        self.login.send_if_modified(|login| {
            let pending = login.state == LoginState::Pending;
            if pending {
                login.state = LoginState::Exchanging;
            }
            pending
        })
    }

    pub(super) fn end(&mut self, state: LoginState, error: Option<LoginError>) {
        self.ended_at = Some(Instant::now());
        self.listener = None;
        self.login.send_modify(|login| {
            login.state = state;
            login.error = error;
        });
    }
}

impl PendingLogins {
    /// When each pending login expires.
    pub(super) fn expiries(&self) -> impl Iterator<Item = Timestamp> {
        let now = clock::now();
        let pending = self.entries.values().filter(|entry| !entry.is_final());
        pending.map(move |entry| later(now, entry.deadline.saturating_duration_since(Instant::now())))
    }

    /// Adds a login and the keys that find it.
    pub(super) fn add(&mut self, mut entry: Entry, state: Option<State>) {
        self.added += 1;
        entry.order = LoginOrder(self.added);
        let (id, link) = {
            let login = entry.login.borrow();
            (
                login.id.clone(),
                login.open_url.as_deref().and_then(|url| url.rsplit('/').next()).map(str::to_owned),
            )
        };
        self.purge();
        self.by_state.extend(state.map(|state| (state, id.clone())));
        self.by_link.extend(link.map(|token| (token, id.clone())));
        self.entries.insert(id, entry);
    }

    /// The logins that have not ended, in the order in which they started.
    pub(super) fn unfinished(&self) -> Vec<LoginSnapshot> {
        let mut entries: Vec<_> = self.entries.values().filter(|entry| !entry.is_final()).collect();
        entries.sort_unstable_by_key(|entry| entry.order);
        entries.into_iter().map(|entry| entry.login.borrow().clone()).collect()
    }

    /// The first login that started after this one.
    pub(super) fn next_after(&self, order: Option<LoginOrder>) -> Option<&Entry> {
        let later = self.entries.values().filter(|entry| Some(entry.order) > order);
        later.min_by_key(|entry| entry.order)
    }

    /// Uses the link with this token. It works once, while the login is pending.
    pub(super) fn follow_link(&mut self, token: &str) -> LinkTarget {
        let Some(entry) = self.by_link.get(token).and_then(|id| self.entries.get_mut(id)) else {
            return LinkTarget::Unknown;
        };
        if entry.link_used {
            return LinkTarget::Used;
        }
        let login = entry.login.borrow();
        match &login.authorize_url {
            Some(url) if login.state == LoginState::Pending && !entry.is_overdue() => {
                entry.link_used = true;
                LinkTarget::AuthorizeUrl(url.clone())
            }
            _ => LinkTarget::Unknown,
        }
    }

    /// Counts a starting login, if fewer than `limit` are pending. Returns whether it did.
    pub(super) fn reserve(&mut self, limit: usize) -> bool {
        let free = self.pending() < limit;
        self.starting += usize::from(free);
        free
    }

    /// Ends the count of a starting login: it is in `entries` now, or was not started.
    pub(super) fn release(&mut self) {
        self.starting -= 1;
    }

    /// How many logins are pending or starting.
    pub(super) fn pending(&self) -> usize {
        self.expiries().count() + self.starting
    }

    /// Drops logins that ended long ago, and all but the newest of the others that have ended.
    pub(super) fn purge(&mut self) {
        let mut ended: Vec<_> = self.entries.values().filter_map(|entry| entry.ended_at).collect();
        ended.sort_unstable_by_key(|at| Reverse(*at));
        let newest_dropped = ended.get(MOST_ENDED).copied();
        let Self { entries, by_state, by_link, .. } = self;
        let total = entries.len();
        entries.retain(|_, entry| {
            entry.ended_at.is_none_or(|at| at.elapsed() < RETENTION && Some(at) > newest_dropped)
        });
        if entries.len() < total {
            by_state.retain(|_, id| entries.contains_key(id));
            by_link.retain(|_, id| entries.contains_key(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use authd_api::{Flow, ProfileName};

    use super::*;

    /// A pending login with this id that starts now.
    fn entry(id: &str) -> Entry {
        let (now, later) = (clock::now(), later(clock::now(), RETENTION));
        let login = LoginSnapshot::new(ProfileName::first(), Flow::Browser, now, later);
        let login = LoginSnapshot { id: id.to_owned(), ..login };
        Entry::new(login, false, None, Instant::now() + RETENTION)
    }

    #[test]
    fn newest_ended_logins_are_kept() {
        let mut logins = PendingLogins::default();
        for number in 0..200 {
            let mut entry = entry(&number.to_string());
            if number % 2 == 0 {
                entry.end(LoginState::Cancelled, None);
            }
            logins.by_state.insert(State::from_returned(&number.to_string()), number.to_string());
            logins.entries.insert(number.to_string(), entry);
            logins.purge();
        }
        let is_kept = |number: &i32| logins.entries.contains_key(&number.to_string());
        assert!(
            (0..200).filter(|number| number % 2 == 1).all(|number| is_kept(&number)),
            "all pending logins"
        );
        let ended: Vec<_> = (0..200).filter(|number| number % 2 == 0).filter(is_kept).collect();
        assert_eq!(ended, (200 - 2 * 64..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(logins.by_state.len(), logins.entries.len());
        let long_ago = Instant::now().checked_sub(RETENTION);
        logins.entries.get_mut("198").unwrap().ended_at = long_ago;
        logins.purge();
        assert!(long_ago.is_none() || !logins.entries.contains_key("198"));
    }
}
