//! Tracks whether a request's body is read to its end. After a response to a request with an unread body
//! hyper closes the connection without saying so, and a client that keeps its connection would lose its
//! next request. So the response says `Connection: close`.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    response::Response,
};
use http::{HeaderValue, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::peer::Peer;

/// Whether a request's body has been read to its end. `None` for a request without a body.
pub(super) struct BodyStatus(Option<Arc<AtomicBool>>);

struct TrackedBody {
    inner: Incoming,
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
        let (tracked, peer) = (ended.clone(), peer.clone());
        peer.set_uploading(true);
        (Self(Some(ended)), request.map(|inner| Body::new(TrackedBody { inner, ended: tracked, peer })))
    }

    /// Adds `Connection: close` to the response if the body was not read to its end.
    pub(super) fn close_if_unread(&self, response: &mut Response) {
        if self.0.as_ref().is_some_and(|ended| !ended.load(Ordering::Relaxed)) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        // A body of known length ends with its last frame. Its reader may not poll again.
        if frame.is_none() || self.inner.is_end_stream() {
            self.ended.store(true, Ordering::Relaxed);
            self.peer.set_uploading(false);
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

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.peer.set_uploading(false);
    }
}
