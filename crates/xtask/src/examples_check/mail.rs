//! Mail programs through `authctl token`: msmtp and mutt submit to Debian's dovecot, and
//! offlineimap and mutt read from it, with the configuration of `examples/mail`. dovecot
//! introspects each token at npm `oidc-provider`.

mod server;

use std::fs;

use anyhow::{Context, ensure};
use serde_json::json;

use self::server::MailServer;
use super::{
    Requirement::{self, Pip, Program},
    Workspace,
    oidc::{self, OidcProvider, Rig, USER, count, run},
};
use crate::{
    shell::{self, print, print_title},
    tools::skip,
};

const REQUIREMENTS: [Requirement; 6] = [
    Program(server::DOVECOT),
    Program("msmtp"),
    Program("offlineimap"),
    // A terminal for mutt.
    Program("script"),
    Pip(server::AIOSMTPD),
    Program("mutt"),
];

/// The lifetime of an access token, in seconds. The check waits for its end.
const LIFETIME: u64 = 12;

/// How many lifetimes the programs work.
const LIFETIMES: usize = 3;

/// The profile that the examples name.
const PROFILE: &str = "mail";

const MSMTP_XOAUTH2: &str = "printf 'Subject: 1\\n\\n1\\n' | msmtp -C msmtprc alice@example.com";
const MSMTP_OAUTHBEARER: &str =
    "printf 'Subject: 2\\n\\n2\\n' | msmtp -C msmtprc -a oauthbearer alice@example.com";
const MSMTP_WRONG_TOKEN: &str = "printf 'Subject: 0\\n\\n0\\n' | msmtp -C msmtprc -a wrong alice@example.com";
const MUTT_SEND: &str = "echo 3 | mutt -F muttrc -s 3 alice@example.com";
const MUTT_READ: &str = "script --quiet --return --command \"mutt -F muttrc -e 'push q'\" /dev/null";
const OFFLINEIMAP: &str = "offlineimap -o -u quiet -c offlineimaprc";

/// The sign-ins of a lifetime: service, mechanism and number.
const SIGN_INS: [(&str, &str, usize); 3] =
    [("submission", "XOAUTH2", 2), ("submission", "OAUTHBEARER", 1), ("imap", "XOAUTH2", 2)];

/// Sends and reads mail, if the programs are installed.
pub(super) async fn check(workspace: &Workspace) -> anyhow::Result<()> {
    print_title("Mail, through authctl token");
    if let Err(reason) = oidc::install(workspace, &REQUIREMENTS).and_then(|()| server::check_version()) {
        return skip("mail", &reason);
    }
    let provider = OidcProvider::start(workspace, &json!({"lifetime": LIFETIME})).await?;
    let server = MailServer::start(workspace, provider.url("introspection_endpoint")).await?;
    let rig = Rig::start(workspace, provider, "").await?;
    rig.authctl(&["login", "--provider", "public", "--profile", PROFILE]).await?;
    configure(&rig, &server)?;
    for number in 1..=LIFETIMES {
        if number > 1 {
            rig.until_expiry(PROFILE).await?;
        }
        for command in [MSMTP_XOAUTH2, MSMTP_OAUTHBEARER, MUTT_SEND, MUTT_READ] {
            mail(&rig, command).await.with_context(|| server.log())?;
        }
        mail(&rig, OFFLINEIMAP).await.with_context(|| server.log())?;
        let read = fs::read_dir(rig.path("Mail/INBOX/new"))?.count();
        ensure!(read == 3 * number, "{read} messages arrived\n{}", server.log());
    }
    let log = server.log();
    let logins = |service: &str, method: &str| {
        log.matches(&format!("{service}-login: Info: Login: user=<{USER}>, method={method}")).count()
    };
    for (service, method, expected) in SIGN_INS {
        let found = logins(service, method);
        ensure!(found == expected * LIFETIMES, "{service}: {found} sign-ins by {method}\n{log}");
    }
    ensure!(
        count(&rig.provider.events(), "refresh_token.consumed") >= LIFETIMES - 1,
        "a token lasted too long"
    );
    rig.provider.ensure_peace()?;
    print(&format!("msmtp, offlineimap and mutt have worked over {LIFETIMES} lifetimes of the token"));
    ensure!(mail(&rig, MSMTP_WRONG_TOKEN).await.is_err(), "dovecot accepts any token");
    Ok(())
}

/// Writes the configuration of the programs: that of the examples, with the address and the
/// certificate of the server.
fn configure(rig: &Rig<'_>, server: &MailServer) -> anyhow::Result<()> {
    let directory = rig.directory.path().display().to_string();
    let certificate = server.certificate().display().to_string();
    let (imap, submission) = (server.imap_port.to_string(), server.submission_port.to_string());
    let write = |name: &str, changes: &[(&str, &str)], more: &str| {
        let example = fs::read_to_string(shell::root().join("examples/mail").join(name))?;
        let text = changes.iter().try_fold(example, |text, (from, to)| {
            ensure!(text.contains(from), "{name} does not contain {from}");
            Ok(text.replace(from, to))
        })?;
        fs::write(rig.path(name), text + more)?;
        anyhow::Ok(())
    };
    write(
        "msmtprc",
        &[("smtp.example.com", "localhost"), ("port 465", &format!("port {submission}"))],
        &format!(
            "tls_trust_file {certificate}\n\naccount oauthbearer : default\nauth oauthbearer\n\
             \naccount wrong : default\npasswordeval echo wrong\n"
        ),
    )?;
    write(
        "offlineimaprc",
        &[
            ("~/.config/offlineimap", &directory),
            ("~/Mail", &format!("{directory}/Mail")),
            ("imap.example.com", "localhost"),
            ("993", &imap),
            ("OS-DEFAULT", &certificate),
        ],
        "",
    )?;
    write("offlineimap.py", &[], "")?;
    let (imap, submission) = (format!("localhost:{imap}"), format!("localhost:{submission}"));
    write(
        "muttrc",
        &[("imap.example.com", &imap), ("smtp.example.com", &submission)],
        &format!("set ssl_ca_certificates_file = {certificate}\nset quit = yes\n"),
    )
}

/// Runs a command of a shell in the directory of the configuration.
async fn mail(rig: &Rig<'_>, script: &str) -> anyhow::Result<()> {
    let mut command = rig.command("bash", &["-c", script])?;
    command.current_dir(rig.directory.path()).env("TERM", "xterm");
    run(&mut command).await.map(drop)
}
