//! Every way of damage × every kind of section × every way of reading.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use packfs::compare::{CompareError, Compared, Difference, Side, What, compare};
use rustix::io::Errno;

use super::ways::{Sample, WAYS};
use crate::support::command::{Outcome, packfs};
use crate::support::hostile::noise;
use crate::support::tree::Folder;
use crate::support::{Mount, Packfs, Scratch, exact, layout};

/// Longer than any of these small archives takes to read, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(20);
const FILES: [&str; 5] = ["folder/text", "noise", "sparse", "tiny", "twice"];

/// What all of the matrix starts from.
struct Bench {
    scratch: Scratch,
    image: Sample,
    store: Sample,
    twin_image: Sample,
    twin_store: Sample,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let scratch = Scratch::new();
        let top = Folder::open(scratch.path());
        top.folder("source", |at| fill(at, 1));
        top.folder("twin", |at| fill(at, 2));
        let sample = |source: &str, name: &str| {
            let archive = scratch.join(name);
            packfs!("create", "--pack-size", "64K", "--frame-size", "16K")
                .arg(scratch.join(source))
                .arg(&archive)
                .run()
                .ok();
            let files = layout::load(&archive);
            let places = layout::places(&files);
            Sample { files, places }
        };
        let (image, store) = (sample("source", "image.pfs"), sample("source", "store"));
        let (twin_image, twin_store) = (sample("twin", "twin.pfs"), sample("twin", "twin-store"));
        Bench { scratch, image, store, twin_image, twin_store }
    })
}

/// The twin has the same names and lengths, and other bytes.
fn fill(at: &Folder, seed: u64) {
    let text: String = (0..20_000).map(|n| format!("{} ", n * seed)).take(20_000).collect();
    at.folder("folder", |at| at.file("text", &text.as_bytes()[..80_000]));
    at.file("noise", noise(200_000, seed));
    at.file("twice", [noise(40_000, seed + 10), noise(40_000, seed + 10)].concat());
    at.sparse("sparse", 1 << 20, &[(1 << 19, &noise(10_000, seed + 20))]);
    at.file("tiny", format!("tiny {seed}"));
    at.symlink("symlink", format!("target-{seed}"));
    at.xattr("tiny", "user.seed", &seed.to_le_bytes()).unwrap();
}

impl Bench {
    fn source(&self) -> PathBuf {
        self.scratch.join("source")
    }

    /// Calls `read` with a path for every damaged archive, the first and last of each kind of
    /// section, damaged in each way; collects what it complains of.
    fn each(&self, stored: bool, read: impl Fn(&Path, &Scratch) -> Result<(), String>) {
        let (sample, twin) = match stored {
            true => (&self.store, &self.twin_store),
            false => (&self.image, &self.twin_image),
        };
        let kinds: BTreeSet<_> = sample.places.iter().map(|place| place.kind).collect();
        assert!(kinds.len() >= if stored { 14 } else { 17 }, "{kinds:?}");
        let (mut complaints, mut cases) = (Vec::new(), 0);
        for kind in kinds {
            let mut places = sample.places.iter().filter(|place| place.kind == kind);
            let first = places.next();
            for place in first.into_iter().chain(places.next_back()) {
                for way in WAYS {
                    let Some(files) = way.damage(sample, place, twin) else { continue };
                    let scratch = Scratch::new();
                    let archive = scratch.join(if stored { "store" } else { "image.pfs" });
                    layout::save(&files, &archive);
                    cases += 1;
                    if let Err(complaint) = read(&archive, &scratch) {
                        complaints.push(format!("{way:?} of {place:?}: {complaint}"));
                    }
                }
            }
        }
        assert!(cases > 60, "{cases}");
        let failed = complaints.len();
        assert!(complaints.is_empty(), "{failed} of {cases}:\n{}", complaints.join("\n"));
    }
}

/// Runs packfs to an end that is either success or an orderly failure; whether it succeeded.
fn orderly(packfs: Packfs) -> Result<(bool, Outcome), String> {
    let outcome = packfs.limit(PATIENCE).run();
    match outcome.status.code() {
        Some(0) => Ok((true, outcome)),
        Some(1) if outcome.stderr.lines().all(|line| line.starts_with("packfs: ")) => {
            let silent = outcome.stderr.is_empty();
            if silent { Err(format!("no word of why: {outcome}")) } else { Ok((false, outcome)) }
        }
        _ => Err(outcome.to_string()),
    }
}

