//! One profile at work: a task receives, applies, performs the effect, publishes. All rules are in
//! [`Session`]; all that others hold is a [`Handle`]. Nearly all the time nothing happens to a profile: then it
//! rests (`rest.rs`), and has no task.

mod at_rest;
mod handle;
mod leaving;
mod reading;
mod rest;
mod routing;
mod told;

use std::{collections::VecDeque, panic, sync::Arc, time::Duration};

use authd_api::ProfileName;
use authd_oauth::{Effect, Endpoint, Event, Grant, Session, Unsaved};
use authd_store::{Store, StoreError};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::{handle::Command, told::log};
pub(crate) use self::{
    handle::{Give, GiveError, Gone, Handle, SignOutError, Undo},
    rest::{Profiles, profiles},
};
use crate::{
    clock::{self, Slept},
    events::{Events, News},
    facts::{Facts, Rendering},
    handover::Handover,
    metrics::Metrics,
};

/// Who has nothing to use meanwhile waits for a try that is at most this far off; beyond that, it is
/// better to be told. It is as long as a request waits by default.
const WORTH_WAITING: Duration = Duration::from_secs(15);

/// What every profile works with.
pub(crate) struct Tools {
    /// The provider.
    pub(crate) endpoint: Endpoint,
    /// Where credentials are kept.
    pub(crate) store: Store,
    /// How credentials become headers; replaced by a reload.
    pub(crate) rendering: watch::Receiver<Arc<Rendering>>,
    /// What the last run left, and what is left to the next.
    pub(crate) handover: Handover,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Who wants to know of changes.
    pub(crate) events: Events,
    /// The end of the daemon: finish what must not be cancelled, begin nothing.
    pub(crate) stopping: CancellationToken,
    /// After that: nobody signs in any more, and who has settled may go.
    pub(crate) closing: CancellationToken,
}

/// How a profile begins.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// With a record in the store.
    Stored,
    /// With a sign-in; the answer comes when it is saved or known not to be.
    SignedIn { grant: Box<Grant>, generation: u64, done: oneshot::Sender<()> },
}

/// A profile: what rests, and what a task is handed and gives back.
struct Profile {
    name: ProfileName,
    handle: Handle,
    session: Session,
    /// When to ask where the workspace's requests go.
    routing_due: Timestamp,
}

impl Profile {
    fn new(name: ProfileName, handle: Handle, session: Session) -> Self {
        let routing_due = routing::due(&session);
        Self { name, handle, session, routing_due }
    }

    /// Tells everybody how it is now, if that is news.
    fn publish(&self, tools: &Tools) {
        let rendering = tools.rendering.borrow().clone();
        if self.handle.publish(|before| Facts::of(&self.name, &self.session, &rendering, before)) {
            tools.events.tell(News::Profile(self.name.clone()));
        }
    }
}

/// How a profile's work ends.
struct Ended {
    /// The profile, to rest; none, if it is over.
    profile: Option<Box<Profile>>,
    /// With what came in the moment when the work ended.
    mailbox: mpsc::Receiver<Box<Command>>,
}

/// A profile at work.
struct Task {
    /// In a place of its own: what a task is handed it has room for twice.
    profile: Box<Profile>,
    tools: Arc<Tools>,
    mailbox: mpsc::Receiver<Box<Command>>,
    calls: JoinSet<Event>,
    waiting: Vec<oneshot::Sender<()>>,
    /// Those whose credential has expired.
    patient: Vec<oneshot::Sender<()>>,
}

impl Task {
    fn new(profile: Box<Profile>, tools: Arc<Tools>, mailbox: mpsc::Receiver<Box<Command>>) -> Self {
        Self { profile, tools, mailbox, calls: JoinSet::new(), waiting: Vec::new(), patient: Vec::new() }
    }

    /// Works from the moment when the session is there: somebody may have signed in, or may want it to end.
    async fn begin(mut self, signed_in: Option<oneshot::Sender<()>>, leaving: Option<Command>) -> Ended {
        self.waiting.extend(signed_in);
        // Seldom wanted, and large: it would be room that every task takes up for it.
        if let Some(command) = leaving
            && Box::pin(self.leave(command)).await
        {
            return Ended { profile: None, mailbox: self.mailbox };
        }
        self.work(Event::Ticked).await
    }

    /// Works from this event until there is nothing to do.
    async fn work(mut self, first: Event) -> Ended {
        let rests = self.live(first).await;
        Ended { profile: rests.then_some(self.profile), mailbox: self.mailbox }
    }

