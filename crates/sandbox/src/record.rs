//! What the sandbox was asked: every request as it came, countable and awaitable, so that tests never sleep.
//! The sandbox's own switches are not in it.

use std::collections::{HashMap, VecDeque};

use http::{HeaderMap, Method, Uri};
use serde::Serialize;
use tokio::sync::watch;

use crate::Route;

/// How many requests are kept; older ones are forgotten, but still counted.
const KEPT: usize = 4096;
/// How much of a body is kept, in bytes.
const BODY_KEPT: usize = 256 * 1024;

/// One request as it came.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    /// What the request was for.
    pub route: Route,
    /// The method, in capitals.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query as sent, without the question mark; empty if there was none.
    pub query: String,
    /// Names in lower case and values, in the order received.
    pub headers: Vec<(String, String)>,
    /// The body as text: its first 256 KiB, bytes that are no UTF-8 replaced.
    pub body: String,
}

impl Recorded {
    /// The first header of that name (in lower case).
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
            body: text(&body[..body.len().min(BODY_KEPT)]),
        }
    }
}

/// The log; its watch channel wakes whoever waits for a count.
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
            if log.requests.len() == KEPT {
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

    /// Returns once at least `n` such requests have come.
    pub(crate) async fn wait_for(&self, route: Route, n: usize) {
        let enough = |log: &Log| log.counts.get(&route).copied().unwrap_or(0) >= n;
        self.0.subscribe().wait_for(enough).await.expect("the sender is self, which is borrowed here");
    }
}
