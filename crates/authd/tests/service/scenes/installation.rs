//! `authctl service`: what it promises a person who has just installed the binaries, or a package.

use std::{fs, path::PathBuf};

use rustix::process::test_kill_process;
use serde_json::Value;

use crate::world::{UNITS, World};

/// What a verb of `authctl service` said: its exit code, stdout, stderr.
async fn service(world: &World, args: &[&str]) -> (i32, String, String) {
    let output = world.authctl(&[&["service"], args].concat()).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// The same, which must have worked; what it said to a person.
async fn served(world: &World, args: &[&str]) -> String {
    let (code, _, said) = service(world, args).await;
    assert_eq!(code, 0, "authctl service {args:?}: {said}\n{}", world.log());
    said
}

async fn status(world: &World) -> (i32, Value) {
    let (code, answer, said) = service(world, &["status", "--json"]).await;
    (code, serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}{said}")))
}

/// Everything in the directory of the user's own units, but what belongs to the tests.
fn left(world: &World) -> Vec<PathBuf> {
    let mut places = vec![world.home().join(".config/systemd/user")];
    let mut files = Vec::new();
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            let links = fs::symlink_metadata(&path).unwrap().is_symlink();
            match path.is_dir() && !links {
                true if path.extension().is_some_and(|extension| extension == "d") => {}
                true => places.push(path),
                false => files.push(path),
            }
        }
    }
    files
}

scene!(an_installation_takes_over_and_leaves_nothing_when_it_goes, world, {
    world.remove_units(".config").await;
    // A daemon that a login has started, apart from any service; somebody signs in.
    let output = world.authctl(&["login", "--no-browser", "--no-wait"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let before = world.sign_in().await;
    let by_hand = world.client.status().await.unwrap().pid;

    let (code, shown, _) = service(&world, &["install", "--print"]).await;
    assert!(code == 0 && shown.contains("ExecStart=%h/.cargo/bin/authd"), "{shown}");
    assert!(shown.contains(&format!("kill {by_hand} ")), "{shown}");
    assert_eq!(left(&world), [] as [PathBuf; 0], "a rehearsal changes nothing");
    assert_eq!(status(&world).await.0, 9);

    let said = served(&world, &["install"]).await;
    assert!(said.contains(&format!("stopped authd (process {by_hand})")), "{said}");
    for (name, text) in UNITS {
        let written = fs::read_to_string(world.home().join(".config/systemd/user").join(name)).unwrap();
        assert_eq!(written, text, "{name} is the repository's");
    }
    let (code, now) = status(&world).await;
    assert_eq!((code, &now["enabled"], &now["running"]), (0, &true.into(), &true.into()), "{now}");
    assert_eq!(now["daemon"]["pid"], world.pid().await.as_raw_nonzero().get(), "{now}");
    assert_eq!(now["stranger"], Value::Null, "{now}");
    assert_eq!(world.headers().await, before, "the login is still there");
    assert_eq!(world.show("NRestarts").await, "0", "nothing was in the way");

    let said = served(&world, &["install"]).await;
    assert!(said.contains("already installed"), "{said}");
    assert_eq!(now["daemon"]["pid"], world.pid().await.as_raw_nonzero().get(), "nothing was touched");
    // A unit of an older version is replaced, and what ran by it starts anew.
    let unit = world.home().join(".config/systemd/user/authd.service");
    fs::write(&unit, UNITS[1].1.replace("RestartSec=1s", "RestartSec=2s")).unwrap();
    let said = served(&world, &["install"]).await;
    assert!(said.contains("wrote") && !said.contains("authd.socket\n"), "{said}");
    assert_eq!(fs::read_to_string(&unit).unwrap(), UNITS[1].1);
    assert_eq!(world.headers().await, before);

    let daemon = world.pid().await;
    served(&world, &["uninstall"]).await;
    assert_eq!(left(&world), [] as [PathBuf; 0]);
    assert!(test_kill_process(daemon).is_err() && !world.client.socket().exists(), "nothing runs");
    let (code, now) = status(&world).await;
    assert_eq!((code, &now["installed"]), (9, &false.into()), "{now}");
    let said = served(&world, &["uninstall"]).await;
    assert!(said.contains("was not installed"), "{said}");
    world.lay_units(".config");
    world.systemctl(&["daemon-reload"]).await;
});

scene!(a_packages_units_are_not_doubled, world, {
    world.remove_units(".config").await;
    world.lay_units("package");
    world.systemctl(&["daemon-reload"]).await;
    let said = served(&world, &["install"]).await;
    assert!(said.contains("with the package's units") && !said.contains("wrote"), "{said}");
    let (code, now) = status(&world).await;
    assert_eq!((code, &now["running"]), (0, &true.into()), "{now}");
    assert!(now["packaged"].as_str().unwrap().ends_with("package/systemd/user"), "{now}");
    assert!(left(&world).iter().all(|path| fs::symlink_metadata(path).unwrap().is_symlink()), "links alone");
    let said = served(&world, &["install"]).await;
    assert!(said.contains("already installed"), "{said}");
    let said = served(&world, &["uninstall"]).await;
    assert!(said.contains("the package's units stay"), "{said}");
    assert_eq!(left(&world), [] as [PathBuf; 0]);
    assert_eq!(world.show("ActiveState").await, "inactive");
    world.remove_units("package").await;
    world.lay_units(".config");
    world.systemctl(&["daemon-reload"]).await;
});

scene!(an_installation_that_cannot_start_says_so_and_heals, world, {
    world.remove_units(".config").await;
    world.configure("[nonsense]\n");
    let (code, _, said) = service(&world, &["install"]).await;
    assert!(code == 9 && said.contains("hint: see: authctl service logs"), "{code}: {said}");
    let (code, now) = status(&world).await;
    assert_eq!((code, &now["enabled"], &now["running"]), (9, &true.into(), &false.into()), "{now}");
    world.configure("[callback]\nports = [0]\n");
    world.until("ActiveState", |state| state == "active").await;
    let said = served(&world, &["install"]).await;
    assert!(said.contains("already installed"), "{said}");
});
