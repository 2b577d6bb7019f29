//! `packfs extract`: files out of an archive, to a folder or as a tar.

use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::archive::ArchiveArgs;
use super::progress::{Progress, catch_interrupts};
use super::{Failure, Outcome, size};
use crate::parallel::processors;
use crate::restore::{FolderOptions, extract, extract_tar};

/// What stands for the standard output.
const STDOUT: &str = "-";

/// Restore files of an archive, to a folder or as a tar on the standard output
#[derive(Debug, Args)]
pub(super) struct ExtractArgs {
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Folder to restore to, which is made; - writes a tar to the standard output
    dest: PathBuf,
    /// Paths in the archive; all of it where there are none
    paths: Vec<std::ffi::OsString>,
    /// Restore into a folder that has files already, and replace those of the same names
    #[arg(long)]
    force: bool,
    /// Exit with 0 even if files were left out or could not be given all they had
    #[arg(long)]
    ignore_errors: bool,
    /// Threads that write files; 0: one for each core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print nothing but failures
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &ExtractArgs) -> Outcome {
    let fs = args.archive.open_whole()?;
    let paths: Vec<Vec<u8>> = args.paths.iter().map(|path| path.clone().into_vec()).collect();
    for path in &paths {
        fs.resolve(path)
            .map_err(|error| Failure::Failed(format!("{}: {error}", crate::monitor::show(path))))?;
    }
    catch_interrupts();
    let progress = Progress::new(args.quiet);
    let start = Instant::now();
    let threads = if args.threads == 0 { processors() } else { args.threads.min(256) };
    let tar = args.dest.as_os_str() == STDOUT;
    if tar && std::io::stdout().is_terminal() {
        let text = "DEST is - but the output is a terminal; pipe it to somewhere";
        return Err(Failure::Usage(text.to_owned()));
    }
    let restored = if tar {
        extract_tar(&fs, std::io::stdout().lock(), &paths, &progress).map(drop)
    } else {
        let made = prepare(&args.dest, args.force)?;
        let options = FolderOptions { threads, replace: args.force };
        extract(&fs, &args.dest, &paths, options, &progress).inspect_err(|_| {
            // Nothing half-made: what this command made goes, what was there before stays.
            if let Err(error) = unmake(&args.dest, made) {
                let dest = args.dest.display();
                super::failure::complain(&format!("{dest}: left behind: {error}; remove it"));
            }
        })
    };
    let (files, bytes) = progress.done();
    let problems = progress.finish();
    restored?;
    if !args.quiet {
        super::failure::complain(&format!(
            "{} files, {} in {:.1} s",
            size::count(files),
            size::show(bytes),
            start.elapsed().as_secs_f64()
        ));
    }
    if problems > 0 && !args.ignore_errors {
        return Err(Failure::Failed(format!(
            "{}: restored, but {problems} files were left out or lack something (named above); \
             --ignore-errors takes that as success",
            args.dest.display()
        )));
    }
    if fs.store().doubt().is_some() && !args.ignore_errors {
        return Err(Failure::Failed(format!(
            "{}: restored, but from an older root (see above); --ignore-errors takes that as \
             success",
            args.dest.display()
        )));
    }
    Ok(ExitCode::SUCCESS)
}

/// What DEST was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Absent,
    Empty,
    Used,
}

/// Takes away what was restored, so that DEST is as it was; where it had files, nobody can tell.
fn unmake(dest: &Path, before: Before) -> std::io::Result<()> {
    match before {
        Before::Absent => std::fs::remove_dir_all(dest),
        Before::Used => Ok(()),
        Before::Empty => std::fs::read_dir(dest)?.try_for_each(|entry| {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(entry.path()),
                false => std::fs::remove_file(entry.path()),
            }
        }),
    }
}

/// Makes DEST, unless it is there and empty, or may have files; says what it was before.
fn prepare(dest: &Path, force: bool) -> Result<Before, Failure> {
    let fail = |error: std::io::Error| Failure::Failed(format!("{}: {error}", dest.display()));
    match std::fs::create_dir(dest) {
        Ok(()) => return Ok(Before::Absent),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("{}: the folder that it shall be in is not there", dest.display());
            return Err(Failure::Failed(text));
        }
        Err(error) => return Err(fail(error)),
    }
    let mut entries = std::fs::read_dir(dest).map_err(fail)?;
    let empty = entries.next().is_none();
    if !force && !empty {
        let text = "is there already and not empty; --force restores into it";
        return Err(Failure::Failed(format!("{}: {text}", dest.display())));
    }
    Ok(if empty { Before::Empty } else { Before::Used })
}
