//! One scenario for each promise of the units. They run one after another, each with a new fixture,
//! inside the user manager that `manager` starts. Elsewhere they do nothing.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, time::Duration};

use authd_api::{CallbackState, LoginState, StoreState};
use authd_sandbox::{Fault, Route};
use rustix::process::{Signal, kill_process};
use tokio::sync::watch;

use crate::fixture::ServiceFixture;

macro_rules! scenario {
    ($name:ident, $fixture:ident, $body:block) => {
        #[tokio::test]
        #[ignore = "a scenario that on_a_real_user_manager runs"]
        async fn $name() {
            let Some($fixture) = ServiceFixture::new().await else { return };
            $body
            $fixture.end().await;
        }
    };
}

mod audit;
mod installation;

scenario!(a_ready_daemon_serves_requests, fixture, {
    fixture.systemctl(&["start", "authd.service"]).await;
    // After READY, the first request must succeed.
    let status = fixture.client.status().await.unwrap();
    assert_eq!(status.callback.state, CallbackState::Listening);
    assert_eq!(fixture.show("ActiveState").await, "active");
    let line = fixture.show("StatusText").await;
    assert!(line.starts_with("listening on ") && line.contains("browsers return to port"), "{line}");
    let socket = fixture.client.socket();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    // The hardening is in effect, and the daemon runs with it.
    let process = format!("/proc/{}", fixture.pid().await.as_raw_nonzero());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    assert_eq!(fixture.show("LimitCORE").await, "0");
});

scenario!(all_hardening_is_in_effect_with_a_user_namespace, fixture, {
    // Newer versions of systemd set PrivateUsers by themselves.
    fixture.drop_in("authd.service", "users", "[Service]\nPrivateUsers=yes\n").await;
    fixture.systemctl(&["start", "authd.socket"]).await;
    let before = fixture.sign_in().await;
    let process = format!("/proc/{}", fixture.pid().await.as_raw_nonzero());
    let mounts = fs::read_to_string(format!("{process}/mountinfo")).unwrap();
    let options = |mount_point: &str| {
        let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some(mount_point));
        line.and_then(|line| line.split(' ').nth(5))
            .unwrap_or_else(|| panic!("no {mount_point} in\n{mounts}"))
    };
    let home = fixture.home().display();
    assert!(options("/").starts_with("ro,") && options("/proc/sys").starts_with("ro,"), "{mounts}");
    assert!(options(&home.to_string()).starts_with("rw,"), "{mounts}");
    assert!(options(&format!("{home}/.ssh")).starts_with("ro,"), "{mounts}");
    fixture.refresh().await.unwrap().unwrap();
    fixture.systemctl(&["restart", "authd.service"]).await;
    assert_ne!(fixture.headers().await.token(), before.token(), "the refreshed token was saved");
});

scenario!(a_keychain_on_the_session_bus_is_reached, fixture, {
    let Some(_keychain) = fixture.keychain().await else { return };
    fixture.configure("[callback]\nports = [0]\n\n[store]\nkind = \"keychain\"\n");
    fixture.drop_in("authd.service", "users", "[Service]\nPrivateUsers=yes\n").await;
    fixture.systemctl(&["start", "authd.socket"]).await;
    let before = fixture.sign_in().await;
    fixture.systemctl(&["restart", "authd.service"]).await;
    assert_eq!(fixture.headers().await, before);
    fixture.wait_for("StatusText", |line| line.contains("items of the service")).await;
});

scenario!(a_restart_waits_for_the_keychain, fixture, {
    let Some([_bus, mut keyring]) = fixture.keychain().await else { return };
    // The URL of a login contains the port, so the restarted daemon must have the same one.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fixture.configure(&format!("[callback]\nports = [{port}]\n\n[store]\nkind = \"keychain\"\n"));
    fixture.systemctl(&["start", "authd.socket"]).await;
    let before = fixture.sign_in().await;
    let pending = fixture.start_login().await;
    keyring.kill().await.unwrap();
    fixture.systemctl(&["restart", "authd.service"]).await;
    // While the keychain cannot be listed, the daemon does not report a profile as unknown.
    let refused = fixture.client.profile(None).await.unwrap_err().to_string();
    // The bus may have started another keychain, which is locked.
    assert!(refused.contains("store is unavailable") || refused.contains("store is locked"), "{refused}");
    assert_ne!(fixture.client.status().await.unwrap().store.state, StoreState::Ready);
    let _keyring = fixture.keyring().await;
    assert_eq!(fixture.wait_for_headers().await, before);
    fixture.finish_login(&pending).await;
    let newest = fixture.headers().await;
    assert_ne!(newest.token(), before.token());
    kill_process(fixture.pid().await, Signal::KILL).unwrap();
    assert_eq!(fixture.headers().await.token(), newest.token());
    // The provider accepts only the newest refresh token.
    fixture.refresh().await.unwrap().unwrap();
});

