//! Opens further ports of loopback, while a login is pending whose redirect URI names one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use authd_broker::ListenRequest;
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    handler::CallbackHandler,
    ports,
    server::{CallbackServer, Context},
};
use crate::platform::ConnectionLimiter;

/// The addresses of further ports.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

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
        let listeners = TaskTracker::new();
        loop {
            let ListenRequest { port, opened } = tokio::select! {
                () = context.stop.cancelled() => break,
                request = requests.recv() => match request {
                    Some(request) => request,
                    None => break,
                },
            };
            let bound = match ports::bind_first(&LOOPBACK, &[port]) {
                Ok(bound) => bound,
                Err(error) => {
                    drop(opened.send(Err(error.detail)));
                    continue;
                }
            };
            let unused = CancellationToken::new();
            // Without a receiver the guard is dropped, and the port is closed.
            drop(opened.send(Ok(unused.clone().drop_guard())));
            let (server, context) = (self.clone(), context.clone());
            listeners.spawn(async move {
                let mut yielded = None;
                tokio::select! {
                    () = unused.cancelled() => {}
                    _ = server.listen(&bound, &mut yielded, &context) => {}
                }
            });
        }
        listeners.close();
        listeners.wait().await;
        context.connections.close();
        context.connections.wait().await;
    }
}
