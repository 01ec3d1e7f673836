//! The wall clock jumps by thirty days, back or forward: before a start, while the daemon is idle,
//! during a refresh, and while the daemon waits for its next attempt. Headers are served at once
//! all the same, and a refresh happens when it is due.
//!
//! `interpose.c` moves the clocks of the daemon only: the wall clock when it is set, and with it
//! the time since the start of the machine when time passes. For a suspend, in which the provider's
//! time passes too, the sandbox ends all access tokens, and new ones last thirty days longer.
//!
//! Two things differ from a real machine. The kernel wakes a timer at once when the clock is set;
//! here it wakes when the daemon next reads the clock. The monotonic clock of a suspended machine
//! stands still; here it continues.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;
use tempfile::TempDir;

use crate::control::library;

const MONTH: u64 = 30 * 24 * 3600;

/// How the clock jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jump {
    /// The machine's clock is set thirty days back.
    Back,
    /// The machine's clock is set thirty days forward.
    Forward,
    /// The machine was suspended for thirty days.
    Suspend,
}

/// The longest that anything may take after a jump.
const SOON: Duration = Duration::from_secs(6);

/// The longest that a refresh may take once it is due, on a machine that has other work.
const DUE: Duration = Duration::from_secs(30);

/// A daemon whose clock can be set.
struct ClockTest {
    sandbox: Sandbox,
    daemon: TestDaemon,
    clock: PathBuf,
    offset: i64,
    passed: i64,
    _dir: TempDir,
}

impl ClockTest {
    /// Starts the daemon with one login, whose tokens last this long.
    async fn start(lifetime: Duration) -> Self {
        let account = Account::plus().with_lifetime(lifetime);
        let sandbox = Sandbox::start(Config::with_accounts([account])).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let clock = dir.path().join("clock");
        fs::write(&clock, "0 0").unwrap();
        let config = TestDaemonConfig::new(env!("CARGO_BIN_EXE_authd"), &sandbox).store("file");
        let config = config.env("LD_PRELOAD", &library().display().to_string());
        let daemon = TestDaemon::start(config.env("FAULTPOINTS_CLOCK", &clock.display().to_string())).await;
        daemon.sign_in("default", "plus").await;
        Self { sandbox, daemon, clock, offset: 0, passed: 0, _dir: dir }
    }

    fn jump(&mut self, jump: Jump) {
        if jump == Jump::Suspend {
            let lifetime = Duration::from_secs(MONTH) + LONG;
            self.sandbox.put_account(Account::plus().with_lifetime(lifetime));
            self.sandbox.expire_access_tokens();
        }
        let month = i64::try_from(MONTH).unwrap();
        match jump {
            Jump::Back => self.set(self.offset - month),
            Jump::Forward => self.set(self.offset + month),
            Jump::Suspend => self.pass(month),
        }
    }

    /// Sets the wall clock to the real time plus this offset in seconds.
    fn set(&mut self, offset: i64) {
        self.offset = offset;
        let next = self.clock.with_extension("next");
        fs::write(&next, format!("{} {}", self.offset + self.passed, self.passed)).unwrap();
        fs::rename(next, &self.clock).unwrap();
    }

    /// Lets this many seconds pass.
    fn pass(&mut self, seconds: i64) {
        self.passed += seconds;
        self.set(self.offset);
    }

    /// What the daemon's clock shows, in seconds since 1970.
    fn now(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(now.as_secs()).unwrap() + self.offset + self.passed
    }

    /// Lets one refresh fail. The daemon then waits before its next attempt.
    async fn fail_refresh(&self) {
        self.sandbox.faults().push(Route::Refresh, Fault::status(503, ""));
        let refused = self.daemon.request("POST", "/v1/profiles/default/refresh", &[], "{}").await;
        assert!(!refused.status.is_success(), "{}", refused.text());
    }

    /// Checks that the daemon works after a jump, and after the clock is set right again.
    async fn check_recovery(&mut self, jump: Jump, moment: &str) {
        let when = format!("{jump:?} {moment}");
        self.expect_headers(&when).await;
        self.expect_refresh_when_due(&when).await;
        if jump != Jump::Suspend {
            self.set(0);
            self.expect_headers(&format!("{when}, and set right")).await;
        }
    }

