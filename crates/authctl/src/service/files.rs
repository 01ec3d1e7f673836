//! The texts of the units: the files of the repository, with the path of the daemon in them.

use std::path::Path;

use super::{AGENT, ServiceManager, UnitFile};

const SERVICE: &str = include_str!("../../../../systemd/authd.service");
const SOCKET: &str = include_str!("../../../../systemd/authd.socket");
const PLIST: &str = include_str!("../../../../launchd/io.authd.authd.plist");

/// The commands in the repository's files that start the daemon.
const SERVICE_COMMAND: &str = "ExecStart=%h/.cargo/bin/authd\n";
const PLIST_COMMAND: &str = r#"exec "$HOME/.cargo/bin/authd" "#;

pub(crate) fn names(manager: ServiceManager) -> &'static [&'static str] {
    match manager {
        ServiceManager::Systemd => manager.units(),
        ServiceManager::Launchd { .. } => &[AGENT],
    }
}

/// The files for a daemon at `program`; `None` if a unit cannot contain its path.
pub(crate) fn files(manager: ServiceManager, program: &Path, home: &Path) -> Option<Vec<UnitFile>> {
    let below_home = program.strip_prefix(home).ok();
    let path = below_home.unwrap_or(program).to_str()?;
    if path.chars().any(char::is_control) {
        return None;
    }
    let file = |name, text| UnitFile { name, text };
    Some(match manager {
        ServiceManager::Systemd => {
            let command = format!("ExecStart={}\n", systemd_path(below_home.is_some(), path));
            vec![
                file("authd.socket", SOCKET.to_owned()),
                file("authd.service", SERVICE.replacen(SERVICE_COMMAND, &command, 1)),
            ]
        }
        ServiceManager::Launchd { .. } => {
            let command = escape_xml(&format!("exec {} ", shell_path(below_home.is_some(), path)));
            vec![file(AGENT, PLIST.replacen(PLIST_COMMAND, &command, 1))]
        }
    })
}

/// systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers".
pub(super) fn systemd_path(is_below_home: bool, path: &str) -> String {
    let escaped = path.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    let escaped = if is_below_home { format!("%h/{escaped}") } else { escaped };
    let is_plain = |c: char| c.is_alphanumeric() || "/%._-+@:".contains(c);
    if escaped.chars().all(is_plain) { escaped } else { format!("\"{escaped}\"") }
}

/// A path in double quotes for a POSIX shell.
fn shell_path(is_below_home: bool, path: &str) -> String {
    let mut quoted = if is_below_home { "\"$HOME/" } else { "\"" }.to_owned();
    for c in path.chars() {
        if matches!(c, '\\' | '"' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// Escapes text for the content of an XML element.
fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAUNCHD: ServiceManager = ServiceManager::Launchd { uid: 501 };

    fn command_line(manager: ServiceManager, program: &str) -> String {
        let files = files(manager, Path::new(program), Path::new("/home/me")).unwrap();
        let text = &files.last().unwrap().text;
        let prefix = if manager == ServiceManager::Systemd { "ExecStart=" } else { "<string>umask" };
        text.lines().map(str::trim).find(|line| line.starts_with(prefix)).unwrap().to_owned()
    }

    #[test]
    fn files_for_the_cargo_directory_are_those_of_the_repository() {
        let program = Path::new("/home/me/.cargo/bin/authd");
        let texts = |manager| {
            let files = files(manager, program, Path::new("/home/me")).unwrap();
            files.into_iter().map(|file| file.text).collect::<Vec<_>>()
        };
        assert_eq!(texts(ServiceManager::Systemd), [SOCKET, SERVICE]);
        assert_eq!(texts(LAUNCHD), [PLIST]);
        assert_eq!((SERVICE.matches(SERVICE_COMMAND).count(), PLIST.matches(PLIST_COMMAND).count()), (1, 1));
    }

    #[test]
    fn path_is_escaped_for_each_format() {
        for (program, expected) in [
            ("/usr/bin/authd", "ExecStart=/usr/bin/authd"),
            ("/home/me/bin/authd", "ExecStart=%h/bin/authd"),
            ("/opt/100% mine/authd", r#"ExecStart="/opt/100%% mine/authd""#),
            (r#"/home/me/a "b"\c/authd"#, r#"ExecStart="%h/a \"b\"\\c/authd""#),
        ] {
            assert_eq!(command_line(ServiceManager::Systemd, program), expected);
        }
        for (program, expected) in [
            ("/usr/local/bin/authd", r#"exec "/usr/local/bin/authd" 2"#),
            ("/home/me/R&D $1/authd", r#"exec "$HOME/R&amp;D \$1/authd" 2"#),
        ] {
            let line = command_line(LAUNCHD, program);
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn path_with_a_line_feed_is_refused() {
        let home = Path::new("/home/me");
        assert_eq!(files(ServiceManager::Systemd, Path::new("/tmp/a\nb/authd"), home), None);
    }
}
