//! Maps what the check of a user's own credential showed to problems.

use authd_api::{ErrorCode, Problem, ProfileName};
use authd_broker::{CredentialKind, OwnCredentialError};
use authd_oauth::own_credential::CheckError;

use super::provider;

/// The remedy for a definition without a way to check a token.
const CHECK_URL: &str = "set check_url in the provider's definition: a URL that answers 200 to a valid token \
                         and 401 to any other one";

/// A credential of the user that is not stored.
pub(super) fn problem(error: &OwnCredentialError) -> Problem {
    const REPLACE: &str = "choose another name, or replace it: the same command with --replace";
    let conflict = |detail: String| Problem::new(ErrorCode::Conflict, detail);
    let bad_request = |detail: &str| Problem::new(ErrorCode::BadRequest, detail);
    match error {
        OwnCredentialError::NotAccepted { profile, kind, error } => not_accepted(profile, *kind, error),
        OwnCredentialError::Taken(profile) => {
            conflict(format!("another user is signed in as \"{profile}\"")).hint(REPLACE).about(profile)
        }
        OwnCredentialError::OtherProvider(profile, provider) => {
            conflict(format!("profile \"{profile}\" is a sign-in at provider \"{provider}\""))
                .hint(REPLACE)
                .about(profile)
        }
        OwnCredentialError::NotPersonalAccessToken => bad_request(
            "this is no personal access token of OpenAI, which begins with at-",
        )
        .hint(
            "for an API key: authctl login --with-api-key; for a token of another provider: authctl login \
                 --provider NAME --with-token",
        ),
        OwnCredentialError::NotApiKey => {
            bad_request("this is a personal access token of OpenAI, and no API key")
                .hint("run: authctl login --with-token < FILE")
        }
        OwnCredentialError::Uncheckable(provider) => {
            conflict(format!("provider \"{provider}\" has no URL that a token can be checked with"))
                .hint(CHECK_URL)
        }
    }
}

fn not_accepted(profile: &ProfileName, kind: CredentialKind, error: &CheckError) -> Problem {
    let (credential, remedy) = match kind {
        CredentialKind::ApiKey => {
            ("API key", "create another key at the provider, and run the command with it")
        }
        CredentialKind::PersonalAccessToken => {
            ("token", "create another token at the provider, and run the command with it")
        }
        CredentialKind::Token => (
            "token",
            "create another token at the provider, and run the command with it; if the token works elsewhere, set \
             check_url in the provider's definition",
        ),
    };
    let problem = match error {
        CheckError::Rejected(code) => {
            let detail = match code.known() {
                Some(_) => format!("the provider rejects this {credential}: {}", code.explained()),
                None => format!("the provider rejects this {credential}"),
            };
            let remedy = if code.is_region_rule() { authd_oauth::ErrorCode::REGION_REMEDY } else { remedy };
            Problem::new(ErrorCode::LoginDenied, detail).hint(remedy).provider_code(code.known())
        }
        CheckError::Failed(error) => {
            let problem = provider(error);
            let detail = format!("the {credential} could not be checked: {}", problem.detail);
            Problem { detail, ..problem }
        }
        CheckError::Inconclusive { .. } => {
            Problem::new(ErrorCode::Conflict, format!("the {credential} could not be checked: {error}"))
                .hint(CHECK_URL)
        }
    };
    let detail = format!("{}; nothing is stored", problem.detail);
    Problem { detail, ..problem }.about(profile)
}
