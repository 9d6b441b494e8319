//! What is wrong with a config, for people to read. Must never hold more than one problem in one error.

use std::fmt;
use std::path::{Path, PathBuf};
#[cfg(test)]
use std::slice;

/// One thing that is wrong. `Display` gives the whole line, for example
/// ``configs/web.toml:7: unknown key `adress` in [[listeners]]; did you mean `address`?``.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub(crate) struct ConfigError {
    /// Where it was said.
    pub(crate) place: Place,
    /// The path of the key, for example `listeners[0].address`; empty when no single key is to blame.
    pub(crate) key: String,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl ConfigError {
    pub(crate) fn in_file(file: &Path, line: Option<u32>, key: impl Into<String>, message: impl Into<String>) -> Self {
        let place = Place::File { file: file.to_owned(), line };
        ConfigError { place, key: key.into(), message: message.into() }
    }

    /// About a flag of the command line, such as `--target`.
    pub(crate) fn in_flag(flag: &'static str, message: impl Into<String>) -> Self {
        ConfigError { place: Place::Flag(flag), key: String::new(), message: message.into() }
    }
}

/// Where a setting was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a file; `line` counts from 1, and is none when the whole file is meant.
    File { file: PathBuf, line: Option<u32> },
    /// In a flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file, line: Some(line) } => write!(f, "{}:{line}", file.display()),
            Place::File { file, line: None } => write!(f, "{}", file.display()),
            Place::Flag(flag) => f.write_str(flag),
        }
    }
}

/// All that is wrong, in the order of the lines; never empty. `Display` gives one error a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub(crate) struct Errors(Vec<ConfigError>);

impl Errors {
    /// None when there is no error.
    pub(crate) fn of(mut errors: Vec<ConfigError>) -> Option<Self> {
        errors.sort_by_key(|error| match &error.place {
            Place::File { line, .. } => *line,
            Place::Flag(_) => None,
        });
        (!errors.is_empty()).then_some(Errors(errors))
    }

    /// Each error in turn.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> slice::Iter<'_, ConfigError> {
        self.0.iter()
    }

    fn lines(&self) -> String {
        self.0.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl From<ConfigError> for Errors {
    fn from(error: ConfigError) -> Self {
        Errors(vec![error])
    }
}
