//! Other programs: run with a time limit, watched for time and memory, and killed on a signal.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::results::Failure;

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a killed program has to be gone.
const GONE: Duration = Duration::from_secs(5);
/// How much of what a program says last is kept, in bytes.
const LAST_WORDS: usize = 2048;
/// Processor time is counted in these parts of a second: `USER_HZ`, the same on all of Linux.
const TICKS: f64 = 100.0;

/// Why work ends early.
#[derive(Debug)]
pub enum Stop {
    /// The peer is at fault: the run goes on without this figure.
    Failed(Failure),
    /// A signal asked for the end of the run.
    Interrupted,
    /// The harness or the machine is at fault: there is no run worth having.
    Broken(String),
}

impl Stop {
    /// The harness itself could not go on.
    pub fn broken(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::Broken(format!("{what}: {error}"))
    }

    /// The peer returned what it should not.
    pub fn wrong(what: impl Into<String>) -> Self {
        Self::Failed(Failure::Wrong(what.into()))
    }

    /// The peer failed.
    pub fn crashed(what: impl Into<String>) -> Self {
        Self::Failed(Failure::Crashed(what.into()))
    }
}

/// What it took to run a program.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Wall time, in seconds.
    pub seconds: f64,
    /// Processor time of it and of those it waited for, in seconds.
    pub cpu: f64,
    /// The most memory that it and its children had resident, in bytes, to the last look.
    pub peak: u64,
}

/// Catches the signals that end a run; from now on [`interrupted`] tells of them.
pub fn watch_signals() -> io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(flag()))?;
    }
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(flag())).map(drop)
}

/// Whether a signal asked for the end.
pub fn interrupted() -> bool {
    flag().load(Ordering::Relaxed)
}

fn flag() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(Arc::default)
}

/// A program that runs, in a process group of its own: a signal from the terminal passes it by.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    pid: Pid,
    ended: OwnedFd,
    words: Receiver<String>,
    start: Instant,
    peak: u64,
}

impl Running {
    /// Starts a program. Its standard output is what the command says.
    pub fn start(command: &mut Command) -> Result<Self, Stop> {
        let name = command.get_program().to_string_lossy().into_owned();
        let start = Instant::now();
        command.stdin(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| Stop::broken(&name, error))?;
        let pid = Pid::from_child(&child);
        let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| Stop::broken(&name, e))?;
        let (send, words) = channel();
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || send.send(last_words(stderr)));
        }
        Ok(Self { name, child, pid, ended, words, start, peak: 0 })
    }

    /// Processor time so far, in seconds, and the most resident memory so far, in bytes.
    pub fn usage(&self) -> (f64, u64) {
        let pid = self.child.id();
        (cpu(pid).unwrap_or(0.0), resident(pid))
    }

    /// Waits for its end, for at most `limit`; `heed` says whether a signal cuts that short.
    pub fn wait(&mut self, limit: Duration, heed: bool) -> Result<Option<Cost>, Stop> {
        loop {
            let left = limit.saturating_sub(self.start.elapsed());
            if self.has_ended(left.min(LOOK))? {
                let seconds = self.start.elapsed().as_secs_f64();
                let cpu = cpu(self.child.id()).unwrap_or(0.0);
                return Ok(Some(Cost { seconds, cpu, peak: self.peak }));
            }
            self.peak = self.peak.max(resident(self.child.id()));
            if heed && interrupted() {
                return Err(Stop::Interrupted);
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// Whether it ends within `patience`. It is not reaped yet, so that its times can be read.
    pub fn has_ended(&self, patience: Duration) -> Result<bool, Stop> {
        let mut polled = [PollFd::new(&self.ended, PollFlags::IN)];
        let patience = Timespec::try_from(patience).map_err(|e| Stop::broken(&self.name, e))?;
        match poll(&mut polled, Some(&patience)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(Stop::broken(&self.name, error)),
        }
    }

    /// How it ended, once it has, and the last that it said.
    pub fn end(&mut self) -> Result<(ExitStatus, String), Stop> {
        let status = self.child.wait().map_err(|error| Stop::broken(&self.name, error))?;
        Ok((status, self.words.recv_timeout(GONE).unwrap_or_default()))
    }
}

impl Drop for Running {
    /// Kills it, with all that it started.
    fn drop(&mut self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
        // One that waits for a hung file system is gone once that is.
        if self.has_ended(GONE).unwrap_or(false) {
            let _ = self.child.wait();
        }
    }
}

/// The end of what a program writes to its standard error, in one line.
fn last_words(mut stderr: impl Read) -> String {
    let (mut kept, mut room) = (Vec::new(), [0; LAST_WORDS]);
    while let Ok(read @ 1..) = stderr.read(&mut room) {
        kept.extend(&room[..read]);
        kept.drain(..kept.len().saturating_sub(LAST_WORDS));
    }
    let text = String::from_utf8_lossy(&kept);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// Runs a program to its end and hands its output to `read`, on a thread of its own.
pub fn run<T: Send + 'static>(
    command: &mut Command,
    limit: Duration,
    read: impl FnOnce(ChildStdout) -> T + Send + 'static,
) -> Result<(Cost, T), Stop> {
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    let (send, result) = channel();
    if let Some(stdout) = running.child.stdout.take() {
        thread::spawn(move || send.send(read(stdout)));
    }
    let name = running.name.clone();
    let Some(cost) = running.wait(limit, true)? else {
        let seconds = limit.as_secs();
        let what = format!("{name} was not done after {seconds} s");
        return Err(Stop::Failed(Failure::OverTime(what)));
    };
    let (status, words) = running.end()?;
    if !status.success() {
        let why = if words.is_empty() { status.to_string() } else { words };
        return Err(Stop::crashed(format!("{name}: {why}")));
    }
    match result.recv_timeout(limit) {
        Ok(result) => Ok((cost, result)),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(Stop::Broken(format!("{name}: its output did not end")))
        }
    }
}

/// All output of a program, as bytes.
pub fn output(command: &mut Command, limit: Duration) -> Result<(Cost, Vec<u8>), Stop> {
    let (cost, bytes) = run(command, limit, |mut stdout| {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    })?;
    Ok((cost, bytes.map_err(|error| Stop::broken("output", error))?))
}

/// Processor time of a process and of the children it waited for: `/proc/PID/stat`, proc(5).
fn cpu(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(4);
    Some(ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS)
}

/// The most memory that a process and its living children had resident so far, in bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let below = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(resident);
    kib.unwrap_or(0) * 1024 + below.sum::<u64>()
}
