//! `packfs rebuild`: blocks in another place.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustix::fs::{Access, access, statvfs};
use serde_json::json;

use super::flush::request;
use super::frames::FrameArgs;
use super::gc::{alone, collect_here, tell_of_readers};
use super::output::print;
use super::packing::{NamingArgs, OrderArg};
use super::progress::{Progress, catch_interrupts};
use super::{Failure, Outcome, archive, logger, size, time};
use crate::live::Request;
use crate::maintain::collect::{Collected, collect};
use crate::maintain::copy::{self, copy};
use crate::maintain::protect::{nothing_lost, percent, protect};
use crate::maintain::rebuild::{self, Made, RebuildOptions, Rebuilt, Trace};
use crate::maintain::settings::{self, Change};
use crate::storage::{Draft, Storage};
use crate::store::read_config;

/// What an order that a trace tells starts with.
const TRACE: &str = "trace:";

/// Write packs anew: without dead blocks, in a better order, smaller
#[derive(Debug, Args)]
#[command(
    after_help = "Without options, packs of which much is dead and packs that are small are \
    written anew; all of them, if that is most of what there is. --all, --order, --level, --hash \
    and what else says how packs are made concern all of them. Snapshots and files stay what they \
    are; so does what a mount shows. Old packs go at the end, as with packfs gc: until then there \
    must be room for the new ones, too. What is interrupted has changed nothing; run it again. To \
    go step by step, use --max-bytes."
)]
pub(super) struct RebuildArgs {
    /// The store, or an image: a new one takes its place
    #[arg(value_name = "ARCHIVE")]
    store: PathBuf,
    /// Write every pack anew
    #[arg(long)]
    all: bool,
    /// Write packs anew of which more than this part is dead, 0 to 1
    #[arg(long, value_name = "R", default_value = "0.25", value_parser = ratio)]
    dead_ratio: u64,
    /// In which order: path, versions, similarity, or trace:FILE of packfs mount --trace
    #[arg(long, value_name = "ORDER", value_parser = order)]
    order: Option<Wanted>,
    #[command(flatten)]
    frames: FrameArgs,
    #[command(flatten)]
    naming: NamingArgs,
    /// No more than so many bytes of blocks, but one pack at least; those that need it most first
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_bytes: Option<u64>,
    /// Begin nothing new after so many seconds
    #[arg(long, value_name = "SECONDS")]
    max_time: Option<u64>,
    /// Recovery data, in percent of what it protects, from now on; 0: none any more
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    parity: Option<u32>,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Print nothing but failures
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone)]
enum Wanted {
    Files(OrderArg),
    Trace(PathBuf),
}

fn order(text: &str) -> Result<Wanted, String> {
    match text.strip_prefix(TRACE) {
        Some(path) if !path.is_empty() => Ok(Wanted::Trace(path.into())),
        _ => OrderArg::from_str(text, false)
            .map(Wanted::Files)
            .map_err(|_| "it is path, versions, similarity or trace:FILE".to_owned()),
    }
}

/// A part of a whole, in thousandths.
fn ratio(text: &str) -> Result<u64, String> {
    let part: Option<f64> = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    part.map(|part| (part * 1000.0).round() as u64).ok_or_else(|| "it is from 0 to 1".to_owned())
}

impl RebuildArgs {
    fn options(&self, storage: &dyn Storage, start: Instant) -> Result<RebuildOptions, Failure> {
        let naming = self.naming.instead_of(&read_config(storage)?);
        let (mut order, mut trace) = (None, None);
        match &self.order {
            Some(Wanted::Files(files)) => order = Some(files.order()),
            Some(Wanted::Trace(path)) => {
                let fail = |error| Failure::Failed(format!("{}: {error}", path.display()));
                trace = Some(Trace::read(path).map_err(fail)?);
            }
            None => {}
        }
        Ok(RebuildOptions {
            all: self.all || self.order.is_some() || self.frames.are_given() || naming.is_some(),
            dead: self.dead_ratio,
            max_bytes: self.max_bytes.unwrap_or(u64::MAX),
            until: self.max_time.and_then(|secs| start.checked_add(Duration::from_secs(secs))),
            trace,
            naming,
            packing: crate::ingest::CreateOptions { order, ..self.frames.options()? },
        })
    }
}