    /// True: the profile may rest. False: it is over.
    async fn live(&mut self, first: Event) -> bool {
        let mut leaving: VecDeque<Command> = VecDeque::new();
        let mut rendering = self.tools.rendering.clone();
        rendering.mark_unchanged();
        let mut stopping = self.tools.stopping.is_cancelled();
        let mut event = if stopping { Event::Stopping } else { first };
        loop {
            self.step(event);
            while self.profile.session.is_settled()
                && let Some(command) = leaving.pop_front()
            {
                // As above.
                if Box::pin(self.leave(command)).await {
                    return false;
                }
            }
            if stopping {
                self.tools.handover.leave(&self.profile.name, &self.profile.session);
            }
            if self.is_idle() && !rendering.has_changed().unwrap_or(false) {
                return true;
            }
            let look = self.profile.next_look();
            event = tokio::select! {
                Some(ended) = self.calls.join_next() => match ended {
                    Ok(event) => event,
                    // What it did is not known: whoever hears of it sees to it that the daemon starts anew.
                    Err(failure) => panic::resume_unwind(failure.into_panic()),
                },
                command = self.mailbox.recv() => match command.map(|command| *command) {
                    None => return false,
                    Some(command @ (Command::Rename(..) | Command::GiveAway(..) | Command::SignOut { .. })) => {
                        leaving.push_back(command);
                        Event::Ticked
                    }
                    Some(command) => self.heard(command),
                },
                slept = clock::sleep_until(look) => match slept {
                    Slept::Through => Event::Used(self.profile.handle.last_used()),
                    Slept::Woke => Event::Woke,
                },
                Ok(()) = rendering.changed() => Event::Ticked,
                () = self.tools.stopping.cancelled(), if !stopping => {
                    stopping = true;
                    Event::Stopping
                }
                () = self.tools.closing.cancelled(), if stopping && self.profile.session.is_settled() => return true,
            };
        }
    }

    /// Whether nothing is under way, and nobody waits: what is due later needs no task until then.
    fn is_idle(&self) -> bool {
        self.profile.session.is_settled()
            && self.calls.is_empty()
            && self.mailbox.is_empty()
            && self.waiting.is_empty()
            && self.patient.is_empty()
    }

    fn heard(&mut self, command: Command) -> Event {
        match command {
            Command::Remind => Event::Used(self.profile.handle.last_used()),
            Command::Read(done) => {
                answered(done);
                Event::Used(self.profile.handle.last_used())
            }
            Command::Want(span, done) => {
                let expires = self.profile.session.credential().expires_at;
                let ended = expires.is_some_and(|expires| expires <= clock::now());
                if ended { &mut self.patient } else { &mut self.waiting }.push(done);
                Event::Wanted(span)
            }
            Command::Refresh(rejected, done) => {
                self.waiting.push(done);
                Event::RefreshAsked(rejected)
            }
            Command::SignIn(grant, done) => {
                self.waiting.push(done);
                Event::SignedIn(grant)
            }
            Command::Rename(..) | Command::GiveAway(..) | Command::SignOut { .. } => Event::Ticked,
        }
    }

    /// Applies one event, begins what follows from it, and tells everybody.
    fn step(&mut self, event: Event) {
        log(&event);
        self.tools.metrics.happened(&event);
        let now = clock::now();
        if matches!(event, Event::SignedIn(_)) {
            self.profile.routing_due = now;
        }
        let effect = self.profile.session.apply(event, now);
        self.perform(effect);
        self.ask_for_routing(now);
        self.profile.publish(&self.tools);
        let session = &self.profile.session;
        if !session.is_pending(now) {
            self.waiting.drain(..).for_each(answered);
        }
        let expired = session.credential().lasts(now).is_zero();
        if !expired || !session.is_pending_within(now, WORTH_WAITING) {
            self.patient.drain(..).for_each(answered);
        }
        // Those whose own patience has ended are not counted on.
        self.patient.retain(|done| !done.is_closed());
    }

    fn perform(&mut self, effect: Effect) {
        let (endpoint, store) = (self.tools.endpoint.clone(), self.tools.store.clone());
        match effect {
            Effect::Rest => {}
            Effect::Probe(ticket) => {
                self.calls.spawn(async move { Event::Probed(ticket, endpoint.reachable().await) });
            }
            Effect::Save(ticket, record) => {
                let name = self.profile.name.clone();
                self.calls.spawn(async move {
                    let saved = at_rest::save(&store, &name, *record).await;
                    Event::Saved(
                        ticket,
                        saved.map_err(|error| Unsaved {
                            locked: matches!(error, StoreError::Locked { .. }),
                            complaint: error.to_string(),
                        }),
                    )
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
}

/// Tells a caller that it is settled; one that has gone away misses nothing.
fn answered(done: oneshot::Sender<()>) {
    done.send(()).ok();
}
