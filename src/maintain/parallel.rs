//! Work that is found bit by bit, done meanwhile by several threads, each of which keeps a tool of
//! its own.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, unbounded};

use super::Error;
use crate::parallel::processors;

/// Calls `work` for each thing that `find` hands over, while that goes on to find more; ends soon
/// after the first that fails.
///
/// # Errors
/// What `find` or `work` fails with.
pub(super) fn found<T: Send, S, R>(
    find: impl FnOnce(&mut dyn FnMut(T)) -> Result<R, Error>,
    tool: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) -> Result<(), Error> + Sync,
) -> Result<R, Error> {
    let (sender, items) = unbounded();
    let stop = AtomicBool::new(false);
    let run = |items: Receiver<T>| {
        let mut tool = tool();
        for item in items {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if let Err(error) = work(&mut tool, item) {
                stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    let threads = processors();
    std::thread::scope(|scope| {
        // A thread that cannot be started is one that does not help.
        let helper = |n| {
            let (items, builder) = (items.clone(), std::thread::Builder::new());
            builder.name(format!("check-{n}")).spawn_scoped(scope, move || run(items)).ok()
        };
        let helpers: Vec<_> = (0..threads).filter_map(helper).collect();
        let found = find(&mut |item| _ = sender.send(item));
        drop(sender);
        if found.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let mut done = run(items);
        for helper in helpers {
            done = done.and(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        let found = found?;
        done.map(|()| found)
    })
}
