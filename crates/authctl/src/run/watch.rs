//! Waits for changes of the daemon's state.

use std::time::Duration;

use authd_api::{StreamingResponse, route};
use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::time::Instant;

use crate::context::{Context, with_timeout};

/// Clears the screen and moves to its top.
pub(super) const CLEAR_SCREEN: &[u8] = b"\x1b[2J\x1b[H";

/// Events within this time cause one update.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// The time between updates without an event: the relative times change.
const UPDATE_INTERVAL: Duration = Duration::from_secs(30);

/// The pause between two attempts to reach a daemon that stopped.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The state may have changed, or what it says in relation to the time.
    Update,
    /// The daemon has stopped.
    Stopped,
}

/// The events of the daemon. They only trigger updates: a client reads the state again.
#[derive(Default)]
pub(super) struct Changes(Option<StreamingResponse>);

impl Changes {
    /// Waits for the next change.
    pub(super) async fn next(&mut self, ctx: &Context) -> Wake {
        let Some(stream) = &mut self.0 else { return self.open(ctx).await };
        match tokio::time::timeout(UPDATE_INTERVAL, stream.chunk()).await {
            Ok(Ok(Some(_))) => {
                let end = Instant::now() + DEBOUNCE;
                while let Ok(Ok(Some(_))) = tokio::time::timeout_at(end, stream.chunk()).await {}
                Wake::Update
            }
            Ok(_) => {
                self.0 = None;
                Wake::Stopped
            }
            Err(_) => Wake::Update,
        }
    }

    /// Opens the stream. The state can have changed since it was read.
    async fn open(&mut self, ctx: &Context) -> Wake {
        let headers = HeaderMap::new();
        let stream = ctx.client.stream(Method::GET, route::EVENTS, &headers, Bytes::new());
        let Ok(mut stream) = with_timeout(stream).await else { return Wake::Stopped };
        // The first events report the state.
        let first = tokio::time::timeout(PAUSE, stream.chunk()).await;
        if !stream.status.is_success() || !matches!(first, Ok(Ok(Some(_)))) {
            return Wake::Stopped;
        }
        self.0 = Some(stream);
        Wake::Update
    }
}

/// Waits until the daemon responds again.
pub(super) async fn wait_for_restart(ctx: &Context) {
    ctx.out.info("authd stopped; waiting for it to start again");
    loop {
        tokio::time::sleep(PAUSE).await;
        if with_timeout(ctx.client.status()).await.is_ok() {
            return;
        }
    }
}
