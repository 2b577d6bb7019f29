//! `packfs info`: what an archive is made of, and where a file's data lies in it.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use clap::Args;
use serde_json::{Value, json};

use super::archive::ArchiveArgs;
use super::live;
use super::output::print;
use super::{Failure, Outcome, size, users};
use crate::format::{Extent, hex};
use crate::fs::ArchiveFs;
use crate::index::{Missing, Piece, Run};
use crate::maintain::users::Wanted;
use crate::monitor::show;
use crate::parity::{self, Set};
use crate::storage::StorageError;
use crate::store::{INFLATED, Store};

/// Tell what an archive is made of, or where the data of files lies
#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Paths in the archive, whose extents are told
    paths: Vec<std::ffi::OsString>,
    /// ARCHIVE is a folder that one is mounted on: tell what that mount did so far
    #[arg(long, conflicts_with_all = ["paths", "snapshot"])]
    live: bool,
    /// Which paths use a block: ORIGIN:NUMBER, as --json tells them of extents, or the first digits
    /// of its HASH
    #[arg(long, value_name = "BLOCK", value_parser = users::block)]
    #[arg(conflicts_with_all = ["paths", "snapshot", "live"])]
    block: Option<Wanted>,
    /// Which paths use a pack: its ID, or the first digits of it
    #[arg(long, value_name = "ID", value_parser = users::pack)]
    #[arg(conflicts_with_all = ["paths", "snapshot", "live", "block"])]
    pack: Option<Wanted>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InfoArgs) -> Outcome {
    if args.live {
        return live::run(&args.archive.archive, args.json);
    }
    if let Some(wanted) = args.block.as_ref().or(args.pack.as_ref()) {
        return users::run(&args.archive.archive, wanted, args.json);
    }
    let fs = args.archive.open_whole()?;
    print(|output| {
        if args.paths.is_empty() {
            let sums = Sums::of(fs.store())?;
            return match args.json {
                true => Ok(writeln!(output, "{}", sums.json(fs.store()))?),
                false => sums.print(fs.store(), output),
            };
        }
        for path in &args.paths {
            file(&fs, &path.clone().into_vec(), args.json, output)?;
        }
        Ok(())
    })
}

/// What the objects of an archive come to.
#[derive(Default)]
struct Sums {
    bytes: u64,
    packs: u64,
    pack_bytes: u64,
    frames: u64,
    blocks: u64,
    /// Bytes of all blocks.
    unique: u64,
    /// For each byte of a block, how many bytes of its frame are inflated to read the block.
    inflated: u128,
    index_bytes: u64,
    /// Sets, their percentage and bytes.
    parity: Option<(u64, u32, u64)>,
    /// By codec: frames, stored bytes, inflated bytes.
    codecs: BTreeMap<&'static str, (u64, u64, u64)>,
}

impl Sums {
    fn of(store: &Store) -> Result<Self, Failure> {
        let mut sums = Self::default();
        let storage = store.storage();
        for key in storage.list("")? {
            // What is no object has none.
            sums.bytes += storage.size(&key).unwrap_or(0);
        }
        let (sets, _) = parity::sets(storage)?;
        let percent = sets.iter().map(Set::percent).max();
        let bytes = sets.iter().map(Set::length).sum();
        sums.parity = percent.map(|percent| (sets.len() as u64, percent, bytes));
        let (_, root) = store.root();
        sums.index_bytes = root.segments.iter().map(|segment| segment.length).sum();
        for segment in store.index().segments() {
            sums.packs += segment.packs().len() as u64;
            sums.pack_bytes += segment.packs().iter().map(|(_, length)| length).sum::<u64>();
            sums.blocks += segment.block_count() as u64;
            for at in 0..segment.frame_count() {
                let Some((frame, _)) = segment.frame(at) else { continue };
                let codec = sums.codecs.entry(frame.codec.name()).or_default();
                codec.0 += 1;
                codec.1 += u64::from(frame.stored);
                codec.2 += u64::from(frame.inflated);
                sums.frames += 1;
                sums.unique += u64::from(frame.inflated);
                let (mut block, mut end) = (frame.first_block as usize, 0);
                while end < frame.inflated && block < segment.block_count() {
                    let length = segment.length(block);
                    end = end.saturating_add(length);
                    let inflated = end.next_multiple_of(INFLATED).min(frame.inflated);
                    sums.inflated += u128::from(length) * u128::from(inflated);
                    block += 1;
                }
            }
        }
        Ok(sums)
    }

    /// What a cold read of a block inflates on average, in bytes.
    fn cold_read(&self) -> u64 {
        let average = self.inflated / u128::from(self.unique.max(1));
        u64::try_from(average).unwrap_or(u64::MAX)
    }

    fn json(&self, store: &Store) -> Value {
        let (key, root) = store.root();
        let codecs: serde_json::Map<String, Value> = self
            .codecs
            .iter()
            .map(|(name, (frames, stored, inflated))| {
                let codec = json!({"frames": frames, "stored": stored, "inflated": inflated});
                ((*name).to_owned(), codec)
            })
            .collect();
        json!({
            "archive": store.name(),
            "format": store.config().format,
            "store": store.config().store,
            "root": key,
            "created": root.created,
            "entries": root.totals.entries,
            "files": root.totals.files,
            "source_bytes": root.totals.bytes,
            "unique_bytes": self.unique,
            "cold_read_bytes": self.cold_read(),
            "bytes": self.bytes,
            "packs": self.packs,
            "pack_bytes": self.pack_bytes,
            "frames": self.frames,
            "blocks": self.blocks,
            "index_bytes": self.index_bytes,
            "tree_bytes": root.tree.length,
            "parity_percent": self.parity.map(|(_, percent, _)| percent),
            "parity_bytes": self.parity.map(|(.., bytes)| bytes),
            "hash": store.config().hash,
            "cutting": store.config().cutting,
            "codecs": codecs,
        })
    }

