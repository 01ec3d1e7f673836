//! One scene each for what the units promise. They run one after another, each from nothing, in the
//! place that `manager` makes; anywhere else they do nothing.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, time::Duration};

use authd_api::{CallbackState, LoginState, StoreState};
use authd_sandbox::{Fault, Route};
use rustix::process::{Signal, kill_process};
use tokio::sync::watch;

use crate::world::World;

macro_rules! scene {
    ($name:ident, $world:ident, $body:block) => {
        #[tokio::test]
        #[ignore = "a scene for the place that on_a_real_user_manager makes"]
        async fn $name() {
            let Some($world) = World::new().await else { return };
            $body
            $world.end().await;
        }
    };
}

mod installation;

scene!(ready_means_served, world, {
    world.systemctl(&["start", "authd.service"]).await;
    // No second try: who is told that the daemon is ready is served.
    let status = world.client.status().await.unwrap();
    assert_eq!(status.callback.state, CallbackState::Listening);
    assert_eq!(world.show("ActiveState").await, "active");
    let line = world.show("StatusText").await;
    assert!(line.starts_with("listening on ") && line.contains("browsers return to port"), "{line}");
    let socket = world.client.socket();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    // The hardening is in force, and the daemon lives with it.
    let process = format!("/proc/{}", world.pid().await.as_raw_nonzero());
    let facts = fs::read_to_string(format!("{process}/status")).unwrap();
    assert!(facts.contains("NoNewPrivs:\t1") && facts.contains("Seccomp:\t2"), "{facts}");
    assert_eq!(world.show("LimitCORE").await, "0");
});

scene!(all_of_the_hardening_is_in_force_where_a_namespace_can_be_made, world, {
    // What newer versions of systemd do by themselves has to be asked for in older ones.
    world.drop_in("authd.service", "users", "[Service]\nPrivateUsers=yes\n").await;
    world.systemctl(&["start", "authd.socket"]).await;
    let before = world.sign_in().await;
    let process = format!("/proc/{}", world.pid().await.as_raw_nonzero());
    let mounts = fs::read_to_string(format!("{process}/mountinfo")).unwrap();
    let options = |place: &str| {
        let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some(place));
        line.and_then(|line| line.split(' ').nth(5)).unwrap_or_else(|| panic!("no {place} in\n{mounts}"))
    };
    let home = world.home().display();
    assert!(options("/").starts_with("ro,") && options("/proc/sys").starts_with("ro,"), "{mounts}");
    assert!(options(&home.to_string()).starts_with("rw,"), "{mounts}");
    assert!(options(&format!("{home}/.ssh")).starts_with("ro,"), "{mounts}");
    world.refresh().await.unwrap().unwrap();
    world.systemctl(&["restart", "authd.service"]).await;
    assert_ne!(world.headers().await.token(), before.token(), "the refreshed one was kept");
});

scene!(a_keychain_on_the_session_bus_is_reached, world, {
    let Some(_keychain) = world.keychain().await else { return };
    world.configure("[callback]\nports = [0]\n\n[store]\nkind = \"keychain\"\n");
    world.drop_in("authd.service", "users", "[Service]\nPrivateUsers=yes\n").await;
    world.systemctl(&["start", "authd.socket"]).await;
    let before = world.sign_in().await;
    world.systemctl(&["restart", "authd.service"]).await;
    assert_eq!(world.headers().await, before);
    world.until("StatusText", |line| line.contains("items of the service")).await;
});

scene!(a_restart_waits_for_the_keychain, world, {
    let Some([_bus, mut keyring]) = world.keychain().await else { return };
    // The URL of a login names the port, which is to be the same after the restart.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    world.configure(&format!("[callback]\nports = [{port}]\n\n[store]\nkind = \"keychain\"\n"));
    world.systemctl(&["start", "authd.socket"]).await;
    let before = world.sign_in().await;
    let pending = world.start_login().await;
    keyring.kill().await.unwrap();
    world.systemctl(&["restart", "authd.service"]).await;
    // While the keychain cannot be listed, no name is known, and none is said to be unknown.
    let refused = world.client.profile(None).await.unwrap_err().to_string();
    // The bus may have started another keychain by itself, which is locked.
    assert!(refused.contains("store is unavailable") || refused.contains("keychain is locked"), "{refused}");
    assert_ne!(world.client.status().await.unwrap().store.state, StoreState::Ready);
    let _keyring = world.keyring().await;
    assert_eq!(world.headers_in_the_end().await, before);
    world.finish_login(&pending).await;
    let newest = world.headers().await;
    assert_ne!(newest.token(), before.token());
    kill_process(world.pid().await, Signal::KILL).unwrap();
    assert_eq!(world.headers().await.token(), newest.token());
    // The provider takes no refresh token but the newest.
    world.refresh().await.unwrap().unwrap();
});

