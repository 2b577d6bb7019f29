//! What a mount takes in memory, whatever is read of it.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;

use rustix::fs::OFlags;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::support::command::packfs;
use crate::support::{Mount, Scratch};

/// Files, and lines in each.
const FILES: u64 = 160;
const LINES: u64 = 24_000;
const READERS: u64 = 64;
/// Reads by each reader.
const READS: u64 = 60;
/// Bytes of the working set, and of the program itself: its code, its stacks, its tables.
const WORKING_SET: u64 = 64 << 20;
const PROGRAM: u64 = 16 << 20;

/// Bytes of a line.
const LINE: u64 = 40;

/// A line of a file, that no other has.
fn line(file: u64, line: u64) -> String {
    let number = xxh3_64_with_seed(&[], file << 32 | line);
    format!("{:08x} a line like any other {:08x}\n", number >> 32, number & 0xffff_ffff)
}

#[test]
fn many_readers_stay_within_the_working_set() {
    let scratch = Scratch::new();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    fs::create_dir(&source).unwrap();
    for file in 0..FILES {
        let text: String = (0..LINES).map(|number| line(file, number)).collect();
        fs::write(source.join(file.to_string()), text).unwrap();
    }
    packfs!("create", "--level", "1", source, image).run().ok();
    let mount = Mount::foreground_with(&image, &["--working-set", "64M"]);
    mount.watch(|folder| {
        thread::scope(|scope| {
            for reader in 0..READERS {
                scope.spawn(move || {
                    for read in 0..READS {
                        // Without the kernel's cache: each read comes to packfs.
                        let at = reader * READS + read;
                        let (file, number) =
                            (at * 31 % FILES, at * 7919 % (LINES - 200) / 1024 * 1024);
                        let mut options = File::options();
                        options.read(true).custom_flags(OFlags::DIRECT.bits().cast_signed());
                        let open = options.open(folder.join(file.to_string())).unwrap();
                        let mut bytes = vec![0; 4096];
                        open.read_exact_at(&mut bytes, number * LINE).unwrap();
                        let text: String =
                            (number..number + 103).map(|at| line(file, at)).collect();
                        assert!(text.as_bytes().starts_with(&bytes), "{file}, line {number}");
                    }
                });
            }
        });
    });
    let peak = mount.peak_memory();
    println!("{} MiB", peak >> 20);
    assert!(peak < WORKING_SET + PROGRAM, "{peak} bytes of memory");
}
