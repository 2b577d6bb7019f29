//! `packfs ls`: lists files of an archive.

use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use clap::Args;

use super::archive::ArchiveArgs;
use super::output::{print, put_bytes};
use super::{Failure, Outcome, time};
use crate::format::Kind;
use crate::fs::{ArchiveFs, Attr, FsError, Place, join};
use crate::monitor::show;

/// List files of an archive
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Paths in the archive; all of it where there are none
    paths: Vec<std::ffi::OsString>,
    /// Tell mode, links, owner, size and time
    #[arg(short)]
    long: bool,
    /// List what is in folders, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &LsArgs) -> Outcome {
    let fs = args.archive.open()?;
    let mut paths: Vec<Vec<u8>> = args.paths.iter().map(|path| path.clone().into_vec()).collect();
    if paths.is_empty() {
        paths.push(Vec::new());
    }
    print(|output| {
        for path in &paths {
            let place = fs.resolve(path).map_err(|error| fail(path, &error))?;
            if place.attr.kind == Kind::Folder {
                folder(&fs, &place, args, output)?;
            } else {
                line(&fs, &place, args, output)?;
            }
        }
        Ok(())
    })
}

fn fail(path: &[u8], error: &FsError) -> Failure {
    Failure::Failed(format!("{}: {error}", show(path)))
}

/// Lists a folder; sub-folders come where their names stand, each before what is in it.
fn folder(
    fs: &ArchiveFs,
    top: &Place,
    args: &LsArgs,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let mut todo = vec![(top.clone(), false)];
    let mut entered = std::collections::HashSet::new();
    while let Some((place, shown)) = todo.pop() {
        if shown {
            line(fs, &place, args, output)?;
        }
        let enter = place.attr.kind == Kind::Folder && (!shown || args.recursive);
        // A folder that comes twice, as only a forged archive has it, is not entered again.
        if !enter || !entered.insert(place.attr.ino) {
            continue;
        }
        let mut below = Vec::new();
        fs.list_with_attrs(place.attr.ino, 0, &mut |listed, attr| {
            below.push((Place { path: join(&place.path, listed.name), attr: *attr }, true));
            true
        })
        .map_err(|error| fail(&place.path, &error))?;
        todo.extend(below.into_iter().rev());
    }
    Ok(())
}

fn line(
    fs: &ArchiveFs,
    place: &Place,
    args: &LsArgs,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let Place { path, attr } = place;
    let target = match attr.kind {
        Kind::Symlink => Some(fs.target(attr.ino).map_err(|error| fail(path, &error))?),
        _ => None,
    };
    if args.json {
        let json = json(path, attr, target.as_deref());
        return Ok(writeln!(output, "{json}")?);
    }
    if args.long {
        let size = match attr.kind {
            Kind::Char | Kind::Block => {
                let device = attr.rdev;
                format!("{}, {}", rustix::fs::major(device), rustix::fs::minor(device))
            }
            _ => attr.size.to_string(),
        };
        let (mode, time) = (mode(attr), time::show(attr.mtime));
        let (links, uid, gid) = (attr.nlink, attr.uid, attr.gid);
        write!(output, "{mode} {links:>3} {uid:>5} {gid:>5} {size:>12} {time} ")?;
    }
    write!(output, "{}", show(path))?;
    if args.long
        && let Some(target) = target
    {
        write!(output, " -> {}", show(&target))?;
    }
    Ok(writeln!(output)?)
}

fn json(path: &[u8], attr: &Attr, target: Option<&[u8]>) -> serde_json::Value {
    let mut json = serde_json::json!({
        "type": kind_name(attr.kind),
        "inode": attr.ino,
        "mode": format!("{:04o}", attr.mode),
        "links": attr.nlink,
        "uid": attr.uid,
        "gid": attr.gid,
        "size": attr.size,
        "mtime": time::show(attr.mtime),
    });
    put_bytes(&mut json, "path", path);
    if let Some(target) = target {
        put_bytes(&mut json, "target", target);
    }
    if matches!(attr.kind, Kind::Char | Kind::Block) {
        json["device"] = vec![rustix::fs::major(attr.rdev), rustix::fs::minor(attr.rdev)].into();
    }
    json
}

/// One word for what a file is.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Fifo => "fifo",
        Kind::Char => "char",
        Kind::Folder => "folder",
        Kind::Block => "block",
        Kind::File => "file",
        Kind::Symlink => "symlink",
        Kind::Socket => "socket",
    }
}

/// A mode as `ls -l` writes it.
fn mode(attr: &Attr) -> String {
    let kind = match attr.kind {
        Kind::Fifo => 'p',
        Kind::Char => 'c',
        Kind::Folder => 'd',
        Kind::Block => 'b',
        Kind::File => '-',
        Kind::Symlink => 'l',
        Kind::Socket => 's',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = attr.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (attr.mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => letter.to_ascii_uppercase(),
            (true, true) => letter,
        });
    }
    text
}
