//! The same work on many things, by several threads, each of which keeps a tool of its own.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Error;

/// Calls `work` for each of `items`; ends soon after the first that fails.
///
/// # Errors
/// What `work` fails with.
pub(super) fn each<T: Sync, S>(
    items: &[T],
    tool: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || {
        let mut tool = tool();
        while !stop.load(Ordering::Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            if let Err(error) = work(&mut tool, item) {
                stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        // A thread that cannot be started is one that does not help.
        let helper = |n| {
            let builder = std::thread::Builder::new().name(format!("check-{n}"));
            builder.spawn_scoped(scope, run).ok()
        };
        let helpers: Vec<_> = (1..threads.min(items.len())).filter_map(helper).collect();
        let mut done = run();
        for helper in helpers {
            done = done.and(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    })
}
