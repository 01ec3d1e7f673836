//! Runs a command as a child and waits for it. Its output, its input and its exit code are those of
//! this program.

use std::{
    io::{self, Read},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    process::{Command, ExitStatus},
    thread,
};

use authd_api::{ErrorCode, Problem};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    low_level::pipe,
};

use crate::{
    error::{CliError, CliResult},
    hardening,
};

/// Starts the command and waits for its end. This program outlives the signals that end the child:
/// the terminal sends SIGINT and SIGQUIT to both, and SIGTERM and SIGHUP are passed on.
pub(crate) fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let signals =
        [(SIGTERM, Some(Signal::TERM)), (SIGHUP, Some(Signal::HUP)), (SIGINT, None), (SIGQUIT, None)];
    let mut received = Vec::new();
    for (signal, passed_on) in signals {
        let (read, write) = UnixStream::pair()?;
        pipe::register(signal, write)?;
        received.push((read, passed_on));
    }
    let mut child = hardening::with_inherited_limit(|| command.spawn())?;
    let pid = Pid::from_child(&child);
    for (mut read, passed_on) in received {
        // The thread ends with this program, which ends soon after the child.
        thread::spawn(move || {
            while read.read_exact(&mut [0]).is_ok() {
                if let Some(signal) = passed_on {
                    // An error means that the child has ended.
                    let _ = kill_process(pid, signal);
                }
            }
        });
    }
    child.wait()
}

/// The result of this program after the child: the exit code of a shell.
pub(crate) fn result(program: &str, status: io::Result<ExitStatus>) -> CliResult {
    match status {
        Ok(status) => match status.code().or(status.signal().map(|signal| 128 + signal)) {
            Some(0) => Ok(()),
            code => Err(CliError::Reported(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
        },
        Err(error) => Err(not_started(program, &error)),
    }
}

/// A command that did not start, with the exit codes of a shell: 127 if it does not exist, 126 if
/// it cannot run.
pub(crate) fn not_started(program: &str, error: &io::Error) -> CliError {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    let detail = format!("cannot run {program}: {error}");
    CliError::WithExitCode(code, Box::new(Problem::new(ErrorCode::BadRequest, detail)))
}
