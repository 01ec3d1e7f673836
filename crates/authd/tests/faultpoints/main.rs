//! Checks that a crash, a full disk or an I/O error costs no login.
//!
//! Each operation runs once for each of its system calls on files in the state directory and in
//! Codex's home: the daemon is killed there, or the call fails. With the records in a keychain, the
//! daemon is also killed before each D-Bus message, and the keychain's service before each change
//! of its files and before each answer. After each fault the invariants of `tests/invariants` must
//! hold, and the operation can be repeated. `clock.rs` lets the wall clock jump.
//!
//! | variable | does |
//! |---|---|
//! | `AUTHD_FAULTPOINTS=all` | adds the faults and operations that CI leaves out |
//! | `AUTHD_FAULTPOINTS_ONLY="kill 12"` | runs these points only, and prints the daemon's log |
//! | `AUTHD_WRITE_FAULTS=1` | writes the row of each operation to `docs/faults.md` |
//!
//! The tests need a C compiler with the name `cc`, and Linux with seccomp.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it cannot continue, and prints its table"
)]

#[expect(dead_code, reason = "each target uses a part of it")]
#[path = "../authorization_server/mod.rs"]
mod authorization_server;
mod clock;
mod control;
mod fixture;
mod fleet;
#[path = "../invariants/mod.rs"]
mod invariants;
mod keyring;
mod operations;
mod report;

use std::{
    collections::VecDeque,
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
};

use authd_sandbox::postgres::TestPostgres;

use crate::{
    control::{Errno, Fault, Point},
    fixture::{Calls, Fixture},
    fleet::FleetDatabase,
    keyring::Keyring,
    operations::Operation,
};

/// Number of daemons that run at the same time. Most of them wait for their next attempt to save.
const DAEMONS: usize = 12;

/// The faults where the records are in files.
const FILES: [Fault; 10] = [
    Fault::Kill,
    Fault::KillAfter,
    Fault::Tear,
    Fault::Once(Errno::Io),
    Fault::From(Errno::Io),
    Fault::Once(Errno::NoSpace),
    Fault::From(Errno::NoSpace),
    Fault::From(Errno::ReadOnly),
    Fault::Once(Errno::TooManyFiles),
    Fault::From(Errno::TooManyFiles),
];

/// The faults that CI leaves out. A single `ENOSPC` or `EMFILE` finds little that a lasting one
/// does not find, and a lasting `EIO` little that a single one does not find. A service that is
/// killed before it reads a message has the same state as one that was killed after its last
/// answer.
const LEFT_OUT: [Fault; 4] = [
    Fault::From(Errno::Io),
    Fault::Once(Errno::NoSpace),
    Fault::Once(Errno::TooManyFiles),
    Fault::KillServiceBeforeMessage,
];

/// The faults that CI leaves out of the operations at a defined provider, besides [`LEFT_OUT`].
/// These make the same calls as those at the built-in provider, and a few for the registration. A
/// daemon that is killed after a call has the state of one that is killed before the next. A
/// lasting `EROFS` or `EMFILE` finds little that `ENOSPC` and `EIO` do not find. A service that
/// is killed before its answer has the state of one that is killed before its next change.
const LEFT_OUT_AT_DEFINED_PROVIDER: [Fault; 4] = [
    Fault::KillAfter,
    Fault::From(Errno::ReadOnly),
    Fault::From(Errno::TooManyFiles),
    Fault::KillServiceBeforeAnswer,
];

/// The faults where the records are in a keychain.
const KEYCHAIN: [Fault; 4] = [
    Fault::KillBeforeMessage,
    Fault::KillService,
    Fault::KillServiceBeforeAnswer,
    Fault::KillServiceBeforeMessage,
];

macro_rules! operations {
    ($($test:ident => $operation:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            run_all_points(Operation::$operation, &FILES).await;
        })*
    };
}

operations! {
    start => Start,
    login_new => LoginNew,
    login_again => LoginAgain,
    login_replace => LoginReplace,
    refresh => Refresh,
    rename => Rename,
    make_default => MakeDefault,
    logout => Logout,
    api_key => ApiKey,
    rekey => Rekey,
    migrate_to_fleet => MigrateToFleet,
    migrate_from_fleet => MigrateFromFleet,
    export => Export,
    import => Import,
    install => Install,
    uninstall => Uninstall,
    share => Share,
    end_share => EndShare,
    add_provider => AddProvider,
    remove_provider => RemoveProvider,
    defined_login => DefinedLogin,
    defined_login_again => DefinedLoginAgain,
    defined_refresh => DefinedRefresh,
}

