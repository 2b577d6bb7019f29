//! `packfs copy`: an archive, or what is missing of it, to another place.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::output::print;
use super::progress::{Progress, catch_interrupts};
use super::{Failure, Outcome, archive, size};
use crate::maintain::copy::{Plan, copy, plan};
use crate::maintain::protect::{let_go, percent, protect};
use crate::monitor::show;
use crate::storage::{Draft, ErrorKind, LocalStorage, Storage, is_store};
use crate::store::CONFIG;

/// Copy an archive, or what is missing of it
#[derive(Debug, Args)]
#[command(
    after_help = "Copied is what the newest root and the snapshots need. TO ending in .pfs is an \
    image, any other name a store. A store that is there must be an older copy of the same one: it \
    gets what it lacks. Each object is verified by its id. \
    Parity is made anew, as much as FROM has. A copy to a store that was interrupted \
    goes on where it ended when it is run again."
)]
pub(super) struct CopyArgs {
    /// Archive: a store's folder, or an image
    from: PathBuf,
    /// Where to; ending in .pfs, an image
    to: PathBuf,
    /// Tell what would be copied, and copy nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Print nothing but failures
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &CopyArgs) -> Outcome {
    archive::local(&args.to)?;
    let from = archive::storage(&args.from)?;
    check_apart(&args.from, &args.to)?;
    archive::mention_changes(&args.from);
    catch_interrupts();
    let progress = Progress::new(args.quiet || args.json);
    let is_image = args.to.extension() == Some(OsStr::new("pfs"));
    let copied = match is_image {
        true => to_image(args, &from, &progress),
        false => to_store(args, &from, &progress),
    };
    progress.finish();
    let plan = copied?;
    tell(args, &plan)?;
    if let Some(other) = plan.other.first() {
        let to = args.to.display();
        let text = format!("{to}: {other} is there already, of another root, and stays as it is");
        return Err(Failure::Failed(text));
    }
    Ok(std::process::ExitCode::SUCCESS)
}

fn to_image(
    args: &CopyArgs,
    from: &Arc<dyn Storage>,
    progress: &Progress,
) -> Result<Plan, Failure> {
    if args.to.symlink_metadata().is_ok() {
        let to = args.to.display();
        return Err(Failure::Failed(format!("{to}: is there already, and an image never changes")));
    }
    let plan = plan(from, None)?;
    if !args.dry_run {
        let draft = Draft::new(&args.to, false)?;
        copy(&plan, &**from, &*draft.storage(), progress)?;
        protect(&draft.storage(), percent(&**from)?, progress)?;
        draft.publish()?;
    }
    Ok(plan)
}

fn to_store(
    args: &CopyArgs,
    from: &Arc<dyn Storage>,
    progress: &Progress,
) -> Result<Plan, Failure> {
    let there = args.to.symlink_metadata().is_ok();
    if there && !args.to.join(CONFIG).is_file() && !is_store(&args.to) {
        return Err(ErrorKind::Foreign.of(&args.to.display().to_string()).into());
    }
    let to: Arc<dyn Storage> = Arc::new(LocalStorage::new(&args.to));
    if args.dry_run {
        return Ok(plan(from, there.then_some(&*to))?);
    }
    // Nothing is made for what cannot be copied.
    plan(from, there.then_some(&*to))?;
    if !there {
        fs::create_dir(&args.to)
            .map_err(|error| Failure::Failed(format!("{}: {error}", args.to.display())))?;
    }
    let _lock = archive::lock(&args.to)?;
    // Anew: what is there may have changed until it was locked.
    let plan = plan(from, Some(&*to))?;
    if to.size(CONFIG).is_ok() && plan.objects.iter().any(|(key, ..)| key == CONFIG) {
        // Settings that are not those that a set protects would be taken for damaged.
        let_go(&to, &HashSet::from([CONFIG.to_owned()]), progress)?;
    }
    copy(&plan, &**from, &*to, progress)?;
    protect(&to, percent(&**from)?, progress)?;
    Ok(plan)
}

/// One of the two must not be inside the other.
fn check_apart(from: &Path, to: &Path) -> Result<(), Failure> {
    let fail = |path: &Path, error| Failure::Failed(format!("{}: {error}", path.display()));
    let source = from.canonicalize().map_err(|error| fail(from, error))?;
    let around = to.parent().filter(|path| !path.as_os_str().is_empty());
    let around = around.unwrap_or(Path::new("."));
    let around = around.canonicalize().map_err(|error| fail(around, error))?;
    let dest = around.join(to.file_name().unwrap_or_default());
    if source.starts_with(&dest) || dest.starts_with(&source) {
        let to = to.display();
        return Err(Failure::Failed(format!("{to}: FROM is TO, or one is inside of the other")));
    }
    Ok(())
}

fn tell(args: &CopyArgs, plan: &Plan) -> Outcome {
    let (objects, bytes) = (plan.objects.len() as u64, plan.bytes());
    print(|output| {
        if args.json {
            let json = json!({
                "from": args.from.to_string_lossy(), "to": args.to.to_string_lossy(),
                "objects": objects, "bytes": bytes, "dry_run": args.dry_run,
                "there": plan.there.0, "there_bytes": plan.there.1, "other_snapshots": plan.other,
            });
            return Ok(writeln!(output, "{json}")?);
        }
        if args.quiet {
            return Ok(());
        }
        let to = show(args.to.to_string_lossy().as_bytes());
        let verb = if args.dry_run { "would be copied" } else { "copied" };
        let there = match plan.there {
            (0, _) => String::new(),
            (count, bytes) => format!("; {} were there, {}", size::count(count), size::show(bytes)),
        };
        let (objects, bytes) = (size::count(objects), size::show(bytes));
        Ok(writeln!(output, "{to}: {objects} objects {verb}, {bytes}{there}")?)
    })
}
