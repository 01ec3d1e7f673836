//! The log with targets that do not work.

use std::{fs, os::unix::net::UnixDatagram, path::Path};

use authd_api::{AuditAction, AuditTarget};
use authd_store::StateDir;
use tokio::sync::{oneshot, watch};

use super::{AuditLog, AuditWriter, Filter, Usage};
use crate::config::AuditConfig;

fn config(to: AuditTarget) -> AuditConfig {
    AuditConfig { to, size: 1 << 20, files: 2 }
}

fn usage(path: usize) -> Usage {
    Usage { path: Some(path.to_string().into()), ..Usage::new(AuditAction::Relay) }
}

/// The log and its writer, with the journal's socket beside the state directory.
fn log(directory: &Path, to: AuditTarget) -> (AuditLog, AuditWriter, watch::Sender<AuditConfig>) {
    let (sender, receiver) = watch::channel(config(to));
    let state_dir = StateDir::open(directory.join("state")).unwrap();
    let (log, writer) = AuditWriter::with_journal(receiver, state_dir, directory.join("journal"));
    (log, writer, sender)
}

/// Runs the writer while `used` lasts, then to its end.
async fn run(writer: AuditWriter, used: impl Future<Output = ()>) {
    let (done, closing) = oneshot::channel::<()>();
    let use_and_close = async {
        used.await;
        drop(done);
    };
    let recording = async {
        closing.await.ok();
    };
    tokio::join!(writer.run(recording), use_and_close);
}

#[tokio::test]
async fn lines_beyond_the_queue_are_counted_as_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (log, writer, _config) = log(directory.path(), AuditTarget::Journal);
    // The writer has not started, as with a disk that does not respond.
    for path in 0..5000 {
        log.record(usage(path), None);
    }
    assert_eq!(log.status().lost, 5000 - 4096);
    run(writer, async {}).await;
    assert_eq!(log.status().lost, 5000, "the journal did not run until the end");
}

#[tokio::test]
async fn journal_that_comes_back_gets_what_has_waited() {
    let directory = tempfile::tempdir().unwrap();
    let (log, writer, _config) = log(directory.path(), AuditTarget::Journal);
    let path = directory.path().join("journal");
    let used = async {
        log.record(usage(1), Some(7));
        log.record(usage(1), Some(8));
        while log.status().error.is_none() {
            tokio::task::yield_now().await;
        }
        let journal = UnixDatagram::bind(&path).unwrap();
        // A reader makes the writer try at once.
        drop(log.read(Filter::default()).await.unwrap());
        assert_eq!((log.status().error, log.status().lost), (None, 0));
        for (request, count) in [(7, 1), (8, 1)] {
            let mut buffer = [0; 500];
            let length = journal.recv(&mut buffer).unwrap();
            let entry = str::from_utf8(&buffer[..length]).unwrap();
            assert!(entry.starts_with("SYSLOG_IDENTIFIER=authd-audit\nPRIORITY=6\nMESSAGE={"), "{entry}");
            assert!(entry.contains(&format!("\"request\":{request},\"action\":\"relay\",\"count\":{count}")));
        }
    };
    run(writer, used).await;
}

#[tokio::test]
async fn file_that_cannot_be_written_is_reported_and_filled_later() {
    let directory = tempfile::tempdir().unwrap();
    let (log, writer, _config) = log(directory.path(), AuditTarget::File);
    let path = directory.path().join("state/audit.jsonl");
    // A directory in the place of the file.
    fs::create_dir(&path).unwrap();
    let used = async {
        log.record(usage(1), None);
        while log.status().error.is_none() {
            tokio::task::yield_now().await;
        }
        assert!(log.status().error.unwrap().starts_with(path.to_str().unwrap()));
        log.record(usage(2), None);
        fs::remove_dir(&path).unwrap();
    };
    run(writer, used).await;
    assert_eq!((log.status().error, log.status().lost), (None, 0));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn change_of_the_target_sends_what_was_recorded_before_to_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let (log, writer, sender) = log(directory.path(), AuditTarget::File);
    let journal = UnixDatagram::bind(directory.path().join("journal")).unwrap();
    let used = async {
        log.record(usage(1), None);
        log.record(usage(1), None);
        sender.send_replace(config(AuditTarget::Journal));
        while log.status().to != AuditTarget::Journal {
            tokio::task::yield_now().await;
        }
        // The writer has finished the change before it serves a reader.
        drop(log.read(Filter::default()).await.unwrap());
        log.record(usage(2), None);
    };
    run(writer, used).await;
    let text = fs::read_to_string(directory.path().join("state/audit.jsonl")).unwrap();
    assert_eq!(text.matches("\"path\":\"1\"").count(), 2, "{text}");
    let mut buffer = [0; 500];
    let length = journal.recv(&mut buffer).unwrap();
    assert!(str::from_utf8(&buffer[..length]).unwrap().contains("\"path\":\"2\""));
}
