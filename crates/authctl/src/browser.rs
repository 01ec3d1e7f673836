//! Whether to open a browser, and opening it. It opens nothing but https pages and pages of this machine,
//! and never where nobody sits in front of it.

use http::Uri;

use crate::hardening;

/// What is known about where this program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// The person came over SSH.
    pub(crate) remote: bool,
    /// There is a screen to show a browser on.
    pub(crate) screen: bool,
    /// A person asked for this and watches.
    pub(crate) watched: bool,
}

/// How the person gets to the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Open it.
    Open,
    /// Show it, with the way back to this machine: the browser is on another one.
    ShowWithTunnel(u16),
    /// Show it.
    Show,
}

impl Surroundings {
    /// As the environment tells; whether somebody watches is the caller's to say.
    pub(crate) fn from_env(watched: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let remote = set("SSH_CONNECTION") || set("SSH_TTY");
        // macOS always has a screen; elsewhere it says where it is. In WSL it is the one of Windows.
        let screen = cfg!(target_os = "macos")
            || ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER"].into_iter().any(set);
        Self { remote, screen, watched }
    }
}

/// How to get the person to the page of a login that returns to this redirect URI.
pub(crate) fn way(surroundings: Surroundings, unwanted: bool, redirect_uri: Option<&str>) -> Way {
    let port = redirect_uri.and_then(|uri| uri.parse::<Uri>().ok()?.port_u16());
    match (surroundings, port) {
        (Surroundings { remote: true, .. }, Some(port)) => Way::ShowWithTunnel(port),
        (Surroundings { remote: false, screen: true, watched: true }, _) if !unwanted => Way::Open,
        _ => Way::Show,
    }
}

/// Opens the page in the person's browser; false if there is none, or the page is not one to open.
pub(crate) fn open(url: &str) -> bool {
    is_openable(url) && hardening::with_inherited_limit(|| open::that_detached(url)).is_ok()
}

/// Whether a browser may be sent there: a URL with any other scheme could start any program.
fn is_openable(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let loopback = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match uri.scheme_str() {
        Some("https") => uri.host().is_some_and(|host| !host.is_empty()),
        Some("http") => loopback,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESK: Surroundings = Surroundings { remote: false, screen: true, watched: true };
    const BACK: Option<&str> = Some("http://localhost:1457/auth/callback");

    #[test]
    fn a_browser_is_opened_only_for_a_person_at_the_screen() {
        assert_eq!(way(DESK, false, BACK), Way::Open);
        assert_eq!(way(DESK, true, BACK), Way::Show);
        assert_eq!(way(Surroundings { screen: false, ..DESK }, false, BACK), Way::Show);
        assert_eq!(way(Surroundings { watched: false, ..DESK }, false, BACK), Way::Show);
        assert_eq!(way(Surroundings { remote: true, ..DESK }, false, BACK), Way::ShowWithTunnel(1457));
        assert_eq!(way(Surroundings { remote: true, ..DESK }, true, None), Way::Show);
    }

    #[test]
    fn only_web_pages_are_opened() {
        for good in
            ["https://auth.openai.com/oauth/authorize?a=b", "http://localhost:1/x", "http://[::1]:80/"]
        {
            assert!(is_openable(good), "{good}");
        }
        for bad in [
            "http://example.com/",
            "file:///etc/passwd",
            "--help",
            "mailto:a@b",
            "x-app://y",
            "",
            "https://a b/",
        ] {
            assert!(!is_openable(bad), "{bad}");
        }
    }
}
