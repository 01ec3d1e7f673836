//! Records a request's body while it is sent, for a retry after a 401.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::observed_body::{BodyEvent, BodyObserver, ObservedBody};
use crate::request_head::content_length;

/// Longest body that is recorded, in bytes. A prompt with a few images fits.
const LONGEST: usize = 8 << 20;

/// The recording of a body, shared by the body and its possible retry.
pub(super) struct Recording(Arc<Mutex<Replay>>);

impl Recording {
    /// A recording for a body with these headers.
    pub(super) fn new(headers: &HeaderMap) -> Self {
        Self(Arc::new(Mutex::new(Replay::new(content_length(headers)))))
    }

    /// Records the body while it is read.
    pub(super) fn record(&self, body: Body) -> RecordedBody {
        ObservedBody::new(body, Recorder(self.0.clone()))
    }

    /// Takes the recorded body, if it is complete.
    pub(super) fn take_complete(&self) -> Option<Bytes> {
        lock(&self.0).take_complete()
    }

    /// Whether the client's body ended early or is malformed.
    pub(super) fn failed(&self) -> bool {
        lock(&self.0).failed
    }
}

fn lock(replay: &Mutex<Replay>) -> MutexGuard<'_, Replay> {
    replay.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of a body that was read.
pub(super) struct Replay {
    /// A copy of its bytes: a frame would keep alive the whole buffer that it was read into. `None`
    /// once the body is too long, has trailers or has failed.
    bytes: Option<BytesMut>,
    /// The length that `Content-Length` announces.
    length: Option<usize>,
    ended: bool,
    failed: bool,
}

impl Replay {
    fn new(length: Option<usize>) -> Self {
        // Nothing is copied of a body that announces to be too long.
        let bytes = length.is_none_or(|length| length <= LONGEST).then(BytesMut::new);
        Self { bytes, length, ended: false, failed: false }
    }

    fn push(&mut self, data: &[u8]) {
        match &mut self.bytes {
            Some(bytes) if data.len() <= LONGEST - bytes.len() => bytes.extend_from_slice(data),
            _ => self.bytes = None,
        }
    }

    /// Drops the recording: trailers cannot be sent again.
    fn add_trailers(&mut self) {
        self.bytes = None;
    }

    fn end(&mut self) {
        self.ended = true;
    }

    fn fail(&mut self) {
        (self.bytes, self.failed) = (None, true);
    }

    fn take_complete(&mut self) -> Option<Bytes> {
        let complete = |bytes: &mut BytesMut| self.ended || self.length == Some(bytes.len());
        self.bytes.take_if(complete).map(BytesMut::freeze)
    }
}

/// A body that is recorded while it is read.
pub(super) type RecordedBody = ObservedBody<Body, Recorder>;

pub(super) struct Recorder(Arc<Mutex<Replay>>);

impl BodyObserver for Recorder {
    fn observe(&mut self, event: BodyEvent<'_>) {
        let mut replay = lock(&self.0);
        match event {
            BodyEvent::Data(data) => replay.push(data),
            BodyEvent::Trailers => replay.add_trailers(),
            BodyEvent::Error => replay.fail(),
            BodyEvent::End => replay.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recording of so many frames of this length, each a slice of a much larger buffer.
    fn recorded(announced: Option<usize>, frames: usize, length: usize) -> Replay {
        let mut replay = Replay::new(announced);
        let buffer = Bytes::from(vec![b'x'; length.max(64 << 10)]);
        for _ in 0..frames {
            replay.push(&buffer.slice(..length));
        }
        replay
    }

    #[test]
    fn body_is_complete_at_its_end_or_announced_length() {
        assert_eq!(recorded(Some(0), 0, 0).take_complete(), Some(Bytes::new()));
        assert_eq!(recorded(Some(6), 2, 3).take_complete(), Some(Bytes::from("xxxxxx")));
        assert_eq!(recorded(Some(7), 2, 3).take_complete(), None);
        let mut chunked = recorded(None, 2, 3);
        assert_eq!(chunked.take_complete(), None);
        chunked.end();
        assert_eq!(chunked.take_complete(), Some(Bytes::from("xxxxxx")));
        let mut trailed = recorded(None, 2, 3);
        trailed.add_trailers();
        trailed.end();
        assert_eq!(trailed.take_complete(), None);
    }

    #[test]
    fn recording_is_as_large_as_its_body_and_empty_for_a_long_one() {
        let bytes = recorded(None, 1000, 1).bytes.unwrap();
        assert!(bytes.len() == 1000 && bytes.capacity() <= 4096, "{}", bytes.capacity());
        assert!(recorded(None, 8, 1 << 20).bytes.is_some());
        assert!(recorded(None, 9, 1 << 20).bytes.is_none());
        assert!(recorded(Some(LONGEST + 1), 1, 1).bytes.is_none());
    }
}
