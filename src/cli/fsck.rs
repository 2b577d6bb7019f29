//! `packfs fsck`: what is damaged, which files that hurts, and making it good.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::failure::complain;
use super::gc::alone;
use super::output::{print, put_bytes};
use super::progress::{Progress, catch_interrupts};
use super::{Failure, Outcome, archive, size, time};
use crate::live::{Left, carried, left_behind, set_aside};
use crate::maintain::Source;
use crate::maintain::check::{Cover, Damage, Depth, Harm, Hurt, Report, What, check};
use crate::maintain::repair::{Options, Repaired, repair};
use crate::monitor::show;
use crate::storage::{ErrorKind, Lock, StorageError};
use crate::store::{CONFIG, OpenOptions, Store};

/// Exit codes, those of fsck(8).
const REPAIRED: u8 = 1;
const UNCORRECTED: u8 = 4;
const OPERATIONAL: u8 = 8;
/// Exit code of bad usage.
pub(super) const USAGE: u8 = 16;
const CANCELLED: u8 = 32;

/// Check an archive, and tell which files its damage hurts
#[derive(Debug, Args)]
#[command(
    after_help = "Each damage is a line: the object, the place in it, and what is wrong. What it \
    hurts follows: the roots that show it (`head` is the newest, others are snapshots), the path, \
    and the bytes of it. What is not listed reads well. Without --quick and --deep, all but \
    the data is read and verified, and the checksums of the data; --quick leaves out the data, \
    --deep also verifies ids of objects and hashes of blocks, and counts what the tree says.\n\n\
    With --json, each damage is an object of one line with `what` (image, settings, root, \
    snapshot, segment, index, tree, page, pack, pack table, frame, block, lost, object, \
    shape, parity, changes), `object`, `place`, `at`, `why` and `hurts`: a list of objects with \
    `roots`, `path` and `bytes` ([from, to]), `names` ([from, to], of a folder that cannot be \
    listed), `all` or `wrong` (both true). The last line has `damages`, `paths`, `roots`, `packs`, \
    `bytes`, and `unneeded` and `unneeded_bytes` (null if they cannot be told).\n\n\
    Exit codes: 0 clean, 1 repaired, 4 damaged, 8 could not be checked, 16 bad usage, 32 \
    interrupted."
)]
pub(super) struct FsckArgs {
    /// Archive: a store's folder, or an image
    archive: PathBuf,
    /// Check everything but file data
    #[arg(long, conflicts_with = "deep")]
    quick: bool,
    /// Check ids, hashes of blocks and sums, too
    #[arg(long)]
    deep: bool,
    /// Make good what can be
    #[arg(long)]
    repair: bool,
    /// Another copy to take what is lost from: a folder of the files, a store, or an image
    #[arg(long, value_name = "PATH", requires = "repair")]
    from: Vec<PathBuf>,
    /// Tell what --repair would do, and do nothing
    #[arg(long, requires = "repair")]
    dry_run: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Print damage, and nothing else
    #[arg(short, long)]
    quiet: bool,
}

impl FsckArgs {
    fn depth(&self) -> Depth {
        match (self.quick, self.deep) {
            (true, _) => Depth::Quick,
            (_, true) => Depth::Deep,
            _ => Depth::Frames,
        }
    }
}

pub(super) fn run(args: &FsckArgs) -> Outcome {
    Ok(fsck(args).unwrap_or_else(|failure| match failure {
        Failure::Interrupted => {
            complain("interrupted");
            ExitCode::from(CANCELLED)
        }
        Failure::Usage(why) => {
            complain(&why);
            ExitCode::from(USAGE)
        }
        Failure::Failed(why) => {
            complain(&why);
            ExitCode::from(OPERATIONAL)
        }
        Failure::Broken => ExitCode::from(OPERATIONAL),
    }))
}

fn fsck(args: &FsckArgs) -> Outcome {
    archive::local(&args.archive)?;
    catch_interrupts();
    let progress = Progress::new(args.quiet || args.json);
    if args.repair {
        return mend(args, &progress);
    }
    let checked =
        Source::open(&args.archive).and_then(|source| check(&source, args.depth(), &progress));
    progress.finish();
    let mut report = checked?;
    let left = match newest(&args.archive) {
        Some(root) => left_behind(&args.archive, &root)?,
        // Whether they fit cannot be told before it is repaired.
        None => Some(Left::Changes),
    };
    match left {
        Some(Left::Damaged(error)) => report.damages.push(changes(error)),
        Some(Left::Changes) if !args.quiet => archive::mention_changes(&args.archive),
        _ => {}
    }
    tell(args, &report)?;
    Ok(ExitCode::from(if report.damages.is_empty() { 0 } else { UNCORRECTED }))
}

