//! The actor of one profile: it owns the grant's [`Session`] from its load to its end, performs the effects that the
//! session asks for, and publishes what clients see. It receives an event, applies it, performs the effect, publishes.

use std::{collections::VecDeque, panic, sync::Arc, time::Duration};

use authd_api::ProfileName;
use authd_oauth::{Effect, Event, Record, Session};
use authd_store::State;
use jiff::Timestamp;
use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinSet},
};
use tracing::{Instrument, error_span};

use super::{
    ProfileDeps, ProfileHandle,
    command::{Command, Exclusive, Mailbox},
    log::log,
    persist, relocate, routing,
};
use crate::{
    clock::{self, SetWatch, Wake},
    events::News,
    facts::Facts,
};

/// Longest time a request with an expired credential waits for the next refresh attempt. If the attempt is further
/// away, the request fails at once. It is as long as a request waits by default.
const WORTH_WAITING: Duration = Duration::from_secs(15);

/// How a profile begins.
#[derive(Debug)]
pub(crate) enum InitialState {
    /// With its record at rest.
    Loaded(Box<Record>),
    /// With a sign-in; the reply comes when it is saved or known not to be.
    SignedIn(Box<Record>, oneshot::Sender<()>),
}

/// One profile.
pub(super) struct ProfileActor {
    pub(super) name: ProfileName,
    pub(super) deps: Arc<ProfileDeps>,
    pub(super) session: Session,
    pub(super) handle: ProfileHandle,
    /// When to ask the provider where the workspace's requests go.
    pub(super) routing_due: Timestamp,
    /// The calls in flight, the session's and the one about the workspace.
    pub(super) calls: JoinSet<Event>,
    mailbox: Mailbox,
    /// Commands that wait until no call is in flight.
    exclusive: VecDeque<Exclusive>,
    waiters: Vec<oneshot::Sender<()>>,
    /// The waiters whose credential has expired.
    expired_waiters: Vec<oneshot::Sender<()>>,
    set_watch: SetWatch,
}

/// Starts a profile's actor in `actors`. The handle shows the profile when this returns.
pub(crate) fn spawn(
    actors: &mut JoinSet<ProfileName>,
    name: ProfileName,
    handle: ProfileHandle,
    mailbox: Mailbox,
    state: InitialState,
    deps: Arc<ProfileDeps>,
) -> AbortHandle {
    let (seed, now) = (rand::random(), clock::now());
    let (session, waiters) = match state {
        InitialState::Loaded(record) => (Session::restored(*record, seed, now), Vec::new()),
        InitialState::SignedIn(record, saved) => (Session::signed_in(*record, seed, now), vec![saved]),
    };
    let actor = ProfileActor {
        routing_due: routing::due(&session),
        name,
        deps,
        session,
        handle,
        calls: JoinSet::new(),
        mailbox,
        exclusive: VecDeque::new(),
        waiters,
        expired_waiters: Vec::new(),
        set_watch: SetWatch::new(),
    };
    actor.publish();
    actors.spawn(actor.live())
}

/// Why an actor's loop ended.
pub(super) enum Ended {
    /// The profile is gone, or everything is saved and the daemon stops.
    Over,
    /// The profile has another name now, which the log lines have to show.
    Renamed,
}

impl ProfileActor {
    /// Lives until the profile is gone, or the daemon stops and everything is saved. Returns the last name.
    async fn live(mut self) -> ProfileName {
        loop {
            let span = error_span!("profile", profile = %self.name);
            match self.run().instrument(span).await {
                Ended::Renamed => {}
                Ended::Over => return self.name,
            }
        }
    }