scene!(a_credential_of_the_manager_opens_the_files, world, {
    let key = world.home().join("key");
    fs::write(&key, "a passphrase of the manager's own").unwrap();
    let line = format!("[Service]\nLoadCredential=authd-key:{}\n", key.display());
    world.drop_in("authd.service", "key", &line).await;
    world.systemctl(&["start", "authd.socket"]).await;
    let before = world.sign_in().await;
    world.systemctl(&["restart", "authd.service"]).await;
    assert_eq!(world.headers().await, before);
    let state = world.home().join(".local/state/authd");
    assert!(!state.join("store.key").exists(), "no key lies beside the files");
});

scene!(the_first_question_starts_it, world, {
    world.systemctl(&["start", "authd.socket"]).await;
    assert_eq!(world.show("ActiveState").await, "inactive");
    let output = world.authctl(&["status"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.show("ActiveState").await, "active");
    let headers = world.sign_in().await;
    let output = world.authctl(&["headers"]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    let token = headers.value("authorization").unwrap();
    assert!(output.status.success() && text.contains(&format!("Authorization: {token}")));
});

scene!(a_killed_daemon_is_back_with_its_login, world, {
    world.systemctl(&["start", "authd.socket"]).await;
    let before = world.sign_in().await;
    for _ in 0..3 {
        let pid = world.pid().await;
        kill_process(pid, Signal::KILL).unwrap();
        assert_eq!(world.headers().await, before);
        assert_ne!(world.pid().await, pid);
    }
    assert_eq!(world.show("NRestarts").await, "3");
    let asked = [Route::CodeExchange, Route::Refresh].map(|route| world.sandbox.count(route));
    assert_eq!(asked, [1, 0], "no login and no refresh was needed");
});

scene!(a_hung_daemon_is_started_anew, world, {
    world.drop_in("authd.service", "watchdog", "[Service]\nWatchdogSec=2s\n").await;
    world.systemctl(&["start", "authd.socket"]).await;
    let before = world.sign_in().await;
    let pid = world.pid().await;
    kill_process(pid, Signal::STOP).unwrap();
    assert_eq!(world.headers().await, before);
    assert_ne!(world.pid().await, pid);
    assert_eq!(world.show("NRestarts").await, "1");
});

scene!(a_store_that_waits_for_its_person_is_no_reason_to_start_anew, world, {
    let control = world.home().join("control");
    fs::write(&control, "hang").unwrap();
    world.configure(&format!(
        "[callback]\nports = [0]\n\n[store]\nkind = \"memory\"\nmemory_control = {control:?}\ndeadline = \"100ms\"\n"
    ));
    world.drop_in("authd.service", "watchdog", "[Service]\nWatchdogSec=1s\n").await;
    world.systemctl(&["start", "authd.service"]).await;
    let line = world.show("StatusText").await;
    assert!(line.contains("the store does not answer"), "{line}");
    let pid = world.pid().await;
    // More often than a watchdog that hears nothing would wait.
    for _ in 0..6 {
        let fed = world.show("WatchdogTimestampMonotonic").await;
        world.until("WatchdogTimestampMonotonic", |now| now != fed).await;
    }
    assert_eq!((world.pid().await, world.show("NRestarts").await.as_str()), (pid, "0"));
    // The thread hangs inside the memory store until it is let go; the line follows.
    fs::write(&control, "").unwrap();
    world.until("StatusText", |line| line.ends_with("memory: nothing survives authd")).await;
});

scene!(a_port_that_a_stranger_has_delays_nothing, world, {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    world.configure(&format!("[callback]\nports = [{port}]\n"));
    world.systemctl(&["start", "authd.service"]).await;
    let line = world.show("StatusText").await;
    assert!(line.contains(&format!("no browser can return: port {port} is in use")), "{line}");
    drop(stranger);
    // It is looked at again; the line follows.
    world.until("StatusText", |line| line.contains(&format!("browsers return to port {port}"))).await;
});

scene!(the_callbacks_port_can_be_held_for_it, world, {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    world.configure(&format!("[callback]\nports = [{port}]\n"));
    let lines = format!("[Socket]\nListenStream=127.0.0.1:{port}\nListenStream=[::1]:{port}\n");
    world.drop_in("authd.socket", "callback", &lines).await;
    world.systemctl(&["start", "authd.socket"]).await;
    let login = world.start_login().await;
    kill_process(world.pid().await, Signal::KILL).unwrap();
    // The browser returns while nobody is there: it waits.
    world.finish_login(&login).await;
    let callback = world.client.status().await.unwrap().callback;
    assert!(callback.addresses.iter().all(|address| address.ends_with(&format!(":{port}"))), "{callback:?}");
    assert!(!callback.addresses.is_empty());
});

scene!(a_reload_applies_and_drops_nothing, world, {
    world.systemctl(&["start", "authd.socket"]).await;
    let before = world.sign_in().await;
    assert_eq!(before.value("openai-organization"), None);
    let pid = world.pid().await;
    let login = world.start_login().await;
    // Somebody who waits for the login is not interrupted: the answer is that the login went on.
    let (client, id) = (world.client.clone(), login.id.clone());
    let waiting = tokio::spawn(async move { client.login(&id, Some(60)).await });
    let crowd = Crowd::start(&world, 4);
    for round in 0..5 {
        let organization = format!("org-{round}");
        world.configure(&format!("[callback]\nports = [0]\n\n[client]\norganization = {organization:?}\n"));
        world.systemctl(&["reload", "authd.service"]).await;
        // kill(1) only posts the signal: systemctl may be back before the daemon has read the file.
        while world.headers().await.value("openai-organization") != Some(organization.as_str()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // A file that cannot be used changes nothing.
    world.configure("[nonsense]\n");
    world.systemctl(&["reload", "authd.service"]).await;
    crowd.end().await;
    assert_eq!(world.headers().await.value("openai-organization"), Some("org-4"));
    world.finish_login(&login).await;
    assert_ne!(waiting.await.unwrap().unwrap().state, LoginState::Pending);
    assert_eq!(world.pid().await, pid);
});

scene!(a_stop_lets_a_refresh_finish, world, {
    world.systemctl(&["start", "authd.service"]).await;
    let before = world.sign_in().await;
    world.sandbox.faults().push(Route::Refresh, Fault::StallAfterCommit);
    let refreshing = world.refresh();
    world.sandbox.wait_for(Route::Refresh, 1).await;
    world.systemctl(&["stop", "--no-block", "authd.service"]).await;
    world.until("StatusText", |line| line == "finishing what is under way").await;
    world.sandbox.faults().release();
    world.until("ActiveState", |state| state == "inactive").await;
    assert_eq!(world.show("Result").await, "success");
    let refreshed = refreshing.await.unwrap().unwrap();
    assert!(refreshed.generation > before.generation);
    // The token that the provider rotated meanwhile was kept.
    world.systemctl(&["start", "authd.service"]).await;
    let after = world.headers().await;
    assert_ne!(after.token(), before.token());
    world.refresh().await.unwrap().unwrap();
    assert_eq!(world.sandbox.count(Route::Refresh), 2);
});

scene!(a_stop_ends_in_time_whatever_is_under_way, world, {
    world.systemctl(&["start", "authd.service"]).await;
    world.sign_in().await;
    world.sandbox.faults().push(Route::Refresh, Fault::Stall);
    let refreshing = world.refresh();
    world.sandbox.wait_for(Route::Refresh, 1).await;
    world.systemctl(&["stop", "authd.service"]).await;
    // Not `timeout`, which is how it would end if the manager had to kill it.
    assert_eq!(world.show("Result").await, "success");
    assert!(refreshing.await.unwrap().is_err());
});

scene!(a_hundred_restarts_lose_nothing, world, {
    world.systemctl(&["start", "authd.socket"]).await;
    let before = world.sign_in().await;
    let crowd = Crowd::start(&world, 8);
    for _ in 0..100 {
        world.systemctl(&["restart", "authd.service"]).await;
    }
    assert!(crowd.end().await >= 8);
    assert_eq!(world.headers().await, before);
});

/// Clients that ask for headers all the time; one that is refused, or gets half an answer, fails.
struct Crowd {
    enough: watch::Sender<bool>,
    clients: Vec<tokio::task::JoinHandle<usize>>,
}

impl Crowd {
    fn start(world: &World, size: usize) -> Self {
        let (enough, stop) = watch::channel(false);
        let client = |_| {
            let (client, stop) = (world.client.clone(), stop.clone());
            tokio::spawn(async move {
                let mut answers = 0;
                while !*stop.borrow() {
                    if let Err(error) = client.headers(None, None).await {
                        panic!("after {answers} answers: {error}");
                    }
                    answers += 1;
                }
                answers
            })
        };
        Self { enough, clients: (0..size).map(client).collect() }
    }

    /// How often they were answered; every one of them must have been.
    async fn end(self) -> usize {
        self.enough.send_replace(true);
        let mut answers = 0;
        for client in self.clients {
            let one = client.await.unwrap();
            assert!(one > 0, "a client was never answered");
            answers += one;
        }
        answers
    }
}
