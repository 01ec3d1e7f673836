//! The problem of a name that no profile has.

use authd_api::{ErrorCode, Problem, ProfileName};

/// A profile that does not exist, and those that do.
pub(in crate::http) fn profile_unknown(name: &ProfileName, existing: &[&ProfileName]) -> Problem {
    let problem =
        Problem::new(ErrorCode::ProfileUnknown, format!("there is no profile \"{name}\"")).about(name);
    if existing.is_empty() {
        return problem.hint("list the profiles: authctl profiles");
    }
    let distance = |other: &ProfileName| strsim::damerau_levenshtein(name.as_str(), other.as_str());
    let nearest = existing.iter().min_by_key(|other| distance(other));
    let nearest = nearest.filter(|other| distance(other) <= MAX_TYPING_ERRORS);
    let question = nearest.map(|other| format!("did you mean \"{other}\"? ")).unwrap_or_default();
    let mut names: Vec<&str> = existing.iter().take(MOST_NAMES).map(|name| name.as_str()).collect();
    if existing.len() > MOST_NAMES {
        names.push("…");
    }
    problem.hint(format!("{question}there are: {}", names.join(", ")))
}

/// Most letters in which a name may differ from the one that the user meant.
const MAX_TYPING_ERRORS: usize = 2;

/// Most profiles that an error lists.
const MOST_NAMES: usize = 10;
