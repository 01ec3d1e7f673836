//! What can be heard, and what never can.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use tracing::{debug, info, subscriber::with_default, trace, trace_span};

use super::*;

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is heard of `say` when this filter was asked for.
fn heard(asked: &str, line_format: LineFormat, say: impl FnOnce()) -> String {
    let heard = Heard::default();
    let writer = heard.clone();
    let (subscriber, _handle) = subscriber(asked, line_format, move || writer.clone());
    with_default(subscriber, say);
    heard.text()
}

#[test]
fn nothing_turns_on_what_sees_secrets() {
    for asked in [
        "trace",
        "trace,hyper=trace,reqwest=trace,rustls=trace,zbus=trace",
        "trace,hyper::client::conn=trace",
        "trace,[request]=trace",
        "trace,[request{name=default}]=trace",
        "trace,[]=trace",
        "trace,hyper[inner]=trace",
    ] {
        let text = heard(asked, LineFormat::WithoutTime, || {
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
        assert!(text.contains("ours") && text.contains("theirs"), "{asked}: {text}");
        assert!(!text.contains("sk-"), "{asked}: {text}");
    }
}

#[test]
fn a_filter_can_be_changed() {
    let heard = Heard::default();
    let writer = heard.clone();
    let (subscriber, handle) = subscriber("info", LineFormat::WithoutTime, move || writer.clone());
    with_default(subscriber, || {
        debug!(target: "authd", "before");
        handle.reload(filter("authd=debug")).unwrap();
        debug!(target: "authd", "after");
        debug!(target: "hyper", "theirs");
    });
    assert_eq!(heard.text(), "DEBUG after\n");
}

#[test]
fn a_filter_is_what_can_be_read_of_it() {
    let level = |asked: &str| {
        let say = || {
            trace!(target: "authd", "t");
            debug!(target: "authd", "d");
            info!(target: "authd", "i");
        };
        heard(asked, LineFormat::WithoutTime, say).lines().count()
    };
    assert_eq!(["", ",", "authd=loud", "[]=[],=loud"].map(level), [1; 4]);
    assert_eq!(["info", "debug", "trace", "off"].map(level), [1, 2, 3, 0]);
    assert_eq!(["off,authd=debug", "[request]=trace,authd=debug", "hyper=trace"].map(level), [2, 2, 0]);
}

#[test]
fn it_looks_as_its_reader_likes_it() {
    let line = |line_format| heard("info", line_format, || info!(target: "authd", answer = 42, "hello"));
    assert_eq!(line(LineFormat::WithoutTime), " INFO hello answer=42\n");
    assert!(line(LineFormat::WithTime).ends_with("Z  INFO hello answer=42\n"));
    let json: serde_json::Value = serde_json::from_str(&line(LineFormat::Json)).unwrap();
    assert_eq!(json["fields"], serde_json::json!({"message": "hello", "answer": 42}));
}

#[test]
fn journald_knows_the_time() {
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
