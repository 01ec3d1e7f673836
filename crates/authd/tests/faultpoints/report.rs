//! The report of an operation's faults: a table on stdout, and one row in `docs/faults.md`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
};

use crate::{
    control::Fault,
    fixture::{Calls, PointResult},
    invariants::Outcome,
    operations::Operation,
};

/// The text above the rows in `docs/faults.md`.
const HEAD: &str = "
# What a crash or a full disk costs

Each operation runs once for each of its system calls on files in the state directory and in Codex's
home. At that call authd is killed (before it, after it, or in the middle of a write), or the call
fails with `EIO`, `ENOSPC`, `EROFS` or `EMFILE`, once or with all later calls. With the records in a
keychain, authd is also killed before each D-Bus message, and the keychain before each change of its
files and before each answer.

*Nothing* means: every login works under exactly one name, no refresh token is stored twice, no file
or record is left over, the profiles, the shares and the added providers are as before the operation
or as after it, and the operation can be repeated. A client that a defined provider registered is
saved or registered again: a second time only if authd was killed before the save. *An unsaved
token* means: authd was killed after the provider rotated the token and before the new one was
saved; the user has to sign in again.

`cargo nextest run --test faultpoints` checks each row, except the number of points, which
varies.

| operation | records | points | authd is killed | the keychain is killed | a call fails |
|---|---|---|---|---|---|
";

/// Prints the results, and fails if an invariant does not hold or the row is wrong.
pub(crate) fn report(operation: Operation, calls: &Calls, faults: &[Fault], results: &[PointResult]) {
    let mut text = format!(
        "{}: {} calls, {} of the service\n",
        operation.name(),
        calls.daemon.len(),
        calls.service.len()
    );
    for fault in faults {
        let matching: Vec<_> = results.iter().filter(|result| result.point.fault == *fault).collect();
        let count = |is: fn(&Result<Outcome, String>) -> bool| {
            matching.iter().filter(|result| is(&result.outcome)).count()
        };
        text += &format!(
            "  {fault:?}: {} points, {} kept, {} finished, {} rolled back, {} unsaved, {} not reached, {} FAILED\n",
            matching.len(),
            count(|it| matches!(it, Ok(Outcome::Kept))),
            count(|it| matches!(it, Ok(Outcome::Finished))),
            count(|it| matches!(it, Ok(Outcome::RolledBack))),
            count(|it| matches!(it, Ok(Outcome::Lost(_)))),
            matching.iter().filter(|result| result.hit.is_none()).count(),
            count(Result::is_err),
        );
    }
    let mut failed = BTreeMap::<&str, Vec<String>>::new();
    for result in results {
        if let Err(error) = &result.outcome {
            let hit = result.hit.as_deref().unwrap_or("not reached");
            failed.entry(error).or_default().push(format!("{} ({hit})", result.point));
        }
    }
    for (error, points) in &failed {
        text += &format!("  {error}\n    at {}\n", points.join(", "));
    }
    println!("{text}");
    assert!(failed.is_empty(), "{}: see above", operation.name());
    if std::env::var_os("AUTHD_FAULTPOINTS_ONLY").is_none() {
        check_row(operation, faults, results);
    }
}

/// Compares the row in `docs/faults.md` with the results, or writes it with `AUTHD_WRITE_FAULTS`.
fn check_row(operation: Operation, faults: &[Fault], results: &[PointResult]) {
    let keychain = faults.iter().any(|fault| fault.is_of_service());
    let records = if keychain { "keychain" } else { "files" };
    let costs = [
        cost(results, Fault::is_kill),
        cost(results, Fault::is_of_service),
        cost(results, |fault| !fault.is_kill() && !fault.is_of_service()),
    ];
    let key = format!("| {} | {records} |", operation.name());
    let row = format!("{key} {} | {} |", results.len(), costs.join(" | "));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md");
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.lock")).unwrap();
    lock.lock().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let (others, ours) = text.split_at(text.find("\n# What a crash").unwrap_or(text.len()));
    let rows = ours.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| operation"));
    let mut rows: Vec<String> = rows.map(str::to_owned).collect();
    if std::env::var_os("AUTHD_WRITE_FAULTS").is_some() {
        rows.retain(|row| !row.starts_with(&key));
        rows.push(row);
        rows.sort_by_key(|row| {
            let is_row_of = |operation: &Operation| row.starts_with(&format!("| {} |", operation.name()));
            (Operation::ALL.iter().position(is_row_of), !row.contains("| files |"))
        });
        fs::write(&path, format!("{others}{HEAD}{}\n", rows.join("\n"))).unwrap();
        return;
    }
    let written = rows.iter().find(|row| row.starts_with(&key)).map(String::as_str).unwrap_or_default();
    assert_eq!(
        without_points(written),
        without_points(&row),
        "docs/faults.md differs; AUTHD_WRITE_FAULTS=1 writes the row"
    );
}

fn without_points(row: &str) -> Vec<&str> {
    row.split('|').enumerate().filter(|(column, _)| *column != 3).map(|(_, text)| text.trim()).collect()
}

/// The cost of these faults, after which the invariants hold.
fn cost(results: &[PointResult], is: fn(Fault) -> bool) -> &'static str {
    let mut matching = results.iter().filter(|result| is(result.point.fault)).peekable();
    if matching.peek().is_none() {
        return "–";
    }
    if matching.any(|result| matches!(result.outcome, Ok(Outcome::Lost(_)))) {
        "at most an unsaved token"
    } else {
        "nothing"
    }
}
