//! One profile is one task. It owns the grant's [`Session`], which holds all rules about the grant, from
//! load to shutdown. The loop receives one event at a time, lets the session apply it, performs the
//! effect that the session returns, and publishes a new snapshot.
//!
//! ```text
//! spawn ─► run ─► step(event) ─► Session::apply ─► perform(effect) ─► publish
//!           ▲                                          │
//!           └── refresh, save, exchange, probe: calls in flight end in an event
//! ```
//!
//! Only `run_exclusive` changes where the record is kept. It runs while no call is in flight.

use std::{collections::VecDeque, panic, sync::Arc, time::Duration};

use authd_api::ProfileName;
use authd_oauth::{Bearer, Effect, Event, IdToken, Record, RefreshToken, Session, schedule::later};
use authd_store::State;
use jiff::Timestamp;
use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinSet},
};
use tracing::{Instrument, error_span};

use super::{
    command::{Command, ExclusiveCommand, Mailbox},
    deps::ProfileDeps,
    handle::ProfileHandle,
    log::log,
    persist, routing,
};
use crate::{
    clock::{self, SetWatch, Wake},
    events::ChangeEvent,
    snapshot::ProfileSnapshot,
};

/// Longest time a request with an expired credential waits for the next refresh attempt. If the attempt
/// is further away, the request fails at once. The default of `[refresh] wait` is the same.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// How a profile starts.
#[derive(Debug)]
pub(crate) enum InitialState {
    /// With the record from the store.
    Loaded(Box<Record>),
    /// With a new sign-in. The reply is sent when it is saved or known not to be.
    SignedIn(Box<Record>, oneshot::Sender<()>),
}

/// Why the loop ended.
pub(super) enum ActorExit {
    /// The profile was removed, or the daemon stops and everything is saved.
    Finished,
    /// The profile has another name. The loop continues with a log span of that name.
    Renamed,
}

pub(super) struct ProfileActor {
    pub(super) name: ProfileName,
    pub(super) deps: Arc<ProfileDeps>,
    pub(super) session: Session,
    handle: ProfileHandle,
    mailbox: Mailbox,
    /// The calls in flight.
    calls: JoinSet<Event>,
    /// Commands that wait until no call is in flight.
    exclusive: VecDeque<ExclusiveCommand>,
    waiters: Vec<oneshot::Sender<()>>,
    /// The waiters whose credential has expired.
    expired_waiters: Vec<oneshot::Sender<()>>,
    /// Time of the next request for the workspace's routing.
    routing_due: Timestamp,
    set_watch: SetWatch,
}

/// Starts a profile's task. The handle shows the profile when this returns.
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
        routing_due: routing::due(&session, now),
        name,
        deps,
        session,
        handle,
        mailbox,
        calls: JoinSet::new(),
        exclusive: VecDeque::new(),
        waiters,
        expired_waiters: Vec::new(),
        set_watch: SetWatch::new(),
    };
    actor.publish();
    actors.spawn(actor.run())
}

impl ProfileActor {
    /// Runs until the profile is removed or the daemon stops. Returns the last name.
    async fn run(mut self) -> ProfileName {
        loop {
            let span = error_span!("profile", profile = %self.name);
            match self.run_as_named().instrument(span).await {
                ActorExit::Renamed => {}
                ActorExit::Finished => return self.name,
            }
        }
    }