    /// Waits for headers with a token that the provider accepts.
    async fn expect_headers(&self, when: &str) {
        let started = Instant::now();
        let mut refused = String::new();
        while started.elapsed() < SOON {
            let reply = self.daemon.request("GET", "/v1/profiles/default/headers", &[], "").await;
            let text = reply.text();
            let token =
                text.split("Bearer ").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            if reply.status.is_success() && self.sandbox.token_info(token).is_some_and(|known| known.valid) {
                let took = started.elapsed();
                println!("{when}: headers after {} ms; refused before: {refused:?}", took.as_millis());
                return;
            }
            refused = if reply.status.is_success() {
                // A client reports a token that the provider refused.
                let generation = &self.daemon.get("/v1/profiles/default").await["generation"];
                let body = json!({"rejected_generation": generation}).to_string();
                self.daemon.request("POST", "/v1/profiles/default/refresh", &[], body).await.text()
            } else {
                text
            };
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let refreshes = self.sandbox.count(Route::Refresh);
        panic!("{when}: no headers within {SOON:?}, and {refreshes} refreshes were sent: {refused}");
    }

    /// Lets time pass until the next refresh is due, and checks that it happens.
    async fn expect_refresh_when_due(&mut self, when: &str) {
        let profile = self.daemon.get("/v1/profiles/default").await;
        let due =
            profile["refresh_at"].as_str().unwrap_or_else(|| panic!("{when}: no refresh_at in {profile}"));
        let due = due.parse::<jiff::Timestamp>().unwrap().as_second();
        // A refresh that the start has begun may end after this response. It counts, too.
        let before = &profile["generation"];
        self.pass(due - self.now() + 1);
        let started = Instant::now();
        loop {
            let profile = self.daemon.get("/v1/profiles/default").await;
            if profile["generation"] != *before {
                break;
            }
            assert!(started.elapsed() < DUE, "{when}: not refreshed when due, {profile}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{when}: refreshed {} ms after it was due", started.elapsed().as_millis());
        self.expect_headers(when).await;
    }
}

const LONG: Duration = Duration::from_secs(864_000);

macro_rules! jumps {
    ($($moment:ident: $back:ident $forward:ident $suspend:ident)*) => {
        $(#[tokio::test]
        async fn $back() {
            $moment(Jump::Back).await;
        }
        #[tokio::test]
        async fn $forward() {
            $moment(Jump::Forward).await;
        }
        #[tokio::test]
        async fn $suspend() {
            $moment(Jump::Suspend).await;
        })*
    };
}

jumps! {
    before_a_start: back_before_a_start forward_before_a_start suspend_before_a_start
    while_idle: back_while_idle forward_while_idle suspend_while_idle
    during_a_refresh: back_during_a_refresh forward_during_a_refresh suspend_during_a_refresh
    during_a_back_off: back_during_a_back_off forward_during_a_back_off suspend_during_a_back_off
    expired_during_a_back_off: back_while_expired forward_while_expired suspend_while_expired
}

async fn before_a_start(jump: Jump) {
    let mut test = ClockTest::start(LONG).await;
    test.daemon.sigterm_and_wait().await;
    test.jump(jump);
    test.daemon.start_again().await;
    test.check_recovery(jump, "before a start").await;
}

async fn while_idle(jump: Jump) {
    let mut test = ClockTest::start(LONG).await;
    test.jump(jump);
    test.check_recovery(jump, "while idle").await;
}

async fn during_a_refresh(jump: Jump) {
    let mut test = ClockTest::start(LONG).await;
    test.sandbox.faults().push(Route::Refresh, Fault::StallAfterCommit);
    let refresh = test.daemon.try_request("POST", "/v1/profiles/default/refresh", &[], "{}");
    tokio::select! {
        response = refresh => panic!("the daemon responds before the provider: {response:?}"),
        () = test.sandbox.wait_for(Route::Refresh, 1) => {}
    }
    test.jump(jump);
    test.daemon.get("/v1/profiles").await;
    test.sandbox.faults().release();
    test.check_recovery(jump, "during a refresh").await;
}

async fn during_a_back_off(jump: Jump) {
    let mut test = ClockTest::start(LONG).await;
    test.fail_refresh().await;
    test.jump(jump);
    test.check_recovery(jump, "during a back-off").await;
}

async fn expired_during_a_back_off(jump: Jump) {
    let mut test = ClockTest::start(Duration::from_secs(1)).await;
    test.sandbox.put_account(Account::plus());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    test.fail_refresh().await;
    test.jump(jump);
    test.check_recovery(jump, "during a back-off, with an expired token").await;
}
