//! A shell that runs inside, and takes one command line after another.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// Time limit of a command line. It only ends a test that hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Begins the line that ends the output of a command line.
const END: &str = "end of the command line:";

/// A running shell. Dropping it ends it.
pub(crate) struct Shell {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// The result of a command line.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    /// What it printed, on stdout and stderr.
    pub(crate) text: String,
}

impl Shell {
    /// Starts a command that runs a shell without arguments.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { _process: process, input, output: BufReader::new(output).lines() }
    }

    /// Runs a command line.
    pub(crate) async fn run(&mut self, line: &str) -> Outcome {
        let script = format!("({line}) </dev/null 2>&1; printf '\\n%s %d\\n' '{END}' $?\n");
        self.input.write_all(script.as_bytes()).await.unwrap();
        let read = async {
            let mut text = String::new();
            while let Some(line) = self.output.next_line().await.unwrap() {
                if let Some(code) = line.strip_prefix(END) {
                    return Outcome { code: code.trim().parse().unwrap(), text: text.trim().to_owned() };
                }
                text.push_str(&line);
                text.push('\n');
            }
            panic!("the shell ended: {text}")
        };
        tokio::time::timeout(TIMEOUT, read).await.unwrap_or_else(|_| panic!("{line} does not end"))
    }
}
