//! `packfs cat`: writes files of an archive to the standard output.

use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use clap::Args;

use super::archive::ArchiveArgs;
use super::output::print;
use super::{Failure, Outcome};
use crate::format::Kind;
use crate::fs::FsError;
use crate::monitor::show;

/// Bytes that are read at once.
const CHUNK: u32 = 1 << 20;

/// Write files of an archive to the standard output
#[derive(Debug, Args)]
pub(super) struct CatArgs {
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Paths in the archive
    #[arg(required = true)]
    paths: Vec<std::ffi::OsString>,
}

pub(super) fn run(args: &CatArgs) -> Outcome {
    let fs = args.archive.open()?;
    print(|output| {
        for path in &args.paths {
            let path = path.clone().into_vec();
            let fail = |error: FsError| Failure::Failed(format!("{}: {error}", show(&path)));
            let attr = fs.resolve(&path).map_err(fail)?.attr;
            if attr.kind != Kind::File {
                let error =
                    if attr.kind == Kind::Folder { FsError::IsFolder } else { FsError::NotFile };
                return Err(fail(error));
            }
            let mut at = 0;
            while at < attr.size {
                let bytes = fs.read(attr.ino, at, CHUNK).map_err(fail)?;
                output.write_all(&bytes)?;
                at += bytes.len() as u64;
            }
        }
        Ok(())
    })
}
