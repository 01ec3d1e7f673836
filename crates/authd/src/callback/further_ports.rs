//! Opens further ports of loopback, while a login is pending whose redirect URI names one.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Weak},
};

use authd_broker::ListenRequest;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    handler::CallbackHandler,
    ports,
    server::{CallbackServer, Context},
};
use crate::platform::ConnectionLimiter;

/// The addresses of further ports.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// A listener on a further port. It ends when no login has its guard any more.
struct FurtherPort {
    guard: Weak<DropGuard>,
    listener: JoinHandle<()>,
}

impl CallbackServer {
    /// Serves further ports until the shutdown.
    pub(crate) async fn serve_further_ports<H: CallbackHandler>(
        self,
        handler: H,
        mut requests: mpsc::Receiver<ListenRequest>,
        stop: CancellationToken,
    ) {
        let (connections, limiter) = (TaskTracker::new(), ConnectionLimiter::new(self.max_connections));
        let context = Context { handler, state: watch::Sender::default(), connections, limiter, stop };
        let context = Arc::new(context);
        let mut open: HashMap<u16, FurtherPort> = HashMap::new();
        loop {
            let ListenRequest { port, opened } = tokio::select! {
                () = context.stop.cancelled() => break,
                request = requests.recv() => match request {
                    Some(request) => request,
                    None => break,
                },
            };
            if let Some(guard) = open.get(&port).and_then(|open| open.guard.upgrade()) {
                drop(opened.send(Ok(guard)));
                continue;
            }
            // The listener of a login that has just ended closes the port first.
            if let Some(ended) = open.remove(&port) {
                drop(ended.listener.await);
            }
            let bound = match ports::bind_first(&LOOPBACK, &[port]) {
                Ok(bound) => bound,
                Err(error) => {
                    drop(opened.send(Err(error.detail)));
                    continue;
                }
            };
            let unused = CancellationToken::new();
            let guard = Arc::new(unused.clone().drop_guard());
            let (server, context) = (self.clone(), context.clone());
            let listener = tokio::spawn(async move {
                let mut yielded = None;
                tokio::select! {
                    () = unused.cancelled() => {}
                    _ = server.listen(&bound, &mut yielded, &context) => {}
                }
            });
            open.insert(port, FurtherPort { guard: Arc::downgrade(&guard), listener });
            // Without a receiver the guard is dropped, and the port is closed.
            drop(opened.send(Ok(guard)));
        }
        for FurtherPort { listener, .. } in open.into_values() {
            drop(listener.await);
        }
        context.connections.close();
        context.connections.wait().await;
    }
}
