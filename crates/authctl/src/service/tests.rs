//! The steps for each state of the service.

use super::*;

const LAUNCHD: ServiceManager = ServiceManager::Launchd { uid: 501 };
const SYSTEMD: ServiceManager = ServiceManager::Systemd;

const RELOAD: &str = "ran: systemctl --user daemon-reload";
const START: &str = "ran: systemctl --user enable --now authd.socket authd.service";
const ENABLE_AGENT: &str = "ran: launchctl enable gui/501/io.authd.authd";
const LOAD_AGENT: &str = "ran: launchctl bootstrap gui/501 ~/io.authd.authd.plist";

fn wanted(manager: ServiceManager) -> Vec<UnitFile> {
    files::files(manager, Path::new("/usr/bin/authd"), Path::new("/home/me")).unwrap()
}

fn not_installed(manager: ServiceManager) -> ServiceState {
    let units = manager.units().iter();
    ServiceState {
        manager,
        directory: "/home/me/units".into(),
        files: Vec::new(),
        packaged: None,
        units: units.map(|name| Unit { name: (*name).to_owned(), ..Unit::default() }).collect(),
        unmanaged_pid: None,
    }
}

fn installed(manager: ServiceManager) -> ServiceState {
    let mut state = ServiceState { files: wanted(manager), ..not_installed(manager) };
    for unit in &mut state.units {
        (unit.loaded, unit.enabled, unit.state) = (true, true, "active".to_owned());
    }
    state
}

fn messages(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|step| step.done().replace("/home/me/units", "~")).collect()
}

#[test]
fn first_installation_writes_enables_and_starts_the_units() {
    assert_eq!(
        messages(&not_installed(SYSTEMD).install(&wanted(SYSTEMD))),
        ["wrote ~/authd.socket", "wrote ~/authd.service", RELOAD, START]
    );
    assert_eq!(
        messages(&not_installed(LAUNCHD).install(&wanted(LAUNCHD))),
        ["wrote ~/io.authd.authd.plist", ENABLE_AGENT, LOAD_AGENT]
    );
}

#[test]
fn nothing_is_done_in_the_wanted_state() {
    for manager in [SYSTEMD, LAUNCHD] {
        assert_eq!(installed(manager).install(&wanted(manager)), []);
        assert_eq!(not_installed(manager).uninstall(), []);
    }
}

#[test]
fn unmanaged_daemon_is_stopped_before_the_service_starts() {
    let mut state = installed(SYSTEMD);
    state.unmanaged_pid = Some(42);
    assert_eq!(
        messages(&state.install(&wanted(SYSTEMD))),
        ["stopped authd (process 42), which ran outside the service", RELOAD, START]
    );
}

#[test]
fn installed_unit_that_does_not_run_is_started() {
    for (manager, states, steps) in [
        (SYSTEMD, ["inactive", "activating"], [RELOAD, START]),
        (
            LAUNCHD,
            ["not running", "spawn scheduled"],
            [ENABLE_AGENT, "ran: launchctl kickstart gui/501/io.authd.authd"],
        ),
    ] {
        for unit_state in states {
            let mut state = installed(manager);
            state.units.last_mut().unwrap().state = unit_state.to_owned();
            assert_eq!(messages(&state.install(&wanted(manager))), steps, "{unit_state}");
        }
    }
}

#[test]
fn unit_with_a_changed_file_is_stopped_and_rewritten() {
    let stop_units = "ran: systemctl --user stop authd.socket authd.service";
    let stop_agent = "ran: launchctl bootout gui/501/io.authd.authd";
    for (manager, steps) in [
        (SYSTEMD, [stop_units, "wrote ~/authd.service", RELOAD, START]),
        (LAUNCHD, [stop_agent, "wrote ~/io.authd.authd.plist", ENABLE_AGENT, LOAD_AGENT]),
    ] {
        let mut state = installed(manager);
        state.files.last_mut().unwrap().text.push_str("# an older version\n");
        assert_eq!(messages(&state.install(&wanted(manager))), steps);
    }
}

