//! Where log lines go: standard error, a file, or the system's log.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::{Failure, time};
use crate::format::Time;
use crate::monitor::show;

const SYSLOG: &str = "/dev/log";
/// The facility of daemons, in the upper bits of a syslog priority.
const DAEMON: u8 = 3 << 3;

static LOGGER: Logger = Logger { target: Mutex::new(Target::Stderr) };

struct Logger {
    target: Mutex<Target>,
}

enum Target {
    Stderr,
    File(File),
    Syslog(UnixDatagram),
    Nowhere,
}

/// Starts to log: to the end of `file`, or to standard error.
pub(super) fn start(file: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = file {
        let opened = File::options().create(true).append(true).open(path);
        let fail = |error| format!("{}: cannot log there: {error}", path.display());
        *LOGGER.target() = Target::File(opened.map_err(|error| Failure::Failed(fail(error)))?);
    }
    // Only fails where it was done before.
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    Ok(())
}

/// Turns away from standard error, to the system's log if there is one.
pub(super) fn leave_stderr() {
    let mut target = LOGGER.target();
    if matches!(*target, Target::Stderr) {
        *target = syslog().map_or(Target::Nowhere, Target::Syslog);
    }
}

impl Logger {
    fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn syslog() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A system log that does not read must not hold up whoever has something to say.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // fuser reports each reply that came too late for an interrupted reader.
        match metadata.target().starts_with("packfs") {
            true => metadata.level() <= Level::Info,
            false => metadata.level() <= Level::Error && metadata.target() != "fuser::reply",
        }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = show(record.args().to_string().as_bytes());
        // A line that cannot be logged has nowhere else to go.
        let _ = match &mut *self.target() {
            Target::Stderr => writeln!(io::stderr(), "packfs: {message}"),
            Target::File(file) => {
                let stamp = timestamp();
                file.write_all(format!("{stamp} {} {message}\n", record.level()).as_bytes())
            }
            Target::Syslog(socket) => {
                let priority = DAEMON | severity(record.level());
                let line = format!("<{priority}>packfs[{}]: {message}", std::process::id());
                socket.send_to(line.as_bytes(), SYSLOG).map(|_| ())
            }
            Target::Nowhere => Ok(()),
        };
    }

    fn flush(&self) {}
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn timestamp() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let sec = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    time::show(Time { sec, nsec: since.subsec_nanos() })
}
