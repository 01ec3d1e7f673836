//! nginx as a reverse proxy that adds a credential, as authd's relay does.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::Context;
use tempfile::TempDir;

use crate::bench::program::{Running, wait_for_socket};

/// A running nginx with one process.
pub(super) struct Nginx {
    process: Running,
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
        let nginx = Self { process: Running::start(command.stdout(Stdio::null()))?, dir };
        wait_for_socket(&nginx.socket())?;
        Ok(nginx)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// The version of the installed nginx.
pub(super) fn version() -> anyhow::Result<String> {
    let output = Command::new("nginx").arg("-v").output()?;
    let text = String::from_utf8(output.stderr)?;
    Ok(text.trim().rsplit_once('/').context("nginx -v")?.1.to_owned())
}
