//! A body whose frames pass through unchanged and are reported to an observer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// What was read from a body.
pub(crate) enum BodyEvent<'a> {
    /// A frame of data.
    Data(&'a Bytes),
    /// Trailers.
    Trailers,
    /// The body failed.
    Error,
    /// The body ended. May be reported more than once.
    End,
}

/// Observes a body while it is read. It is dropped together with the body.
pub(crate) trait BodyObserver: Unpin {
    /// Called for everything that is read.
    fn observe(&mut self, event: BodyEvent<'_>);
}

/// A body and its observer.
pub(crate) struct ObservedBody<B, O> {
    inner: B,
    observer: O,
}

impl<B, O> ObservedBody<B, O> {
    pub(crate) fn new(inner: B, observer: O) -> Self {
        Self { inner, observer }
    }
}

impl<B: Body<Data = Bytes> + Unpin, O: BodyObserver> Body for ObservedBody<B, O> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let event = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(BodyEvent::Trailers, BodyEvent::Data),
            Some(Err(_)) => BodyEvent::Error,
            None => BodyEvent::End,
        };
        self.observer.observe(event);
        // The reader of a body of known length does not poll again after the last frame.
        if frame.is_some() && self.inner.is_end_stream() {
            self.observer.observe(BodyEvent::End);
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
