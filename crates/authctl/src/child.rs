//! Runs a command as a child and waits for it. Its output, its input and its exit code are those of
//! this program.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    process::{Command, ExitStatus},
    thread,
};

use authd_api::{ErrorCode, Problem};
use rustix::{
    process::{Pid, Signal, getpgrp, kill_process},
    termios::tcgetpgrp,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2},
    low_level::pipe,
};

use crate::{
    error::{CliError, CliResult},
    hardening,
};

/// The signals that a user or a supervisor sends to this program, and that are for the command.
const PASSED_ON: [(i32, Signal); 6] = [
    (SIGHUP, Signal::HUP),
    (SIGINT, Signal::INT),
    (SIGQUIT, Signal::QUIT),
    (SIGTERM, Signal::TERM),
    (SIGUSR1, Signal::USR1),
    (SIGUSR2, Signal::USR2),
];

/// Variables that would add another account, or another server, to the requests of OpenAI's SDKs.
pub(crate) const OF_OTHER_ACCOUNT: [&str; 5] =
    ["OPENAI_API_BASE", "OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT", "OPENAI_PROJECT_ID"];

/// An environment variable with its value; `None` removes it.
pub(crate) type Variable = (&'static str, Option<String>);

/// A command that the user named, not started yet.
pub(crate) fn command(words: &[OsString]) -> CliResult<Command> {
    let Some((program, args)) = words.split_first() else {
        return Err(CliError::new(ErrorCode::BadRequest, "there is no command to run"));
    };
    let mut command = Command::new(program);
    command.args(args);
    Ok(command)
}

/// Changes the environment that a command will have.
pub(crate) fn set_variables(command: &mut Command, variables: impl IntoIterator<Item = Variable>) {
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Starts the command and waits for its end. This program outlives the signals that end the child,
/// and passes them on. The child ignores the signals that this program ignores.
pub(crate) fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let mut received = Vec::new();
    let ignored = ignored_signals();
    for (number, signal) in PASSED_ON.into_iter().filter(|(number, _)| ignored >> (number - 1) & 1 == 0) {
        let (read, write) = UnixStream::pair()?;
        pipe::register(number, write)?;
        received.push((read, signal));
    }
    let mut child = hardening::with_inherited_limit(|| command.spawn())?;
    let pid = Pid::from_child(&child);
    for (mut read, signal) in received {
        // The thread ends with this program, which ends soon after the child.
        thread::spawn(move || {
            while read.read_exact(&mut [0]).is_ok() {
                if !(matches!(signal, Signal::INT | Signal::QUIT) && is_in_foreground()) {
                    // An error means that the child has ended.
                    let _ = kill_process(pid, signal);
                }
            }
        });
    }
    child.wait()
}

/// The signals that this program has ignored since its start, for example under nohup(1), as a mask
/// (proc(5)). Empty on systems without procfs.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Whether this program and the child are in the foreground of a terminal. Then a key of the
/// terminal sends SIGINT and SIGQUIT to both, and a signal that is passed on would be a second one.
fn is_in_foreground() -> bool {
    let terminal = File::open("/dev/tty").ok();
    terminal.and_then(|terminal| tcgetpgrp(terminal).ok()).is_some_and(|group| group == getpgrp())
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
