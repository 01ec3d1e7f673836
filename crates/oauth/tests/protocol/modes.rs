//! The choice of mode for every plan, letter case, kind of e-mail address and preference.

use authd_oauth::{Decision, Identity, ModePreference, Plan, mode_decision::decide};

const PERSONAL: [&str; 6] = ["free", "go", "plus", "pro", "prolite", "team"];
const BUSINESS: [&str; 12] = [
    "business",
    "enterprise",
    "edu",
    "education",
    "hc",
    "ent26",
    "enterprise_cbp_automation",
    "enterprise_cbp_usage_based",
    "self_serve_business_prolite",
    "self_serve_business_usage_based",
    "a_plan_of_next_year",
    "",
];
const OUTSIDE: [Option<&str>; 6] = [
    None,
    Some(""),
    Some("user@example.com"),
    Some("user@openai.com.example.com"),
    Some("openai.com"),
    Some("user@notopenai.com"),
];
const INSIDE: [&str; 4] = ["user@openai.com", " User@OpenAI.com ", "USER@OPENAI.COM\n", "a@b@openai.com"];

fn identity(email: Option<&str>, plan: Option<&str>) -> Identity {
    Identity { email: email.map(Into::into), plan: plan.map(Plan::new), ..Identity::default() }
}

fn spellings(plan: &str) -> [String; 3] {
    let mut capital = plan.to_owned();
    if let Some(first) = capital.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    [plan.to_owned(), plan.to_ascii_uppercase(), capital]
}

#[test]
fn personal_plans_get_no_api_key() {
    for email in OUTSIDE {
        for plan in PERSONAL.iter().flat_map(|plan| spellings(plan)) {
            let decision = decide(ModePreference::Auto, &identity(email, Some(&plan)));
            assert_eq!(
                decision,
                Decision::ChatGpt { reason: format!("plan {plan} is personal") },
                "{email:?}"
            );
        }
    }
}

#[test]
fn other_plans_try_an_api_key_with_fallback() {
    for email in OUTSIDE {
        for plan in BUSINESS.iter().flat_map(|plan| spellings(plan)).map(Some).chain([None]) {
            let decision = decide(ModePreference::Auto, &identity(email, plan.as_deref()));
            assert!(
                matches!(decision, Decision::TryApiKey { fallback: true, .. }),
                "{email:?} {plan:?} {decision:?}"
            );
        }
    }
}

#[test]
fn openai_address_has_precedence_over_the_plan() {
    for email in INSIDE {
        for plan in PERSONAL.iter().chain(&BUSINESS).map(|plan| Some(*plan)).chain([None]) {
            let decision = decide(ModePreference::Auto, &identity(Some(email), plan));
            assert_eq!(
                decision,
                Decision::ChatGpt { reason: "the e-mail address is OpenAI's own".to_owned() },
                "{email} {plan:?}"
            );
        }
    }
}

#[test]
fn preference_has_precedence_and_no_fallback() {
    for email in OUTSIDE.into_iter().chain(INSIDE.map(Some)) {
        for plan in PERSONAL.iter().chain(&BUSINESS).map(|plan| Some(*plan)).chain([None]) {
            let identity = identity(email, plan);
            assert!(matches!(decide(ModePreference::ChatGpt, &identity), Decision::ChatGpt { .. }));
            assert!(matches!(
                decide(ModePreference::ApiKey, &identity),
                Decision::TryApiKey { fallback: false, .. }
            ));
        }
    }
}