fn mend(args: &FsckArgs, progress: &Progress) -> Outcome {
    let store = args.archive.is_dir() && !args.dry_run;
    if store && !looks_like_a_store(&args.archive) {
        return Err(ErrorKind::NotArchive.of(&args.archive.display().to_string()).into());
    }
    let _lock = store.then(|| Lock::take(&args.archive)).transpose()?;
    let root = newest(&args.archive);
    let aside = match &root {
        Some(root) if store => set_aside(&args.archive, root)?,
        _ => None,
    };
    // Where there are no settings any more, nobody collects either.
    let there = store && args.archive.join(CONFIG).is_file();
    let _alone = there.then(|| alone(&*archive::storage(&args.archive)?)).transpose()?;
    let (from, depth, dry_run) = (args.from.as_slice(), args.depth(), args.dry_run);
    let to = store.then(|| carried(&args.archive, root.as_ref())).transpose()?;
    let options = Options { from, depth, dry_run, store: to, now: time::now() };
    let repaired = repair(&args.archive, &options, progress);
    progress.finish();
    let mut repaired = repaired?;
    let moved = aside.as_ref().map(|(error, folder)| set_aside_line(error, folder));
    repaired.damages += moved.iter().len();
    repaired.lost.extend(moved);
    if dry_run {
        let left = root.as_ref().map(|root| left_behind(&args.archive, root)).transpose()?;
        if let Some(Left::Damaged(error)) = left.flatten() {
            repaired.damages += 1;
            repaired.report.damages.push(changes(error));
        }
    }
    tell_of(args, &repaired)?;
    tell(args, &repaired.report)?;
    let clean = repaired.report.damages.is_empty() && repaired.lost.is_empty();
    Ok(ExitCode::from(match (repaired.damages, clean) {
        (0, _) => 0,
        (_, true) if !dry_run => REPAIRED,
        _ => UNCORRECTED,
    }))
}

/// Prints what a repair did, and what is lost.
fn tell_of(args: &FsckArgs, repaired: &Repaired) -> Outcome {
    let dry_run = args.dry_run;
    let archive = args.archive.to_string_lossy().into_owned();
    let moved =
        repaired.moved.iter().map(|to| format!("the damaged image is {} now", to.display()));
    let lines: Vec<String> = repaired.actions.iter().cloned().chain(moved).collect();
    print(|output| {
        for line in &lines {
            match (args.json, args.quiet) {
                (true, _) => writeln!(output, "{}", json!({"repair": line, "dry_run": dry_run}))?,
                (false, true) => {}
                (false, false) => {
                    writeln!(output, "{}: {}", show(archive.as_bytes()), show(line.as_bytes()))?
                }
            }
        }
        for line in &repaired.lost {
            match args.json {
                true => writeln!(output, "{}", json!({"lost": line}))?,
                false => {
                    writeln!(output, "{}: {}", show(archive.as_bytes()), show(line.as_bytes()))?
                }
            }
        }
        Ok(())
    })
}

/// The newest root of a store in a folder, if it can be read, and not just one before it.
fn newest(store: &Path) -> Option<Store> {
    let storage = archive::storage(store).ok().filter(|_| store.is_dir())?;
    Store::open(storage, OpenOptions::default()).ok().filter(|root| root.doubt().is_none())
}

/// What a writer left behind, and cannot be used.
fn changes(error: StorageError) -> Damage {
    let (what, why) = (What::Changes, error.kind.to_string());
    Damage { what, object: error.object, place: String::new(), at: 0, why, hurts: Vec::new() }
}

/// What was set aside, and where it is.
fn set_aside_line(error: &StorageError, folder: &Path) -> String {
    let cause = match &error.kind {
        ErrorKind::Left(cause) => cause.clone(),
        ErrorKind::Newer(root) => format!("has changes to root {root}, which is not the newest"),
        ErrorKind::Apart(below) => format!("has changes to those of {below}, which is not there"),
        other => other.to_string(),
    };
    let (object, folder) = (&error.object, folder.display());
    format!("{object}: {cause}; it, or what came after that, is in {folder} now")
}

/// Whether there is anything of a store in a folder: a lock is made in no other.
fn looks_like_a_store(folder: &Path) -> bool {
    [CONFIG, "packs", "trees", "roots"].iter().any(|name| folder.join(name).exists())
}

/// Prints what a check came to.
fn tell(args: &FsckArgs, report: &Report) -> Outcome {
    print(|output| {
        for damage in &report.damages {
            match args.json {
                true => writeln!(output, "{}", as_json(damage))?,
                false => lines(damage, &args.archive.to_string_lossy(), output)?,
            }
        }
        match (args.json, args.quiet) {
            (true, _) => writeln!(output, "{}", sums(args, report))?,
            (false, true) => {}
            (false, false) => summary(args, report, output)?,
        }
        Ok(())
    })
}

