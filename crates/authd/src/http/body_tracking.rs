//! Tracks whether a request's body is read to its end. After a response to a request with an unread
//! body hyper closes the connection without saying so, and a client that keeps its connection would
//! lose its next request. So the response says `Connection: close`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderValue, header};
use hyper::body::Incoming;

use super::peer::Peer;
use crate::relay::{BodyEvent, BodyObserver, ObservedBody};

/// Whether a request's body has been read to its end. `None` for a request without a body.
pub(super) struct BodyStatus(Option<Arc<AtomicBool>>);

/// Tracks the upload of a body.
struct UploadTracker {
    ended: Arc<AtomicBool>,
    peer: Arc<Peer>,
}

impl BodyStatus {
    /// Tracks the body of a request.
    pub(super) fn track(request: Request<Incoming>, peer: &Arc<Peer>) -> (Self, Request) {
        if http_body::Body::is_end_stream(request.body()) {
            return (Self(None), request.map(|_| Body::empty()));
        }
        let ended = Arc::new(AtomicBool::new(false));
        let (ended_by_reader, peer) = (ended.clone(), peer.clone());
        peer.set_uploading(true);
        let tracker = UploadTracker { ended: ended_by_reader, peer };
        (Self(Some(ended)), request.map(|inner| Body::new(ObservedBody::new(inner, tracker))))
    }

    /// Adds `Connection: close` to the response if the body was not read to its end.
    pub(super) fn close_if_unread(&self, response: &mut Response) {
        if self.0.as_ref().is_some_and(|ended| !ended.load(Ordering::Relaxed)) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl BodyObserver for UploadTracker {
    fn observe(&mut self, event: BodyEvent<'_>) {
        if matches!(event, BodyEvent::End) {
            self.ended.store(true, Ordering::Relaxed);
            self.peer.set_uploading(false);
        }
    }
}

impl Drop for UploadTracker {
    fn drop(&mut self) {
        self.peer.set_uploading(false);
    }
}
