//! The configuration file, as a person may have written it.

use authd::Config;

/// The bytes as the file's text.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let remarked = format!("{text}\n# a remark\n");
    match (Config::parse(text), Config::parse(&remarked)) {
        (Ok(config), Ok(again)) => {
            assert_eq!(config, again, "a remark must change nothing");
            for password in passwords(text) {
                let shown = format!("{config:?}");
                assert!(!shown.contains(&password), "a proxy's password is shown: {shown}");
            }
        }
        (Err(message), again) => {
            let said = message.to_string();
            assert!(!said.is_empty() && said.len() < 2_000, "{} bytes: {said}", said.len());
            let line = said.strip_prefix("line ").and_then(|rest| rest.split_once(':')?.0.parse().ok());
            let lines = text.split('\n').count();
            assert!(line.is_none_or(|line: usize| (1..=lines).contains(&line)), "{said}; {lines} lines");
            // A text that is wrong stays so, unless the remark ended what was open.
            assert!(again.is_err(), "only a remark mended this: {said}");
        }
        (Ok(_), Err(message)) => panic!("a remark was too much: {message}"),
    }
}

/// The password in every URL that names a user, if it cannot be mistaken for anything else.
fn passwords(text: &str) -> Vec<String> {
    let users = text.split("://").skip(1).filter_map(|rest| rest.split_once('@'));
    let passwords = users.filter_map(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    passwords.filter(|password| password.starts_with("password-")).map(str::to_owned).collect()
}
