//! One profile is one task. It owns the grant's [`Session`], which holds all rules about the grant,
//! from load to shutdown. The loop receives one event at a time, lets the session apply it,
//! performs the effect that the session returns, and publishes a new snapshot.
//!
//! ```text
//! spawn ─► run ─► step(event) ─► Session::apply ─► perform(effect) ─► publish
//!           ▲                                          │
//!           └── probe, refresh, exchange, save: calls in flight end in an event
//! ```
//!
//! Only `run_exclusive` changes where the record is kept. It runs while no call is in flight.

use std::{collections::VecDeque, panic, sync::Arc};

use authd_api::ProfileName;
use authd_fleet::Fleet;
use authd_oauth::{Effect, Event, IdToken, Record, RefreshToken, Session, SharedRecord};
use authd_store::State;
use jiff::Timestamp;
use tokio::{sync::oneshot, task::JoinSet};
use tracing::{Instrument, error_span};

use super::{
    claim_guard::{FleetAccess, guarded},
    command::{Command, ExclusiveCommand, Mailbox, ProfileReply},
    handle::ProfileHandle,
    log::{log, log_refusal},
    persist,
    routing::RoutingSchedule,
    waiters::Waiters,
};
use crate::{
    clock::{self, SetWatch, Wake},
    deps::BrokerDeps,
    events::ChangeEvent,
    snapshot::ProfileSnapshot,
    store_watch::StoreWatch,
};

/// How a profile starts.
#[derive(Debug)]
pub(crate) enum InitialState {
    /// With the record from the store.
    Loaded(Box<Record>),
    /// With a new sign-in. The reply is sent when it is saved or known not to be.
    SignedIn(Box<Record>, oneshot::Sender<()>),
    /// With the record from the fleet's store.
    Shared(Box<SharedRecord>, Fleet),
    /// With a record that the fleet's store does not have yet: of a new sign-in, or of this node's
    /// store. The reply is sent when it is saved or known not to be.
    SharedSignIn(Box<Record>, Fleet, Option<oneshot::Sender<()>>),
}

pub(super) struct ProfileActor {
    pub(super) name: ProfileName,
    pub(super) deps: Arc<BrokerDeps>,
    pub(super) session: Session,
    /// Set if the record is in the fleet's store. Then the session is a shared one.
    pub(super) fleet: Option<FleetAccess>,
    handle: ProfileHandle,
    mailbox: Mailbox,
    /// The calls in flight.
    pub(super) calls: JoinSet<Event>,
    /// Commands that wait until no call is in flight.
    exclusive: VecDeque<ExclusiveCommand>,
    waiters: Waiters,
    routing: RoutingSchedule,
    set_watch: SetWatch,
}

/// Why the loop ended.
enum ActorExit {
    /// The profile was removed, or the daemon stops and everything is saved.
    Finished,
    /// The profile has another name. The loop continues with a log span of that name.
    Renamed,
}

