//! How a command fails: one line, and an exit code.

use std::process::ExitCode;

use crate::ingest::CreateError;
use crate::mount::{MountError, OptionError};
use crate::restore::RestoreError;

/// Exit code of bad usage.
pub(super) const USAGE: u8 = 2;
/// Exit code of a command that was interrupted, as a shell has it.
pub(super) const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// It could not be done, and why, in one line.
    Failed(String),
    /// It was asked for in a way that cannot be.
    Usage(String),
    /// It was interrupted.
    Interrupted,
    /// Nobody reads its output any more.
    Broken,
}

impl Failure {
    /// Prints the failure and returns its exit code.
    pub(super) fn report(self) -> ExitCode {
        let (line, code) = match self {
            Self::Failed(why) => (why, 1),
            Self::Usage(why) => (why, USAGE),
            Self::Interrupted => ("interrupted".to_owned(), INTERRUPTED),
            Self::Broken => return ExitCode::FAILURE,
        };
        complain(&line);
        ExitCode::from(code)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Broken,
            _ => Self::Failed(format!("output: {error}")),
        }
    }
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Cancelled => Self::Interrupted,
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Cancelled => Self::Interrupted,
            RestoreError::Output { source, .. }
                if source.kind() == std::io::ErrorKind::BrokenPipe =>
            {
                Self::Broken
            }
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<crate::storage::StorageError> for Failure {
    fn from(error: crate::storage::StorageError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<crate::store::Error> for Failure {
    fn from(error: crate::store::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<crate::maintain::Error> for Failure {
    fn from(error: crate::maintain::Error) -> Self {
        match error {
            crate::maintain::Error::Cancelled => Self::Interrupted,
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<OptionError> for Failure {
    fn from(error: OptionError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Prints one line to the standard error; a reader that is gone is no reason to fail twice.
pub(super) fn complain(line: &str) {
    use std::io::Write;
    let line = crate::monitor::show(line.as_bytes());
    let _ = writeln!(std::io::stderr(), "packfs: {line}");
}
