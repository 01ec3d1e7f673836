//! Where profiles rest. One task holds all to whom nothing happens: it gives one that is due, or of which something
//! is wanted, a task of its own, and takes it back when there is nothing more to do. So a profile at rest costs
//! what is known of it, and no more.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use authd_api::ProfileName;
use authd_oauth::{Event, Session};
use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{JoinError, JoinSet},
};
use tracing::{Instrument, error, error_span};

use super::{Beginning, Ended, Handle, Profile, Task, Tools, handle::Command, reading::Reader};
use crate::{
    clock::{self, Slept},
    handover::Left,
};

/// Messages on their way to all profiles together: who finds no room waits.
const MAILBOX: usize = 1024;

/// Commands that wait for one profile: as many as there can be connections. There is no more room taken up
/// than is needed.
const COMMANDS: usize = 1 << 16;

/// What tells profiles apart, whatever their names are.
pub(super) type Id = u64;

/// What is sent to where profiles rest.
#[derive(Debug)]
pub(super) enum Message {
    /// There is one more.
    Begin(ProfileName, Handle, Beginning),
    /// Something is wanted of one.
    For(Id, Box<Command>),
}

/// Makes profiles.
pub(crate) struct Profiles {
    messages: mpsc::Sender<Message>,
    last: Id,
}

impl Profiles {
    /// Begins a profile; the handle is good at once.
    pub(crate) async fn begin(&mut self, name: ProfileName, beginning: Beginning) -> Handle {
        let handle = self.handle();
        // If nobody takes it, nobody answers the handle either.
        drop(self.messages.send(Message::Begin(name, handle.clone(), beginning)).await);
        handle
    }

    fn handle(&mut self) -> Handle {
        self.last += 1;
        Handle::new(self.last, self.messages.clone())
    }
}

/// The maker of profiles, with those that are stored already; and the future of the task where they rest, which
/// ends when nobody signs in any more and every profile has settled.
pub(crate) fn profiles(
    stored: Vec<ProfileName>,
    tools: Arc<Tools>,
) -> (Profiles, BTreeMap<ProfileName, Handle>, impl Future<Output = ()> + Send) {
    let (messages, mailbox) = mpsc::channel(MAILBOX);
    let mut profiles = Profiles { messages, last: 0 };
    let mut rest = Rest::new(tools);
    let handles: BTreeMap<_, _> = stored.into_iter().map(|name| (name, profiles.handle())).collect();
    let stored = handles.clone();
    let running = async move {
        for (name, handle) in stored {
            rest.begin(name, handle, Beginning::Stored);
        }
        rest.run(mailbox).await;
    };
    (profiles, handles, running)
}

/// Where a profile is.
enum Place {
    /// In the store; nothing but its name is known.
    Unread(Box<(ProfileName, Handle)>),
    /// Here; and when it will have something to do, as [`Rest::due`] says, too.
    Here(Box<Profile>, Option<Timestamp>),
    /// With a task of its own.
    AtWork(mpsc::Sender<Box<Command>>),
}

struct Rest {
    tools: Arc<Tools>,
    places: BTreeMap<Id, Place>,
    /// Those who are here and have something to do later.
    due: BTreeSet<(Timestamp, Id)>,
    /// Those whose record has not been wanted yet. One is read ahead of need at a time, so that those in need
    /// come first.
    unread: VecDeque<Id>,
    reading: Arc<Semaphore>,
    tasks: JoinSet<(Id, Ended)>,
}

impl Rest {
    fn new(tools: Arc<Tools>) -> Self {
        Self {
            tools,
            places: BTreeMap::new(),
            due: BTreeSet::new(),
            unread: VecDeque::new(),
            reading: Arc::new(Semaphore::new(1)),
            tasks: JoinSet::new(),
        }
    }

    async fn run(mut self, mut mailbox: mpsc::Receiver<Message>) {
        let tools = self.tools.clone();
        let mut rendering = tools.rendering.clone();
        let mut stopping = false;
        loop {
            let next = self.due.first().map(|(at, _)| *at).filter(|_| !stopping);
            tokio::select! {
                Some(message) = mailbox.recv() => self.heard(message),
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                Ok(turn) = self.reading.clone().acquire_owned(), if !stopping && !self.unread.is_empty() => {
                    self.read_ahead(turn);
                }
                slept = clock::sleep_until(next) => match slept {
                    Slept::Through => self.wake_due(),
                    Slept::Woke => self.wake_all(|_| Event::Woke),
                },
                Ok(()) = rendering.changed(), if !stopping => self.wake_all(|_| Event::Ticked),
                () = tools.stopping.cancelled(), if !stopping => {
                    stopping = true;
                    self.leave_all();
                }
                () = tools.closing.cancelled(), if stopping && self.tasks.is_empty() => return,
            }
        }
    }

    fn heard(&mut self, message: Message) {
        match message {
            Message::Begin(name, handle, beginning) => self.begin(name, handle, beginning),
            Message::For(id, command) => self.pass_on(id, command),
        }
    }

