//! Output to the standard output, which may be a pipe whose reader is gone.

use std::io::{self, BufWriter, Stdout, Write};
use std::process::ExitCode;

use super::{Failure, Outcome};

/// Runs `write` on the buffered standard output.
///
/// A reader that has seen enough is no failure: `packfs ls ... | head` ends quietly.
pub(super) fn print(write: impl FnOnce(&mut BufWriter<Stdout>) -> Result<(), Failure>) -> Outcome {
    let mut output = BufWriter::with_capacity(64 * 1024, io::stdout());
    let written = write(&mut output).and_then(|()| output.flush().map_err(Failure::from));
    match written {
        Err(Failure::Broken) => Ok(ExitCode::SUCCESS),
        written => written.map(|()| ExitCode::SUCCESS),
    }
}
