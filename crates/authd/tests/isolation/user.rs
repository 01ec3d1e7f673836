//! An ordinary user with subordinate ids, which exists only in the namespaces of one test.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

/// The user's id, also of its group. It should be no other user's.
const USER: u32 = 54_321;

/// The first of its subordinate ids.
const SUBORDINATE: u32 = 2_000_000;

/// Set for a test that runs as the user.
const INSIDE: &str = "AUTHD_ISOLATION_TEST";

/// The file in the user's home that shows the end of the test.
const PASSED: &str = "passed";

/// The directories of programs.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Adds the user to `/etc`, and makes the binaries accessible. The arguments are the directory of
/// the test, that of the binaries, and the program of the test. It changes only its own mount
/// namespace.
const PREPARE: &str = r#"
mount -t overlay -o "lowerdir=$1/etc:/etc" overlay /etc && mount --bind "$2" "$1/bin" && shift 2 || exit
"#;

/// Runs the program of the test.
const RUN: &str = r#"exec "$@""#;

/// Runs the body of a test as the user, by running this program again. Without root the test is
/// skipped; without one of the tools, too, except in CI.
pub(crate) fn as_ordinary_user<F: Future<Output = ()>>(test: &str, tools: &[&str], body: impl FnOnce() -> F) {
    run_as(USER, test, tools, "", body);
}

/// The same after a shell script of root, in the mount namespace of the test.
pub(crate) fn as_ordinary_user_after<F: Future<Output = ()>>(
    script: &str,
    test: &str,
    tools: &[&str],
    body: impl FnOnce() -> F,
) {
    run_as(USER, test, tools, script, body);
}

/// The same as root, with a home and a store of containers that exist only in the test.
pub(crate) fn as_root<F: Future<Output = ()>>(test: &str, tools: &[&str], body: impl FnOnce() -> F) {
    run_as(0, test, tools, "", body);
}

fn run_as<F: Future<Output = ()>>(
    user: u32,
    test: &str,
    tools: &[&str],
    script: &str,
    body: impl FnOnce() -> F,
) {
    if env::var_os(INSIDE).is_some() {
        tokio::runtime::Runtime::new().unwrap().block_on(body());
        return fs::write(home().join(PASSED), "").unwrap();
    }
    if let Some(tool) = tools.iter().find(|tool| !is_installed(tool)) {
        assert!(env::var_os("CI").is_none(), "{tool} is not installed");
        return println!("skipped: {tool} is not installed");
    }
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can add a user with subordinate ids");
    }
    let directory = prepare_directory(user);
    let (program, binaries) = (env::current_exe().unwrap(), binaries());
    let program = directory.path().join("bin").join(program.strip_prefix(&binaries).unwrap());
    let mut command = Command::new("unshare");
    // The end of the process namespace ends all processes that the test has started.
    command.args(["--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", "-c"]);
    command.arg([PREPARE, script, RUN].concat()).arg("sh").arg(directory.path()).arg(&binaries);
    command.args(["setpriv", &format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
    command.arg(program).args(["--exact", test, "--nocapture"]);
    command.env_clear().env("PATH", PATH).env(INSIDE, "1").current_dir("/");
    for (name, directory_name) in [("HOME", "home"), ("XDG_RUNTIME_DIR", "run"), ("TMPDIR", "tmp")] {
        command.env(name, directory.path().join(directory_name));
    }
    assert!(command.status().unwrap().success(), "{test} failed as the user {user}");
    assert!(directory.path().join("home").join(PASSED).exists(), "no test is named {test}");
}

/// The directory of this workspace's binaries.
pub(crate) fn binaries() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

/// The home of the user.
pub(crate) fn home() -> PathBuf {
    env::var_os("HOME").unwrap().into()
}

/// Creates the directory of a test: the user's files, its private directories, and the place of the
/// binaries.
fn prepare_directory(user: u32) -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("authd-isolation-").tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    set_mode(directory.path(), 0o755);
    for name in ["bin", "etc", "home", "run", "tmp"] {
        fs::create_dir(path(name)).unwrap();
    }
    for name in ["home", "run", "tmp"] {
        set_mode(&path(name), 0o700);
        chown(path(name), Some(user), Some(user)).unwrap();
    }
    let home = path("home");
    for (file, line) in [
        ("passwd", format!("authd-test:x:{USER}:{USER}::{}:/bin/sh", home.display())),
        ("group", format!("authd-test:x:{USER}:")),
        ("subuid", format!("authd-test:{SUBORDINATE}:65536")),
        ("subgid", format!("authd-test:{SUBORDINATE}:65536")),
    ] {
        let known = fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
        fs::write(path("etc").join(file), format!("{}\n{line}\n", known.trim_end())).unwrap();
    }
    if user == 0 {
        let (store, run) = (home.display(), path("run").display().to_string());
        let config =
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = '{store}/store'\nrunroot = '{run}/store'\n");
        fs::create_dir(path("etc").join("containers")).unwrap();
        fs::write(path("etc").join("containers/storage.conf"), config).unwrap();
    }
    directory
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether a program exists, by its name or its whole path.
fn is_installed(program: &str) -> bool {
    env::split_paths(PATH).any(|directory| directory.join(program).is_file())
}
