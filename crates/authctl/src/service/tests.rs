//! What is done in each situation, pinned.

use super::*;

const LAUNCHD: Manager = Manager::Launchd { uid: 501 };

fn wanted(manager: Manager) -> Vec<File> {
    files::files(manager, Path::new("/usr/bin/authd"), Path::new("/home/me")).unwrap()
}

fn nothing(manager: Manager) -> Facts {
    let units = manager.units().iter();
    Facts {
        manager,
        directory: "/home/me/units".into(),
        files: Vec::new(),
        packaged: None,
        units: units.map(|name| Unit { name: (*name).to_owned(), ..Unit::default() }).collect(),
        stranger: None,
    }
}

fn settled(manager: Manager) -> Facts {
    let mut facts = Facts { files: wanted(manager), ..nothing(manager) };
    for unit in &mut facts.units {
        (unit.loaded, unit.enabled, unit.state) = (true, true, "active".to_owned());
    }
    facts
}

/// The steps in a word or a line each: the texts are pinned where they are made.
fn brief(steps: &[Step]) -> Vec<String> {
    let words = |step: &Step| step.done().replace("/home/me/units", "~");
    steps.iter().map(words).collect()
}

#[test]
fn on_a_fresh_machine_everything_is_written_enabled_and_started() {
    assert_eq!(
        brief(&nothing(Manager::Systemd).install(&wanted(Manager::Systemd))),
        [
            "wrote ~/authd.socket",
            "wrote ~/authd.service",
            "ran: systemctl --user daemon-reload",
            "ran: systemctl --user enable --now authd.socket authd.service",
        ]
    );
    assert_eq!(
        brief(&nothing(LAUNCHD).install(&wanted(LAUNCHD))),
        [
            "wrote ~/io.authd.authd.plist",
            "ran: launchctl enable gui/501/io.authd.authd",
            "ran: launchctl bootstrap gui/501 ~/io.authd.authd.plist",
        ]
    );
}

#[test]
fn where_all_is_well_nothing_is_done() {
    for manager in [Manager::Systemd, LAUNCHD] {
        assert_eq!(settled(manager).install(&wanted(manager)), []);
        assert_eq!(nothing(manager).uninstall(), []);
    }
}

#[test]
fn a_daemon_that_was_started_by_hand_makes_way_before_the_service_starts() {
    let mut facts = settled(Manager::Systemd);
    facts.stranger = Some(42);
    assert_eq!(
        brief(&facts.install(&wanted(Manager::Systemd))),
        [
            "stopped authd (process 42), which was not the service's",
            "ran: systemctl --user daemon-reload",
            "ran: systemctl --user enable --now authd.socket authd.service",
        ]
    );
}

#[test]
fn what_is_there_and_does_not_run_is_started() {
    for (manager, states, steps) in [
        (
            Manager::Systemd,
            ["inactive", "activating"],
            [
                "ran: systemctl --user daemon-reload",
                "ran: systemctl --user enable --now authd.socket authd.service",
            ],
        ),
        (
            LAUNCHD,
            ["not running", "spawn scheduled"],
            [
                "ran: launchctl enable gui/501/io.authd.authd",
                "ran: launchctl kickstart gui/501/io.authd.authd",
            ],
        ),
    ] {
        for state in states {
            let mut facts = settled(manager);
            facts.units.last_mut().unwrap().state = state.to_owned();
            assert_eq!(brief(&facts.install(&wanted(manager))), steps, "{state}");
        }
    }
}

#[test]
fn what_ran_by_other_files_is_stopped_and_only_those_are_written() {
    for (manager, steps) in [
        (
            Manager::Systemd,
            &[
                "ran: systemctl --user stop authd.socket authd.service",
                "wrote ~/authd.service",
                "ran: systemctl --user daemon-reload",
                "ran: systemctl --user enable --now authd.socket authd.service",
            ][..],
        ),
        (
            LAUNCHD,
            &[
                "ran: launchctl bootout gui/501/io.authd.authd",
                "wrote ~/io.authd.authd.plist",
                "ran: launchctl enable gui/501/io.authd.authd",
                "ran: launchctl bootstrap gui/501 ~/io.authd.authd.plist",
            ],
        ),
    ] {
        let mut facts = settled(manager);
        facts.files.last_mut().unwrap().text.push_str("# an older version\n");
        assert_eq!(brief(&facts.install(&wanted(manager))), steps);
    }
}

#[test]
fn a_packages_units_are_started_and_never_doubled_or_removed() {
    let packaged = Some(PathBuf::from("/usr/lib/systemd/user"));
    let mut facts = Facts { packaged, ..nothing(Manager::Systemd) };
    facts.units.iter_mut().for_each(|unit| unit.loaded = true);
    let started = [
        "ran: systemctl --user daemon-reload",
        "ran: systemctl --user enable --now authd.socket authd.service",
    ];
    assert_eq!(brief(&facts.install(&[])), started);
    assert_eq!(facts.uninstall(), []);
    facts.units.iter_mut().for_each(|unit| unit.enabled = true);
    let stopped = ["ran: systemctl --user disable --now authd.socket authd.service"];
    assert_eq!(brief(&facts.uninstall()), stopped);
}

#[test]
fn everything_goes_that_came_and_half_of_it_too() {
    let mut facts = settled(Manager::Systemd);
    assert_eq!(
        brief(&facts.uninstall()),
        [
            "ran: systemctl --user disable --now authd.socket authd.service",
            "removed ~/authd.socket",
            "removed ~/authd.service",
            "ran: systemctl --user daemon-reload",
        ]
    );
    facts.files.remove(0);
    facts.units[0] = Unit { name: "authd.socket".to_owned(), ..Unit::default() };
    facts.units[1].state = "failed".to_owned();
    assert_eq!(
        brief(&facts.uninstall()),
        [
            "ran: systemctl --user disable --now authd.service",
            "removed ~/authd.service",
            "ran: systemctl --user daemon-reload",
            "ran: systemctl --user reset-failed authd.service",
        ]
    );
    assert_eq!(
        brief(&settled(LAUNCHD).uninstall()),
        ["ran: launchctl bootout gui/501/io.authd.authd", "removed ~/io.authd.authd.plist"]
    );
}

#[test]
fn without_a_manager_the_remedy_is_told() {
    let (detail, hint) = Unreachable::Missing("systemctl").words(None);
    assert!(detail.contains("systemctl is not installed") && hint.contains("authd &"), "{detail}: {hint}");
    let (detail, hint) = Unreachable::Idle("systemd").words(None);
    assert!(detail.contains("does not run") && !hint.contains("linger"), "{detail}: {hint}");
    let none = Unreachable::Silent("Failed to connect to bus".to_owned());
    let (detail, hint) = none.words(None);
    assert!(detail.contains("Failed to connect to bus"), "{detail}");
    assert!(hint.contains("loginctl enable-linger \"$(id -un)\"") && hint.contains("authd &"), "{hint}");
    let (_, hint) = none.words(Some(Path::new("/run/user/1000")));
    assert_eq!(hint, "run: export XDG_RUNTIME_DIR=/run/user/1000");
}

#[test]
fn a_rehearsal_reads_as_what_a_person_would_do() {
    let mut facts = nothing(Manager::Systemd);
    facts.stranger = Some(42);
    let steps = facts.install(&[File { name: "authd.service", text: "[Unit]\n\n[Service]\n".to_owned() }]);
    let shown: String = steps.iter().map(|step| format!("{}\n", step.to_string().trim_end())).collect();
    insta::assert_snapshot!(shown);
}