scenario!(a_credential_of_the_manager_decrypts_the_files, fixture, {
    let key = fixture.home().join("key");
    fs::write(&key, "a passphrase of the manager's own").unwrap();
    let line = format!("[Service]\nLoadCredential=authd-key:{}\n", key.display());
    fixture.drop_in("authd.service", "key", &line).await;
    fixture.systemctl(&["start", "authd.socket"]).await;
    let before = fixture.sign_in().await;
    fixture.systemctl(&["restart", "authd.service"]).await;
    assert_eq!(fixture.headers().await, before);
    let state = fixture.home().join(".local/state/authd");
    assert!(!state.join("store.key").exists(), "there is no key beside the files");
});

scenario!(the_first_request_starts_the_daemon, fixture, {
    fixture.systemctl(&["start", "authd.socket"]).await;
    assert_eq!(fixture.show("ActiveState").await, "inactive");
    let output = fixture.authctl(&["status"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fixture.show("ActiveState").await, "active");
    let headers = fixture.sign_in().await;
    let output = fixture.authctl(&["headers"]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    let token = headers.value("authorization").unwrap();
    assert!(output.status.success() && text.contains(&format!("Authorization: {token}")));
});

scenario!(a_killed_daemon_is_restarted_with_its_login, fixture, {
    fixture.systemctl(&["start", "authd.socket"]).await;
    let before = fixture.sign_in().await;
    for _ in 0..3 {
        let pid = fixture.pid().await;
        kill_process(pid, Signal::KILL).unwrap();
        assert_eq!(fixture.headers().await, before);
        assert_ne!(fixture.pid().await, pid);
    }
    assert_eq!(fixture.show("NRestarts").await, "3");
    let counts = [Route::CodeExchange, Route::Refresh].map(|route| fixture.sandbox.count(route));
    assert_eq!(counts, [1, 0], "no login and no refresh was needed");
});

scenario!(a_hung_daemon_is_restarted, fixture, {
    fixture.drop_in("authd.service", "watchdog", "[Service]\nWatchdogSec=2s\n").await;
    fixture.systemctl(&["start", "authd.socket"]).await;
    let before = fixture.sign_in().await;
    let pid = fixture.pid().await;
    kill_process(pid, Signal::STOP).unwrap();
    assert_eq!(fixture.headers().await, before);
    assert_ne!(fixture.pid().await, pid);
    assert_eq!(fixture.show("NRestarts").await, "1");
});

scenario!(a_store_that_waits_for_the_user_does_not_cause_a_restart, fixture, {
    let control = fixture.home().join("control");
    fs::write(&control, "hang").unwrap();
    fixture.configure(&format!(
        "[callback]\nports = [0]\n\n[store]\nkind = \"memory\"\nmemory_control = {control:?}\ndeadline = \"100ms\"\n"
    ));
    fixture.drop_in("authd.service", "watchdog", "[Service]\nWatchdogSec=1s\n").await;
    fixture.systemctl(&["start", "authd.service"]).await;
    let line = fixture.show("StatusText").await;
    assert!(line.contains("the store does not answer"), "{line}");
    let pid = fixture.pid().await;
    // These take longer than the watchdog's timeout.
    for _ in 0..6 {
        let before = fixture.show("WatchdogTimestampMonotonic").await;
        fixture.wait_for("WatchdogTimestampMonotonic", |now| now != before).await;
    }
    assert_eq!((fixture.pid().await, fixture.show("NRestarts").await.as_str()), (pid, "0"));
    // The store's thread hangs until the fault ends. Then the status line changes.
    fs::write(&control, "").unwrap();
    fixture.wait_for("StatusText", |line| line.ends_with("memory: nothing survives authd")).await;
});

scenario!(a_callback_port_in_use_does_not_delay_the_start, fixture, {
    let other_program = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other_program.local_addr().unwrap().port();
    fixture.configure(&format!("[callback]\nports = [{port}]\n"));
    fixture.systemctl(&["start", "authd.service"]).await;
    let line = fixture.show("StatusText").await;
    assert!(line.contains(&format!("no browser can return: port {port} is in use")), "{line}");
    drop(other_program);
    // The daemon tries the port again. Then the status line changes.
    fixture.wait_for("StatusText", |line| line.contains(&format!("browsers return to port {port}"))).await;
});

scenario!(the_socket_unit_can_own_the_callback_port, fixture, {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fixture.configure(&format!("[callback]\nports = [{port}]\n"));
    let lines = format!("[Socket]\nListenStream=127.0.0.1:{port}\nListenStream=[::1]:{port}\n");
    fixture.drop_in("authd.socket", "callback", &lines).await;
    fixture.systemctl(&["start", "authd.socket"]).await;
    let login = fixture.start_login().await;
    kill_process(fixture.pid().await, Signal::KILL).unwrap();
    // The browser's request waits until the daemon is restarted.
    fixture.finish_login(&login).await;
    let callback = fixture.client.status().await.unwrap().callback;
    assert!(callback.addresses.iter().all(|address| address.ends_with(&format!(":{port}"))), "{callback:?}");
    assert!(!callback.addresses.is_empty());
});

scenario!(a_reload_applies_without_dropping_requests, fixture, {
    fixture.systemctl(&["start", "authd.socket"]).await;
    let before = fixture.sign_in().await;
    assert_eq!(before.value("openai-organization"), None);
    let pid = fixture.pid().await;
    let login = fixture.start_login().await;
    // A reload does not interrupt a client that waits for a login.
    let (client, id) = (fixture.client.clone(), login.id.clone());
    let waiting = tokio::spawn(async move { client.login(&id, Some(60)).await });
    let load = HeaderLoad::start(&fixture, 4);
    for round in 0..5 {
        let organization = format!("org-{round}");
        fixture.configure(&format!("[callback]\nports = [0]\n\n[client]\norganization = {organization:?}\n"));
        fixture.systemctl(&["reload", "authd.service"]).await;
        // kill(1) only sends the signal: systemctl may return before the daemon has read the file.
        while fixture.headers().await.value("openai-organization") != Some(organization.as_str()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // A file that cannot be used changes nothing.
    fixture.configure("[nonsense]\n");
    fixture.systemctl(&["reload", "authd.service"]).await;
    load.end().await;
    assert_eq!(fixture.headers().await.value("openai-organization"), Some("org-4"));
    fixture.finish_login(&login).await;
    assert_ne!(waiting.await.unwrap().unwrap().state, LoginState::Pending);
    assert_eq!(fixture.pid().await, pid);
});

scenario!(a_shutdown_waits_for_a_refresh, fixture, {
    fixture.systemctl(&["start", "authd.service"]).await;
    let before = fixture.sign_in().await;
    fixture.sandbox.faults().push(Route::Refresh, Fault::StallAfterCommit);
    let refreshing = fixture.refresh();
    fixture.sandbox.wait_for(Route::Refresh, 1).await;
    fixture.systemctl(&["stop", "--no-block", "authd.service"]).await;
    fixture.wait_for("StatusText", |line| line == "finishing work in progress").await;
    fixture.sandbox.faults().release();
    fixture.wait_for("ActiveState", |state| state == "inactive").await;
    assert_eq!(fixture.show("Result").await, "success");
    let refreshed = refreshing.await.unwrap().unwrap();
    assert!(refreshed.generation > before.generation);
    // The token that the provider rotated during the shutdown was saved.
    fixture.systemctl(&["start", "authd.service"]).await;
    let after = fixture.headers().await;
    assert_ne!(after.token(), before.token());
    fixture.refresh().await.unwrap().unwrap();
    assert_eq!(fixture.sandbox.count(Route::Refresh), 2);
});

scenario!(a_shutdown_ends_in_time_despite_a_stalled_refresh, fixture, {
    fixture.systemctl(&["start", "authd.service"]).await;
    fixture.sign_in().await;
    fixture.sandbox.faults().push(Route::Refresh, Fault::Stall);
    let refreshing = fixture.refresh();
    fixture.sandbox.wait_for(Route::Refresh, 1).await;
    fixture.systemctl(&["stop", "authd.service"]).await;
    // The result would be `timeout` if the manager had to kill the daemon.
    assert_eq!(fixture.show("Result").await, "success");
    assert!(refreshing.await.unwrap().is_err());
});

scenario!(a_hundred_restarts_fail_no_request, fixture, {
    fixture.systemctl(&["start", "authd.socket"]).await;
    let before = fixture.sign_in().await;
    let load = HeaderLoad::start(&fixture, 8);
    for _ in 0..100 {
        fixture.systemctl(&["restart", "authd.service"]).await;
    }
    assert!(load.end().await >= 8);
    assert_eq!(fixture.headers().await, before);
});

/// Clients that request headers all the time. A client panics on an error or an incomplete
/// response.
struct HeaderLoad {
    stop: watch::Sender<bool>,
    clients: Vec<tokio::task::JoinHandle<usize>>,
}

impl HeaderLoad {
    fn start(fixture: &ServiceFixture, size: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let client = |_| {
            let (client, stopped) = (fixture.client.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut responses = 0;
                while !*stopped.borrow() {
                    if let Err(error) = client.headers(None, None).await {
                        panic!("after {responses} responses: {error}");
                    }
                    responses += 1;
                }
                responses
            })
        };
        Self { stop, clients: (0..size).map(client).collect() }
    }

    /// Stops the clients, and returns the number of responses. Each client must have at least one.
    async fn end(self) -> usize {
        self.stop.send_replace(true);
        let mut responses = 0;
        for client in self.clients {
            let count = client.await.unwrap();
            assert!(count > 0, "a client never got a response");
            responses += count;
        }
        responses
    }
}
