//! Builds findings.

use authd_api::{ErrorCode, Finding, FindingState, Problem};

pub(super) fn problem_of(check: &str, problem: &Problem) -> Finding {
    let finding = failed(check, problem.detail.clone(), problem.code);
    problem.hint.as_ref().map_or(finding.clone(), |hint| finding.remedy(hint))
}

fn finding(check: &str, state: FindingState, detail: String) -> Finding {
    Finding { check: check.to_owned(), state, detail, remedy: None, code: None }
}

pub(super) fn ok(check: &str, detail: String) -> Finding {
    finding(check, FindingState::Ok, detail)
}

pub(super) fn warning(check: &str, detail: String) -> Finding {
    finding(check, FindingState::Warning, detail)
}

pub(super) fn failed(check: &str, detail: String, code: ErrorCode) -> Finding {
    Finding { code: Some(code), ..finding(check, FindingState::Failed, detail) }
}
