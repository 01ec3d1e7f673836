//! A test daemon that returns to the same prepared state before each fault point. The state
//! directory, Codex's home and the keychain's items are copied back, and the sandbox and the
//! defined provider return to the tokens that were valid then.

use std::{fs, io, path::PathBuf, time::Duration};

use authd_sandbox::{
    Account, Checkpoint, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    authorization_server::{AuthorizationServer, callback_ports, grants::Grants},
    control::{Call, Fault, FaultControl, Point},
    copy,
    fleet::FleetDatabase,
    invariants::{
        CheckContext, Keychain, Outcome, Reply, Snapshot, codex_home, verify, wait_until_consistent,
    },
    keyring::Keyring,
    operations::Operation,
};

/// Longest time between the answer to the client and the call that kills the daemon.
const BACKGROUND_WORK: Duration = Duration::from_millis(1_500);

/// Duration of a lasting fault.
const OUTAGE: Duration = Duration::from_secs(2);

/// Longest time until a client has its response. The store has ten seconds for each call.
const ANSWER: Duration = Duration::from_secs(25);

/// A daemon in the state where the operation begins.
pub(crate) struct Fixture {
    operation: Operation,
    pub(crate) sandbox: Sandbox,
    /// The server of the defined provider `lab`.
    server: AuthorizationServer,
    pub(crate) daemon: TestDaemon,
    pub(crate) control: FaultControl,
    pub(crate) keyring: Option<Keyring>,
    fleet: Option<FleetDatabase>,
    prepared: PathBuf,
    checkpoint: Checkpoint,
    grants: Grants,
    /// How many clients are registered after a run without a fault.
    registrations: usize,
    pub(crate) before: Snapshot,
    pub(crate) after: Snapshot,
    /// The state after a run without a fault. `after` allows more once the operation is repeated.
    expected: Snapshot,
    /// Whether the daemon was killed between a rotation of a token and its save.
    may_be_lost: bool,
}

/// The calls of an operation.
pub(crate) struct Calls {
    pub(crate) daemon: Vec<Call>,
    /// The calls of the keychain's service.
    pub(crate) service: Vec<Call>,
}

/// Result of one fault point.
#[derive(Clone, Debug)]
pub(crate) struct PointResult {
    pub(crate) point: Point,
    /// The call where the fault happened; `None` if the daemon made fewer calls this time.
    pub(crate) hit: Option<String>,
    pub(crate) reply: Reply,
    /// The outcome, or the invariant that does not hold.
    pub(crate) outcome: Result<Outcome, String>,
}

impl Fixture {
    /// Prepares the state, and runs the operation once without a fault to learn its calls.
    pub(crate) async fn new(
        operation: Operation,
        keyring: Option<Keyring>,
        fleet: Option<FleetDatabase>,
    ) -> (Self, Calls) {
        let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
        let mut config = TestDaemonConfig::new(env!("CARGO_BIN_EXE_authd"), &sandbox);
        config = config.store(if keyring.is_some() { "auto" } else { "file" });
        let server = AuthorizationServer::start(json!({})).await;
        if operation.is_at_defined_provider() {
            config = config.toml(&server.definition()).callback(&callback_ports());
        }
        if let Some(fleet) = &fleet {
            config = config.toml(&fleet.toml());
        }
        let bus = keyring.as_ref().map(Keyring::bus_address);
        // Before a migration the records are in files: the daemon starts without a bus.
        if let Some(bus) = bus.as_deref().filter(|_| operation != Operation::Migrate) {
            config = config.env("DBUS_SESSION_BUS_ADDRESS", bus);
        }
        let mut daemon = TestDaemon::start(config).await;
        operation.prepare(&daemon, &sandbox).await;
        daemon.sigterm_and_wait().await;
        fleet.iter().for_each(FleetDatabase::save);
        if let Some(bus) = &bus {
            daemon.set_env("DBUS_SESSION_BUS_ADDRESS", bus);
        }
        let prepared = daemon.dir().join("prepared");
        let control = FaultControl::new(daemon.dir());
        for (name, value) in control.env(&[daemon.state(), codex_home(&daemon)]) {
            daemon.set_env(name, &value);
        }
        let (checkpoint, grants) = (sandbox.checkpoint(), server.checkpoint());
        let nothing = Snapshot::default();
        let (before, after) = (nothing.clone(), nothing);
        let mut fixture = Self {
            operation,
            sandbox,
            server,
            daemon,
            control,
            keyring,
            fleet,
            prepared,
            checkpoint,
            grants,
            registrations: 0,
            before,
            after,
            expected: Snapshot::default(),
            may_be_lost: false,
        };
        for (from, to) in fixture.directories() {
            copy(&to, &from).unwrap();
        }
        if let Some(keyring) = &mut fixture.keyring {
            keyring.kill().await;
            keyring.save(&fixture.prepared.join("items")).unwrap();
        }
        let calls = fixture.rehearse().await;
        (fixture, calls)
    }