    async fn run_as_named(&mut self) -> ActorExit {
        let (mut render_context, mut store) = (self.deps.render_context.clone(), self.deps.store.watch());
        let (stop, closing) = (self.deps.stopping.clone(), self.deps.closing.clone());
        let handle = self.handle.clone();
        let mut stopping = stop.is_cancelled();
        let mut event = if stopping { Event::Stopping } else { Event::Ticked };
        loop {
            self.step(event);
            while self.session.is_idle()
                && let Some(command) = self.exclusive.pop_front()
            {
                // Boxed because it is rare and large: it takes no room in the idle actors.
                if let Some(exit) = Box::pin(self.run_exclusive(command)).await {
                    return exit;
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
                    None => return ActorExit::Finished,
                },
                () = handle.reminded() => Event::Used(handle.last_used()),
                wake = clock::sleep_until(next_wakeup) => match wake {
                    Wake::Deadline => Event::Used(handle.last_used()),
                    Wake::ClockJump => Event::Resumed,
                },
                Ok(()) = render_context.changed() => Event::Ticked,
                // The store works again for some record, so perhaps for this one.
                Ok(()) = store.changed(), if waits_for_store => match store.borrow_and_update().state {
                    State::Ready => Event::StoreReady,
                    State::Locked | State::Unavailable => Event::Ticked,
                },
                // Shutdown, first part: save what is not saved, start nothing else.
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    Event::Stopping
                }
                // Shutdown, second part: no sign-in can arrive any more.
                () = closing.cancelled(), if stopping && settled => return ActorExit::Finished,
            };
        }
    }

    fn handle_command(&mut self, command: Command) -> Event {
        match command {
            Command::Want(span, done) => {
                let expired = self.session.credential().remaining(clock::now()).is_zero();
                if expired { &mut self.expired_waiters } else { &mut self.waiters }.push(done);
                Event::CredentialRequested(span)
            }
            Command::Refresh(rejected, done) => {
                self.waiters.push(done);
                Event::RefreshRequested(rejected)
            }
            Command::SignIn(grant, grant_id, done) => {
                self.waiters.push(done);
                Event::SignedIn(grant, grant_id)
            }
            Command::SaveAgain => Event::RecordMayBeLost(None),
            Command::Accepted(generation) => Event::Accepted(generation),
            Command::Annotate(annotation) => Event::Annotated(annotation),
            Command::Exclusive(command) => {
                self.exclusive.push_back(command);
                Event::Ticked
            }
        }
    }

    /// Applies one event, performs its effect, publishes, and answers the waiters.
    pub(super) fn step(&mut self, event: Event) {
        if let Some(by) = self.set_watch.set_by() {
            self.handle.record_use(clock::now());
            self.routing_due = self.routing_due.saturating_add(by).unwrap_or(self.routing_due);
            self.apply(Event::ClockSet(by));
        }
        self.deps.refreshes.record_event(&event);
        let now = clock::now();
        if matches!(event, Event::SignedIn(..)) {
            self.routing_due = now;
        }
        self.apply(event);
        self.request_routing(now);
        self.publish();
        if !self.session.is_pending(now) {
            self.waiters.drain(..).for_each(answer);
        }
        let expired = self.session.credential().remaining(now).is_zero();
        if !expired || !self.session.is_pending_within(now, LONGEST_WAIT) {
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
        match effect {
            Effect::Wait => {}
            Effect::Probe(ticket) => self.probe(ticket),
            Effect::Refresh(ticket, token) => self.refresh(ticket, token),
            Effect::Exchange(ticket, id_token) => self.exchange(ticket, id_token),
            Effect::Save(ticket, record) => self.save(ticket, *record),
        }
    }

    fn probe(&mut self, ticket: u64) {
        let endpoint = self.deps.endpoint.clone();
        self.calls.spawn(async move { Event::Probed(ticket, endpoint.reachable().await) });
    }

    /// Spends the refresh token. The session has recorded in the store that it is about to be spent.
    fn refresh(&mut self, ticket: u64, token: RefreshToken) {
        let endpoint = self.deps.endpoint.clone();
        self.calls.spawn(async move { Event::Refreshed(ticket, endpoint.refresh(&token).await) });
    }

    fn exchange(&mut self, ticket: u64, id_token: IdToken) {
        let endpoint = self.deps.endpoint.clone();
        self.calls.spawn(async move { Event::Exchanged(ticket, endpoint.exchange_api_key(&id_token).await) });
    }

    fn save(&mut self, ticket: u64, record: Record) {
        let (store, name) = (self.deps.store.clone(), self.name.clone());
        self.calls.spawn(async move {
            let saved = persist::save(&store, &name, record).await;
            Event::Saved(ticket, saved.map_err(|error| persist::save_error(&error)))
        });
    }

    /// Asks where the workspace's requests go: after a sign-in and daily, while the profile is in use. A
    /// failure changes nothing.
    fn request_routing(&mut self, now: Timestamp) {
        let Bearer::Access(token) = &self.session.credential().bearer else { return };
        let Some(account) = self.session.record().grant.identity.account_id.clone() else { return };
        if now < self.routing_due || !routing::is_routable(&self.session, now) {
            return;
        }
        self.routing_due = later(now, routing::INTERVAL);
        self.calls.spawn(routing::request(self.deps.endpoint.clone(), token.clone(), account));
    }

    /// When the session or the routing has something to do next.
    fn next_wakeup(&self) -> Option<Timestamp> {
        let now = clock::now();
        let routing = routing::next(&self.session, self.handle.last_used(), self.routing_due, now);
        [self.session.next_wakeup(now), routing].into_iter().flatten().min()
    }

    /// Runs a command that changes where the record is kept. The loop continues unless this returns an exit.
    async fn run_exclusive(&mut self, command: ExclusiveCommand) -> Option<ActorExit> {
        match command {
            ExclusiveCommand::Annotate(annotation, done) => {
                done.send(self.save_annotated(annotation).await).ok();
                None
            }
            ExclusiveCommand::Rename(to, done) => {
                let renamed = self.rename(to).await;
                self.step(Event::Ticked);
                let exit = renamed.is_ok().then_some(ActorExit::Renamed);
                done.send(renamed).ok();
                exit
            }
            ExclusiveCommand::Export(request, done) => {
                let exported = self.export(request).await;
                let exit = exported.is_ok().then_some(ActorExit::Finished);
                done.send(exported).ok();
                exit
            }
            ExclusiveCommand::SignOut { revoke, done } => {
                let signed_out = self.sign_out(revoke).await;
                let exit = signed_out.is_ok().then_some(ActorExit::Finished);
                done.send(signed_out).ok();
                exit
            }
        }
    }

    /// Publishes the profile if it has changed.
    fn publish(&self) {
        let render_context = self.deps.render_context.borrow().clone();
        let snapshot =
            |before: Option<&_>| ProfileSnapshot::of(&self.name, &self.session, &render_context, before);
        if self.handle.publish(snapshot) {
            self.deps.events.publish(ChangeEvent::Profile(self.name.clone()));
        }
    }
}

/// Answers a waiter, which may have gone.
fn answer(done: oneshot::Sender<()>) {
    done.send(()).ok();
}

#[cfg(test)]
mod tests;
