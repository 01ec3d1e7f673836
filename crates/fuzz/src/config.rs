//! The configuration file.

use authd::Config;

/// Checks the bytes as the text of the file.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let commented = format!("{text}\n# a comment\n");
    match (Config::parse(text), Config::parse(&commented)) {
        (Ok(config), Ok(again)) => {
            assert_eq!(config, again, "a comment must change nothing");
            for password in passwords(text) {
                let shown = format!("{config:?}");
                assert!(!shown.contains(&password), "the password of a proxy is visible: {shown}");
            }
        }
        (Err(error), again) => {
            let message = error.to_string();
            assert!(!message.is_empty() && message.len() < 2_000, "{} bytes: {message}", message.len());
            let line = message.strip_prefix("line ").and_then(|rest| rest.split_once(':')?.0.parse().ok());
            let lines = text.split('\n').count();
            assert!(line.is_none_or(|line: usize| (1..=lines).contains(&line)), "{message}; {lines} lines");
            // A comment must not make an invalid file valid.
            assert!(again.is_err(), "a comment made this valid: {message}");
        }
        (Ok(_), Err(error)) => panic!("a comment made this invalid: {error}"),
    }
}

/// The passwords of URLs, if they are distinguishable from other text.
fn passwords(text: &str) -> Vec<String> {
    let users = text.split("://").skip(1).filter_map(|rest| rest.split_once('@'));
    let passwords = users.filter_map(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    passwords.filter(|password| password.starts_with("password-")).map(str::to_owned).collect()
}