    /// The directories to restore, as source and target.
    fn directories(&self) -> [(PathBuf, PathBuf); 2] {
        [
            (self.prepared.join("state"), self.daemon.state()),
            (self.prepared.join("codex"), codex_home(&self.daemon)),
        ]
    }

    /// Runs the operation once without a fault.
    async fn rehearse(&mut self) -> Calls {
        self.restore().await.unwrap();
        if self.operation == Operation::Start {
            self.control.count();
        }
        self.daemon.start_again().await;
        self.before = Snapshot::take(self.context())
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.daemon.log()));
        self.control.quiet(Duration::from_millis(100)).await;
        if self.operation != Operation::Start {
            self.control.count();
        }
        if let Some(keyring) = &self.keyring {
            keyring.control.count();
        }
        let reply = self.operation.run(&self.daemon, &self.sandbox).await;
        assert_eq!(reply, Reply::Success, "{:?} without a fault", self.operation);
        self.control.quiet(Duration::from_millis(300)).await;
        let service = self.keyring.as_ref().map(|keyring| keyring.control.calls()).unwrap_or_default();
        let calls = Calls { daemon: self.control.calls(), service };
        self.disarm();
        self.after = Snapshot::take(self.context())
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.daemon.log()));
        self.expected = self.after.clone();
        self.registrations = self.server.registrations();
        // The invariants must hold without a fault, too.
        let outcome = verify(self.context(), Reply::Success).await;
        let files = Snapshot::take(self.context()).await.unwrap_or_default().files;
        self.expected.files.extend(files);
        assert!(outcome.is_ok(), "{:?} without a fault: {outcome:?}\n{}", self.operation, self.daemon.log());
        calls
    }

    /// Restores the prepared state. No daemon runs afterwards.
    async fn restore(&mut self) -> io::Result<()> {
        self.disarm();
        if self.daemon.pid().is_some() {
            self.daemon.kill9().await;
        }
        for (from, to) in self.directories() {
            fs::remove_dir_all(&to)?;
            copy(&from, &to)?;
        }
        if let Some(keyring) = &mut self.keyring {
            keyring.restore(&self.prepared.join("items")).await;
        }
        self.fleet.iter().for_each(FleetDatabase::restore);
        self.sandbox.rewind(&self.checkpoint);
        self.server.rewind(&self.grants);
        self.after = self.expected.clone();
        self.may_be_lost = false;
        Ok(())
    }

    /// Runs the operation with a fault at one point, and checks the invariants.
    pub(crate) async fn run_point(&mut self, point: Point) -> PointResult {
        let mut result =
            PointResult { point, hit: None, reply: Reply::NoAnswer, outcome: Err("not started".to_owned()) };
        self.restore().await.unwrap();
        let rotations = self.rotations();
        let starts = self.operation == Operation::Start;
        if starts {
            self.control.arm(point);
        }
        let started = self.daemon.try_start_again().await;
        if !starts {
            if let Err(error) = started {
                result.outcome = Err(format!("the daemon does not start: {error}"));
                return result;
            }
            if let Err(error) = Snapshot::take(self.context()).await {
                result.outcome = Err(format!("before the fault: {error}"));
                return result;
            }
            self.control.quiet(Duration::from_millis(15)).await;
            match &self.keyring {
                Some(keyring) if point.fault.is_of_service() => keyring.control.arm(point),
                _ => self.control.arm(point),
            }
            let Some(reply) = self.answer(point).await else {
                result.hit = self.hit(point);
                result.outcome = Err(format!("no answer within {ANSWER:?}"));
                return result;
            };
            result.reply = reply;
        }
        let kills = point.fault.is_kill();
        if kills {
            if self.daemon.pid().is_some() && self.daemon.wait_timeout(BACKGROUND_WORK).await.is_none() {
                self.daemon.kill9().await;
            }
        } else if !point.fault.is_of_service() {
            self.wait_for_fault(point).await;
        }
        if let Some(keyring) = self.keyring.as_mut().filter(|_| point.fault.is_of_service()) {
            keyring.died(BACKGROUND_WORK).await;
            keyring.kill().await;
        }
        result.hit = self.hit(point);
        let saving = result.hit.as_ref().is_some_and(|hit| hit.contains("store") || hit.ends_with(" bus"));
        self.may_be_lost = kills && saving && self.rotations() > rotations;
        self.disarm();
        match &mut self.keyring {
            Some(keyring) if point.fault.is_of_service() => keyring.start_service().await,
            Some(keyring) => keyring.restart_if_crashed().await,
            None => {}
        }
        if self.daemon.pid().is_none()
            && let Err(error) = self.daemon.try_start_again().await
        {
            result.outcome = Err(format!("the daemon does not start again: {error}"));
            return result;
        }
        result.outcome = self.verify_and_repeat(&result.reply, kills).await;
        result
    }

    /// Requests the operation and waits for the response. A lasting fault ends after [`OUTAGE`],
    /// because an operation may wait for its end.
    async fn answer(&self, point: Point) -> Option<Reply> {
        let mut run = Box::pin(self.operation.run(&self.daemon, &self.sandbox));
        if let Ok(reply) = timeout(OUTAGE, &mut run).await {
            return Some(reply);
        }
        if matches!(point.fault, Fault::From(_)) {
            self.control.disarm();
        }
        timeout(ANSWER, run).await.ok()
    }

    /// How many refresh tokens both providers have rotated.
    fn rotations(&self) -> usize {
        self.sandbox.rotations() + self.server.rotations()
    }

    fn disarm(&self) {
        self.control.disarm();
        if let Some(keyring) = &self.keyring {
            keyring.control.disarm();
        }
    }

    /// The call where the fault happened.
    fn hit(&self, point: Point) -> Option<String> {
        let control = match &self.keyring {
            Some(keyring) if point.fault.is_of_service() => &keyring.control,
            _ => &self.control,
        };
        control.calls().into_iter().find(|call| call.hit).map(|call| call.text)
    }

    /// Waits until the fault has happened, or the daemon has no more work.
    async fn wait_for_fault(&self, point: Point) {
        for _ in 0..10 {
            if self.control.calls().iter().any(|call| call.hit) {
                break;
            }
            self.control.quiet(Duration::from_millis(30)).await;
        }
        if matches!(point.fault, Fault::From(_)) {
            self.control.quiet(Duration::from_millis(20)).await;
        }
    }

    fn context(&self) -> CheckContext<'_> {
        let keychain = self.keyring.as_ref().map(|keyring| keyring as &dyn Keychain);
        let keychain = keychain.or(self.fleet.as_ref().map(|fleet| fleet as &dyn Keychain));
        let Self { daemon, sandbox, server, before, after, may_be_lost, .. } = self;
        CheckContext { daemon, sandbox, server, keychain, before, after, may_be_lost: *may_be_lost }
    }

    /// Repeats the operation, unless it is complete.
    async fn repeat(&mut self, outcome: &Outcome) -> Result<(), String> {
        if *outcome == Outcome::Finished || self.operation == Operation::Start {
            return Ok(());
        }
        // A repeated login has another number.
        for (name, user) in &mut self.after.profiles {
            if self.before.profiles.get(name) != Some(user) {
                user.family = None;
            }
        }
        match self.operation.run(&self.daemon, &self.sandbox).await {
            Reply::Success => {}
            reply => return Err(format!("the operation cannot be repeated: {reply:?}")),
        }
        wait_until_consistent(self.context(), &Reply::Success)
            .await
            .map(drop)
            .map_err(|error| format!("after the operation was repeated: {error}"))
    }

    /// Checks that the daemon registered a client only where it had none. A daemon that was killed
    /// may have received a registration and not saved it: the repeated login makes a second one.
    fn check_registrations(&self, killed: bool) -> Result<(), String> {
        let registers = self.operation == Operation::DefinedLogin;
        let most = self.registrations + usize::from(registers && killed);
        match self.server.registrations() {
            count if count <= most => Ok(()),
            count => Err(format!("{count} clients were registered instead of {most}")),
        }
    }

    /// Checks the invariants, repeats the operation, and checks them again after a clean restart.
    async fn verify_and_repeat(&mut self, reply: &Reply, killed: bool) -> Result<Outcome, String> {
        let outcome = verify(self.context(), reply.clone()).await?;
        if let Outcome::Lost(_) = outcome {
            return Ok(outcome);
        }
        self.may_be_lost = false;
        self.repeat(&outcome).await?;
        self.check_registrations(killed)?;
        if !killed {
            self.daemon.sigterm_and_wait().await;
            self.daemon.try_start_again().await.map_err(|error| format!("after a clean stop: {error}"))?;
            verify(self.context(), Reply::Success)
                .await
                .map_err(|error| format!("after a clean restart: {error}"))?;
        }
        Ok(outcome)
    }
}
