//! The same work on many things, by several threads.

use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `work` makes of each of `items`, in their order, by so many `threads`, each of which has a
/// tool of its own.
pub fn map<T: Sync, S, R: Send>(
    items: &[T],
    threads: usize,
    tool: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut tool = tool();
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(&mut tool, item)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        // A thread that cannot be started is one that does not help.
        let helper = |n| {
            let builder = std::thread::Builder::new().name(format!("map-{n}"));
            builder.spawn_scoped(scope, run).ok()
        };
        let helpers: Vec<_> = (1..threads.min(items.len())).filter_map(helper).collect();
        let mut done = run();
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

/// How many threads do as much at a time as can be done.
#[must_use]
pub fn processors() -> usize {
    // It takes several files of the kernel to tell.
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_come_in_order() {
        let items: Vec<u32> = (0..1000).collect();
        for threads in [0, 1, 3] {
            let made = super::map(
                &items,
                threads,
                || 0,
                |made, item| {
                    *made += 1;
                    item * 2
                },
            );
            assert!(made.iter().zip(&items).all(|(made, item)| *made == item * 2));
            assert_eq!(made.len(), items.len());
        }
    }
}