fn read_cat(archive: &Path) -> Result<(), String> {
    let bench = bench();
    let right = FILES.map(|name| fs::read(bench.source().join(name)).unwrap()).concat();
    let (ok, outcome) = orderly(packfs!("cat", archive).args(FILES))?;
    if ok && outcome.stdout != right {
        return Err("cat wrote other bytes and said nothing".into());
    }
    // It ends at the first error.
    let prefix = right.starts_with(&outcome.stdout);
    if prefix { Ok(()) } else { Err("cat wrote wrong bytes".into()) }
}

fn read_extract(archive: &Path, scratch: &Scratch) -> Result<(), String> {
    let out = scratch.join("out");
    let (ok, outcome) = orderly(packfs!("extract", archive, out))?;
    if !out.exists() {
        return if ok { Err(format!("nothing extracted: {outcome}")) } else { Ok(()) };
    }
    let compared = compare(&bench().source(), &out, &exact()).map_err(|e| e.to_string())?;
    let wrong = |difference: &&Difference| match &difference.what {
        _ if ok => true,
        // Not all is there, nor has all that is there got its attributes yet.
        What::OnlyOn(Side::Left) | What::Xattr(_) => false,
        What::Field(field, ..) => ["size", "kind", "target"].contains(field),
        _ => true,
    };
    first_wrong(&compared, wrong)
}

fn read_mount(archive: &Path) -> Result<(), String> {
    let mount = match Mount::try_new(archive) {
        Ok(mount) => mount,
        Err(outcome) if outcome.status.code() == Some(1) && outcome.stderr.lines().count() == 1 => {
            return Ok(());
        }
        Err(outcome) => return Err(outcome.to_string()),
    };
    let source = bench().source();
    let compared = match mount.watch(|folder| compare(&source, folder, &exact())) {
        Ok(compared) => compared,
        Err(CompareError::Open(_, Errno::IO)) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let eio = |what: &What| matches!(what, What::Unreadable(Side::Right, _, Errno::IO));
    first_wrong(&compared, |difference| !eio(&difference.what))
}

fn first_wrong(compared: &Compared, wrong: impl FnMut(&&Difference) -> bool) -> Result<(), String> {
    compared.differences.iter().find(wrong).map_or(Ok(()), |difference| Err(difference.to_string()))
}

fn read_info(archive: &Path) -> Result<(), String> {
    orderly(packfs!("info", archive))?;
    orderly(packfs!("ls", "-l", "-R", archive)).map(|_| ())
}

/// What is added to a damaged store reads right or not at all, and so does what was there before.
fn add_to(archive: &Path, scratch: &Scratch) -> Result<(), String> {
    let bench = bench();
    let (ok, _) = orderly(packfs!("add", archive, bench.source(), "--at", "again"))?;
    read_cat(archive)?;
    let out = scratch.join("again");
    let (read, _) = orderly(packfs!("extract", archive, out, "again/source"))?;
    if !ok || !read {
        return Ok(());
    }
    let compared = compare(&bench.source(), &out.join("again/source"), &exact());
    first_wrong(&compared.map_err(|error| error.to_string())?, |_| true)
}

#[test]
fn undamaged_archives_read_right() {
    for (sample, name) in [(&bench().image, "image.pfs"), (&bench().store, "store")] {
        let scratch = Scratch::new();
        let archive = scratch.join(name);
        layout::save(&sample.files, &archive);
        read_cat(&archive).unwrap();
        read_extract(&archive, &scratch).unwrap();
        read_info(&archive).unwrap();
        read_mount(&archive).unwrap();
        assert!(scratch.join("out/noise").exists());
    }
}

#[test]
fn cat_of_a_damaged_image_is_right_or_an_error() {
    bench().each(false, |archive, _| read_cat(archive));
}

#[test]
fn cat_of_a_damaged_store_is_right_or_an_error() {
    bench().each(true, |archive, _| read_cat(archive));
}

#[test]
fn extract_of_a_damaged_image_is_right_or_an_error() {
    bench().each(false, read_extract);
}

#[test]
fn extract_of_a_damaged_store_is_right_or_an_error() {
    bench().each(true, read_extract);
}

#[test]
fn adding_to_a_damaged_store_is_right_or_an_error() {
    bench().each(true, add_to);
}

#[test]
fn info_and_ls_of_a_damaged_image_end_in_order() {
    bench().each(false, |archive, _| read_info(archive));
}

#[test]
fn info_and_ls_of_a_damaged_store_end_in_order() {
    bench().each(true, |archive, _| read_info(archive));
}

#[test]
fn a_mount_of_a_damaged_image_is_right_or_eio() {
    bench().each(false, |archive, _| read_mount(archive));
}

#[test]
fn a_mount_of_a_damaged_store_is_right_or_eio() {
    bench().each(true, |archive, _| read_mount(archive));
}
