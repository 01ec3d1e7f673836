//! `authctl audit`.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use authd_api::{AuditEntry, AuditStatus, AuditTarget, ErrorCode, Problem, ProfileName, route};
use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;

use crate::{
    cli::AuditArgs,
    context::{Context, with_timeout},
    error::CliResult,
    render,
    screen::Screen,
    selection::Source,
    time,
};

pub(super) async fn audit(ctx: &Context, args: &AuditArgs) -> CliResult {
    let status = with_timeout(ctx.client.status()).await?.audit;
    if let Some(status) = &status {
        warn(ctx, status);
    }
    let since = args.since.map(|since| since.timestamp(time::now()));
    // A profile of the environment or the directory would hide entries without a word.
    let profile = ctx.selection.profile.as_ref().filter(|_| ctx.selection.source == Source::CommandLine);
    let mut printer = Printer { ctx, screen: Screen::stdout(ctx.out), profile, since, line: Vec::new() };
    if status.is_some_and(|status| status.to == AuditTarget::Journal) {
        return read_journal(args.follow, &mut printer);
    }
    read_files(ctx, args.follow, &mut printer).await
}

/// Says that entries are missing.
fn warn(ctx: &Context, status: &AuditStatus) {
    if let Some(error) = &status.error {
        ctx.out.always(&format!("warning: authd cannot write the audit log: {error}"));
    }
    if status.lost > 0 {
        let lost = status.lost;
        ctx.out.always(&format!("warning: {lost} uses since the start of authd are not in the audit log"));
    }
}

async fn read_files(ctx: &Context, follow: bool, printer: &mut Printer<'_>) -> CliResult {
    let since = printer.since.map(|since| format!("&since={since}")).unwrap_or_default();
    let profile = printer.profile.map(|profile| format!("&profile={profile}")).unwrap_or_default();
    let path = format!("{}?follow={follow}{since}{profile}", route::AUDIT);
    let headers = HeaderMap::new();
    let mut response = with_timeout(ctx.client.stream(Method::GET, &path, &headers, Bytes::new())).await?;
    if response.status.as_u16() >= 400 {
        with_timeout(async { response.collect().await?.or_problem() }).await?;
        return Ok(());
    }
    printer.heading()?;
    while let Some(chunk) = response.chunk().await? {
        printer.push(&chunk)?;
    }
    if follow {
        ctx.out.info("authd stopped");
    }
    Ok(())
}

/// Reads the entries from the journal of systemd.
fn read_journal(follow: bool, printer: &mut Printer<'_>) -> CliResult {
    let command = journalctl(follow, printer.since, rustix::process::getuid().as_raw());
    let problem = |error: &dyn std::fmt::Display| {
        Problem::new(ErrorCode::Internal, format!("cannot read the journal: {error}"))
    };
    let failed = |error: &dyn std::fmt::Display| {
        problem(error).hint("run it yourself: journalctl -t authd-audit -o cat")
    };
    let mut child = Command::new(&command[0]);
    let child = child.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = child.spawn().map_err(|error| failed(&error))?;
    printer.heading()?;
    let output = child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).split(b'\n'));
    for line in output {
        let read = line.map_err(|error| failed(&error).into());
        if let Err(error) = read.and_then(|line| printer.push(&[&line, &b"\n"[..]].concat())) {
            // With -f it would wait for ever.
            drop(child.kill());
            return Err(error);
        }
    }
    let status = child.wait().map_err(|error| failed(&error))?;
    if status.success() {
        return Ok(());
    }
    // journalctl has printed its own message.
    let hint = "without the group systemd-journal, a user can read only a journal in /var/log/journal";
    Err(problem(&format!("journalctl: {status}")).hint(hint).into())
}

fn journalctl(follow: bool, since: Option<Timestamp>, uid: u32) -> Vec<String> {
    let mut command: Vec<String> =
        ["journalctl", "--no-pager", "-q", "-o", "cat", "-t", "authd-audit"].map(str::to_owned).into();
    command.push(format!("_UID={uid}"));
    command.extend(since.map(|since| format!("--since=@{}", since.as_second())));
    if follow {
        command.extend(["-f", "--no-tail"].map(str::to_owned));
    }
    command
}

/// Prints the entries of a stream of JSON lines.
struct Printer<'a> {
    ctx: &'a Context,
    screen: Screen,
    /// Only entries about this profile.
    profile: Option<&'a ProfileName>,
    /// Only entries from this time on. journalctl compares whole seconds, and the time at which the
    /// journal got an entry.
    since: Option<Timestamp>,
    /// The beginning of a line.
    line: Vec<u8>,
}

impl Printer<'_> {
    fn heading(&self) -> CliResult {
        let out = self.ctx.out;
        if out.json || out.quiet { Ok(()) } else { out.print(&render::audit_heading(&self.screen)) }
    }

    fn push(&mut self, chunk: &[u8]) -> CliResult {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.print(&line)?;
            }
        }
        Ok(())
    }

    fn print(&self, line: &[u8]) -> CliResult {
        // Other programs of the user can write to the journal under this name.
        let Ok(entry) = serde_json::from_slice::<AuditEntry>(line) else { return Ok(()) };
        let is_other = self.profile.is_some() && self.profile != entry.profile.as_ref();
        if is_other || self.since.is_some_and(|since| entry.time < since) {
            return Ok(());
        }
        let out = self.ctx.out;
        // JSON has no control character outside of its escapes.
        if out.json { out.write(line) } else { out.print(&render::audit_entry(&entry, &self.screen)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_is_read_from_a_time_on_and_for_this_user() {
        let text = |follow, since: Option<i64>| {
            journalctl(follow, since.map(|second| Timestamp::from_second(second).unwrap()), 1000).join(" ")
        };
        let plain = "journalctl --no-pager -q -o cat -t authd-audit _UID=1000";
        assert_eq!(text(false, None), plain);
        assert_eq!(text(true, Some(5)), format!("{plain} --since=@5 -f --no-tail"));
    }
}
