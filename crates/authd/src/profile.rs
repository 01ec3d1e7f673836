//! The task that owns one profile's session: receive, apply, perform the effect, publish. All rules are
//! in [`Session`]; all a caller gets is a [`Handle`].

mod handle;
mod leaving;
mod routing;
mod told;

use std::{
    collections::VecDeque,
    panic,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use authd_api::ProfileName;
use authd_oauth::{Effect, Endpoint, Event, Grant, Record, Session, Unsaved};
use authd_store::{Key, Store, StoreError};
use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, instrument};

pub(crate) use self::handle::{Give, GiveError, Gone, Handle, SignOutError, Undo};
use self::{handle::Command, leaving::label, told::log};
use crate::{
    clock::{self, Slept},
    events::{Events, News},
    facts::{Facts, Rendering, View},
    handover::{Handover, Left},
    metrics::Metrics,
};

/// Commands waiting for one profile: a herd of a thousand fits, and a caller beyond that waits its turn.
const MAILBOX: usize = 1024;

/// How long to wait before a record is read again that the store did not give.
const RELOAD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Who has nothing to use meanwhile waits for a try that is at most this far off; beyond that, it is
/// better to be told. It is as long as a request waits by default.
const WORTH_WAITING: Duration = Duration::from_secs(15);

/// What every profile's task works with.
pub(crate) struct Tools {
    /// The provider.
    pub(crate) endpoint: Endpoint,
    /// Where credentials are kept.
    pub(crate) store: Store,
    /// How credentials become headers; replaced by a reload.
    pub(crate) rendering: watch::Receiver<Arc<Rendering>>,
    /// One record is read ahead of need at a time, so that those in need come first.
    pub(crate) reading: Arc<Semaphore>,
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

/// How a profile's task begins.
pub(crate) enum Beginning {
    /// With a record in the store.
    Stored,
    /// With a sign-in; the answer comes when it is saved or known not to be.
    SignedIn { grant: Box<Grant>, generation: u64, done: oneshot::Sender<()> },
}

/// A profile's handle, and its task's future.
pub(crate) fn profile(
    name: ProfileName,
    beginning: Beginning,
    tools: Arc<Tools>,
) -> (Handle, impl Future<Output = ()> + Send) {
    let (commands, mailbox) = mpsc::channel(MAILBOX);
    let (view, seen) = watch::channel(View::Unread);
    let used_at = Arc::new(AtomicI64::new(clock::now().as_second()));
    let handle = Handle::new(commands, seen, used_at.clone());
    let task = Task {
        name,
        tools,
        mailbox,
        view,
        used_at,
        calls: JoinSet::new(),
        waiting: Vec::new(),
        patient: Vec::new(),
        routing_due: clock::now(),
    };
    (handle, task.run(beginning))
}

struct Task {
    name: ProfileName,
    tools: Arc<Tools>,
    /// Room for thirty-two is made at once, so it is for what is as small as can be.
    mailbox: mpsc::Receiver<Box<Command>>,
    view: watch::Sender<View>,
    used_at: Arc<AtomicI64>,
    calls: JoinSet<Event>,
    waiting: Vec<oneshot::Sender<()>>,
    /// When to ask where the workspace's requests go.
    routing_due: Timestamp,
    /// Those whose credential has expired.
    patient: Vec<oneshot::Sender<()>>,
}

impl Task {
    #[instrument(name = "profile", skip_all, fields(profile = %self.name))]
    async fn run(mut self, beginning: Beginning) {
        let seed = rand::random();
        let session = match beginning {
            Beginning::SignedIn { grant, generation, done } => {
                self.waiting.push(done);
                Some(Session::signed_in(*grant, generation, seed, clock::now()))
            }
            Beginning::Stored => match self.tools.handover.claim(&self.name) {
                Some(Left { record, durable }) => {
                    Some(Session::handed_over(record, durable, seed, clock::now()))
                }
                // Wanted once: what it takes is given back.
                None => Box::pin(self.read(seed)).await,
            },
        };
        // In a place of its own: what a task is handed it has room for twice.
        if let Some(mut session) = session.map(Box::new) {
            self.live(&mut session).await;
        }
    }

