//! How a command fails: one line, and an exit code.

use std::process::ExitCode;

/// Exit code of bad usage.
pub(super) const USAGE: u8 = 2;
/// Exit code of a command that was interrupted, as a shell has it.
const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// It could not be done, and why, in one line.
    Failed(String),
    /// It was asked for in a way that cannot be.
    Usage(String),
    /// It was interrupted.
    Interrupted,
}

impl Failure {
    /// Prints the failure and returns its exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::Failed(why) => {
                complain(&why);
                ExitCode::FAILURE
            }
            Self::Usage(why) => {
                complain(&why);
                ExitCode::from(USAGE)
            }
            Self::Interrupted => {
                complain("interrupted; nothing was left behind");
                ExitCode::from(INTERRUPTED)
            }
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Prints one line to the standard error; a reader that is gone is no reason to fail twice.
pub(super) fn complain(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "packfs: {line}");
}
