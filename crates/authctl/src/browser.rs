//! Decides whether a login opens a browser, and opens it: https pages and pages of this machine
//! only, and only for a user at the screen, or if `BROWSER` names a program.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use http::Uri;

use crate::{env, hardening};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    /// The session came over SSH.
    is_remote: bool,
    has_display: bool,
    is_interactive: bool,
    /// `BROWSER` is set.
    names_browser: bool,
}

/// How the user gets to the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Open,
    Show,
    /// Show it with the `ssh -L` command for this port: the browser is on another machine.
    ShowWithTunnel(u16),
}

impl Environment {
    pub(crate) fn detect(is_interactive: bool) -> Self {
        let is_set = |name: &str| env::var(name).is_some();
        // macOS always has a display. WSL uses the one of Windows.
        let has_display = cfg!(target_os = "macos")
            || ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"].into_iter().any(is_set);
        let is_remote = is_set("SSH_CONNECTION") || is_set("SSH_TTY");
        Self { is_remote, has_display, is_interactive, names_browser: is_set("BROWSER") }
    }
}

pub(crate) fn action(environment: Environment, no_browser: bool, redirect_uri: Option<&str>) -> Action {
    let port = redirect_uri.and_then(|uri| uri.parse::<Uri>().ok()?.port_u16());
    match (environment, port) {
        (Environment { is_remote: true, .. }, Some(port)) => Action::ShowWithTunnel(port),
        (Environment { is_remote: false, has_display, is_interactive, names_browser }, _)
            if !no_browser && (names_browser || has_display && is_interactive) =>
        {
            Action::Open
        }
        _ => Action::Show,
    }
}

/// Opens the page; returns false if there is no browser, or the URL is not one to open.
pub(crate) fn open(url: &str) -> bool {
    if !is_openable(url) {
        return false;
    }
    hardening::with_inherited_limit(|| match env::var("BROWSER") {
        Some(browsers) => commands(&browsers.to_string_lossy(), url).any(|words| start(&words)),
        None => open::that_detached(url).is_ok(),
    })
}

/// The commands of `BROWSER`, which is a list of them with colons between. `%s` stands for the URL,
/// which else is the last argument.
fn commands(browsers: &str, url: &str) -> impl Iterator<Item = Vec<String>> {
    browsers.split(':').map(|command| {
        let mut words: Vec<String> = command.split_whitespace().map(|word| word.replace("%s", url)).collect();
        if !command.contains("%s") {
            words.push(url.to_owned());
        }
        words
    })
}

/// Starts a command that outlives this process and has none of its files.
fn start(words: &[String]) -> bool {
    let [program, args @ ..] = words else { return false };
    let mut command = Command::new(program);
    command.args(args).process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}

/// Other schemes could start any program, and plain http could be read on the network.
fn is_openable(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(host)) => !host.is_empty(),
        (Some("http"), host) => matches!(host, Some("localhost" | "127.0.0.1" | "[::1]")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESKTOP: Environment =
        Environment { is_remote: false, has_display: true, is_interactive: true, names_browser: false };
    const REDIRECT_URI: Option<&str> = Some("http://localhost:1457/auth/callback");

    #[test]
    fn browser_opens_only_for_a_user_at_the_screen() {
        let remote = Environment { is_remote: true, ..DESKTOP };
        let named =
            Environment { is_remote: false, has_display: false, is_interactive: false, names_browser: true };
        for (environment, no_browser, redirect_uri, expected) in [
            (DESKTOP, false, REDIRECT_URI, Action::Open),
            (DESKTOP, true, REDIRECT_URI, Action::Show),
            (Environment { has_display: false, ..DESKTOP }, false, REDIRECT_URI, Action::Show),
            (Environment { is_interactive: false, ..DESKTOP }, false, REDIRECT_URI, Action::Show),
            (named, false, REDIRECT_URI, Action::Open),
            (named, true, REDIRECT_URI, Action::Show),
            (remote, false, REDIRECT_URI, Action::ShowWithTunnel(1457)),
            (remote, true, None, Action::Show),
        ] {
            assert_eq!(action(environment, no_browser, redirect_uri), expected, "{environment:?}");
        }
    }

    #[test]
    fn browser_variable_is_a_list_of_commands() {
        let found: Vec<_> = commands("firefox:w3m -o x=%s -q", "https://a").collect();
        assert_eq!(found, [vec!["firefox", "https://a"], vec!["w3m", "-o", "x=https://a", "-q"]]);
    }

    #[test]
    fn only_web_pages_are_opened() {
        for url in ["https://auth.openai.com/oauth/authorize?a=b", "http://localhost:1/x", "http://[::1]:80/"]
        {
            assert!(is_openable(url), "{url}");
        }
        for url in
            "http://example.com/|file:///etc/passwd|--help|mailto:a@b|x-app://y||https://a b/".split('|')
        {
            assert!(!is_openable(url), "{url}");
        }
    }
}
