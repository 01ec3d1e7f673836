//! The list of shares. Paths and URLs are long and must be complete, so each share has lines of its
//! own instead of a row.

use crate::{sanitize::line, screen::Screen};
use authd_api::{Share, ShareAccess, ShareCompat};

pub(crate) fn shares(shares: &[Share], screen: &Screen) -> String {
    if shares.is_empty() {
        return "nothing is shared\n".to_owned();
    }
    shares.iter().map(|one| share(one, screen)).collect()
}

fn share(share: &Share, screen: &Screen) -> String {
    let access = match share.allow {
        ShareAccess::Relay => "relay",
        ShareAccess::Headers => "relay and headers",
    };
    let expiry = screen.time(share.expires_at);
    let ends = if share.held { format!("with its command, at the latest {expiry}") } else { expiry };
    let mut text = format!(
        "{}  profile {}, {access}, ends {ends}\n",
        screen.style.bold(&line(&share.id)),
        share.profile
    );
    let address = share.socket.as_deref().or(share.url.as_deref());
    let paths = (!share.paths.is_empty()).then(|| format!("only {}", share.paths.join(", ")));
    let rate = share.rate.map(|rate| format!("at most {rate} requests a minute"));
    let compat = share.compat.map(|ShareCompat::Responses| "adapts requests of the Responses API".to_owned());
    let label = share.label.as_ref().map(|label| format!("label: {label}"));
    for detail in [address.map(str::to_owned), paths, rate, compat, label].into_iter().flatten() {
        text += &format!("  {}\n", line(&detail));
    }
    if let Some(error) = &share.error {
        text += &format!("  {} {}\n", screen.style.red("closed:"), line(error));
    }
    text
}

#[cfg(test)]
mod tests {
    use authd_api::{ProfileName, ShareDoor};
    use jiff::{Timestamp, tz::TimeZone};

    use super::*;
    use crate::output::Style;

    #[test]
    fn every_property_is_shown_once_and_nothing_can_write_to_the_terminal() {
        let now = Timestamp::from_second(1_764_000_000).unwrap();
        let full = Share {
            id: "q1Zb7RkXw0Tn".into(),
            profile: ProfileName::first(),
            allow: ShareAccess::Headers,
            door: ShareDoor::Loopback,
            created_at: now,
            expires_at: Timestamp::from_second(1_764_003_600).unwrap(),
            rate: Some(60),
            paths: vec!["responses".into(), "models".into()],
            label: Some("CI\u{1b}[31m".into()),
            compat: Some(ShareCompat::Responses),
            held: false,
            socket: None,
            url: Some("http://127.0.0.1:40417/v1".into()),
            error: Some("Address already in use".into()),
        };
        let screen = Screen { now, zone: TimeZone::UTC, width: None, style: Style(false) };
        let text = shares(std::slice::from_ref(&full), &screen);
        let expected = "q1Zb7RkXw0Tn  profile default, relay and headers, ends in 1 h (17:00)\n  \
            http://127.0.0.1:40417/v1\n  only responses, models\n  at most 60 requests a minute\n  \
            adapts requests of the Responses API\n  label: CI";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("  closed: Address already in use\n") && !text.contains('\u{1b}'), "{text}");
        let held = shares(&[Share { held: true, ..full }], &screen);
        assert!(held.contains("ends with its command, at the latest in 1 h (17:00)\n"), "{held}");
        assert_eq!(shares(&[], &screen), "nothing is shared\n");
    }
}