/// Starts a profile's task. The handle shows the profile when this returns.
pub(crate) fn spawn(
    actors: &mut JoinSet<ProfileName>,
    name: ProfileName,
    (handle, mailbox): (ProfileHandle, Mailbox),
    state: InitialState,
    deps: Arc<BrokerDeps>,
) {
    let (seed, now) = (rand::random(), clock::now());
    let mut waiters = Waiters::default();
    let (session, fleet) = match state {
        InitialState::Loaded(record) => (Session::restored(*record, seed, now), None),
        InitialState::SignedIn(record, saved) => {
            waiters.add(saved);
            (Session::signed_in(*record, seed, now), None)
        }
        InitialState::Shared(stored, fleet) => {
            (Session::restored_shared(*stored, seed, now), Some(FleetAccess::new(fleet)))
        }
        InitialState::SharedSignIn(record, fleet, saved) => {
            if let Some(saved) = saved {
                waiters.add(saved);
            }
            (Session::signed_in_shared(*record, seed, now), Some(FleetAccess::new(fleet)))
        }
    };
    let actor = ProfileActor {
        routing: RoutingSchedule::new(&session, seed, now),
        name,
        deps,
        session,
        fleet,
        handle,
        mailbox,
        calls: JoinSet::new(),
        exclusive: VecDeque::new(),
        waiters,
        set_watch: SetWatch::new(),
    };
    actor.publish();
    actors.spawn(actor.run());
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
        let mut render_context = self.deps.render_context.clone();
        let mut store = self.store_watch();
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
                // The command may have moved the record. A change of the same store is not missed.
                if store.is_of_fleet() != self.fleet.is_some() {
                    store = self.store_watch();
                }
            }
            let next_wakeup = self.next_wakeup();
            let (waits_for_store, settled) = (self.session.waits_for_store(), self.session.is_settled());
            event = tokio::select! {
                Some(ended) = self.calls.join_next() => match ended {
                    Ok(event) => event,
                    // The state after a panic is unknown, so propagate it: the supervisor restarts
                    // the daemon.
                    Err(failure) => panic::resume_unwind(failure.into_panic()),
                },
                Some(event) = self.routing.response() => event,
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
                Some(state) = store.changed(), if waits_for_store => match state {
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
            Command::RequestCredential(span, done) => {
                self.waiters.add_client(done, &self.session, clock::now());
                Event::CredentialRequested(span)
            }
            Command::Refresh(rejected, done) => {
                self.waiters.add(done);
                Event::RefreshRequested(rejected)
            }
            Command::SignIn(grant, grant_id, done) => {
                self.waiters.add(done);
                Event::SignedIn(grant, grant_id)
            }
            Command::AddMissingScopes(grant_id, scopes, done) => {
                self.waiters.add(done);
                Event::ScopesMissing(grant_id, scopes)
            }
            Command::SaveAgain => Event::RecordMayBeLost(None),
            Command::Accepted(generation) => Event::Accepted(generation),
            Command::Annotate(annotation) => Event::Annotated(annotation),
            Command::AwaitSave(done) => {
                self.waiters.add(done);
                Event::Ticked
            }
            Command::StoredElsewhere(stored) => Event::ChangedElsewhere(*stored),
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
            self.routing.shift(by);
            self.apply(Event::ClockSet(by));
        }
        self.deps.refreshes.record_event(&event);
        let now = clock::now();
        match &event {
            Event::SignedIn(..) => self.routing.reset(now),
            Event::Refreshed(_, Ok(_)) => self.routing.renewed(now),
            _ => {}
        }
        self.apply(event);
        self.routing.request_if_due(&self.session, &self.deps.endpoint, now);
        self.publish();
        self.waiters.answer(&self.session, now);
    }

    fn apply(&mut self, event: Event) {
        log(&event);
        let refusal = match &event {
            Event::Refreshed(_, Err(error)) if error.is_permanent() => Some(error.to_string()),
            _ => None,
        };
        let effect = self.session.apply(event, clock::now());
        if let Some(refusal) = refusal {
            log_refusal(&refusal, &self.session);
        }
        self.perform(effect);
    }

    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Wait => {}
            Effect::Probe(ticket) => self.probe(ticket),
            Effect::Refresh(ticket, token) => self.refresh(ticket, token),
            Effect::Exchange(ticket, id_token) => self.exchange(ticket, id_token),
            Effect::Save(ticket, record) => self.save(ticket, *record),
            Effect::Claim(ticket, revision, rejected) => self.claim(ticket, revision, rejected),
            Effect::Write(ticket, record, kind) => self.write(ticket, *record, kind),
        }
    }

    /// Tests whether the network works before a refresh token is spent on it.
    fn probe(&mut self, ticket: u64) {
        let endpoint = self.deps.endpoint.clone();
        let authority = self.session.record().grant.secrets.authority().cloned();
        self.calls.spawn(async move {
            let reached = match authority {
                Some(authority) => endpoint.is_reachable(&authority).await,
                None => endpoint.reachable().await,
            };
            Event::Probed(ticket, reached)
        });
    }

    /// Spends the refresh token. The session has recorded in the store that it is about to be
    /// spent, or has claimed the token.
    fn refresh(&mut self, ticket: u64, token: RefreshToken) {
        let endpoint = self.deps.endpoint.clone();
        let grant = self.session.record().grant.secrets.bearer_grant().cloned();
        let claim = self.held_claim();
        self.calls.spawn(async move {
            let refresh = async {
                match grant {
                    Some(grant) => endpoint.refresh_bearer(&grant, &token).await,
                    None => endpoint.refresh(&token).await,
                }
            };
            Event::Refreshed(ticket, Box::pin(guarded(claim, refresh)).await)
        });
    }

    /// Gets a new API key for the id token.
    fn exchange(&mut self, ticket: u64, id_token: IdToken) {
        let (endpoint, claim) = (self.deps.endpoint.clone(), self.held_claim());
        self.calls.spawn(async move {
            Event::Exchanged(ticket, guarded(claim, endpoint.exchange_api_key(&id_token)).await)
        });
    }

    fn save(&mut self, ticket: u64, record: Record) {
        let (store, name) = (self.deps.store.clone(), self.name.clone());
        self.calls.spawn(async move {
            let saved = persist::save(&store, &name, record).await;
            Event::Saved(ticket, saved.map_err(|error| persist::save_error(&error)))
        });
    }

    /// The state of the store that holds the record.
    fn store_watch(&self) -> StoreWatch {
        match &self.fleet {
            Some(access) => StoreWatch::of_fleet(&access.fleet),
            None => StoreWatch::Local(self.deps.store.watch()),
        }
    }

    /// When the session or the routing has something to do next.
    fn next_wakeup(&self) -> Option<Timestamp> {
        let now = clock::now();
        let routing = self.routing.next_wakeup(&self.session, self.handle.last_used(), now);
        [self.session.next_wakeup(now), routing].into_iter().flatten().min()
    }

    /// Publishes the profile if it has changed.
    fn publish(&self) {
        let render_context = self.deps.render_context.borrow().clone();
        let snapshot = |previous: Option<&_>| {
            let snapshot = ProfileSnapshot::of(&self.name, &self.session, &render_context, previous);
            snapshot.with_routing_failure(self.routing.failure())
        };
        self.handle.set_revision(self.session.version().map_or(0, |version| version.revision));
        if self.handle.publish(snapshot) {
            self.deps.events.publish(ChangeEvent::Profile(self.name.clone()));
        }
    }

    /// Runs a command that changes where the record is kept. The loop continues unless this returns
    /// an exit.
    async fn run_exclusive(&mut self, command: ExclusiveCommand) -> Option<ActorExit> {
        match command {
            ExclusiveCommand::Annotate(annotation, done) => {
                done.send(self.save_annotated(annotation).await).ok();
                None
            }
            ExclusiveCommand::Rename(to, done) => {
                let renamed = self.rename(to).await;
                self.step(Event::Ticked);
                reply(done, renamed, ActorExit::Renamed)
            }
            ExclusiveCommand::Export(request, done) => {
                reply(done, self.export(request).await, ActorExit::Finished)
            }
            ExclusiveCommand::SignOut { revoke, done } => {
                reply(done, self.sign_out(revoke).await, ActorExit::Finished)
            }
            ExclusiveCommand::EndIfDeleted(done) => {
                let ends = self.is_deleted_elsewhere().await;
                let exit = matches!(ends, Ok(true)).then_some(ActorExit::Finished);
                done.send(ends).ok();
                exit
            }
            ExclusiveCommand::MoveToFleet { fleet, keeps_rank, done } => {
                done.send(self.move_to_fleet(fleet, keeps_rank).await).ok();
                None
            }
            ExclusiveCommand::MoveToLocal(done) => {
                done.send(self.move_to_local().await).ok();
                None
            }
        }
    }
}

/// Sends the result to the caller. The actor exits if the command succeeded.
fn reply<E>(done: ProfileReply<E>, result: Result<(), E>, exit: ActorExit) -> Option<ActorExit> {
    let exit = result.is_ok().then_some(exit);
    done.send(result).ok();
    exit
}

#[cfg(test)]
mod tests;
