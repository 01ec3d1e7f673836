//! A gnome-keyring on a private D-Bus, with its own fault points. Its items can be restored. It
//! runs from a copy: the loader ignores `LD_PRELOAD` for a program with file capabilities.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command as Blocking, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use crate::{control::FaultControl, copy, invariants::Keychain};

/// A bus without activation: it does not restart a killed keyring.
const BUS: &str = r#"<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>"#;

/// A keyring and its bus. Drop ends both.
pub(crate) struct Keyring {
    service: Option<Child>,
    _bus: Child,
    pub(crate) control: FaultControl,
    dir: TempDir,
}

impl Keyring {
    /// Starts an empty, unlocked keyring; `None` where the programs are not installed.
    pub(crate) async fn start() -> Option<Self> {
        let installed = |program: &str| Blocking::new(program).arg("--version").output().is_ok();
        if !["dbus-daemon", "dbus-send", "gnome-keyring-daemon", "secret-tool"].into_iter().all(installed) {
            println!("skipped: dbus, gnome-keyring and libsecret-tools are needed");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("keyring-").tempdir().unwrap();
        let socket = dir.path().join("bus");
        fs::write(dir.path().join("bus.conf"), BUS.replace("{}", &socket.display().to_string())).unwrap();
        let mut bus = Command::new("dbus-daemon");
        bus.arg(format!("--config-file={}", dir.path().join("bus.conf").display())).arg("--nofork");
        let bus = bus.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        while !socket.exists() {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        let original = ["/usr/bin/gnome-keyring-daemon", "/bin/gnome-keyring-daemon"];
        let original = original.into_iter().find(|path| Path::new(path).exists())?;
        // `cp` writes the copy: a child that a parallel test starts could inherit a descriptor that
        // this process writes to, and the copy could not be run ("text file busy").
        let copied =
            Command::new("cp").arg(original).arg(dir.path().join("gnome-keyring-daemon")).status().await;
        assert!(copied.unwrap().success());
        let control = FaultControl::new(dir.path());
        let mut keyring = Self { service: None, _bus: bus, control, dir };
        keyring.start_service().await;
        Some(keyring)
    }

    /// The address for `DBUS_SESSION_BUS_ADDRESS`.
    pub(crate) fn bus_address(&self) -> String {
        format!("unix:path={}", self.dir.path().join("bus").display())
    }

    /// The directory of the items.
    fn items_dir(&self) -> PathBuf {
        self.dir.path().join("home/.local/share/keyrings")
    }

    /// Starts the service, and returns when its default collection is unlocked.
    pub(crate) async fn start_service(&mut self) {
        let mut service = Command::new(self.dir.path().join("gnome-keyring-daemon"));
        service.args(["--foreground", "--unlock", "--components=secrets"]).env_clear();
        service.envs(self.client()).envs(self.control.env(&[self.items_dir()]));
        let log = File::create(self.dir.path().join("keyring.log")).unwrap();
        service.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let mut service = service.spawn().unwrap();
        service.stdin.take().unwrap().write_all(b"password").await.unwrap();
        self.service = Some(service);
        for _ in 0..2_000 {
            if self.is_unlocked().is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = fs::read_to_string(self.dir.path().join("keyring.log"));
        let status = self.service.as_mut().map(Child::try_wait);
        let reply = self.is_unlocked();
        panic!(
            "the keyring does not start: {status:?} {log:?} {reply:?}\n{:#?}",
            self.control.calls().iter().rev().take(20).collect::<Vec<_>>()
        );
    }

    /// Starts the service again if it has ended by itself. The service rarely crashes when its
    /// client disappears. The request comes after the bus has told the service about that.
    pub(crate) async fn restart_if_crashed(&mut self) {
        let Err(reply) = self.is_unlocked() else { return };
        println!("the keyring has ended: {:?} {reply}", self.service.as_mut().map(Child::try_wait));
        self.kill().await;
        self.start_service().await;
    }

    /// Whether the service responds and its default collection is unlocked; else the response.
    fn is_unlocked(&self) -> Result<(), String> {
        let mut locked = self.tool("dbus-send");
        locked.args(["--session", "--print-reply=literal", "--dest=org.freedesktop.secrets"]);
        locked.args(["/org/freedesktop/secrets/aliases/default", "org.freedesktop.DBus.Properties.Get"]);
        locked.args(["string:org.freedesktop.Secret.Collection", "string:Locked"]);
        let output = locked.output().unwrap();
        let (reply, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if reply.contains("false") { Ok(()) } else { Err(format!("{reply}{error}")) }
    }

    /// Whether the service is dead, or dies within this time.
    pub(crate) async fn died(&mut self, within: Duration) -> bool {
        let Some(service) = &mut self.service else { return true };
        tokio::time::timeout(within, service.wait()).await.is_ok()
    }

    /// Kills the service.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut service) = self.service.take() {
            service.kill().await.unwrap();
        }
    }

    /// Copies all items to a directory. The service must not run.
    pub(crate) fn save(&self, prepared: &Path) -> io::Result<()> {
        copy(&self.items_dir(), prepared)
    }

    /// Restores the items from a copy, and starts the service.
    pub(crate) async fn restore(&mut self, prepared: &Path) {
        self.control.disarm();
        self.kill().await;
        fs::remove_dir_all(self.items_dir()).unwrap();
        copy(prepared, &self.items_dir()).unwrap();
        self.start_service().await;
    }

    fn client(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        vec![
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", path("home")),
            ("XDG_RUNTIME_DIR", path("")),
            ("DBUS_SESSION_BUS_ADDRESS", self.bus_address()),
        ]
    }

    fn tool(&self, name: &str) -> Blocking {
        let mut tool = Blocking::new(name);
        tool.env_clear().envs(self.client()).stdin(Stdio::null());
        tool
    }
}

impl Keychain for Keyring {
    fn items(&self) -> Result<Vec<(String, String)>, String> {
        let path = self.dir.path().join("items");
        // The tool writes attributes to stderr and secrets to stdout; one file keeps their order.
        let file = File::create(&path).unwrap();
        let mut tool = self.tool("secret-tool");
        tool.args(["search", "--all", "service", "authd"]);
        tool.stdout(file.try_clone().unwrap()).stderr(file);
        let status = tool.status().unwrap();
        let text = fs::read_to_string(&path).unwrap_or_default();
        if !status.success() && text.contains(':') {
            return Err(format!("the keyring does not answer: {text}"));
        }
        let (mut items, mut secret) = (Vec::new(), String::new());
        for line in text.lines() {
            if let Some(text) = line.strip_prefix("secret = ") {
                text.clone_into(&mut secret);
            } else if let Some(key) = line.strip_prefix("attribute.username = ") {
                items.push((key.to_owned(), std::mem::take(&mut secret)));
            }
        }
        Ok(items)
    }
}
