//! The units' texts: the repository's own files, with the daemon's path put in.

use std::path::Path;

/// launchd's name for the agent.
pub(crate) const LABEL: &str = "io.authd.authd";

/// The file that describes the agent.
pub(crate) const AGENT: &str = "io.authd.authd.plist";

const SERVICE: &str = include_str!("../../../../systemd/authd.service");
const SOCKET: &str = include_str!("../../../../systemd/authd.socket");
const PLIST: &str = include_str!("../../../../launchd/io.authd.authd.plist");

/// Where the repository's files expect the daemon, in the words of each format.
const IN_SERVICE: &str = "ExecStart=%h/.cargo/bin/authd\n";
const IN_PLIST: &str = r#"exec "$HOME/.cargo/bin/authd" "#;

use super::Manager;

/// A file in the directory of the user's own units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Its name.
    pub(crate) name: &'static str,
    /// What is in it.
    pub(crate) text: String,
}

/// The files' names.
pub(crate) fn names(manager: Manager) -> &'static [&'static str] {
    match manager {
        Manager::Systemd => &["authd.socket", "authd.service"],
        Manager::Launchd { .. } => &[AGENT],
    }
}

/// The files for a daemon at `program`; nothing, if no unit can say such a path.
pub(crate) fn files(manager: Manager, program: &Path, home: &Path) -> Option<Vec<File>> {
    let below = program.strip_prefix(home).ok().map(Path::to_str);
    let (below, path) = match below {
        Some(rest) => (true, rest?),
        None => (false, program.to_str()?),
    };
    if path.chars().any(char::is_control) {
        return None;
    }
    let file = |name, text| File { name, text };
    Some(match manager {
        Manager::Systemd => {
            let line = format!("ExecStart={}\n", in_service(below, path));
            vec![
                file("authd.socket", SOCKET.to_owned()),
                file("authd.service", SERVICE.replacen(IN_SERVICE, &line, 1)),
            ]
        }
        Manager::Launchd { .. } => {
            let command = format!("exec {} ", in_plist(below, path));
            vec![file(AGENT, PLIST.replacen(IN_PLIST, &command, 1))]
        }
    })
}

/// A path as systemd reads it (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers").
fn in_service(below_home: bool, path: &str) -> String {
    let escaped = path.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    let whole = if below_home { format!("%h/{escaped}") } else { escaped };
    let plain = |c: char| c.is_alphanumeric() || "/%._-+@:".contains(c);
    if whole.chars().all(plain) { whole } else { format!("\"{whole}\"") }
}

/// A path as the shell of the agent reads it, inside of XML.
fn in_plist(below_home: bool, path: &str) -> String {
    let mut escaped = String::new();
    for c in path.chars() {
        if matches!(c, '\\' | '"' | '$' | '`') {
            escaped.push('\\');
        }
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            _ => escaped.push(c),
        }
    }
    if below_home { format!("\"$HOME/{escaped}\"") } else { format!("\"{escaped}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAUNCHD: Manager = Manager::Launchd { uid: 501 };

    fn line(manager: Manager, program: &str) -> String {
        let files = files(manager, Path::new(program), Path::new("/home/me")).unwrap();
        let text = &files.last().unwrap().text;
        let mark = if manager == Manager::Systemd { "ExecStart=" } else { "<string>umask" };
        text.lines().map(str::trim).find(|line| line.starts_with(mark)).unwrap().to_owned()
    }

    #[test]
    fn where_cargo_installs_the_files_are_as_they_are() {
        let program = Path::new("/home/me/.cargo/bin/authd");
        let texts = |manager| {
            let files = files(manager, program, Path::new("/home/me")).unwrap();
            files.into_iter().map(|file| file.text).collect::<Vec<_>>()
        };
        assert_eq!(texts(Manager::Systemd), [SOCKET, SERVICE]);
        assert_eq!(texts(LAUNCHD), [PLIST]);
        assert_eq!((SERVICE.matches(IN_SERVICE).count(), PLIST.matches(IN_PLIST).count()), (1, 1));
    }

    #[test]
    fn a_path_is_put_in_as_each_format_writes_it() {
        for (program, expected) in [
            ("/usr/bin/authd", "ExecStart=/usr/bin/authd"),
            ("/home/me/bin/authd", "ExecStart=%h/bin/authd"),
            ("/opt/100% mine/authd", r#"ExecStart="/opt/100%% mine/authd""#),
            (r#"/home/me/a "b"\c/authd"#, r#"ExecStart="%h/a \"b\"\\c/authd""#),
        ] {
            assert_eq!(line(Manager::Systemd, program), expected);
        }
        for (program, expected) in [
            ("/usr/local/bin/authd", r#"exec "/usr/local/bin/authd" 2"#),
            ("/home/me/R&D $1/authd", r#"exec "$HOME/R&amp;D \$1/authd" 2"#),
        ] {
            let line = line(LAUNCHD, program);
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn a_path_that_would_break_the_line_is_refused() {
        let home = Path::new("/home/me");
        assert_eq!(files(Manager::Systemd, Path::new("/tmp/a\nb/authd"), home), None);
    }
}