#[test]
fn packaged_units_are_started_but_not_written_or_removed() {
    let packaged = Some(PathBuf::from("/usr/lib/systemd/user"));
    let mut state = ServiceState { packaged, ..not_installed(SYSTEMD) };
    state.units.iter_mut().for_each(|unit| unit.loaded = true);
    assert_eq!(messages(&state.install(&[])), [RELOAD, START]);
    assert_eq!(state.uninstall(), []);
    state.units.iter_mut().for_each(|unit| unit.enabled = true);
    let stopped = ["ran: systemctl --user disable --now authd.socket authd.service"];
    assert_eq!(messages(&state.uninstall()), stopped);
}

#[test]
fn complete_and_partial_installations_are_removed() {
    let mut state = installed(SYSTEMD);
    assert_eq!(
        messages(&state.uninstall()),
        [
            "ran: systemctl --user disable --now authd.socket authd.service",
            "removed ~/authd.socket",
            "removed ~/authd.service",
            RELOAD,
        ]
    );
    state.files.remove(0);
    state.units[0] = Unit { name: "authd.socket".to_owned(), ..Unit::default() };
    state.units[1].state = "failed".to_owned();
    assert_eq!(
        messages(&state.uninstall()),
        [
            "ran: systemctl --user disable --now authd.service",
            "removed ~/authd.service",
            RELOAD,
            "ran: systemctl --user reset-failed authd.service",
        ]
    );
    assert_eq!(
        messages(&installed(LAUNCHD).uninstall()),
        ["ran: launchctl bootout gui/501/io.authd.authd", "removed ~/io.authd.authd.plist"]
    );
}

#[test]
fn drop_in_is_kept_up_to_date_and_removed() {
    let stop = "ran: systemctl --user stop authd.socket authd.service";
    let drop_in = |text: &str| UnitFile { name: DROP_IN, text: text.to_owned() };
    let (wrote, removed) =
        ("wrote ~/authd.service.d/authd-paths.conf", "removed ~/authd.service.d/authd-paths.conf");
    let mut with = wanted(SYSTEMD);
    with.push(drop_in("a"));
    assert_eq!(messages(&installed(SYSTEMD).install(&with)), [stop, wrote, RELOAD, START]);
    let mut state = installed(SYSTEMD);
    state.files.push(drop_in("a"));
    assert_eq!(state.install(&with), []);
    state.files[2] = drop_in("b");
    assert_eq!(messages(&state.install(&with)), [stop, wrote, RELOAD, START]);
    assert_eq!(messages(&state.install(&wanted(SYSTEMD))), [stop, removed, RELOAD, START]);
    assert!(messages(&state.uninstall()).contains(&removed.to_owned()));
    // A package's units get it, too.
    state.files.remove(0);
    state.files.remove(0);
    state.packaged = Some("/usr/lib/systemd/user".into());
    assert_eq!(messages(&state.install(&[drop_in("a")])), [stop, wrote, RELOAD, START]);
    assert_eq!(state.own_units().count(), 0);
}

#[test]
fn unreachable_manager_has_a_hint() {
    let (detail, hint) = Unreachable::NotInstalled("systemctl").explain(None);
    assert!(detail.contains("systemctl is not installed") && hint.contains("authd &"), "{detail}: {hint}");
    let (detail, hint) = Unreachable::NotRunning("systemd").explain(None);
    assert!(detail.contains("does not run") && !hint.contains("linger"), "{detail}: {hint}");
    let no_answer = Unreachable::NoAnswer("Failed to connect to bus".to_owned());
    let (detail, hint) = no_answer.explain(None);
    assert!(detail.contains("Failed to connect to bus"), "{detail}");
    assert!(hint.contains("loginctl enable-linger \"$(id -un)\"") && hint.contains("authd &"), "{hint}");
    let (_, hint) = no_answer.explain(Some(Path::new("/run/user/1000")));
    assert_eq!(hint, "run: export XDG_RUNTIME_DIR=/run/user/1000");
}

#[test]
fn dry_run_shows_commands() {
    let mut state = not_installed(SYSTEMD);
    state.unmanaged_pid = Some(42);
    let steps =
        state.install(&[UnitFile { name: "authd.service", text: "[Unit]\n\n[Service]\n".to_owned() }]);
    let text: String = steps.iter().map(|step| format!("{}\n", step.to_string().trim_end())).collect();
    insta::assert_snapshot!(text);
}
