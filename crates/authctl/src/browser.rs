//! Decides whether a login opens a browser, and opens it: https pages and pages of this machine
//! only, and only for a user at the screen.

use http::Uri;

use crate::{env, hardening};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    /// The session came over SSH.
    is_remote: bool,
    has_display: bool,
    is_interactive: bool,
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
            || ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER"].into_iter().any(is_set);
        let is_remote = is_set("SSH_CONNECTION") || is_set("SSH_TTY");
        Self { is_remote, has_display, is_interactive }
    }
}

pub(crate) fn action(environment: Environment, no_browser: bool, redirect_uri: Option<&str>) -> Action {
    let port = redirect_uri.and_then(|uri| uri.parse::<Uri>().ok()?.port_u16());
    match (environment, port) {
        (Environment { is_remote: true, .. }, Some(port)) => Action::ShowWithTunnel(port),
        (Environment { is_remote: false, has_display: true, is_interactive: true }, _) if !no_browser => {
            Action::Open
        }
        _ => Action::Show,
    }
}

/// Opens the page; returns false if there is no browser, or the URL is not one to open.
pub(crate) fn open(url: &str) -> bool {
    is_openable(url) && hardening::with_inherited_limit(|| open::that_detached(url)).is_ok()
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

    const DESKTOP: Environment = Environment { is_remote: false, has_display: true, is_interactive: true };
    const REDIRECT_URI: Option<&str> = Some("http://localhost:1457/auth/callback");

    #[test]
    fn browser_opens_only_for_a_user_at_the_screen() {
        let remote = Environment { is_remote: true, ..DESKTOP };
        for (environment, no_browser, redirect_uri, expected) in [
            (DESKTOP, false, REDIRECT_URI, Action::Open),
            (DESKTOP, true, REDIRECT_URI, Action::Show),
            (Environment { has_display: false, ..DESKTOP }, false, REDIRECT_URI, Action::Show),
            (Environment { is_interactive: false, ..DESKTOP }, false, REDIRECT_URI, Action::Show),
            (remote, false, REDIRECT_URI, Action::ShowWithTunnel(1457)),
            (remote, true, None, Action::Show),
        ] {
            assert_eq!(action(environment, no_browser, redirect_uri), expected, "{environment:?}");
        }
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
