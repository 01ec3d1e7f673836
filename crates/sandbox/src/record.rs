//! The recorded requests. Tests count them and wait for them, instead of sleeping. Requests to the
//! control endpoints are not recorded.

use std::collections::{HashMap, VecDeque};

use http::{HeaderMap, Method, Uri};
use serde::Serialize;
use tokio::sync::watch;

use crate::Route;

/// Most recorded requests. Older ones are dropped, but stay in the counters.
const MAX_REQUESTS: usize = 4096;
/// Longest recorded body, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// A recorded request.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    /// The route.
    pub route: Route,
    /// The method, in capitals.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query as sent, without the question mark; may be empty.
    pub query: String,
    /// The names in lower case and the values, in the order received.
    pub headers: Vec<(String, String)>,
    /// The first 256 KiB of the body, with invalid UTF-8 replaced.
    pub body: String,
}

impl Recorded {
    /// The first header of this name, which must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn new(route: Route, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            route,
            method: method.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or("").to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
                .collect(),
            body: text(&body[..body.len().min(MAX_BODY)]),
        }
    }
}

/// The recorded requests. The watch channel wakes tasks that wait for a count.
pub(crate) struct RequestLog(watch::Sender<Log>);

#[derive(Default)]
struct Log {
    requests: VecDeque<Recorded>,
    counts: HashMap<Route, usize>,
}

impl RequestLog {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Log::default()))
    }

    pub(crate) fn push(&self, recorded: Recorded) {
        self.0.send_modify(|log| {
            *log.counts.entry(recorded.route).or_default() += 1;
            if log.requests.len() == MAX_REQUESTS {
                log.requests.pop_front();
            }
            log.requests.push_back(recorded);
        });
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.0.borrow().requests.iter().cloned().collect()
    }

    pub(crate) fn count(&self, route: Route) -> usize {
        self.0.borrow().counts.get(&route).copied().unwrap_or(0)
    }

    pub(crate) fn clear(&self) {
        self.0.send_replace(Log::default());
    }

    /// Returns when at least `n` requests of this route were received.
    pub(crate) async fn wait_for(&self, route: Route, n: usize) {
        let enough = |log: &Log| log.counts.get(&route).copied().unwrap_or(0) >= n;
        self.0.subscribe().wait_for(enough).await.expect("the sender is self, which is borrowed here");
    }
}