fn lines(damage: &Damage, archive: &str, output: &mut impl Write) -> Result<(), Failure> {
    let object = if damage.object.is_empty() { archive } else { &damage.object };
    let place = if damage.place.is_empty() { String::new() } else { format!(": {}", damage.place) };
    writeln!(output, "{}{place}: {}", show(object.as_bytes()), show(damage.why.as_bytes()))?;
    for hurt in &damage.hurts {
        let roots = show(hurt.roots.join(", ").as_bytes());
        writeln!(output, "  {roots}: {}", harm(hurt))?;
    }
    Ok(())
}

fn harm(hurt: &Hurt) -> String {
    let path = show(if hurt.path.is_empty() { b"." } else { &hurt.path });
    match &hurt.harm {
        Harm::All if hurt.path.is_empty() => "all of it".to_owned(),
        Harm::All => format!("{path}: with all that is in it"),
        Harm::Bytes(from, to) => format!("{path}: bytes {from} to {to}"),
        Harm::Wrong => format!("{path}: reads, but not what was archived"),
        Harm::Names(from, to) => {
            let from = if from.is_empty() { "the first".to_owned() } else { show(from) };
            let to = to
                .as_ref()
                .map_or_else(|| "the last".to_owned(), |to| format!("before {}", show(to)));
            format!("{path}: cannot be listed; names from {from} to {to} are lost")
        }
    }
}

fn as_json(damage: &Damage) -> Value {
    let hurts: Vec<Value> = damage.hurts.iter().map(hurt_json).collect();
    json!({
        "what": name(damage.what), "object": damage.object, "place": damage.place, "at": damage.at,
        "why": damage.why, "hurts": hurts,
    })
}

fn hurt_json(hurt: &Hurt) -> Value {
    let mut json = match &hurt.harm {
        Harm::All => json!({"all": true}),
        Harm::Wrong => json!({"wrong": true}),
        Harm::Bytes(from, to) => json!({"bytes": [from, to]}),
        Harm::Names(from, to) => {
            let to = to.as_ref().map(|to| String::from_utf8_lossy(to));
            json!({"names": [String::from_utf8_lossy(from), to]})
        }
    };
    json["roots"] = hurt.roots.iter().map(String::as_str).collect();
    put_bytes(&mut json, "path", &hurt.path);
    json
}

fn name(what: What) -> &'static str {
    match what {
        What::Image => "image",
        What::Settings => "settings",
        What::Root => "root",
        What::Snapshot => "snapshot",
        What::Segment => "segment",
        What::Index => "index",
        What::Tree => "tree",
        What::Page => "page",
        What::Pack => "pack",
        What::PackTable => "pack table",
        What::Frame => "frame",
        What::Block => "block",
        What::Lost => "lost",
        What::Object => "object",
        What::Shape => "shape",
        What::Parity => "parity",
        What::Changes => "changes",
    }
}

fn sums(args: &FsckArgs, report: &Report) -> Value {
    let unneeded = report.unneeded.unzip();
    json!({
        "archive": args.archive.to_string_lossy(),
        "damages": report.damages.len(), "paths": report.paths(),
        "roots": report.roots, "packs": report.packs, "bytes": report.bytes,
        "unneeded": unneeded.0, "unneeded_bytes": unneeded.1,
        "parity_percent": report.parity.map(|cover| cover.percent),
        "without_parity": report.parity.and_then(|cover| cover.bare).map(|bare| bare.0),
        "without_parity_bytes": report.parity.and_then(|cover| cover.bare).map(|bare| bare.1),
    })
}

fn summary(args: &FsckArgs, report: &Report, output: &mut impl Write) -> Result<(), Failure> {
    let archive = show(args.archive.to_string_lossy().as_bytes());
    let count = |n: usize| size::count(n as u64);
    let found = match report.damages.len() {
        0 => "clean".to_owned(),
        n => format!("damaged in {} places, which hurt {} paths", count(n), count(report.paths())),
    };
    let (roots, packs) = (count(report.roots), count(report.packs));
    let data = match args.quick {
        true => "data not read".to_owned(),
        false => format!("{} of data", size::show(report.bytes)),
    };
    writeln!(output, "{archive}: {found}; {roots} roots, {packs} packs, {data}")?;
    if let Some((objects, bytes)) = report.unneeded.filter(|(objects, _)| *objects > 0) {
        let (objects, bytes) = (size::count(objects), size::show(bytes));
        writeln!(output, "{archive}: {objects} objects, {bytes}, that no root shown needs")?;
    }
    if let Some(Cover { percent, bare: Some((objects, bytes)) }) = report.parity
        && objects > 0
    {
        let (objects, bytes) = (size::count(objects), size::show(bytes));
        writeln!(
            output,
            "{archive}: {objects} objects, {bytes}, have no parity, and are to have {percent}%; \
             packfs fsck --repair makes it"
        )?;
    }
    Ok(())
}
