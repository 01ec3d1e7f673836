//! `authctl service` where there is no service manager to ask; with one, it is part of
//! `cargo xtask test service`.

use crate::{household, run};

// On a Mac the manager is found by the user's number, whatever the environment says.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_a_service_manager_it_says_what_to_do_instead() {
    let (_sandbox, house) = household().await;
    // The house's runtime directory is no manager's.
    for verb in ["install", "uninstall", "status", "logs"] {
        run(&house, &["service", verb]).await.failed(9, "authd &");
    }
    let problem = run(&house, &["service", "install", "--json"]).await.json();
    assert_eq!(problem["type"], "urn:authd:problem:no_service_manager");
    run(&house, &["service", "status", "--socket", "/s"]).await.failed(2, "--socket is not for it");
}

#[tokio::test]
async fn a_rehearsal_shows_the_units_and_writes_none() {
    let (_sandbox, house) = household().await;
    let said = run(&house, &["service", "install", "--print"]).await.ok();
    let program = crate::authd();
    // systemd and launchd say it each in their own words; both name the program.
    assert!(said.stdout.contains(program.to_str().unwrap()), "{said}");
    assert!(said.stderr.contains("AUTHD_SOCKET is set in this shell"), "{said}");
    let steps = run(&house, &["service", "install", "--print", "--json"]).await.ok().json();
    let written = steps["would"][0]["write"]["path"].as_str().unwrap();
    assert!(!std::path::Path::new(written).exists(), "{written}");
    run(&house, &["service", "uninstall", "--print"]).await.ok();
}
