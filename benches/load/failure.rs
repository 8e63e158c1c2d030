//! Why a run cannot go on.

use std::fmt;
use std::io;

/// Why a run cannot go on. In either case the exit code is 1.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A receiver got what it should not have got, or not what it should have: the figures would be worth nothing.
    Violation(String),
    /// Something did not work: a process, a socket, or something did not come within its time.
    Broken(String),
}

impl Failure {
    /// The same, with the words of where it happened in front.
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Violation(words) => Self::Violation(format!("{place}: {words}")),
            Self::Broken(words) => Self::Broken(format!("{place}: {words}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(words) => write!(f, "VIOLATION: {words}"),
            Self::Broken(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Self::Broken(words)
    }
}