    fn print(&self, store: &Store, output: &mut impl Write) -> Result<(), Failure> {
        let (key, root) = store.root();
        let totals = root.totals;
        let percent = size::percent;
        writeln!(output, "{}", show(store.name().as_bytes()))?;
        writeln!(output, "  format    {}, store {}", store.config().format, store.config().store)?;
        writeln!(output, "  root      {key}")?;
        let (entries, files) = (size::count(totals.entries), size::count(totals.files));
        writeln!(output, "  entries   {entries}, {files} of them files")?;
        writeln!(output, "  source    {}", size::show(totals.bytes))?;
        let share = percent(self.unique, totals.bytes);
        writeln!(output, "  unique    {}, {share} of the source", size::show(self.unique))?;
        let share = percent(self.bytes, totals.bytes);
        writeln!(output, "  archive   {}, {share} of the source", size::show(self.bytes))?;
        let (packs, frames) = (size::count(self.packs), size::count(self.frames));
        let blocks = size::count(self.blocks);
        let bytes = size::show(self.pack_bytes);
        writeln!(output, "  packs     {packs}, {bytes}: {frames} frames, {blocks} blocks")?;
        let (index, tree) = (size::show(self.index_bytes), size::show(root.tree.length));
        writeln!(output, "  metadata  tree {tree}, index {index}")?;
        if let Some((sets, percent, bytes)) = self.parity {
            let (sets, bytes) = (size::count(sets), size::show(bytes));
            writeln!(output, "  parity    {percent}% in {sets} sets, {bytes}")?;
        }
        for (name, (frames, stored, inflated)) in &self.codecs {
            let (from, to) = (size::show(*inflated), size::show(*stored));
            let frames = size::count(*frames);
            writeln!(output, "  {name:<9} {frames} frames, {from} stored in {to}")?;
        }
        let inflated = size::show(self.cold_read());
        writeln!(output, "  cold read inflates {inflated} on average")?;
        Ok(())
    }
}

/// Tells the extents of one file.
fn file(
    fs: &ArchiveFs,
    path: &[u8],
    as_json: bool,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let fail = |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", show(path)));
    let place = fs.resolve(path).map_err(|error| fail(&error))?;
    let mut extents: Vec<Extent> = Vec::new();
    let collect = |extent: &Extent| {
        extents.push(*extent);
        Ok::<_, StorageError>(true)
    };
    let (inode, size) = (place.attr.ino, place.attr.size);
    fs.store().tree().extents(inode, size, 0, collect).map_err(|error| fail(&error))?;
    if !as_json {
        let bytes = size::count(size);
        writeln!(output, "{}: inode {inode}, {bytes} bytes", show(&place.path))?;
    }
    let mut lines = Vec::new();
    for extent in &extents {
        lines.extend(stretches(fs.store(), extent).map_err(|error| fail(&error))?);
    }
    if as_json {
        let extents: Vec<Value> = lines.into_iter().map(|(json, _)| json).collect();
        let path = String::from_utf8_lossy(&place.path);
        let json = json!({"path": path, "inode": inode, "size": size, "extents": extents});
        return Ok(writeln!(output, "{json}")?);
    }
    for (_, line) in lines {
        writeln!(output, "{line}")?;
    }
    Ok(())
}

/// Where an extent lies, piece by piece: as JSON, and as a line.
fn stretches(store: &Store, extent: &Extent) -> Result<Vec<(Value, String)>, Missing> {
    if extent.origin == 0 {
        let hole = json!({"offset": extent.offset, "bytes": extent.bytes, "hole": true});
        let line = format!("{:>14} {:>12}  hole", extent.offset, extent.bytes);
        return Ok(vec![(hole, line)]);
    }
    let mut lines = Vec::new();
    let mut offset = extent.offset;
    for piece in pieces(store, extent)? {
        let (record, pack) = store.index().frame(piece.frame).ok_or(Missing)?;
        let line = format!(
            "{offset:>14} {:>12}  pack {} frame at {} ({} of {} bytes, {}) from {}",
            piece.length,
            &hex(&pack)[..16],
            record.offset,
            record.stored,
            record.inflated,
            record.codec.name(),
            piece.offset,
        );
        let json = json!({
            "offset": offset, "bytes": piece.length, "pack": hex(&pack),
            "frame": record.offset, "stored": record.stored, "inflated": record.inflated,
            "codec": record.codec.name(), "from": piece.offset,
            "first_block": extent.first, "blocks": extent.count,
        });
        lines.push((json, line));
        offset += u64::from(piece.length);
    }
    Ok(lines)
}

fn pieces(store: &Store, extent: &Extent) -> Result<Vec<Piece>, Missing> {
    let mut pieces = Vec::new();
    let run = Run { first: extent.first, count: extent.count, bytes: extent.bytes };
    let origin = store.origin(extent.origin)?;
    store.index().pieces(origin, run, 0, extent.bytes, |piece| {
        pieces.push(piece);
        Ok::<_, Missing>(())
    })?;
    Ok(pieces)
}
