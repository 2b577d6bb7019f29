//! Runs packfs: every run has a time limit, and what it says is held to packfs's manners.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::{Scratch, patience};

/// A user who owns nothing.
pub const NOBODY: u32 = 65_534;

/// The path of the packfs under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_packfs"))
}

/// A copy of packfs that other users can reach as well.
fn public_binary() -> &'static Path {
    static COPY: OnceLock<(Scratch, PathBuf)> = OnceLock::new();
    let (_, path) = COPY.get_or_init(|| {
        let scratch = Scratch::public();
        let path = scratch.join("packfs");
        // Not by this process: a child forked meanwhile would have the file open for writing, and
        // nobody may run a file while it is.
        let status = Command::new("cp").args([binary(), &path]).status().unwrap();
        assert!(status.success(), "cp: {status}");
        (scratch, path)
    });
    path
}

/// A run of packfs, or of a program that runs it, about to start.
pub struct Packfs {
    command: Command,
    timeout: Duration,
}

/// `packfs!("create", folder, image)`: a run with these arguments.
macro_rules! packfs {
    ($($argument:expr),* $(,)?) => {
        $crate::support::Packfs::new()$(.arg(&$argument))*
    };
}
pub(crate) use packfs;

impl Packfs {
    /// packfs without arguments.
    pub fn new() -> Self {
        Self::program(binary())
    }

    /// Another program, held to the same manners.
    pub fn program(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self { command, timeout: patience() }
    }

    /// packfs as a user who owns nothing, as far as the user who runs the tests can become one.
    pub fn as_nobody() -> Self {
        if !super::is_root() {
            return Self::new();
        }
        let mut packfs = Self::program(public_binary());
        packfs.command.uid(NOBODY).gid(NOBODY).current_dir("/");
        packfs
    }

    /// A shell script in a mount namespace of its own, in which it is root; `$PACKFS` is packfs.
    pub fn namespace(script: &str) -> Self {
        let mut packfs = Self::program("unshare");
        packfs.command.arg(if super::is_root() { "-m" } else { "-rm" });
        packfs.command.args(["sh", "-euc", script, "sh"]).env("PACKFS", public_binary());
        packfs
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// More arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// The folder it runs in.
    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Another time limit.
    pub fn limit(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Reads its standard input from a file.
    pub fn stdin(mut self, file: File) -> Self {
        self.command.stdin(file);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let out = tempfile::tempfile().unwrap();
        self.command.stdout(out.try_clone().unwrap());
        self.spawn(out)
    }

    fn spawn(mut self, out: File) -> Running {
        let err = tempfile::tempfile().unwrap();
        self.command.stderr(err.try_clone().unwrap());
        let mut line = String::new();
        write!(line, "{:?}", self.command).unwrap();
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        Running { line, child, ended, out, err, timeout: self.timeout }
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.start().wait()
    }

    /// Runs it with its standard output as the standard input of `next`; both outcomes.
    pub fn pipe_into(mut self, mut next: Self) -> [Outcome; 2] {
        let (reader, writer) = pipe().unwrap();
        self.command.stdout(writer);
        next.command.stdin(reader);
        let first = self.spawn(tempfile::tempfile().unwrap());
        [next.run(), first.wait()]
    }
}

/// A run that has started. Dropped, it is killed.
pub struct Running {
    line: String,
    child: Child,
    ended: OwnedFd,
    out: File,
    err: File,
    timeout: Duration,
}

impl Running {
    /// Waits for its end; kills it and fails the test if that does not come in time.
    pub fn wait(mut self) -> Outcome {
        if !self.ends_within(self.timeout) {
            self.child.kill().unwrap();
            let said = self.stderr();
            panic!("{}: still running after {:?}; it said: {said}", self.line, self.timeout);
        }
        let status = self.child.wait().unwrap();
        let outcome = Outcome {
            line: self.line.clone(),
            status,
            stdout: content(&self.out),
            stderr: self.stderr(),
        };
        assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
        outcome
    }

    /// Waits a while for its end; whether it came.
    pub fn ends_within(&self, timeout: Duration) -> bool {
        poll_one(PollFd::new(&self.ended, PollFlags::IN), timeout)
    }

    /// Readable once it has ended.
    pub fn ended(&self) -> &OwnedFd {
        &self.ended
    }

    /// What it has written to its standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&content(&self.err)).into_owned()
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for one descriptor; whether it became ready.
fn poll_one(descriptor: PollFd<'_>, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).unwrap();
    poll(&mut [descriptor], Some(&timeout)).unwrap() > 0
}

fn content(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command.
    pub line: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Outcome {
    /// Fails the test unless it exited with 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Fails the test unless it exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Fails the test unless it exited with `code`, with one line on standard error that has all
    /// of `words` in it (in any case); returns the line.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.status.code(), Some(code), "{self}");
        assert_eq!(self.stderr.lines().count(), 1, "one line, please: {self}");
        assert!(self.stderr.starts_with("packfs: "), "{self}");
        let line = self.stderr.to_lowercase();
        for word in words {
            assert!(line.contains(&word.to_lowercase()), "no {word:?}: {self}");
        }
        self.stderr
    }

    /// Its standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Whether it ended as Ctrl-C ends a program: with code 130, or by the signal itself.
    pub fn interrupted(&self) -> bool {
        self.status.code() == Some(130) || self.status.signal() == Some(Signal::INT.as_raw())
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}: {}", self.line, self.status)?;
        write!(f, "standard error: {}", self.stderr)
    }
}
