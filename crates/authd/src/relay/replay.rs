//! What of a request's body has gone by, in case it has to be sent again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};

/// The longest body that is kept to be sent again after a 401. A prompt with a few images fits.
const REPLAYABLE: usize = 8 << 20;

/// A body's record, shared by who sends the body and who may want to send it again.
pub(super) struct Recording(Arc<Mutex<Replay>>);

impl Recording {
    /// The record of a body that these headers announce.
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let announced = headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
        Self(Arc::new(Mutex::new(Replay::new(announced))))
    }

    /// The body, recorded from now on. What was taken out of a record is not recorded again.
    pub(super) fn of(&self, body: Body) -> Recorded {
        Recorded { inner: body, replay: self.0.clone() }
    }

    /// The body, if all of it has gone by and can be sent again.
    pub(super) fn whole(&self) -> Option<Bytes> {
        lock(&self.0).whole()
    }

    /// Whether the client's body broke off, or is malformed.
    pub(super) fn failed(&self) -> bool {
        lock(&self.0).failed
    }
}

fn lock(replay: &Mutex<Replay>) -> MutexGuard<'_, Replay> {
    replay.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body as far as it has gone by.
struct Replay {
    /// Its bytes, copied: a piece as it came would keep the whole buffer that it was read into. `None` once
    /// there are too many, or something came that cannot be sent again.
    kept: Option<BytesMut>,
    /// The length that was announced. Who sends a body of known length stops there, and never sees its
    /// end.
    announced: Option<usize>,
    ended: bool,
    failed: bool,
}

impl Replay {
    fn new(announced: Option<usize>) -> Self {
        // Of a body that says itself that it is too long, nothing is copied.
        let kept = announced.is_none_or(|length| length <= REPLAYABLE).then(BytesMut::new);
        Self { kept, announced, ended: false, failed: false }
    }

    fn push(&mut self, piece: &[u8]) {
        match &mut self.kept {
            Some(kept) if piece.len() <= REPLAYABLE - kept.len() => kept.extend_from_slice(piece),
            _ => self.kept = None,
        }
    }

    /// Trailers came. They cannot be sent again, so neither can the body.
    fn trailed(&mut self) {
        self.kept = None;
    }

    /// Nothing more comes.
    fn end(&mut self) {
        self.ended = true;
    }

    /// Nothing more comes, and what came is not all.
    fn fail(&mut self) {
        (self.kept, self.failed) = (None, true);
    }

    fn whole(&mut self) -> Option<Bytes> {
        let complete = |kept: &mut BytesMut| self.ended || self.announced == Some(kept.len());
        self.kept.take_if(complete).map(BytesMut::freeze)
    }
}

/// A body that is recorded while it goes by.
pub(super) struct Recorded {
    inner: Body,
    replay: Arc<Mutex<Replay>>,
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let mut replay = lock(&self.replay);
                match frame.data_ref() {
                    Some(piece) => replay.push(piece),
                    None => replay.trailed(),
                }
            }
            Some(Err(_)) => lock(&self.replay).fail(),
            None => lock(&self.replay).end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of so many pieces of this length, each cut out of a buffer that is far larger.
    fn recorded(announced: Option<usize>, pieces: usize, length: usize) -> Replay {
        let mut replay = Replay::new(announced);
        let buffer = Bytes::from(vec![b'x'; length.max(64 << 10)]);
        for _ in 0..pieces {
            replay.push(&buffer.slice(..length));
        }
        replay
    }

    #[test]
    fn a_body_is_whole_when_it_has_ended_or_is_as_long_as_it_said() {
        assert_eq!(recorded(Some(0), 0, 0).whole(), Some(Bytes::new()));
        assert_eq!(recorded(Some(6), 2, 3).whole(), Some(Bytes::from("xxxxxx")));
        assert_eq!(recorded(Some(7), 2, 3).whole(), None);
        let mut chunked = recorded(None, 2, 3);
        assert_eq!(chunked.whole(), None);
        chunked.end();
        assert_eq!(chunked.whole(), Some(Bytes::from("xxxxxx")));
        let mut trailed = recorded(None, 2, 3);
        trailed.trailed();
        trailed.end();
        assert_eq!(trailed.whole(), None);
    }

    #[test]
    fn a_record_takes_up_little_more_than_its_body_and_none_for_one_too_long() {
        let kept = recorded(None, 1000, 1).kept.unwrap();
        assert!(kept.len() == 1000 && kept.capacity() <= 4096, "{}", kept.capacity());
        assert!(recorded(None, 8, 1 << 20).kept.is_some());
        assert!(recorded(None, 9, 1 << 20).kept.is_none());
        assert!(recorded(Some(REPLAYABLE + 1), 1, 1).kept.is_none());
    }
}
