//! The logins that are known: which is pending, which is being redeemed, and how each ended. Every change of
//! a login's state is decided here, under one lock.

use std::{collections::HashMap, time::Duration};

use authd_api::{Login, LoginState, Problem};
use authd_oauth::{Attempt, State};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock;

/// How long the end of a login can be asked for.
const REMEMBERED: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(super) struct Registry {
    pub(super) logins: HashMap<String, Entry>,
    pub(super) by_state: HashMap<State, String>,
}

pub(super) struct Entry {
    pub(super) login: watch::Sender<Login>,
    pub(super) replace: bool,
    /// Until somebody brings the code.
    pub(super) attempt: Option<Attempt>,
    /// When to forget it, once it is over.
    forget_at: Option<Timestamp>,
}

impl Entry {
    pub(super) fn new(login: Login, replace: bool, attempt: Option<Attempt>) -> Self {
        Self { login: watch::Sender::new(login), replace, attempt, forget_at: None }
    }

    pub(super) fn is_over(&self) -> bool {
        self.login.borrow().state.is_final()
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
        self.forget_at = Some(authd_oauth::schedule::later(clock::now(), REMEMBERED));
        self.login.send_modify(|login| {
            login.state = state;
            login.error = error;
        });
    }
}

impl Registry {
    /// When each login that is pending ends by itself.
    pub(super) fn ends(&self) -> impl Iterator<Item = Timestamp> {
        let logins = self.logins.values().map(|entry| entry.login.borrow());
        logins.filter(|login| !login.state.is_final()).map(|login| login.expires_at)
    }

    pub(super) fn purge(&mut self, now: Timestamp) {
        self.logins.retain(|_, entry| entry.forget_at.is_none_or(|at| at > now));
        let Self { logins, by_state } = self;
        by_state.retain(|_, id| logins.contains_key(id));
    }
}
