use jiff::tz::TimeZone;
use serde_json::json;

use super::*;

fn screen(width: Option<usize>) -> Screen {
    let now = "2026-11-27T10:00:00Z".parse().unwrap();
    Screen { now, zone: TimeZone::UTC, width, style: Style(false) }
}

fn window(name: &str, used: Option<f64>, reset: &str) -> serde_json::Value {
    json!({"window": name, "seconds": null, "used_percent": used, "as_of": "2026-11-27T09:58:00Z",
        "resets_at": format!("2026-11-{reset}Z")})
}

fn quota(value: &serde_json::Value) -> Quota {
    let mut all = json!({"profile": "work", "windows": [], "limit_reached": false,
        "as_of": "2026-11-27T09:58:00Z", "stale": false});
    all.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

#[test]
fn table_has_a_line_for_each_window_and_the_reason_of_what_is_unknown() {
    let mut spark = window("5h", Some(96.2), "27T12:00:00");
    spark["limit"] = "GPT-5.3\u{1b}[2J".into();
    let work = quota(&json!({"windows":
        [window("7d", Some(62.0), "30T15:04:00"), window("5h", Some(0.0), "27T12:30:00"), spark]}));
    let home = quota(&json!({"profile": "home", "as_of": null, "limit_reached": null,
        "error": {"type": "t", "title": "Conflict", "status": 409, "code": "conflict",
            "detail": "profile \"home\" uses an API key", "hint": "see the provider's page"}}));
    let expected = "\
PROFILE  WINDOW             LEFT                          RESETS                     AS OF
work     7d                 ████████░░░░░░░░░░░░  38 %    in 3 d 5 h (30 Nov 15:04)  2 min ago
         5h                 ████████████████████ 100 %    in 2 h 30 min (12:30)      2 min ago
         5h of GPT-5.3�[2J  █░░░░░░░░░░░░░░░░░░░   4 %    in 2 h (12:00)             2 min ago
home     -                  unknown                       -                          -

! profile \"home\" uses an API key
  see the provider's page
";
    assert_eq!(quotas(&[work, home], &screen(None)), expected);
}

#[test]
fn table_fits_the_terminal() {
    let work = quota(&json!({"windows": [window("7d", Some(62.0), "30T15:04:00")]}));
    for (width, bar) in [(200, 20), (81, 20), (72, 11), (65, 0), (20, 0)] {
        let text = quotas(std::slice::from_ref(&work), &screen(Some(width)));
        let cells = text.chars().filter(|c| matches!(c, '█' | '░')).count();
        assert_eq!(cells, bar, "{width}:\n{text}");
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width.max(60), "{width}: {widest}\n{text}");
    }
}

#[test]
fn what_the_figures_do_not_say_is_below_them() {
    let over = window("5h", None, "27T09:59:00");
    let stale = quota(&json!({"stale": true, "windows": [over],
        "error": {"type": "t", "title": "x", "status": 503, "code": "provider_unreachable", "detail": "no network"}}));
    let text = quotas(&[stale], &screen(None));
    assert!(text.contains("unknown") && text.contains("1 min ago (09:59)"), "{text}");
    assert!(text.ends_with("\n! the figures of \"work\" are from 2 min ago: no network\n"), "{text}");
    let mut reached = json!({"limit_reached": true, "reached_type": "workspace_owner_credits_depleted",
        "windows": [window("5h", Some(10.0), "27T12:00:00")]});
    let text = quotas(&[quota(&reached)], &screen(None));
    let note =
        "! \"work\" has reached its limit (workspace_owner_credits_depleted): the provider refuses requests";
    assert!(text.contains(note), "{text}");
    assert_eq!(left(&quota(&reached)), "0");
    reached["credits"] = json!({"available": true, "unlimited": false});
    let text = quotas(&[quota(&reached)], &screen(None));
    assert!(text.contains("requests use credits now"), "{text}");
}

#[test]
fn bar_is_empty_only_if_nothing_is_left() {
    for (percent, filled) in [(0.0, 0), (0.1, 1), (50.0, 10), (99.9, 20), (100.0, 20)] {
        assert_eq!(bar(percent, 20).chars().filter(|c| *c == '█').count(), filled, "{percent}");
    }
    assert_eq!(left(&quota(&json!({"windows": [window("5h", Some(61.6), "27T12:00:00")]}))), "38");
    assert_eq!(left(&quota(&json!({}))), "?");
}
