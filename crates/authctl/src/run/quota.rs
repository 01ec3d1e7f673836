//! `authctl quota`.

use std::io::IsTerminal;

use authd_api::{ErrorCode, Mode, Problem, ProfileName, Quota};
use serde::Serialize;

use super::watch::{CLEAR_SCREEN, Changes, Wake, wait_for_restart};
use crate::{
    cli::{QuotaArgs, TimeArg},
    context::{Context, with_timeout},
    error::CliResult,
    render,
    screen::Screen,
};

/// The output with `--json`.
#[derive(PartialEq, Serialize)]
struct Quotas {
    quotas: Vec<Quota>,
    /// With `--best`: the name that it prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<ProfileName>,
}

/// Which profiles are shown.
enum QuotaSelection {
    All,
    One(Option<ProfileName>),
}

pub(super) async fn quota(ctx: &Context, args: QuotaArgs) -> CliResult {
    let max_age = args.max_age.map(TimeArg::seconds);
    if args.best {
        return best(ctx, max_age).await;
    }
    let selection =
        if args.all { QuotaSelection::All } else { QuotaSelection::One(ctx.profile_name(args.profile)) };
    if args.watch {
        return watch(ctx, &selection, max_age).await;
    }
    let quotas = read(ctx, &selection, max_age).await?;
    // The reason why nothing is known of the one profile is the result.
    if let (QuotaSelection::One(_), [Quota { windows, error: Some(problem), .. }]) = (&selection, &*quotas)
        && windows.is_empty()
    {
        return Err(problem.clone().into());
    }
    let quotas = Quotas { quotas, best: None };
    ctx.out.result(&quotas, || text(ctx, &selection, &quotas.quotas))
}

