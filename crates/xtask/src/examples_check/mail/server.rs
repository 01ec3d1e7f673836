//! A mail server on loopback: dovecot for IMAP and submission, with OAuth only, and a small SMTP
//! server behind it that delivers to the mailbox of dovecot.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
};

use anyhow::{Context, ensure};
use rustix::process::{getgid, getuid};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::oneshot,
    time::timeout,
};

use super::super::{TIMEOUT, Workspace, oidc::USER};
use crate::tools::{run_quiet, stdout_of};

/// Debian has it outside of a user's `PATH`.
pub(super) const DOVECOT: &str = "/usr/sbin/dovecot";

pub(super) const AIOSMTPD: &str = "aiosmtpd==1.4.6";

/// The user that dovecot runs as if this is root, which may not own a mailbox: `nobody` of Debian.
const NOBODY: u32 = 65534;

/// Version 2.4 has another format of the configuration.
pub(super) fn check_version() -> anyhow::Result<()> {
    let version = stdout_of(std::process::Command::new(DOVECOT).arg("--version"))?;
    ensure!(version.starts_with("2.3."), "this needs dovecot 2.3, and {version} is installed");
    Ok(())
}

/// The running server. It ends when it is dropped.
pub(super) struct MailServer {
    pub(super) imap_port: u16,
    pub(super) submission_port: u16,
    log: Arc<Mutex<String>>,
    // Dropped first: the programs must end before their directory is deleted.
    _processes: [Child; 2],
    directory: TempDir,
}

impl MailServer {
    pub(super) async fn start(workspace: &Workspace, introspection_url: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir()?;
        let path = directory.path();
        let (uid, gid) = match (getuid().as_raw(), getgid().as_raw()) {
            (0, _) => (NOBODY, NOBODY),
            user => user,
        };
        let mailbox = path.join("mail").join(USER).join("Maildir");
        for name in ["cur", "new", "tmp"] {
            fs::create_dir_all(mailbox.join(name))?;
        }
        for directory in ["run", "state", "mail"] {
            fs::create_dir_all(path.join(directory))?;
        }
        // dovecot needs openssl, so it is installed.
        run_quiet(std::process::Command::new("openssl").args(CERTIFICATE).current_dir(path))?;
        own(path, uid, gid)?;

        let (imap_port, submission_port, smtp_port) = (free_port()?, free_port()?, free_port()?);
        let oauth2 = introspection_url.replace("http://", "http://resource-server:secret@");
        fs::write(path.join("oauth2.conf"), OAUTH2.replace("{url}", &oauth2))?;
        let name_of =
            |kind: &str| stdout_of(std::process::Command::new("id").args(["-n", kind, &uid.to_string()]));
        let (user, group) = (name_of("-u")?, name_of("-g")?);
        let config = DOVECOT_CONF
            .replace("{directory}", &path.display().to_string())
            .replace("{user}", user.trim())
            .replace("{group}", group.trim())
            .replace("{uid}", &uid.to_string())
            .replace("{gid}", &gid.to_string())
            .replace("{imap_port}", &imap_port.to_string())
            .replace("{submission_port}", &submission_port.to_string())
            .replace("{smtp_port}", &smtp_port.to_string());
        fs::write(path.join("dovecot.conf"), config)?;

        let log = Arc::new(Mutex::new(String::new()));
        let mut smtp = Command::new(workspace.tools.path().join("venv/bin/python"));
        smtp.args(["-m", "aiosmtpd", "--nosetuid", "--debug", "--listen", &format!("127.0.0.1:{smtp_port}")]);
        smtp.args(["--class", "aiosmtpd.handlers.Mailbox"]).arg(&mailbox);
        let smtp = spawn(&mut smtp, &log, "Server is listening").await.context("aiosmtpd")?;
        let mut dovecot = Command::new(DOVECOT);
        dovecot.arg("-F").arg("-c").arg(path.join("dovecot.conf")).uid(uid).gid(gid);
        let dovecot = spawn(&mut dovecot, &log, "starting up").await.context("dovecot")?;
        Ok(Self { imap_port, submission_port, log, _processes: [dovecot, smtp], directory })
    }

    /// The certificate, which no CA has signed.
    pub(super) fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// What both programs have logged.
    pub(super) fn log(&self) -> String {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }
}

/// Starts a program, and returns when it has logged these words.
async fn spawn(
    command: &mut Command,
    log: &Arc<Mutex<String>>,
    ready: &'static str,
) -> anyhow::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("stderr is a pipe")?).lines();
    let (sender, started) = oneshot::channel();
    let log = Arc::clone(log);
    let shared = Arc::clone(&log);
    tokio::spawn(async move {
        let mut sender = Some(sender);
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains(ready)
                && let Some(sender) = sender.take()
            {
                sender.send(()).ok();
            }
            if let Ok(mut log) = shared.lock() {
                log.push_str(&line);
                log.push('\n');
            }
        }
    });
    let started = timeout(TIMEOUT, started).await.is_ok_and(|started| started.is_ok());
    ensure!(started, "the program does not start: {}", log.lock().map(|log| log.clone()).unwrap_or_default());
    Ok(child)
}

/// Gives a directory and what is in it to the user of dovecot.
fn own(path: &Path, uid: u32, gid: u32) -> anyhow::Result<()> {
    chown(path, Some(uid), Some(gid))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// A port that is free now. dovecot takes no other kind.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The arguments of openssl that make a certificate for the name `localhost`.
const CERTIFICATE: [&str; 13] = [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-keyout",
    "key.pem",
    "-out",
    "certificate.pem",
    "-subj",
    "/CN=localhost",
    "-addext",
    "subjectAltName=DNS:localhost",
];

const OAUTH2: &str = "introspection_mode = post
introspection_url = {url}
active_attribute = active
active_value = true
username_attribute = sub
";

/// dovecot without root, as its manual describes.
const DOVECOT_CONF: &str = "base_dir = {directory}/run
state_dir = {directory}/state
log_path = /dev/stderr
protocols = imap submission
listen = 127.0.0.1
ssl = required
ssl_cert = <{directory}/certificate.pem
ssl_key = <{directory}/key.pem
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
auth_mechanisms = xoauth2 oauthbearer
mail_location = maildir:~/Maildir
hostname = localhost
submission_relay_host = 127.0.0.1
submission_relay_port = {smtp_port}
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {directory}/oauth2.conf
}
userdb {
  driver = static
  args = uid={uid} gid={gid} home={directory}/mail/%u
}
service anvil {
  chroot =
}
service imap-login {
  chroot =
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = {imap_port}
    ssl = yes
  }
}
service submission-login {
  chroot =
  inet_listener submission {
    port = 0
  }
  inet_listener submissions {
    port = {submission_port}
    ssl = yes
  }
}
";
