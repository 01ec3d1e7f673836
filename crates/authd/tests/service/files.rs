//! The files as they are: systemd's own checker and its score, and the property list as far as it can be
//! read here.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// The unit's exposure as `systemd-analyze security` counts it, in tenths; docs/service.md explains it.
/// A change of the unit that makes it worse is to be seen here, and so are stricter rules of systemd's.
const WORST_EXPOSURE: u32 = 56;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// systemd-analyze in a home that has the binary where the unit expects it; nothing, where there is none.
fn analyze(args: &[&str]) -> Option<Output> {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join(".cargo/bin");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(crate::AUTHD, bin.join("authd")).unwrap();
    let run = home.path().join("run");
    fs::create_dir(&run).unwrap();
    let mut command = Command::new("systemd-analyze");
    command.arg("--user").args(args).current_dir(root().join("systemd"));
    let output = command.env("HOME", home.path()).env("XDG_RUNTIME_DIR", run).output();
    output.inspect_err(|_| println!("skipped: systemd-analyze is not installed")).ok()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let Some(output) = analyze(&["verify", "./authd.service", "./authd.socket"]) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    // It warns of units that other packages have installed on this machine, too.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("authd")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn the_units_are_as_closed_as_the_documents_say() {
    let threshold = format!("--threshold={WORST_EXPOSURE}");
    let args = ["security", "--offline=true", &threshold, "--no-pager", "./authd.service"];
    let Some(output) = analyze(&args) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let documents = fs::read_to_string(root().join("docs/service.md")).unwrap();
    let score = format!("**{}.{}**", WORST_EXPOSURE / 10, WORST_EXPOSURE % 10);
    assert!(documents.contains(&score), "docs/service.md does not say {score}");
}

#[test]
fn the_launch_agent_is_a_property_list_that_says_what_it_should() {
    const READ: &str = "
import plistlib, sys
agent = plistlib.load(open(sys.argv[1], 'rb'))
assert agent['Label'] + '.plist' == sys.argv[1].rsplit('/', 1)[1]
assert agent['KeepAlive'] == {'SuccessfulExit': False} and agent['RunAtLoad'] is True
assert agent['ThrottleInterval'] >= 1 and agent['ExitTimeOut'] > 10
assert agent['Umask'] == 0o077 and agent['HardResourceLimits'] == {'Core': 0}
shell, option, command = agent['ProgramArguments']
assert (shell, option) == ('/bin/sh', '-c') and '2>>\"$HOME/Library/Logs/authd.log\"' in command
";
    let plist = root().join("launchd/io.authd.authd.plist");
    match Command::new("python3").args(["-c", READ]).arg(&plist).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => println!("skipped: python3 is not installed"),
    }
}