/// The quotas, one after another: a request of the daemon to the provider may stand behind each.
async fn read(ctx: &Context, selection: &QuotaSelection, max_age: Option<u64>) -> CliResult<Vec<Quota>> {
    let names = match selection {
        QuotaSelection::One(name) => vec![name.clone()],
        QuotaSelection::All => {
            let profiles = with_timeout(ctx.client.profiles()).await?.profiles;
            profiles.into_iter().map(|profile| Some(profile.name)).collect()
        }
    };
    let mut quotas = Vec::new();
    for name in names {
        match (with_timeout(ctx.client.quota(name.as_ref(), max_age)).await, selection) {
            (Ok(quota), _) => quotas.push(quota),
            // One profile that cannot be read does not hide the others.
            (Err(error), QuotaSelection::All) if !error.is_no_daemon() => {
                let (Some(problem), Some(name)) = (error.problem().cloned(), name) else { return Err(error) };
                quotas.push(unknown(name, problem));
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(quotas)
}

fn unknown(profile: ProfileName, problem: Problem) -> Quota {
    Quota {
        profile,
        windows: Vec::new(),
        credits: None,
        limit_reached: None,
        reached_type: None,
        as_of: None,
        stale: false,
        error: Some(problem),
    }
}

fn text(ctx: &Context, selection: &QuotaSelection, quotas: &[Quota]) -> String {
    match selection {
        _ if !ctx.out.quiet => render::quotas(quotas, &Screen::stdout(ctx.out)),
        QuotaSelection::One(_) => {
            quotas.iter().map(|quota| format!("{}\n", render::quota_left(quota))).collect()
        }
        QuotaSelection::All => {
            let line = |quota: &Quota| format!("{} {}\n", quota.profile, render::quota_left(quota));
            quotas.iter().map(line).collect()
        }
    }
}

/// Prints the name of the profile with the most left. Only current figures count.
async fn best(ctx: &Context, max_age: Option<u64>) -> CliResult {
    let profiles = with_timeout(ctx.client.profiles()).await?.profiles;
    let has_quota = profiles.iter().any(|profile| profile.mode == Some(Mode::ChatGpt));
    let quotas = read(ctx, &QuotaSelection::All, max_age).await?;
    let Some(best) = most_left(&quotas) else {
        let (code, detail, hint) = if profiles.is_empty() {
            (ErrorCode::LoginRequired, "no profile is signed in", "run: authctl login")
        } else if has_quota {
            let detail = "it is not known now how much is left of any profile";
            (ErrorCode::ProviderRefused, detail, "for the reasons: authctl quota --all")
        } else {
            (ErrorCode::Conflict, "no profile has usage limits", "only ChatGPT accounts have them")
        };
        return Err(Problem::new(code, detail).hint(hint).into());
    };
    if best.left_percent() == Some(0.0) {
        ctx.out
            .info("nothing is left of the limits of any profile; when they start again: authctl quota --all");
    }
    let best = best.profile.clone();
    let line = format!("{best}\n");
    ctx.out.result(&Quotas { quotas, best: Some(best) }, || line)
}

/// The first one with the most left of its binding limit.
fn most_left(quotas: &[Quota]) -> Option<&Quota> {
    let known = quotas.iter().filter_map(|quota| Some((quota.left_percent()?, quota)));
    known.reduce(|best, other| if other.0 > best.0 { other } else { best }).map(|(_, quota)| quota)
}

/// Prints the quotas, and again after each change. Each event of the daemon causes a new
/// request, and the daemon then asks the provider if its figures are too old.
async fn watch(ctx: &Context, selection: &QuotaSelection, max_age: Option<u64>) -> CliResult {
    let is_terminal = std::io::stdout().is_terminal();
    let mut changes = Changes::default();
    let mut shown = None;
    loop {
        let quotas = Quotas { quotas: read(ctx, selection, max_age).await?, best: None };
        let has_changed = shown.as_ref() != Some(&quotas);
        if ctx.out.json && has_changed {
            ctx.out.print_json_line(&quotas)?;
        } else if !ctx.out.json && (has_changed || is_terminal) {
            if is_terminal {
                ctx.out.write(CLEAR_SCREEN)?;
            }
            let end = if is_terminal || ctx.out.quiet { "" } else { "\n" };
            ctx.out.print(&format!("{}{end}", text(ctx, selection, &quotas.quotas)))?;
        }
        shown = Some(quotas);
        if changes.next(ctx).await == Wake::Stopped {
            wait_for_restart(ctx).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quota(profile: &str, used: Option<f64>, more: &serde_json::Value) -> Quota {
        let window = json!({"window": "5h", "seconds": 18_000, "used_percent": used,
            "as_of": "2026-11-27T10:00:00Z", "resets_at": null});
        let mut all = json!({"profile": profile, "windows": [window], "limit_reached": false,
            "as_of": "2026-11-27T10:00:00Z", "stale": false});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn best_profile_has_the_most_left_of_its_binding_limit() {
        let plain = json!({});
        let model = json!({"windows": [{"window": "5h", "seconds": 18_000, "limit": "Spark",
            "used_percent": 0.0, "as_of": "2026-11-27T10:00:00Z", "resets_at": null}]});
        let name = |quotas: &[Quota]| most_left(quotas).map(|quota| quota.profile.to_string());
        let all = [
            quota("a", Some(40.0), &plain),
            quota("b", Some(20.0), &plain),
            quota("c", Some(20.0), &plain),
            quota("stale", Some(0.0), &json!({"stale": true})),
            quota("over", None, &json!({"stale": true})),
            quota("reached", Some(1.0), &json!({"limit_reached": true})),
            quota("unknown", None, &json!({"windows": [], "as_of": null, "limit_reached": null})),
            quota("model", None, &model),
        ];
        assert_eq!(name(&all).as_deref(), Some("b"));
        assert_eq!(name(&all[3..5]), None);
        assert_eq!(name(&all[5..]).as_deref(), Some("reached"), "nothing left is known, too");
        assert_eq!(name(&[]), None);
    }
}