pub(super) fn run(args: &RebuildArgs) -> Outcome {
    let start = Instant::now();
    catch_interrupts();
    logger::start(None)?;
    if args.store.is_file() {
        return image(args, start);
    }
    let storage = archive::writable(&args.store)?;
    let options = args.options(&*storage, start)?;
    if !args.dry_run {
        // Not after much was read.
        access(&args.store, Access::WRITE_OK).map_err(|error| {
            Failure::Failed(format!("{}: {}", args.store.display(), io::Error::from(error)))
        })?;
    }
    let change = Change { naming: options.naming, parity: args.parity };
    if !change.is_none() && !args.dry_run {
        // What a mount cannot be asked for, it must not be in the way of at the end.
        archive::lock(&args.store)?;
    }
    let _alone = if args.dry_run { None } else { Some(alone(&*storage)?) };
    nothing_lost(&storage)?;
    let plan = rebuild::plan(&storage, &options)?;
    let sum = plan.sum;
    if args.dry_run || (!plan.has_work() && args.parity.is_none()) {
        return report(args, sum, None, start);
    }
    let progress = Progress::new(args.quiet || args.json);
    let done = check_room(&args.store, &sum).and_then(|()| {
        let (made, mut sum) = rebuild::write(plan, &*storage, &options, &progress)?;
        let mut collected = None;
        if let Some(made) = made {
            adopt(&args.store, &*storage, &made)?;
            collected = Some(collect_here(&args.store, &storage, &progress)?);
        }
        if !change.is_none() {
            let _lock = archive::lock(&args.store)?;
            sum.written += settings::apply(&storage, change, &progress)?;
        }
        Ok((sum, collected))
    });
    progress.finish();
    let (sum, collected) = done?;
    if let Some(collected) = collected.filter(|_| !args.quiet) {
        tell_of_readers(&args.store, collected);
    }
    report(args, sum, collected, start)
}

/// An image never changes: its objects are taken out of it, rebuilt as those of a store, and become
/// a new image, which takes its place.
fn image(args: &RebuildArgs, start: Instant) -> Outcome {
    let path = &args.store;
    let image = archive::storage(path)?;
    let options = &args.options(&*image, start)?;
    let plan = rebuild::plan(&image, options)?;
    let sum = plan.sum;
    if args.dry_run || (!plan.has_work() && args.parity.is_none()) {
        return report(args, sum, None, start);
    }
    drop(plan);
    let around = path.parent().filter(|around| !around.as_os_str().is_empty());
    let around = around.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Its objects are there for a while, as those of a store that is never published.
    let taken_out = Draft::new(&around.join(format!(".{name}.rebuilt")), false)?;
    let store = taken_out.storage();
    let progress = Progress::new(args.quiet || args.json);
    // As its sets have it, where its settings do not say.
    let percent = percent(&*image)?;
    let done = check_room(around, &Rebuilt { stored: 3 * sum.stored, ..sum }).and_then(|()| {
        copy(&copy::plan(&image, None)?, &*image, &*store, &progress)?;
        let plan = rebuild::plan(&store, options)?;
        let (made, mut sum) = rebuild::write(plan, &*store, options, &progress)?;
        if made.is_none() && args.parity.is_none() {
            return Ok((sum, None));
        }
        if let Some(made) = made {
            rebuild::adopt(&*store, &made, time::now())?;
        }
        let collected = collect(&store, time::now(), &progress, &mut || Ok(()))?;
        let change = Change { naming: options.naming, parity: args.parity.or(percent) };
        settings::write(&store, change, &progress)?;
        let draft = Draft::new(path, true)?;
        copy(&copy::plan(&store, None)?, &*store, &*draft.storage(), &progress)?;
        sum.written += protect(&draft.storage(), None, &progress)?;
        draft.publish()?;
        Ok((sum, Some(collected)))
    });
    progress.finish();
    let (sum, collected) = done?;
    report(args, sum, collected, start)
}

