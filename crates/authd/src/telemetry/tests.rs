//! Filters and line formats of the log.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use tracing::{debug, info, subscriber::with_default, trace, trace_span};

use super::*;

#[derive(Clone, Default)]
struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of `action` with this filter.
fn capture(filter: &str, line_format: LineFormat, action: impl FnOnce()) -> String {
    let log = CapturedLog::default();
    let writer = log.clone();
    let (subscriber, _handle) = subscriber(filter, line_format, move || writer.clone());
    with_default(subscriber, action);
    log.text()
}

#[test]
fn no_filter_enables_targets_that_log_secrets() {
    for filter in [
        "trace",
        "trace,hyper=trace,reqwest=trace,rustls=trace,zbus=trace",
        "trace,hyper::client::conn=trace",
        "trace,[request]=trace",
        "trace,[request{name=default}]=trace",
        "trace,[]=trace",
        "trace,hyper[inner]=trace",
    ] {
        let text = capture(filter, LineFormat::WithoutTime, || {
            let _request = trace_span!(target: "authd::server", "request", name = "default").entered();
            let _inner = trace_span!(target: "hyper", "inner", secret = "sk-span").entered();
            trace!(target: "authd::server", "ours");
            trace!(target: "hyper::client::conn", "sk-trace");
            debug!(target: "hyper_util::client", "sk-debug");
            debug!(target: "reqwest::connect", "sk-debug");
            trace!(target: "rustls::client", "sk-trace");
            info!(target: "zbus", "sk-info");
            debug!(target: "authd_evil", "sk-debug");
            warn!(target: "hyper::client", "theirs");
        });
        assert!(text.contains("ours") && text.contains("theirs"), "{filter}: {text}");
        assert!(!text.contains("sk-"), "{filter}: {text}");
    }
}

#[test]
fn a_reload_changes_the_filter() {
    let log = CapturedLog::default();
    let writer = log.clone();
    let (subscriber, handle) = subscriber("info", LineFormat::WithoutTime, move || writer.clone());
    with_default(subscriber, || {
        debug!(target: "authd", "before");
        handle.reload(filter("authd=debug")).unwrap();
        debug!(target: "authd", "after");
        debug!(target: "hyper", "theirs");
    });
    assert_eq!(log.text(), "DEBUG after\n");
}

#[test]
fn invalid_parts_of_a_filter_are_ignored() {
    let line_count = |filter: &str| {
        let log_all = || {
            trace!(target: "authd", "t");
            debug!(target: "authd", "d");
            info!(target: "authd", "i");
        };
        capture(filter, LineFormat::WithoutTime, log_all).lines().count()
    };
    assert_eq!(["", ",", "authd=loud", "[]=[],=loud"].map(line_count), [1; 4]);
    assert_eq!(["info", "debug", "trace", "off"].map(line_count), [1, 2, 3, 0]);
    assert_eq!(["off,authd=debug", "[request]=trace,authd=debug", "hyper=trace"].map(line_count), [2, 2, 0]);
}

#[test]
fn each_line_format_has_its_layout() {
    let line = |line_format| capture("info", line_format, || info!(target: "authd", answer = 42, "hello"));
    assert_eq!(line(LineFormat::WithoutTime), " INFO hello answer=42\n");
    assert!(line(LineFormat::WithTime).ends_with("Z  INFO hello answer=42\n"));
    let json: serde_json::Value = serde_json::from_str(&line(LineFormat::Json)).unwrap();
    assert_eq!(json["fields"], serde_json::json!({"message": "hello", "answer": 42}));
}

#[test]
fn lines_for_the_journal_have_no_time() {
    for (format, journal, expected) in [
        (LogFormat::Auto, false, LineFormat::WithTime),
        (LogFormat::Auto, true, LineFormat::WithoutTime),
        (LogFormat::Plain, false, LineFormat::WithoutTime),
        (LogFormat::Plain, true, LineFormat::WithoutTime),
        (LogFormat::Json, true, LineFormat::Json),
    ] {
        assert_eq!(line_format(format, journal), expected, "{format:?}");
    }
}
