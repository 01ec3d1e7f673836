//! Reads the configuration file.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use super::{
    environment::Environment,
    problem::{ConfigProblem, not_config, not_toml},
    raw::RawConfig,
    settings::Config,
    spans::Spans,
};

/// Longest configuration file, in bytes.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// The location of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Whether the user named the file. If a named file does not exist, that is an error; otherwise
    /// all defaults apply.
    pub named: bool,
}

/// A configuration that cannot be used. The message names the place, the fault and the allowed
/// values.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file is invalid.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: ConfigProblem,
    },
}

impl Config {
    /// Reads and validates the file.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        let path = || source.path.clone();
        let text = match read(&source.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !source.named => Ok(String::new()),
            text => text.map_err(|source| ConfigError::Unreadable { path: path(), source }),
        }?;
        Self::parse(&text).map_err(|problem| ConfigError::Invalid { path: path(), problem })
    }

    /// Validates a text, in the environment of this process.
    pub fn parse(text: &str) -> Result<Self, ConfigProblem> {
        Self::parse_in(&Environment::current(), text)
    }

    pub(super) fn parse_in(environment: &Environment, text: &str) -> Result<Self, ConfigProblem> {
        let table = DeTable::parse(text).map_err(|error| not_toml(text, &error))?;
        let spans = Spans::of(text, table.get_ref());
        let raw =
            RawConfig::deserialize(Deserializer::from(table)).map_err(|error| not_config(&spans, &error))?;
        raw.validate(environment).map_err(|invalid| ConfigProblem {
            line: spans.line_of(&invalid.key),
            message: format!("{} {}", invalid.key, invalid.reason),
        })
    }
}

impl Default for Config {
    /// The defaults, independent of the environment.
    fn default() -> Self {
        RawConfig::default().validate(&Environment::default()).expect("the defaults are valid")
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let length = File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if length as u64 > MAX_FILE {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}
