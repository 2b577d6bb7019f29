//! Output to the standard output, which may be a pipe whose reader is gone.

use std::io::{self, BufWriter, Stdout, Write};
use std::process::ExitCode;

use serde_json::Value;

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

/// Puts a name or a path into a JSON object: as text, and where it is none, its bytes besides.
pub(super) fn put_bytes(json: &mut Value, key: &str, bytes: &[u8]) {
    json[key] = String::from_utf8_lossy(bytes).into();
    // Names are bytes; where these are not text, the text above is not the name.
    if std::str::from_utf8(bytes).is_err() {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        json[format!("{key}_hex")] = digits.into();
    }
}
