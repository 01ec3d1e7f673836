//! The messages about an invalid configuration.

use std::fmt;

use toml::de::Error;

use super::{
    raw::{ANY_NAME, Expected as _, RawConfig},
    spans::Spans,
};

/// What is wrong in a configuration, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// A value that is not allowed. `{key} {reason}` is a sentence.
#[derive(Debug)]
pub(super) struct InvalidValue {
    /// The key, or the environment variable.
    pub(super) key: String,
    /// What is wrong, and what is allowed.
    pub(super) reason: String,
}

/// A text that is not TOML.
pub(super) fn not_toml(text: &str, error: &Error) -> ConfigProblem {
    let line = error.span().map(|span| Spans::line_at(text, span.start));
    ConfigProblem { line, message: format!("this is not TOML: {}", error.message()) }
}

/// TOML with an unknown key or a value of the wrong type.
pub(super) fn not_config(spans: &Spans<'_>, error: &Error) -> ConfigProblem {
    let Some((line, path)) = error.span().and_then(|span| spans.at(span.start)) else {
        return ConfigProblem { line: None, message: error.message().to_owned() };
    };
    let message = match RawConfig::of_key(path) {
        Some(expected) => format!("{path} cannot be used: {}, expected {expected}", fault(error.message())),
        None if path.starts_with("providers.") && path.ends_with(".client_secret") => format!(
            "{path} is not a key of authd, because no secret stands in this file; put the secret into a file of \
             its own and name that with client_secret_file"
        ),
        None if matches!(path, "store.postgres.url" | "store.postgres.password" | "store.postgres.key") => {
            let file = if path == "store.postgres.key" { "key_file" } else { "url_file" };
            format!(
                "{path} is not a key of authd, because no secret stands in this file; put it into a file of its \
                 own and name that with {file}"
            )
        }
        None => {
            let suggestion = suggestion(path, RawConfig::KEYS, &keys_near(path));
            format!("{path} is not a key of authd; {suggestion}")
        }
    };
    ConfigProblem { line: Some(line), message }
}

/// All keys, those of providers with the name of the provider that the path names.
fn keys_near(path: &str) -> Vec<String> {
    let name = path.strip_prefix("providers.").and_then(|path| path.split('.').next()).unwrap_or(ANY_NAME);
    let any = format!("providers.{ANY_NAME}.");
    let named = |key: String| match key.strip_prefix(&any) {
        Some(key) => format!("providers.{name}.{key}"),
        None => key,
    };
    RawConfig::keys().into_iter().map(named).collect()
}

/// The message of the parser without the type that it expected, which is one of Rust.
fn fault(message: &str) -> &str {
    message.split_once(", expected ").map_or(message, |(fault, _)| fault)
}

/// Suggests the nearest key; without a near one, lists the allowed keys.
fn suggestion(path: &str, sections: &[&str], keys: &[String]) -> String {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |key: &String| strsim::damerau_levenshtein(&last(key), &last(path));
    let near = keys.iter().filter(|key| distance(key) * 3 <= last(path).len());
    // Among equally near keys, the one in the same section wins.
    let nearest = near.min_by_key(|key| (distance(key), strsim::damerau_levenshtein(key, path)));
    match (nearest, path.rsplit_once('.')) {
        (Some(key), _) => format!("did you mean {key}?"),
        (None, Some((section, _))) => {
            let inside = format!("{section}.");
            let keys = keys.iter().filter_map(|key| key.strip_prefix(&inside));
            let keys: Vec<_> = keys.filter(|key| !key.contains('.')).collect();
            format!("[{section}] takes {}", keys.join(", "))
        }
        (None, None) => format!("the sections are {}", sections.join(", ")),
    }
}
