//! The logins that are known: which is pending, which is being redeemed, and how each ended. Every change of
//! a login's state is decided here, under one lock.

use std::{cmp::Reverse, collections::HashMap, time::Duration};

use authd_api::{Login, LoginState, Problem};
use authd_oauth::{Attempt, State, schedule::later};
use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};

use crate::{callback::Link, clock};

/// How long the end of a login can be asked for.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// How many logins that have ended can be asked for.
const MOST_REMEMBERED: usize = 64;

#[derive(Default)]
pub(super) struct Registry {
    pub(super) logins: HashMap<String, Entry>,
    pub(super) by_state: HashMap<State, String>,
    /// The tokens of links that lead to a login's authorize URL.
    by_link: HashMap<String, String>,
    entered: u64,
    /// Logins that are being started, and are not in `logins` yet.
    starting: usize,
}

/// When a login began, compared with the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age(u64);

pub(super) struct Entry {
    pub(super) age: Age,
    pub(super) login: watch::Sender<Login>,
    pub(super) replace: bool,
    /// Until somebody brings the code.
    pub(super) attempt: Option<Attempt>,
    /// When the login expires. The wall clock may be set meanwhile, and does not count.
    pub(super) deadline: Instant,
    /// Whether the link to its authorize URL was used.
    link_used: bool,
    /// When it ended.
    ended_at: Option<Instant>,
}

impl Entry {
    pub(super) fn new(login: Login, replace: bool, attempt: Option<Attempt>, deadline: Instant) -> Self {
        Self {
            age: Age::default(),
            login: watch::Sender::new(login),
            replace,
            attempt,
            deadline,
            link_used: false,
            ended_at: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.login.borrow().state.is_final()
    }

    /// Whether the time for this login is up.
    pub(super) fn is_overdue(&self) -> bool {
        self.deadline <= Instant::now()
    }

    /// Goes over to redeeming, if the login is still pending: from then on nobody can call it off.
    pub(super) fn claim(&self) -> bool {
        self.login.send_if_modified(|login| {
            let pending = login.state == LoginState::Pending;
            if pending {
                login.state = LoginState::Exchanging;
            }
            pending
        })
    }

    pub(super) fn end(&mut self, state: LoginState, error: Option<Problem>) {
        self.ended_at = Some(Instant::now());
        self.login.send_modify(|login| {
            login.state = state;
            login.error = error;
        });
    }
}

impl Registry {
    /// When each login that is pending ends by itself.
    pub(super) fn ends(&self) -> impl Iterator<Item = Timestamp> {
        let now = clock::now();
        let pending = self.logins.values().filter(|entry| !entry.is_over());
        pending.map(move |entry| later(now, entry.deadline.saturating_duration_since(Instant::now())))
    }

    /// Enters a login, and what finds it.
    pub(super) fn enter(&mut self, mut entry: Entry, state: Option<State>) {
        self.entered += 1;
        entry.age = Age(self.entered);
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
        self.logins.insert(id, entry);
    }

    /// The first login that began after this one.
    pub(super) fn next_after(&self, age: Option<Age>) -> Option<&Entry> {
        let later = self.logins.values().filter(|entry| Some(entry.age) > age);
        later.min_by_key(|entry| entry.age)
    }

    /// Uses the link with this token. It leads to the login's authorize URL once, while the login is pending.
    pub(super) fn follow(&mut self, token: &str) -> Link {
        let Some(entry) = self.by_link.get(token).and_then(|id| self.logins.get_mut(id)) else {
            return Link::Unknown;
        };
        if entry.link_used {
            return Link::Used;
        }
        let login = entry.login.borrow();
        match &login.authorize_url {
            Some(url) if login.state == LoginState::Pending && !entry.is_overdue() => {
                entry.link_used = true;
                Link::To(url.clone())
            }
            _ => Link::Unknown,
        }
    }

    /// Takes the place of a login that is being started, if fewer than this many are pending.
    pub(super) fn reserve(&mut self, most: usize) -> bool {
        let free = self.pending() < most;
        self.starting += usize::from(free);
        free
    }

    /// Gives that place back: the login is in `logins` now, or was not started.
    pub(super) fn release(&mut self) {
        self.starting -= 1;
    }

    /// How many logins are pending, or are being started.
    pub(super) fn pending(&self) -> usize {
        self.ends().count() + self.starting
    }

    /// Forgets logins that ended long ago, and of the others that have ended, all but the newest.
    pub(super) fn purge(&mut self) {
        let mut ended: Vec<_> = self.logins.values().filter_map(|entry| entry.ended_at).collect();
        ended.sort_unstable_by_key(|at| Reverse(*at));
        let newest_to_forget = ended.get(MOST_REMEMBERED).copied();
        let Self { logins, by_state, by_link, .. } = self;
        let known = logins.len();
        logins.retain(|_, entry| {
            entry.ended_at.is_none_or(|at| at.elapsed() < REMEMBERED && Some(at) > newest_to_forget)
        });
        if logins.len() < known {
            by_state.retain(|_, id| logins.contains_key(id));
            by_link.retain(|_, id| logins.contains_key(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A login with this id, which began now.
    fn entry(id: &str) -> Entry {
        let login = serde_json::json!({
            "id": id, "profile": "default", "flow": "browser", "state": "pending",
            "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T00:10:00Z",
            "error": null, "result": null,
        });
        Entry::new(serde_json::from_value(login).unwrap(), false, None, Instant::now() + REMEMBERED)
    }

    #[test]
    fn of_logins_that_have_ended_the_newest_are_remembered() {
        let mut registry = Registry::default();
        for number in 0..200 {
            let mut entry = entry(&number.to_string());
            if number % 2 == 0 {
                entry.end(LoginState::Cancelled, None);
            }
            registry.by_state.insert(State::from_returned(&number.to_string()), number.to_string());
            registry.logins.insert(number.to_string(), entry);
            registry.purge();
        }
        let remembered = |number: &i32| registry.logins.contains_key(&number.to_string());
        assert!(
            (0..200).filter(|number| number % 2 == 1).all(|number| remembered(&number)),
            "all that are pending"
        );
        let ended: Vec<_> = (0..200).filter(|number| number % 2 == 0).filter(remembered).collect();
        assert_eq!(ended, (200 - 2 * 64..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(registry.by_state.len(), registry.logins.len());
        let long_ago = Instant::now().checked_sub(REMEMBERED);
        registry.logins.get_mut("198").unwrap().ended_at = long_ago;
        registry.purge();
        assert!(long_ago.is_none() || !registry.logins.contains_key("198"));
    }
}
