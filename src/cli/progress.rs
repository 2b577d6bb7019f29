//! Progress of long work: a bar on a terminal, plain lines elsewhere, nothing with `--quiet`.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{failure::complain, size};
use crate::monitor::{Monitor, Phase, Problem};

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How often the bar is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Problems that are printed; the rest is counted.
const SHOWN_PROBLEMS: usize = 20;

/// Set when the process is asked to stop.
static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Makes SIGINT, SIGTERM and SIGHUP ask long work to stop; a second one ends the process at once.
pub(super) fn catch_interrupts() {
    let stop = STOP.get_or_init(|| Arc::new(AtomicBool::new(false)));
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    // Caught, so that a write over the limit of a file's length is an error and not the end.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The order matters: the shutdown is armed by the flag that the first signal sets.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(stop));
        let _ = signal_hook::flag::register(signal, Arc::clone(stop));
    }
}

/// Whether the process was asked to stop.
pub(super) fn interrupted() -> bool {
    STOP.get().is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// Shows the progress of one command.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    state: Mutex<State>,
    files: AtomicU64,
    bytes: AtomicU64,
    written: AtomicU64,
}

struct State {
    phase: Phase,
    total: Option<(u64, u64)>,
    last_line: Instant,
    problems: Vec<Problem>,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.enable_steady_tick(DRAW_EVERY);
            bar
        });
        let state = State {
            phase: Phase::Scan,
            total: None,
            last_line: Instant::now(),
            problems: Vec::new(),
        };
        Self {
            bar,
            lines: !terminal && !quiet,
            state: Mutex::new(state),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn style(total: bool) -> ProgressStyle {
        let template = if total {
            "{prefix} {wide_bar} {bytes} of {total_bytes}  {bytes_per_sec}  {msg}  ETA {eta}"
        } else {
            "{prefix} {spinner}  {bytes}  {bytes_per_sec}  {msg}"
        };
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    }

    fn message(&self) -> String {
        let files = self.files.load(Ordering::Relaxed);
        let (bytes, written) =
            (self.bytes.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed));
        let files = format!("{} files", size::count(files));
        if written == 0 { files } else { format!("{files}  to {}", size::percent(written, bytes)) }
    }

    fn line(&self) {
        let mut state = self.state();
        if state.last_line.elapsed() < LINE_EVERY {
            return;
        }
        state.last_line = Instant::now();
        let bytes = self.bytes.load(Ordering::Relaxed);
        let done = match state.total {
            Some((_, total)) => format!("{} of {}", size::show(bytes), size::show(total)),
            None => size::show(bytes),
        };
        complain(&format!("{}: {done}, {}", state.phase.name(), self.message()));
    }

    /// Files and bytes that the current phase is through with.
    pub(super) fn done(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Ends the bar and prints what problems there were; returns how many.
    pub(super) fn finish(&self) -> usize {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let problems = std::mem::take(&mut self.state().problems);
        for problem in problems.iter().take(SHOWN_PROBLEMS) {
            complain(&problem.to_string());
        }
        if problems.len() > SHOWN_PROBLEMS {
            complain(&format!("and {} more like these", problems.len() - SHOWN_PROBLEMS));
        }
        problems.len()
    }
}

impl Monitor for Progress {
    fn phase(&self, phase: Phase) {
        {
            let mut state = self.state();
            state.phase = phase;
            state.total = None;
        }
        self.files.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.unset_length();
            bar.set_style(Self::style(false));
            bar.set_prefix(phase.name());
            bar.set_message("");
        }
    }

    fn total(&self, files: u64, bytes: u64) {
        self.state().total = Some((files, bytes));
        if let Some(bar) = &self.bar {
            bar.set_length(bytes);
            bar.set_style(Self::style(true));
        }
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
            bar.set_message(self.message());
        } else if self.lines {
            self.line();
        }
    }

    fn written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    fn problem(&self, problem: Problem) {
        self.state().problems.push(problem);
    }

    fn cancelled(&self) -> bool {
        interrupted()
    }
}