    async fn run(&mut self) -> Ended {
        let (mut rendering, mut store) = (self.deps.rendering.clone(), self.deps.store.watch());
        let (stop, closing) = (self.deps.stopping.clone(), self.deps.closing.clone());
        let handle = self.handle.clone();
        let mut stopping = stop.is_cancelled();
        let mut event = if stopping { Event::Stopping } else { Event::Ticked };
        loop {
            self.step(event);
            while self.session.is_idle()
                && let Some(command) = self.exclusive.pop_front()
            {
                // Seldom needed, and large: boxed, so that it takes no room in every actor.
                if let Some(ended) = Box::pin(self.run_exclusive(command)).await {
                    return ended;
                }
            }
            let next_wakeup = self.next_wakeup();
            let (waits_for_store, settled) = (self.session.waits_for_store(), self.session.is_settled());
            event = tokio::select! {
                Some(ended) = self.calls.join_next() => match ended {
                    Ok(event) => event,
                    // The state after a panic is unknown, so propagate it: the supervisor restarts the daemon.
                    Err(failure) => panic::resume_unwind(failure.into_panic()),
                },
                command = self.mailbox.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => return Ended::Over,
                },
                () = handle.reminded() => Event::Used(handle.last_used()),
                wake = clock::sleep_until(next_wakeup) => match wake {
                    Wake::Deadline => Event::Used(handle.last_used()),
                    Wake::ClockJump => Event::Woke,
                },
                Ok(()) = rendering.changed() => Event::Ticked,
                // The store works again for some record, so perhaps for this one.
                Ok(()) = store.changed(), if waits_for_store => match store.borrow_and_update().state {
                    State::Ready => Event::StoreReady,
                    State::Locked | State::Unavailable => Event::Ticked,
                },
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    Event::Stopping
                }
                () = closing.cancelled(), if stopping && settled => return Ended::Over,
            };
        }
    }

    fn handle_command(&mut self, command: Command) -> Event {
        match command {
            Command::Want(span, done) => {
                let expires = self.session.credential().expires_at;
                let over = expires.is_some_and(|expires| expires <= clock::now());
                if over { &mut self.expired_waiters } else { &mut self.waiters }.push(done);
                Event::Wanted(span)
            }
            Command::Refresh(rejected, done) => {
                self.waiters.push(done);
                Event::RefreshAsked(rejected)
            }
            Command::SignIn(grant, grant_id, done) => {
                self.waiters.push(done);
                Event::SignedIn(grant, grant_id)
            }
            Command::SaveAgain => Event::Unkept(None),
            Command::Accepted(generation) => Event::Accepted(generation),
            Command::Note(annotation) => Event::Annotated(annotation),
            Command::Exclusive(command) => {
                self.exclusive.push_back(command);
                Event::Ticked
            }
        }
    }

    /// Applies one event, begins what follows from it, publishes, and answers the waiters.
    pub(super) fn step(&mut self, event: Event) {
        if let Some(by) = self.set_watch.set_by() {
            self.handle.used(clock::now());
            self.routing_due = self.routing_due.saturating_add(by).unwrap_or(self.routing_due);
            self.apply(Event::ClockSet(by));
        }
        self.deps.metrics.happened(&event);
        let now = clock::now();
        if matches!(event, Event::SignedIn(..)) {
            self.routing_due = now;
        }
        self.apply(event);
        self.ask_for_routing(now);
        self.publish();
        if !self.session.is_pending(now) {
            self.waiters.drain(..).for_each(answer);
        }
        let expired = self.session.credential().lasts(now).is_zero();
        if !expired || !self.session.is_pending_within(now, WORTH_WAITING) {
            self.expired_waiters.drain(..).for_each(answer);
        }
        self.expired_waiters.retain(|done| !done.is_closed());
    }

    fn apply(&mut self, event: Event) {
        log(&event);
        let effect = self.session.apply(event, clock::now());
        self.perform(effect);
    }

    pub(super) fn perform(&mut self, effect: Effect) {
        let (endpoint, store) = (self.deps.endpoint.clone(), self.deps.store.clone());
        match effect {
            Effect::Rest => {}
            Effect::Probe(ticket) => {
                self.calls.spawn(async move { Event::Probed(ticket, endpoint.reachable().await) });
            }
            Effect::Save(ticket, record) => {
                let name = self.name.clone();
                self.calls.spawn(async move {
                    let saved = persist::save(&store, &name, *record).await;
                    Event::Saved(ticket, saved.map_err(|error| relocate::unsaved(&error)))
                });
            }
            Effect::Refresh(ticket, token) => {
                self.calls.spawn(async move { Event::Refreshed(ticket, endpoint.refresh(&token).await) });
            }
            Effect::Exchange(ticket, id_token) => {
                self.calls.spawn(async move {
                    Event::Exchanged(ticket, endpoint.exchange_api_key(&id_token).await)
                });
            }
        }
    }

    /// Publishes the profile as it is now, if that is news.
    fn publish(&self) {
        let rendering = self.deps.rendering.borrow().clone();
        if self.handle.publish(|before| Facts::of(&self.name, &self.session, &rendering, before)) {
            self.deps.events.tell(News::Profile(self.name.clone()));
        }
    }
}

/// Answers a waiter; one that has gone away misses nothing.
fn answer(done: oneshot::Sender<()>) {
    done.send(()).ok();
}

#[cfg(test)]
mod tests;