macro_rules! on_a_keychain {
    ($($test:ident => $operation:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            run_all_points(Operation::$operation, &KEYCHAIN).await;
        })*
    };
}

on_a_keychain! {
    keychain_login_new => LoginNew,
    keychain_login_again => LoginAgain,
    keychain_login_replace => LoginReplace,
    keychain_refresh => Refresh,
    keychain_rename => Rename,
    keychain_make_default => MakeDefault,
    keychain_logout => Logout,
    keychain_api_key => ApiKey,
    keychain_migrate => Migrate,
    keychain_defined_login => DefinedLogin,
    keychain_defined_login_again => DefinedLoginAgain,
    keychain_defined_refresh => DefinedRefresh,
}

/// All points of an operation that makes these calls.
fn points(operation: Operation, calls: &Calls, faults: &[Fault]) -> VecDeque<Point> {
    let only = std::env::var("AUTHD_FAULTPOINTS_ONLY").unwrap_or_default();
    let points_of = |fault: &Fault| {
        let fault = *fault;
        let calls = if fault.is_of_service() { &calls.service } else { &calls.daemon };
        let counted = calls.iter().filter(|call| fault.classes().contains(call.class)).count();
        (1..=counted).map(move |n| Point { fault, n })
    };
    let is_left_out = |fault: &Fault| {
        let is_at_defined_provider = operation.is_at_defined_provider();
        LEFT_OUT.contains(fault) || is_at_defined_provider && LEFT_OUT_AT_DEFINED_PROVIDER.contains(fault)
    };
    let all = runs_everything();
    let faults = faults.iter().filter(|fault| all || !is_left_out(fault));
    faults.flat_map(points_of).filter(|point| point.to_string().starts_with(&only)).collect()
}

/// Whether the environment enables the faults and operations that CI leaves out.
fn runs_everything() -> bool {
    std::env::var_os("AUTHD_FAULTPOINTS").is_some_and(|wanted| wanted == "all")
}

async fn fixture(
    operation: Operation,
    faults: &[Fault],
    server: Option<&Arc<TestPostgres>>,
) -> Option<(Fixture, Calls)> {
    let on_a_keychain = faults.iter().any(|fault| fault.is_of_service());
    let keyring = if on_a_keychain { Some(Keyring::start().await?) } else { None };
    let fleet = server.map(FleetDatabase::create);
    Some(Fixture::new(operation, keyring, fleet).await)
}

/// Runs an operation at all of its fault points, and reports the results.
async fn run_all_points(operation: Operation, faults: &'static [Fault]) {
    // With a keychain these differ little from another operation, and take long.
    let is_like_another = matches!(
        operation,
        Operation::LoginAgain
            | Operation::LoginReplace
            | Operation::DefinedLoginAgain
            | Operation::DefinedRefresh
    );
    if is_like_another && *faults == KEYCHAIN && !runs_everything() {
        println!("skipped: AUTHD_FAULTPOINTS=all is not set");
        return;
    }
    let server = if operation.is_in_fleet() { TestPostgres::start().unwrap().map(Arc::new) } else { None };
    if operation.is_in_fleet() && server.is_none() {
        return;
    }
    let Some((first, calls)) = fixture(operation, faults, server.as_ref()).await else { return };
    let queue = Arc::new(Mutex::new(points(operation, &calls, faults)));
    let mut first = Some(first);
    let workers: Vec<_> = (0..DAEMONS)
        .map(|_| {
            let (queue, server, first) = (Arc::clone(&queue), server.clone(), first.take());
            tokio::spawn(async move {
                let mut fixture = match first {
                    Some(fixture) => fixture,
                    None => fixture(operation, faults, server.as_ref()).await.unwrap().0,
                };
                let mut results = Vec::new();
                loop {
                    let Some(point) = queue.lock().unwrap().pop_front() else { return results };
                    let result = fixture.run_point(point).await;
                    if std::env::var_os("AUTHD_FAULTPOINTS_ONLY").is_some() {
                        println!("{result:?}\n{}", fixture.daemon.log());
                    }
                    results.push(result);
                }
            })
        })
        .collect();
    let mut results = Vec::new();
    for worker in workers {
        results.extend(worker.await.unwrap());
    }
    report::report(operation, &calls, faults, &results);
}

/// Copies a directory with its content and modes.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
