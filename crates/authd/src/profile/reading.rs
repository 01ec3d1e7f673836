//! A profile whose record has not been read: it is read, and while the store does not give it, tried again.

use std::{
    ops::ControlFlow::{self, Break, Continue},
    sync::Arc,
    time::Duration,
};

use authd_api::ProfileName;
use authd_oauth::{Record, Session};
use authd_store::{Key, StoreError};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{debug, error};

use super::{
    Ended, GiveError, Handle, Profile, SignOutError, Task, Tools, answered,
    handle::Command,
    leaving::{forget, rename_unread},
};
use crate::{clock, events::News, facts::View};

/// How long to wait before a record is read again that the store did not give.
const RELOAD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A profile without a session.
pub(super) struct Reader {
    name: ProfileName,
    handle: Handle,
    tools: Arc<Tools>,
    mailbox: mpsc::Receiver<Box<Command>>,
    /// Those who wait for the try that is next.
    asked: Vec<oneshot::Sender<()>>,
}

/// A session, and what is wanted of it first.
struct Opened {
    session: Session,
    /// Who signed in instead of a record that could not be read.
    signed_in: Option<oneshot::Sender<()>>,
    /// Who wants it to end, and could not do without the record.
    leaving: Option<Command>,
}

/// Whether reading goes on; else what there is instead, or nothing.
type Flow = ControlFlow<Option<Opened>>;

impl From<Session> for Opened {
    fn from(session: Session) -> Self {
        Self { session, signed_in: None, leaving: None }
    }
}

impl Reader {
    pub(super) fn new(
        name: ProfileName,
        handle: Handle,
        tools: Arc<Tools>,
        mailbox: mpsc::Receiver<Box<Command>>,
    ) -> Self {
        Self { name, handle, tools, mailbox, asked: Vec::new() }
    }

    /// Reads the record, and goes on with it. The turn ends with the first try.
    pub(super) async fn work(mut self, turn: Option<OwnedSemaphorePermit>) -> Ended {
        let Some(Opened { session, signed_in, leaving }) = self.read(turn).await else {
            return Ended { profile: None, mailbox: self.mailbox };
        };
        let profile = Box::new(Profile::new(self.name, self.handle, session));
        profile.publish(&self.tools);
        self.asked.into_iter().for_each(answered);
        Task::new(profile, self.tools, self.mailbox).begin(signed_in, leaving).await
    }

    async fn read(&mut self, mut turn: Option<OwnedSemaphorePermit>) -> Option<Opened> {
        let mut pause = RELOAD.0;
        loop {
            match self.load().await {
                Ok(session) => return Some(session.into()),
                Err(view) => self.show(view),
            }
            turn.take();
            self.asked.drain(..).for_each(answered);
            let flow = tokio::select! {
                () = tokio::time::sleep(pause) => {
                    pause = (pause * 2).min(RELOAD.1);
                    Continue(())
                }
                command = self.mailbox.recv() => self.heard(*command?).await,
                () = self.tools.closing.cancelled() => Break(None),
            };
            if let Break(end) = flow {
                return end;
            }
        }
    }

    /// The session that the record in the store is; else how the profile looks without one.
    async fn load(&self) -> Result<Session, View> {
        match self.tools.store.load(&Key::profile(self.name.as_str())).await {
            Ok(Some(text)) => match Record::from_text(&text) {
                Ok(record) => Ok(Session::restored(record, rand::random(), clock::now())),
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

    async fn heard(&mut self, command: Command) -> Flow {
        match command {
            Command::Remind => Continue(()),
            Command::Read(done) => {
                self.asked.push(done);
                Continue(())
            }
            Command::Want(_, done) | Command::Refresh(_, done) => {
                // The view says why there is nothing.
                answered(done);
                Continue(())
            }
            Command::SignIn(grant, done) => {
                // The record that could not be read may have had any generation; a time is above all.
                let generation = u64::try_from(clock::now().as_second()).unwrap_or(1);
                let session = Session::signed_in(*grant, generation, rand::random(), clock::now());
                Break(Some(Opened { signed_in: Some(done), ..session.into() }))
            }
            Command::Rename(name, done) => {
                let renamed = rename_unread(&self.tools, &self.name, &name).await;
                if renamed.is_ok() {
                    self.name = name;
                }
                drop(done.send(renamed));
                Continue(())
            }
            Command::GiveAway(_, done) => {
                let detail = "its record has not been read yet".to_owned();
                drop(done.send(Err(GiveError::Store(StoreError::Unavailable { detail }))));
                Continue(())
            }
            // What has not been read cannot be revoked, and must not be said to be.
            Command::SignOut { revoke: true, done } => match self.load().await {
                Ok(session) => {
                    let leaving = Some(Command::SignOut { revoke: true, done });
                    Break(Some(Opened { leaving, ..session.into() }))
                }
                Err(view) => {
                    self.show(view.clone());
                    drop(done.send(Err(SignOutError::Unread(view))));
                    Continue(())
                }
            },
            Command::SignOut { revoke: false, done } => {
                let forgotten = forget(&self.tools, &self.name).await.map_err(SignOutError::Store);
                let over = forgotten.is_ok();
                drop(done.send(forgotten));
                if over { Break(None) } else { Continue(()) }
            }
        }
    }

    fn show(&self, view: View) {
        self.handle.show(view);
        self.tools.events.tell(News::Profile(self.name.clone()));
    }
}