/// New packs must fit beside the old ones.
fn check_room(store: &Path, sum: &Rebuilt) -> Result<(), Failure> {
    let Ok(disk) = statvfs(store) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if sum.stored <= free {
        return Ok(());
    }
    let (store, need, free) = (store.display(), size::show(sum.stored), size::show(free));
    Err(Failure::Failed(format!(
        "{store}: needs up to {need} until old packs are removed, and {free} are free; use \
         --max-bytes to go step by step"
    )))
}

/// Publishes where blocks are now, or has whoever writes to the store do so.
fn adopt(store: &Path, storage: &dyn Storage, made: &Made) -> Result<(), Failure> {
    if request(store, &Request::Adopt(made.clone()))?.is_some() {
        return Ok(());
    }
    let _lock = archive::lock(store)?;
    Ok(rebuild::adopt(storage, made, time::now())?)
}

fn report(
    args: &RebuildArgs,
    mut sum: Rebuilt,
    collected: Option<Collected>,
    start: Instant,
) -> Outcome {
    let freed = collected.map_or(0, |collected| collected.bytes);
    sum.written += collected.map_or(0, |collected| collected.written);
    print(|output| {
        if args.json {
            let json = json!({
                "store": args.store.to_string_lossy(),
                "dry_run": args.dry_run,
                "packs": sum.packs,
                "all_packs": sum.of,
                "pack_bytes": sum.stored,
                "live_bytes": sum.live,
                "dead_bytes": sum.dead,
                "written_bytes": sum.written,
                "freed_bytes": freed,
                "damaged_blocks": sum.damaged,
                "late": sum.late,
                "seconds": start.elapsed().as_secs_f64(),
            });
            writeln!(output, "{json}")?;
        } else if !args.quiet {
            text(args, &sum, freed, output)?;
        }
        Ok(())
    })?;
    if sum.damaged == 0 {
        return Ok(std::process::ExitCode::SUCCESS);
    }
    Err(Failure::Failed(format!(
        "{}: done, but {} blocks are damaged and stay where they are; run packfs fsck",
        args.store.display(),
        sum.damaged
    )))
}

fn text(
    args: &RebuildArgs,
    sum: &Rebuilt,
    freed: u64,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let (store, written) = (args.store.display(), size::show(sum.written));
    if sum.packs == 0 {
        let why = match (sum.late, args.parity) {
            (true, _) => "the time was up before any pack was done; run it again".to_owned(),
            (_, Some(0)) if args.dry_run => "no pack to rebuild; parity would go".to_owned(),
            (_, Some(percent)) if args.dry_run => {
                format!("no pack to rebuild; parity of {percent}% would be made where it is not")
            }
            (_, Some(0)) => "no pack to rebuild; there is no parity any more".to_owned(),
            (_, Some(_)) => format!("no pack to rebuild; {written} of parity written"),
            _ => "nothing to rebuild; --all writes every pack anew".to_owned(),
        };
        return Ok(writeln!(output, "{store}: {why}")?);
    }
    let (packs, of) = (size::count(sum.packs), size::count(sum.of));
    let (stored, dead) = (size::show(sum.stored), size::show(sum.dead));
    let would = if args.dry_run { "would write" } else { "wrote" };
    writeln!(output, "{store}: {would} {packs} of {of} packs anew ({stored})")?;
    writeln!(output, "{} of blocks, and {dead} of dead ones dropped", size::show(sum.live))?;
    if !args.dry_run {
        writeln!(output, "{written} written, {} freed", size::show(freed))?;
        if sum.late {
            writeln!(output, "the time was up before all of them were done; run it again")?;
        }
    }
    Ok(())
}