    fn begin(&mut self, name: ProfileName, handle: Handle, beginning: Beginning) {
        let (id, seed, now) = (handle.id(), rand::random(), clock::now());
        let (session, saved) = match beginning {
            Beginning::SignedIn { grant, generation, done } => {
                (Session::signed_in(*grant, generation, seed, now), Some(done))
            }
            Beginning::Stored => {
                let Some(Left { record, durable }) = self.tools.handover.claim(&name) else {
                    self.places.insert(id, Place::Unread(Box::new((name, handle))));
                    return self.unread.push_back(id);
                };
                (Session::handed_over(record, durable, seed, now), None)
            }
        };
        let profile = Box::new(Profile::new(name.clone(), handle, session));
        self.employ(id, &name, |tools, mailbox| Task::new(profile, tools, mailbox).begin(saved, None));
    }

    /// Nobody answers for a profile that there is not, nor for one of which more is wanted than it can hold.
    fn pass_on(&mut self, id: Id, command: Box<Command>) {
        let roused = self.rouse(id, Event::Used, None);
        let Some(Place::AtWork(commands)) = self.places.get(&id) else { return };
        let is_awake = roused || commands.capacity() < COMMANDS;
        if !(is_awake && matches!(*command, Command::Remind)) {
            drop(commands.try_send(command));
        }
    }

    /// Gives a profile a task, which begins with this event, or with the record; unless it has one.
    fn rouse(&mut self, id: Id, first: fn(Timestamp) -> Event, turn: Option<OwnedSemaphorePermit>) -> bool {
        match self.places.remove(&id) {
            Some(Place::Here(profile, look)) => {
                look.map(|look| self.due.remove(&(look, id)));
                let (name, first) = (profile.name.clone(), first(profile.handle.last_used()));
                self.employ(id, &name, |tools, mailbox| Task::new(profile, tools, mailbox).work(first));
                true
            }
            Some(Place::Unread(stored)) => {
                let (name, handle) = *stored;
                let read = |tools, mailbox| Reader::new(name.clone(), handle, tools, mailbox).work(turn);
                self.employ(id, &name, read);
                true
            }
            Some(at_work @ Place::AtWork(_)) => {
                self.places.insert(id, at_work);
                false
            }
            None => false,
        }
    }

    fn employ<F: Future<Output = Ended> + Send + 'static>(
        &mut self,
        id: Id,
        name: &ProfileName,
        work: impl FnOnce(Arc<Tools>, mpsc::Receiver<Box<Command>>) -> F,
    ) {
        let (commands, mailbox) = mpsc::channel(COMMANDS);
        let work = work(self.tools.clone(), mailbox).instrument(error_span!("profile", profile = %name));
        self.tasks.spawn(async move { (id, work.await) });
        self.places.insert(id, Place::AtWork(commands));
    }

    /// Takes a profile back. One whose task panicked nobody can use any more, so the daemon stops, in good order
    /// for all others, to be started anew.
    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (id, Ended { profile, mut mailbox }) = match ended {
            Ok(ended) => ended,
            Err(failure) => {
                error!(%failure, "a profile's task ended unasked");
                return self.tools.stopping.cancel();
            }
        };
        self.places.remove(&id);
        let Some(profile) = profile else { return };
        // It may have ended its work before it could hear of the stop.
        if self.tools.stopping.is_cancelled() {
            self.tools.handover.leave(&profile.name, &profile.session);
        }
        let look = profile.next_look();
        self.due.extend(look.map(|look| (look, id)));
        self.places.insert(id, Place::Here(profile, look));
        while let Ok(command) = mailbox.try_recv() {
            self.pass_on(id, command);
        }
    }

    /// Has the next record read that has not been wanted yet.
    fn read_ahead(&mut self, turn: OwnedSemaphorePermit) {
        if let Some(id) = self.unread.pop_front()
            && matches!(self.places.get(&id), Some(Place::Unread(_)))
        {
            self.rouse(id, Event::Used, Some(turn));
        }
    }

    fn wake_due(&mut self) {
        let now = clock::now();
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = self.due.pop_first() else { return };
            self.rouse(id, Event::Used, None);
        }
    }

    fn wake_all(&mut self, first: fn(Timestamp) -> Event) {
        // Who has just ended its work has not heard of it.
        while let Some(ended) = self.tasks.try_join_next() {
            self.ended(ended);
        }
        let here = self.places.iter().filter(|(_, place)| matches!(place, Place::Here(..)));
        for id in here.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.rouse(id, first, None);
        }
    }

    /// Who rests has nothing to save: that, too, is left to the next run.
    fn leave_all(&self) {
        for place in self.places.values() {
            if let Place::Here(profile, _) = place {
                self.tools.handover.leave(&profile.name, &profile.session);
            }
        }
    }
}

#[cfg(test)]
mod tests;
