//! `packfs gc`: what nothing needs any more goes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::failure::complain;
use super::flush::request;
use super::output::print;
use super::progress::{Progress, catch_interrupts};
use super::{Failure, Outcome, archive, logger, size, time};
use crate::live::Request;
use crate::maintain::collect::{self, Collected};
use crate::monitor::Monitor;
use crate::storage::{Lease, Storage};
use crate::store::CONFIG;

/// Remove what no snapshot, the newest root or a reader needs
#[derive(Debug, Args)]
#[command(
    after_help = "Roots without a snapshot go, but for the newest; then all that no root is \
    left to need. What somebody reads (a mount, say) stays until that ends: run gc again then. \
    Works while the store is mounted, with --rw, too. packfs rebuild frees what lies among blocks \
    that are needed."
)]
pub(super) struct GcArgs {
    /// The store
    store: PathBuf,
    /// Only say what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Print nothing but failures
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &GcArgs) -> Outcome {
    let storage = archive::writable(&args.store)?;
    catch_interrupts();
    logger::start(None)?;
    let collected = if args.dry_run {
        collect::plan(&storage)?
    } else {
        let _alone = alone(&*storage)?;
        let progress = Progress::new(args.quiet || args.json);
        let collected = collect_here(&args.store, &storage, &progress);
        progress.finish();
        collected?
    };
    if !args.quiet {
        tell_of_readers(&args.store, collected);
    }
    report(args, collected)
}

/// Says why not all is gone that could be.
pub(super) fn tell_of_readers(store: &Path, collected: Collected) {
    if collected.read > 0 {
        let (store, read) = (store.display(), collected.read);
        complain(&format!(
            "{store}: {read} older roots are being read (by mounts, say); what they need stays: \
             run packfs gc once that ends"
        ));
    }
}

fn report(args: &GcArgs, collected: Collected) -> Outcome {
    let Collected { objects, bytes, written, read, dead } = collected;
    print(|output| {
        if args.json {
            let json = json!({
                "store": args.store.to_string_lossy(),
                "dry_run": args.dry_run,
                "objects": objects,
                "bytes": bytes,
                "written_bytes": written,
                "roots_read": read,
                "dead_bytes": dead,
            });
            writeln!(output, "{json}")?;
        } else if !args.quiet {
            let would = if args.dry_run { "would free" } else { "freed" };
            let (store, freed) = (args.store.display(), size::show(bytes));
            let objects = size::count(objects);
            let new = match written {
                0 => String::new(),
                bytes => format!("; {} of new index and parity", size::show(bytes)),
            };
            writeln!(output, "{store}: {would} {freed} in {objects} objects{new}")?;
            if dead > 0 {
                let dead = size::show(dead);
                writeln!(output, "{dead} of dead blocks lie in packs that are needed for others")?;
            }
        }
        Ok(())
    })
}

/// Keeps others from collecting or rebuilding a store at the same time.
pub(super) fn alone(storage: &dyn Storage) -> Result<Lease, Failure> {
    let busy = || {
        let name = storage.name();
        Failure::Failed(format!("{name}: somebody else collects or rebuilds it; wait for that"))
    };
    storage.seize(CONFIG)?.ok_or_else(busy)
}

/// Collects, or has whoever writes to the store do so.
pub(super) fn collect_here(
    store: &Path,
    storage: &Arc<dyn Storage>,
    monitor: &dyn Monitor,
) -> Result<Collected, Failure> {
    if let Some(answer) = request(store, &Request::Collect)? {
        let counts: Vec<u64> = answer.split(' ').map_while(|word| word.parse().ok()).collect();
        let [objects, bytes, written, read, dead] = counts[..] else {
            let text = format!("{}: its mount answered {answer}", store.display());
            return Err(Failure::Failed(text));
        };
        return Ok(Collected { objects, bytes, written, read, dead });
    }
    let _lock = archive::lock(store)?;
    Ok(collect::collect(storage, time::now(), monitor, &mut || Ok(()))?)
}
