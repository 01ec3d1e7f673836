//! Maps the errors of provider definitions to problems.

use authd_api::{ErrorCode, Problem, ProfileName};
use authd_broker::DefinitionError;

/// Seconds until the daemon reads or writes the list of added providers again.
const RETRY: u64 = 2;

/// A definition that was not found, not added, or not removed.
pub(in crate::http) fn definition(error: &DefinitionError) -> Problem {
    let (code, hint) = match error {
        DefinitionError::InvalidName(_) | DefinitionError::Invalid(_) => {
            (ErrorCode::BadRequest, "docs/providers.md has the rules of a definition")
        }
        DefinitionError::Unknown => {
            (ErrorCode::ProviderUnknown, "authctl providers lists them; for any other, give the URL")
        }
        DefinitionError::Taken => {
            (ErrorCode::Conflict, "use another name, or remove that one first: authctl mcp remove NAME")
        }
        DefinitionError::Configured => {
            (ErrorCode::Conflict, "remove its section [providers.NAME] there, and reload authd")
        }
        DefinitionError::Unusable(_) => {
            (ErrorCode::Conflict, "remove it with: authctl mcp remove NAME; or upgrade authd, if it is newer")
        }
        DefinitionError::TooMany(_) => {
            (ErrorCode::Conflict, "remove one first: authctl mcp remove NAME; authctl mcp list lists them")
        }
        DefinitionError::NotRead(_) | DefinitionError::NotWritten(_) => {
            (ErrorCode::StoreUnavailable, "fix the named cause; authd continues by itself")
        }
    };
    let problem = Problem::new(code, error.to_string()).hint(hint);
    if code == ErrorCode::StoreUnavailable { problem.retry_after(RETRY) } else { problem }
}

/// A definition that cannot be removed, because these profiles use it.
pub(in crate::http) fn provider_in_use(profiles: &[ProfileName]) -> Problem {
    let names: Vec<&str> = profiles.iter().map(ProfileName::as_str).collect();
    let detail = match names.as_slice() {
        [name] => format!("profile \"{name}\" uses this provider"),
        names => format!("the profiles {} use this provider", names.join(", ")),
    };
    Problem::new(ErrorCode::Conflict, detail)
        .hint("to sign out and remove it: authctl mcp remove NAME; or first: authctl logout PROFILE --revoke")
}
