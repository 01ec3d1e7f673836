//! What each failure of the database costs. `AUTHD_WRITE_FAILURES=1` writes the result as the table
//! of docs/fleet.md.

use std::{env, fs};

use authd_oauth::ProfileStatus;
use authd_sandbox::Config;

use crate::{
    fixture::{Node, World, name},
    nodes::reject,
};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/fleet.md");
const BEGIN: &str = "<!-- begin failures -->\n";
const END: &str = "<!-- end failures -->";

/// A failure of the database that ends.
#[derive(Clone, Copy)]
enum Failure {
    Stopped,
    Killed,
    Hangs,
    ReadOnly,
    NoTables,
}

impl Failure {
    fn begin(self, world: &mut World) {
        match self {
            Self::Stopped => world.postgres.stop().unwrap(),
            Self::Killed => world.postgres.kill().unwrap(),
            Self::Hangs => world.postgres.pause().unwrap(),
            Self::ReadOnly => set_read_only(world, true),
            Self::NoTables => sql(world, "ALTER TABLE authd.record RENAME TO hidden"),
        }
    }

    fn end(self, world: &mut World) {
        match self {
            Self::Stopped | Self::Killed => world.postgres.restart().unwrap(),
            Self::Hangs => world.postgres.resume().unwrap(),
            Self::ReadOnly => set_read_only(world, false),
            Self::NoTables => sql(world, "ALTER TABLE authd.hidden RENAME TO record"),
        }
    }
}

fn sql(world: &World, sql: &str) {
    world.postgres.psql(sql).unwrap();
}

/// The server reads its settings some time after the call. It has signalled the older connections
/// when a new one has them.
fn set_read_only(world: &World, is_read_only: bool) {
    let value = if is_read_only { "on" } else { "off" };
    sql(world, &format!("ALTER SYSTEM SET default_transaction_read_only = {value}"));
    sql(world, "SELECT pg_reload_conf()");
    while world.postgres.psql("SHOW default_transaction_read_only").unwrap() != value {}
}

/// Whether the valid token is served, whether a refresh succeeds, and whether a user has to sign in
/// afterwards.
struct Row(&'static str, bool, bool, bool);

impl Row {
    fn line(&self) -> String {
        let Self(failure, served, refreshed, signs_in) = self;
        let [served, refreshed] = [served, refreshed].map(|yes| if *yes { "yes" } else { "no" });
        let after = if *signs_in { "a new sign-in" } else { "nothing" };
        format!("| {failure} | {served} | {refreshed} | {after} |\n")
    }
}

fn status(node: &Node) -> ProfileStatus {
    node.profile("work").view().snapshot().unwrap().status(authd_broker::now())
}

/// Rejects the token of `a` during a failure, which must end with a refresh when it has ended.
async fn during(world: &mut World, title: &'static str, failure: Failure) -> Row {
    let a = world.node("a").await;
    a.sign_in(world, "work", "plus").await;
    let token = a.authorization("work");
    let rotations = world.sandbox.rotations();
    failure.begin(world);
    reject(&a, "work").await;
    let row = Row(title, a.authorization("work") == token, world.sandbox.rotations() > rotations, false);
    failure.end(world);
    a.wait_until(title, |a| a.authorization("work") != token).await;
    assert_eq!(world.sandbox.rotations(), rotations + 1, "{title}");
    a.broker.registry.sign_out(name("work"), false).await.unwrap();
    a.shut_down().await;
    row
}

/// A node that starts while the server is stopped.
async fn start_without_server(world: &mut World) -> Row {
    let a = world.node("a").await;
    a.sign_in(world, "work", "plus").await;
    let directory = a.shut_down().await;
    world.postgres.stop().unwrap();
    let a = world.start_node("a", directory, true).await;
    let known = a.broker.registry.known(std::time::Duration::from_secs(60)).await;
    let row = Row("A node starts while the server is away", known.is_ok(), false, false);
    world.postgres.restart().unwrap();
    a.wait_for_profile("work").await;
    a.authorization("work");
    a.broker.registry.sign_out(name("work"), false).await.unwrap();
    a.shut_down().await;
    row
}

/// The database goes back to a state before the last refresh.
async fn restored(world: &mut World, title: &'static str, restarts: bool) -> Row {
    let a = world.node("a").await;
    a.sign_in(world, "work", "plus").await;
    a.wait_until("the default", |a| a.broker.registry.snapshot().default.is_some()).await;
    sql(world, "CREATE TABLE backup AS SELECT * FROM authd.record");
    let token = a.authorization("work");
    a.profile("work").refresh(None).await.unwrap();
    let newest = a.authorization("work");
    assert_ne!(newest, token);
    let rotations = world.sandbox.rotations();
    let restore = "BEGIN; DELETE FROM authd.record; INSERT INTO authd.record SELECT * FROM backup; \
                   DROP TABLE backup; COMMIT";
    let a = if restarts {
        let directory = a.shut_down().await;
        sql(world, restore);
        let a = world.start_node("a", directory, true).await;
        a.wait_for_profile("work").await;
        a
    } else {
        sql(world, restore);
        a
    };
    let before = a.authorization("work");
    a.profile("work").refresh(None).await.unwrap();
    let refreshed = world.sandbox.rotations() > rotations;
    let ended = a.profile("work").view().snapshot().unwrap().ended.is_some();
    let served = before == a.authorization("work") || refreshed;
    assert_eq!(ended, !refreshed, "{title}: {:?}", status(&a));
    a.broker.registry.sign_out(name("work"), false).await.unwrap();
    a.shut_down().await;
    Row(title, served, refreshed, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn table_of_failures_in_the_documentation_is_what_happens() {
    let Some(mut world) = World::start(Config::default()).await else { return };
    let mut rows = Vec::new();
    for (title, failure) in [
        ("The server is stopped", Failure::Stopped),
        ("The server is killed", Failure::Killed),
        ("The server hangs", Failure::Hangs),
        ("The server becomes read-only", Failure::ReadOnly),
        ("The tables disappear", Failure::NoTables),
    ] {
        rows.push(during(&mut world, title, failure).await);
    }
    rows.push(start_without_server(&mut world).await);
    let title = "The database is restored from a backup, and a node runs that knows the newer token";
    rows.push(restored(&mut world, title, false).await);
    let title = "The database is restored from a backup, and every node has restarted";
    rows.push(restored(&mut world, title, true).await);

    let head =
        "| Failure | The valid token is served | A refresh works | Needed afterwards |\n|---|---|---|---|\n";
    let table = rows.iter().fold(head.to_owned(), |table, row| table + &row.line());
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once(BEGIN).expect("docs/fleet.md has the marks");
    let (written, after) = rest.split_once(END).expect("docs/fleet.md has the marks");
    if env::var_os("AUTHD_WRITE_FAILURES").is_some() {
        fs::write(DOCUMENT, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(written, table);
    }
}
