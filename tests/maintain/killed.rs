//! Whatever keeps archives healthy is killed, or loses its power, at any moment: the archive is
//! whole, and the same command ends what it began.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use packfs::maintain::check::Depth;
use rustix::process::Signal;

use super::sample::{Dice, checked};
use crate::support::command::{Packfs, packfs};
use crate::support::disk::Disk;
use crate::support::hostile::noise;
use crate::support::layout::{self, Files};
use crate::support::{Scratch, assert_same, exact, tree::Folder};

/// How often each command is ended: `PACKFS_KILLS`, or a few times.
fn rounds(few: usize) -> usize {
    std::env::var("PACKFS_KILLS").map_or(few, |count| count.parse().unwrap())
}

/// A store with parity and two snapshots, an image, and what their roots show.
struct Whole {
    scratch: Scratch,
    store: Files,
    image: Files,
    /// Objects that are none of the store's.
    stray: Files,
}

/// Names that roots have, and folders of what they show.
const SHOWN: [(&str, &str); 3] = [("first", "1"), ("second", "2"), ("head", "3")];

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let scratch = Scratch::new();
        let (store, image) = (scratch.join("store"), scratch.join("image.pfs"));
        let small = ["--pack-size", "128K", "--frame-size", "32K", "--quiet"];
        let top = Folder::open(scratch.path());
        for (name, folder) in SHOWN {
            let seed: u64 = folder.parse().unwrap();
            top.folder(folder, |at| {
                for file in 0..60 {
                    let own = if file % 3 == 0 { seed * 1000 } else { 0 };
                    at.file(format!("file{file}"), noise(20_000, file + own));
                }
            });
            match seed {
                1 => packfs!("create", scratch.join("1"), store).arg("--parity").arg("30"),
                _ => packfs!("add", store, scratch.join(folder).join(".")),
            }
            .args(small)
            .run()
            .ok();
            if name != "head" {
                packfs!("snapshot", "create", store, name).run().ok();
            }
        }
        packfs!("create", scratch.join("3"), image).args(small).run().ok();
        let other = scratch.join("other");
        packfs!("create", scratch.join("2"), other).args(["--block-size", "4K", "-q"]).run().ok();
        let mut stray = layout::load(&other);
        stray.retain(|key, _| ["packs/", "trees/", "index/"].iter().any(|it| key.starts_with(it)));
        let mut files = layout::load(&store);
        files.retain(|key, _| !key.starts_with("live/"));
        Whole { store: files, image: layout::load(&image), stray, scratch }
    })
}

/// Fails unless an archive is whole, and shows what it did.
fn is_whole(archive: &Path, what: &str) {
    let report = checked(archive, Depth::Deep);
    assert!(report.damages.is_empty(), "{what}: {:?}", report.damages);
    for (name, folder) in SHOWN {
        if archive.is_file() && name != "head" {
            continue;
        }
        let out = Scratch::new();
        let extract = packfs!("extract", archive, out.join("out"), "-q");
        match name {
            "head" => extract,
            name => extract.arg("--snapshot").arg(name),
        }
        .run()
        .ok();
        assert_same(&whole().scratch.join(folder), &out.join("out"), &exact());
    }
}

/// A command, and what it is called for.
struct Deed {
    name: &'static str,
    /// What is at hand before it; the archive it is about.
    prepare: fn(&Path) -> PathBuf,
    command: fn(&Path) -> Packfs,
    /// Whether the archive is whole all the time.
    whole: bool,
}

fn store(at: &Path) -> PathBuf {
    let store = at.join("store");
    layout::save(&whole().store, &store);
    store
}

/// A store that lost packs.
fn hurt(at: &Path) -> PathBuf {
    let store = store(at);
    for pack in layout::object_keys(&store).iter().filter(|key| key.starts_with("packs/")).take(2) {
        fs::remove_file(store.join(pack)).unwrap();
    }
    store
}

/// A store with objects that nothing needs: they go in two steps, of which this is the first.
fn full(at: &Path) -> PathBuf {
    let store = store(at);
    layout::save(&whole().stray, &store);
    packfs!("gc", "-q", store).run().ok();
    store
}

fn deeds() -> Vec<Deed> {
    fn repair(at: &Path) -> Packfs {
        packfs!("fsck", "--repair", at.join("store"))
    }
    vec![
        Deed {
            name: "rebuild",
            prepare: store,
            command: |at| packfs!("rebuild", "--all", "--level", "1", at.join("store")),
            whole: true,
        },
        Deed {
            name: "rebuild --parity",
            prepare: store,
            command: |at| packfs!("rebuild", "--parity", "10", at.join("store")),
            whole: true,
        },
        Deed {
            name: "gc",
            prepare: full,
            command: |at| packfs!("gc", at.join("store")),
            whole: true,
        },
        Deed { name: "repair by parity", prepare: hurt, command: repair, whole: false },
        Deed {
            name: "repair from a copy",
            prepare: |at| {
                let store = hurt(at);
                fs::remove_dir_all(store.join("parity")).unwrap();
                layout::save(&whole().store, &at.join("other"));
                store
            },
            command: |at| repair(at).arg("--from").arg(at.join("other")),
            whole: false,
        },
        Deed {
            name: "copy",
            prepare: |at| {
                store(at);
                at.join("copy")
            },
            command: |at| packfs!("copy", at.join("store"), at.join("copy")),
            whole: false,
        },
        Deed {
            name: "rebuild of an image",
            prepare: |at| {
                layout::save(&whole().image, &at.join("image.pfs"));
                at.join("image.pfs")
            },
            command: |at| packfs!("rebuild", "--all", "--level", "1", at.join("image.pfs")),
            whole: true,
        },
    ]
}

fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true if entry.file_name() == "lost+found" => {}
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
}

/// Ends each command at random moments, and looks at what is left.
fn end_at_any_moment(at: &Path, rounds: usize, cut: Option<&Disk>) {
    let (mut dice, mut middle) = (Dice(5), 0);
    for deed in deeds() {
        empty(at);
        (deed.prepare)(at);
        let start = Instant::now();
        (deed.command)(at).run();
        let takes = usize::try_from(start.elapsed().as_micros()).unwrap();
        for round in 0..rounds {
            empty(at);
            let archive = (deed.prepare)(at);
            if cut.is_some() {
                rustix::fs::sync();
            }
            let running = (deed.command)(at).start();
            let life = dice.below(takes) as u64;
            sleep(Duration::from_micros(life));
            middle += usize::from(!running.ends_within(Duration::ZERO));
            if let Some(disk) = cut {
                disk.cut();
            }
            running.signal(Signal::KILL);
            drop(running);
            if let Some(disk) = cut {
                disk.again();
            }
            let what = format!("{}, round {round}, after {life} us", deed.name);
            if deed.whole {
                is_whole(&archive, &what);
            }
            let again = (deed.command)(at).run();
            let code = again.status.code();
            assert!(matches!(code, Some(0 | 1)) && again.stderr.is_empty(), "{what}: {again}");
            is_whole(&archive, &what);
        }
    }
    println!("{} of {} were ended in the middle", middle, rounds * deeds().len());
    assert!(middle > rounds, "only {middle} were ended in the middle");
}

#[test]
fn killed_at_any_moment() {
    let scratch = Scratch::new();
    end_at_any_moment(scratch.path(), rounds(2), None);
}

#[test]
#[ignore = "takes root, loop devices and ext4"]
fn powerless_at_any_moment() {
    let disk = Disk::new(512);
    end_at_any_moment(disk.path(), rounds(2), Some(&disk));
}
