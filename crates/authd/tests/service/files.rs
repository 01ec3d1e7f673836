//! Checks of the files: systemd-analyze with its score for the units, and a parser for the property
//! list.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// The exposure of the unit by `systemd-analyze security`, in tenths; docs/service.md explains it.
/// The test fails if a change of the unit or stricter rules of systemd make it worse.
const WORST_EXPOSURE: u32 = 56;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Runs systemd-analyze with a home that has the binary where the unit expects it. `None` where
/// systemd-analyze is not installed.
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
fn systemd_analyze_accepts_the_units() {
    let Some(output) = analyze(&["verify", "./authd.service", "./authd.socket"]) else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    // systemd-analyze also warns of units of other packages on this machine.
    let warnings: Vec<_> = stderr.lines().filter(|line| line.contains("authd")).collect();
    assert!(output.status.success() && warnings.is_empty(), "{stderr}");
}

#[test]
fn the_exposure_of_the_unit_is_the_documented_one() {
    let threshold = format!("--threshold={WORST_EXPOSURE}");
    let args = ["security", "--offline=true", &threshold, "--no-pager", "./authd.service"];
    let Some(output) = analyze(&args) else { return };
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let document = fs::read_to_string(root().join("docs/service.md")).unwrap();
    let score = format!("**{}.{}**", WORST_EXPOSURE / 10, WORST_EXPOSURE % 10);
    assert!(document.contains(&score), "docs/service.md does not contain {score}");
}

#[test]
fn the_launch_agent_is_a_property_list_with_the_required_keys() {
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
