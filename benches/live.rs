//! A writable mount beside a folder of the file system that its store lies on.
//!
//! `cargo bench --bench live -- TREE` unpacks a tar of TREE into both some times, by turns, and
//! removes what it unpacked; and says how large the store is beside one that `packfs create` makes
//! of TREE.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Parser;

/// What packfs is under test.
const PACKFS: &str = env!("CARGO_BIN_EXE_packfs");

/// What is measured.
const STEPS: [&str; 3] = ["unpack", "remove once packed", "remove at once"];

/// Measures a writable mount beside a folder.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench live --")]
struct Arguments {
    /// The tree to be unpacked, removed, and archived
    tree: PathBuf,
    /// A tar of it, compressed or not, to be unpacked as it is; else one is made
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
    /// How often
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the folder, the store and the mount are made, and removed again
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    work: PathBuf,
    /// What `cargo bench` passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Done {
    let arguments = Arguments::parse();
    let scratch = tempfile::tempdir_in(&arguments.work)?;
    let at = |name: &str| scratch.path().join(name);
    let (folder, mount, store) = (at("folder"), at("mount"), at("store"));
    let tar = arguments.tar.clone().unwrap_or_else(|| at("tree.tar"));
    for new in [&folder, &mount, &at("nothing")] {
        fs::create_dir(new)?;
    }
    if arguments.tar.is_none() {
        let mut pack = Command::new("tar");
        run(pack.arg("-C").arg(&arguments.tree).arg("-cf").args([&tar, Path::new(".")]))?;
    }
    packfs(&["create", "-q"], &[&at("nothing"), &store])?;
    let mounted = Mounted::new(&store, &mount)?;
    let unpack = |into: &Path| -> Done<f64> {
        fs::create_dir(into)?;
        time(Command::new("tar").arg("-C").arg(into).arg("-xf").arg(&tar))
    };
    let remove = |tree: &Path| time(Command::new("rm").arg("-rf").arg(tree));
    let mut took = [const { [const { Vec::new() }; 2] }; 3];
    // All trees are unpacked before any is removed: ext4 spares numbers of files that are just
    // gone, which makes new ones beside them far slower.
    for step in 0..took.len() {
        for (round, turn) in (0..arguments.rounds).flat_map(|round| [(round, 0), (round, 1)]) {
            let which = (round + turn) % 2;
            let tree = [&folder, &mount][which].join(round.to_string());
            // Nothing that was written before is packed beside what is measured.
            packfs(&["flush"], &[&mount])?;
            let seconds = match step {
                0 => unpack(&tree)?,
                1 => remove(&tree)?,
                _ => unpack(&tree).and_then(|_| remove(&tree))?,
            };
            println!("{} {}: {seconds:.2} s", STEPS[step], ["folder", "mount"][which]);
            took[step][which].push(seconds);
        }
    }
    for (what, took) in STEPS.iter().zip(took) {
        let [folder, mount] = took.map(median);
        println!("{what}: folder {folder:.2} s, mount {mount:.2} s, {:.2}x", mount / folder);
    }
    run(Command::new("tar").arg("-C").arg(&mount).arg("-xf").arg(&tar))?;
    packfs(&["flush"], &[&mount])?;
    let flushed = length(&store)?;
    drop(mounted);
    packfs(&["create", "-q"], &[&arguments.tree, &at("created")])?;
    let created = length(&at("created"))?;
    packfs(&["rebuild", "-q", "--all"], &[&store])?;
    let rebuilt = length(&store)?;
    let [by_flush, by_rebuild] = [flushed, rebuilt].map(|bytes| bytes as f64 / created as f64);
    println!(
        "create {created} bytes; flush {flushed}, {by_flush:.3}x; rebuild {rebuilt}, \
         {by_rebuild:.3}x"
    );
    Ok(())
}

/// A mount, until it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(store: &Path, folder: &'a Path) -> Done<Self> {
        packfs(&["mount", "--rw"], &[store, folder]).map(|()| Self(folder))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Err(error) = packfs(&["umount"], &[self.0]) {
            eprintln!("{error}");
        }
    }
}

fn packfs(words: &[&str], paths: &[&Path]) -> Done {
    run(Command::new(PACKFS).args(words).args(paths))
}

fn run(command: &mut Command) -> Done {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// How many seconds a command takes, once nothing is left to be written.
fn time(command: &mut Command) -> Done<f64> {
    rustix::fs::sync();
    let start = Instant::now();
    run(command)?;
    Ok(start.elapsed().as_secs_f64())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Bytes of all objects of a store.
fn length(store: &Path) -> Done<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += match kind.is_dir() {
            true if entry.file_name() == "live" => 0,
            true => length(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}
