//! Sends lines to systemd's journal, in its native protocol: one datagram of `FIELD=value` lines
//! for each entry (`systemd.io/JOURNAL_NATIVE_PROTOCOL`).

use std::{io, os::unix::net::UnixDatagram, path::Path, time::Duration};

/// The socket of the journal.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest wait for a journal that reads nothing.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends lines. After an error, the returned number of them is sent.
pub(super) fn send(socket: &Path, lines: &[String]) -> (usize, io::Result<()>) {
    let mut sent = 0;
    let result = send_counting(socket, lines, &mut sent);
    let with_path = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", socket.display()));
    (sent, result.map_err(with_path))
}

fn send_counting(path: &Path, lines: &[String], sent: &mut usize) -> io::Result<()> {
    // Connected for each batch: the journal may have been restarted.
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    socket.connect(path)?;
    for line in lines {
        // The JSON of a line has no line feed, so the plain form of a field is enough. 6 is `info`.
        let fields = format!("SYSLOG_IDENTIFIER=authd-audit\nPRIORITY=6\nMESSAGE={line}\n");
        socket.send(fields.as_bytes())?;
        *sent += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_one_entry_of_the_journal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let lines = ["{\"a\":1}".to_owned(), "{}".to_owned()];
        let (sent, result) = send(&path, &lines);
        assert_eq!((sent, result.unwrap_err().kind()), (0, io::ErrorKind::NotFound));
        let journal = UnixDatagram::bind(&path).unwrap();
        let (sent, result) = send(&path, &lines);
        result.unwrap();
        assert_eq!(sent, 2);
        let mut buffer = [0; 200];
        let length = journal.recv(&mut buffer).unwrap();
        let expected = "SYSLOG_IDENTIFIER=authd-audit\nPRIORITY=6\nMESSAGE={\"a\":1}\n";
        assert_eq!(str::from_utf8(&buffer[..length]), Ok(expected));
    }
}
