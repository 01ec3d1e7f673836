//! nginx as a reverse proxy that adds a credential, as authd's relay does.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);

/// A running nginx with one process. Dropping it kills the process.
pub(super) struct Nginx {
    child: Child,
    dir: TempDir,
}

impl Nginx {
    /// Starts nginx. It sends the requests of a Unix socket to the upstream.
    pub(super) fn start(upstream: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().display();
        // One process without log files. Nothing of a response waits for more of it, as in a relay.
        let configuration = format!(
            "daemon off;
master_process off;
pid {path}/pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {path}/body;
  proxy_temp_path {path}/proxy;
  fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi;
  scgi_temp_path {path}/scgi;
  keepalive_requests 1000000000;
  upstream provider {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen unix:{path}/socket;
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection '';
      proxy_set_header Authorization 'Bearer sk-of-ones-own';
      proxy_buffering off;
    }}
  }}
}}
"
        );
        let file = dir.path().join("nginx.conf");
        fs::write(&file, configuration)?;
        let mut command = Command::new("nginx");
        command.arg("-e").arg("stderr").arg("-p").arg(dir.path()).arg("-c").arg(&file);
        let child = command.stdout(Stdio::null()).spawn().context("nginx")?;
        let nginx = Self { child, dir };
        let started = Instant::now();
        while UnixStream::connect(nginx.socket()).is_err() {
            ensure!(started.elapsed() < PATIENCE, "nginx does not listen");
        }
        Ok(nginx)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // An error means that the process has already exited.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The version of the installed nginx.
pub(super) fn version() -> anyhow::Result<String> {
    let output = Command::new("nginx").arg("-v").output()?;
    let text = String::from_utf8(output.stderr)?;
    Ok(text.trim().rsplit_once('/').context("nginx -v")?.1.to_owned())
}
