//! Bodies that nobody reads. hyper hangs up after an answer whose request was not read to its end, and
//! does not say so: a client that keeps its connection would send the next request into nothing. The task
//! that serves the connection sees by the same words that a client may still be writing.

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

use crate::peer::Peer;

/// Whether a request's body has been read to its end; of one that has none there is nothing to know.
pub(super) struct Reading(Option<Arc<AtomicBool>>);

/// A body that is watched while it is read.
struct Watched {
    inner: Incoming,
    ended: Arc<AtomicBool>,
    peer: Arc<Peer>,
}

impl Reading {
    /// The request, its body watched from now on.
    pub(super) fn of(request: Request<Incoming>, peer: &Arc<Peer>) -> (Self, Request) {
        if http_body::Body::is_end_stream(request.body()) {
            return (Self(None), request.map(|_| Body::empty()));
        }
        let ended = Arc::new(AtomicBool::new(false));
        let (watched, peer) = (ended.clone(), peer.clone());
        peer.set_uploading(true);
        (Self(Some(ended)), request.map(|inner| Body::new(Watched { inner, ended: watched, peer })))
    }

    /// Says in the answer that the connection ends with it, if it does.
    pub(super) fn tell(&self, response: &mut Response) {
        if self.0.as_ref().is_some_and(|ended| !ended.load(Ordering::Relaxed)) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        // A body of known length ends with its last piece, and may not be asked for another one.
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

impl Drop for Watched {
    fn drop(&mut self) {
        self.peer.set_uploading(false);
    }
}