    /// Reads the record, and while the store does not give it, tries again. None: there is nothing to
    /// live for any more.
    async fn read(&mut self, seed: u64) -> Option<Session> {
        let reading = self.tools.reading.clone();
        let mut turn = Some(tokio::select! {
            turn = reading.acquire() => turn.ok(),
            command = self.mailbox.recv() => {
                if let Some(session) = self.before_reading(*command?, seed).await { return session; }
                None
            }
            () = self.tools.closing.cancelled() => return None,
        });
        let mut pause = RELOAD.0;
        loop {
            match self.load(seed).await {
                Ok(session) => return Some(session),
                Err(view) => self.show(view),
            }
            turn.take();
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RELOAD.1),
                command = self.mailbox.recv() => {
                    if let Some(session) = self.before_reading(*command?, seed).await { return session; }
                }
                () = self.tools.closing.cancelled() => return None,
            }
        }
    }

    /// A command that arrives before the record: the outer option says whether reading is over.
    async fn before_reading(&mut self, command: Command, seed: u64) -> Option<Option<Session>> {
        match command {
            Command::Read | Command::Nudge => None,
            Command::Want(_, done) | Command::Refresh(_, done) => {
                // The view says why there is nothing.
                answered(done);
                None
            }
            Command::SignIn(grant, done) => {
                self.waiting.push(done);
                // The record that could not be read may have had any generation; a time is above all.
                let generation = u64::try_from(clock::now().as_second()).unwrap_or(1);
                Some(Some(Session::signed_in(*grant, generation, seed, clock::now())))
            }
            Command::Rename(name, done) => {
                drop(done.send(self.rename(name, None).await));
                None
            }
            Command::GiveAway(_, done) => {
                let detail = "its record has not been read yet".to_owned();
                drop(done.send(Err(GiveError::Store(StoreError::Unavailable { detail }))));
                None
            }
            // What has not been read cannot be revoked, and must not be said to be.
            Command::SignOut { revoke: true, done } => match self.load(seed).await {
                Ok(session) => {
                    let mut session = Box::new(session);
                    let over = self.leave(Command::SignOut { revoke: true, done }, &mut session).await;
                    Some((!over).then_some(*session))
                }
                Err(view) => {
                    self.show(view.clone());
                    drop(done.send(Err(SignOutError::Unread(view))));
                    None
                }
            },
            Command::SignOut { revoke: false, done } => {
                let forgotten = self.forget().await.map_err(SignOutError::Store);
                let over = forgotten.is_ok();
                drop(done.send(forgotten));
                over.then_some(None)
            }
        }
    }

    /// The session that the record in the store is; else how the profile looks without one.
    async fn load(&self, seed: u64) -> Result<Session, View> {
        match self.tools.store.load(&Key::profile(self.name.as_str())).await {
            Ok(Some(text)) => match Record::from_text(&text) {
                Ok(record) => Ok(Session::restored(record, seed, clock::now())),
                Err(error) => {
                    error!(%error, "the record cannot be used, and is left as it is");
                    Err(View::Unreadable(Arc::new(error)))
                }
            },
            Ok(None) => Err(View::Missing),
            Err(error) => {
                debug!(%error, "the record cannot be read yet");
                Err(View::Closed(Arc::new(error)))
            }
        }
    }

    /// The life of the session, from its first effect to its last save.
    async fn live(&mut self, session: &mut Session) {
        let mut leaving: VecDeque<Command> = VecDeque::new();
        let mut rendering = self.tools.rendering.clone();
        self.routing_due = routing::due(session);
        let mut event = Event::Ticked;
        let mut stopping = false;
        loop {
            self.step(session, event);
            while session.is_settled()
                && let Some(command) = leaving.pop_front()
            {
                // Seldom wanted, and large: it would be room that every profile takes up for it.
                if Box::pin(self.leave(command, session)).await {
                    return;
                }
            }
            if stopping {
                self.tools.handover.leave(&self.name, session);
            }
            let look = self.next_look(session);
            event = tokio::select! {
                Some(ended) = self.calls.join_next() => match ended {
                    Ok(event) => event,
                    // What it did is not known: the keeper sees to it that the daemon starts anew.
                    Err(failure) => panic::resume_unwind(failure.into_panic()),
                },
                command = self.mailbox.recv() => match command.map(|command| *command) {
                    None => return,
                    Some(command @ (Command::Rename(..) | Command::GiveAway(..) | Command::SignOut { .. })) => {
                        leaving.push_back(command);
                        Event::Ticked
                    }
                    Some(command) => self.heard(command),
                },
                slept = clock::sleep_until(look) => match slept {
                    Slept::Through => Event::Used(self.last_used()),
                    Slept::Woke => Event::Woke,
                },
                Ok(()) = rendering.changed() => Event::Ticked,
                () = self.tools.stopping.cancelled(), if !stopping => {
                    stopping = true;
                    Event::Stopping
                }
                () = self.tools.closing.cancelled(), if stopping && session.is_settled() => return,
            };
        }
    }

    fn heard(&mut self, command: Command) -> Event {
        match command {
            Command::Read | Command::Nudge => Event::Used(self.last_used()),
            Command::Want(span, done) => {
                let expires = self.view.borrow().facts().and_then(|facts| facts.outlook.expires_at);
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
    fn step(&mut self, session: &mut Session, event: Event) {
        log(&event);
        self.tools.metrics.happened(&event);
        let now = clock::now();
        if matches!(event, Event::SignedIn(_)) {
            self.routing_due = now;
        }
        let effect = session.apply(event, now);
        self.perform(effect);
        self.ask_for_routing(session, now);
        let rendering = self.tools.rendering.borrow().clone();
        let changed = self.view.send_if_modified(|view| {
            let facts = Facts::of(&self.name, session, &rendering, view.facts());
            let changed = view.facts().is_none_or(|old| **old != facts);
            if changed {
                *view = View::Known(Arc::new(facts));
            }
            changed
        });
        if changed {
            self.tools.events.tell(News::Profile(self.name.clone()));
        }
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
                let key = Key::profile(self.name.as_str());
                let label = label(&self.name, &record);
                self.calls.spawn(async move {
                    let saved = store.save(&key, &label, record.to_text()).await;
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

    fn last_used(&self) -> Timestamp {
        Timestamp::from_second(self.used_at.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn show(&self, view: View) {
        self.view.send_replace(view);
        self.tools.events.tell(News::Profile(self.name.clone()));
    }
}

/// Tells a caller that it is settled; one that has gone away misses nothing.
fn answered(done: oneshot::Sender<()>) {
    done.send(()).ok();
}
