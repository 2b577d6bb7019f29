//! The hostile tree: everything a file can be and have on Linux, in one folder.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{FileType, makedev};
use rustix::io::Errno;

use super::command::packfs;
use super::tree::Folder;
use super::{Scratch, entries, is_root};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: u64 = 1 << 30;

/// The one hostile tree that all tests read.
pub fn folder() -> &'static Path {
    static TREE: OnceLock<Scratch> = OnceLock::new();
    TREE.get_or_init(|| {
        let scratch = Scratch::new();
        make(scratch.path());
        scratch
    })
    .path()
}

/// An image of the hostile tree.
pub fn image() -> &'static Path {
    static IMAGE: OnceLock<(Scratch, PathBuf)> = OnceLock::new();
    &IMAGE.get_or_init(|| archive("hostile.pfs", &[])).1
}

/// A store of the hostile tree: of the same objects as the image, whose hashes are shorter.
pub fn store() -> &'static Path {
    static STORE: OnceLock<(Scratch, PathBuf)> = OnceLock::new();
    &STORE.get_or_init(|| archive("hostile", &["--hash-length", "8"])).1
}

fn archive(name: &str, options: &[&str]) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let path = scratch.join(name);
    packfs!("create", folder(), path).args(options).run().ok();
    (scratch, path)
}

/// Makes a hostile tree in an empty folder. Made twice, it is the same twice.
pub fn make(top: &Path) {
    let top = Folder::open(top);
    top.folder("kinds", kinds);
    top.folder("modes", modes);
    top.folder("times", times);
    top.folder("xattrs", xattrs);
    top.folder("links", links);
    top.folder("symlinks", symlinks);
    top.folder("holes", holes);
    top.folder("names", names);
    top.folder("lengths", lengths);
    top.folder("content", content);
    top.folder("empty", |_| ());
    top.folder("many", many);
    top.folder("deep", |at| {
        at.nested(vec![vec![b'd'; 200]; 30], |at| {
            at.file("file", "further down than PATH_MAX");
            at.symlink("symlink", "file");
        });
        at.nested(vec![b"d".to_vec(); 1000], |at| at.file("file", "1,000 folders down"));
    });
    if is_root() {
        top.folder("owners", owners);
        top.folder("devices", devices);
    }
    top.settle(b".");
}

fn kinds(at: &Folder) {
    at.file("file", "a file");
    at.folder("folder", |at| at.file("file", "in a folder"));
    at.symlink("symlink", "file");
    at.node("fifo", FileType::Fifo, 0);
    at.node("socket", FileType::Socket, 0);
}

fn modes(at: &Folder) {
    let readable = [0o400, 0o444, 0o644, 0o777, 0o4755, 0o2755, 0o1644, 0o7777];
    let closed = [0o000, 0o001, 0o4000];
    for mode in readable.iter().chain(is_root().then_some(&closed).into_iter().flatten()) {
        at.file(format!("file-{mode:04o}"), format!("{mode:04o}"));
        at.mode(format!("file-{mode:04o}"), *mode);
    }
    let readable = [0o500, 0o555, 0o777, 0o1777, 0o2755, 0o7777];
    let closed = [0o000, 0o111];
    for mode in readable.iter().chain(is_root().then_some(&closed).into_iter().flatten()) {
        at.folder(format!("folder-{mode:04o}"), |at| at.file("file", "inside"));
        at.mode(format!("folder-{mode:04o}"), *mode);
    }
}

/// Times at both ends of what file systems hold; those they cannot hold, they cut short.
fn times(at: &Folder) {
    let times = [
        ("epoch", 0, 0),
        ("one-nanosecond", 0, 1),
        ("before-1970", -1, 999_999_999),
        ("before-1902", -(1 << 31), 0),
        ("after-2038", 1 << 31, 123_456_789),
        ("after-2106", 1 << 32, 5),
        ("far", 15_000_000_000, 999_999_999),
        ("whole-second", 1_700_000_000, 0),
    ];
    for (name, seconds, nanoseconds) in times {
        at.file(name, name);
        at.mtime(name, seconds, nanoseconds);
    }
    at.folder("folder-before-1970", |at| at.file("file", ""));
    at.mtime("folder-before-1970", -86_400, 1);
    at.symlink("symlink-after-2038", "epoch");
    at.mtime("symlink-after-2038", 1 << 31, 1);
}

/// A POSIX ACL as the kernel has it: version 2, then (tag, permissions, id) each.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn xattrs(at: &Folder) {
    const ANY: u32 = u32::MAX;
    let set = |name: &str, attribute: &str, value: &[u8]| at.xattr(name, attribute, value).unwrap();
    at.file("user", "has attributes");
    set("user", "user.text", b"value");
    set("user", "user.empty", b"");
    set("user", "user.bytes", &[0, 255, b'\n', b'=', 0]);
    set("user", "user.name with spaces, \u{e4}", b"1");
    for n in 0..20 {
        set("user", &format!("user.numbered.{n}"), format!("{n}").as_bytes());
    }
    at.file("long", "has a long attribute");
    // Some file systems take 64 KiB, ext4 less than a block in all.
    let long = noise(60 * KIB, 1);
    if let Err(Errno::NOSPC | Errno::TOOBIG | Errno::RANGE) = at.xattr("long", "user.long", &long) {
        set("long", "user.long", &long[..3000]);
    }
    let shared = [(1, 7, ANY), (2, 4, 1000), (4, 4, ANY), (8, 7, 2000), (16, 7, ANY), (32, 0, ANY)];
    at.file("acl", "has an access list");
    set("acl", "system.posix_acl_access", &acl(&shared));
    at.folder("folder", |at| at.file("before", "made before the default access list"));
    set("folder", "system.posix_acl_access", &acl(&shared));
    set("folder", "system.posix_acl_default", &acl(&shared));
    set("folder", "user.on-a-folder", b"1");
    set("folder/before", "user.text", b"value");
    if is_root() {
        at.file("capability", "#!/bin/true");
        at.mode("capability", 0o755);
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set("capability", "security.capability", &capability);
        set("capability", "trusted.packfs", b"for root alone");
        at.symlink("symlink", "user");
        set("symlink", "trusted.on-a-symlink", b"1");
        at.node("fifo", FileType::Fifo, 0);
        set("fifo", "trusted.on-a-fifo", b"1");
    }
}

fn links(at: &Folder) {
    at.file("one", "three names");
    at.link("two", at, "one");
    at.folder("elsewhere", |below| {
        below.link("three", at, "one");
        below.file("inside", "the first name is deeper");
        at.link("outside", below, "inside");
        at.symlink("symlink", "one");
        below.link("symlink-too", at, "symlink");
        at.node("fifo", FileType::Fifo, 0);
        below.link("fifo-too", at, "fifo");
    });
    at.file("empty", "");
    at.link("empty-too", at, "empty");
    at.file("alike", "three names");
}

fn symlinks(at: &Folder) {
    at.symlink("dangling", "nowhere");
    at.symlink("absolute", "/etc/passwd");
    at.symlink("up", "../../../../../../etc/passwd");
    at.symlink("self", "self");
    at.symlink("loop-a", "loop-b");
    at.symlink("loop-b", "loop-a");
    at.symlink("folder", "../kinds/folder");
    at.symlink("longest", vec![b't'; 4095]);
    at.symlink("bytes", b"\xff\n\\ ");
    at.symlink("slash", "/");
}

fn holes(at: &Folder) {
    let data = noise(64 * KIB, 2);
    let size = 1 << 20;
    at.sparse("all", size, &[]);
    at.sparse("odd-length", size + 1, &[]);
    at.sparse("start", size, &[(size - data.len() as u64, &data)]);
    at.sparse("middle", size, &[(0, &data), (size - data.len() as u64, &data)]);
    at.sparse("end", size, &[(0, &data)]);
    at.sparse("islands", size, &[(128 * 1024, &data[..4096]), (512 * 1024, b"one byte's worth")]);
    let pages: Vec<(u64, &[u8])> = (0..64).map(|n| (n * 8192, &data[..4096])).collect();
    at.sparse("every-other-page", size, &pages);
    at.sparse("zeros-that-are-data", size, &[(0, &vec![0; 256 * KIB])]);
    let islands = [(0, &data[..]), (4 * GIB - 2048, &data[..5000]), (5 * GIB - 100, &data[..100])];
    at.sparse("over-4-gib", 5 * GIB, &islands);
}

fn names(at: &Folder) {
    for byte in (1..=255u8).filter(|byte| *byte != b'/') {
        if byte != b'.' {
            at.file([byte], [byte]);
        }
        at.file([b"in-", &[byte][..], b"-between"].concat(), [byte]);
    }
    let names: [&[u8]; 15] = [
        b"...",
        b"-rf",
        b"--force",
        b"trailing space ",
        b"line\nbreak",
        b"back\\slash",
        b"star*",
        b"$(touch x)`touch y`",
        b"\"quotes\" and 'more'",
        b"\xc3\x28 is not UTF-8",
        b"\xed\xa0\x80 is a surrogate",
        "\u{e4}".as_bytes(),
        "a\u{308}".as_bytes(),
        "\u{202e}right to left".as_bytes(),
        b"\x1b[31mred",
    ];
    names.iter().for_each(|name| at.file(name, name));
    for name in ["case", "Case", "CASE"] {
        at.file(name, name);
    }
    at.file([b'n'; 255], "the longest name");
    at.folder([0xff; 255], |at| at.file([0xfe; 255], "bytes, all of them"));
}

/// Lengths around every border that blocks, pages and buffers have.
fn lengths(at: &Folder) {
    let data = noise(MIB + 1, 3);
    let text: Vec<u8> =
        (0..).flat_map(|n: u32| format!("{n},").into_bytes()).take(MIB + 1).collect();
    let around = |border: usize| [border - 1, border, border + 1];
    let mut lengths = vec![0, 1, 2];
    for border in [512, 2048, 4096, 8192, 16 * KIB, 64 * KIB, 128 * KIB, MIB] {
        lengths.extend(around(border));
    }
    for length in lengths {
        at.file(format!("noise-{length}"), &data[..length]);
        at.file(format!("text-{length}"), &text[..length]);
    }
}

fn content(at: &Folder) {
    at.file("incompressible", noise(3 * MIB, 4));
    at.file("zeros", vec![0; 2 * MIB]);
    let original = noise(300 * KIB, 5);
    at.file("original", &original);
    at.folder("copies", |at| {
        at.file("copy", &original);
        let mut changed = original.clone();
        changed[150 * KIB] ^= 1;
        at.file("one-bit-changed", &changed);
        changed.insert(100, b'x');
        at.file("one-byte-inserted", &changed);
        changed.drain(1000..2000);
        at.file("a-piece-missing", &changed);
        at.file("twice", [&original[..], &original[..]].concat());
    });
    let (ends, middle) = (noise(4 * MIB, 6), noise(8 * MIB, 7));
    at.file("40-mib", [&ends[..], &middle, &middle, &middle, &middle, &ends].concat());
}

fn many(at: &Folder) {
    for n in 0..entries() {
        at.file(format!("entry-{n:07}"), if n % 10 == 0 { n.to_string() } else { String::new() });
    }
}

fn owners(at: &Folder) {
    let owners =
        [(0, 0), (1000, 1000), (65_534, 65_534), (100_000, 7), (4_000_000_000, 3_000_000_001)];
    for (uid, gid) in owners {
        at.file(format!("file-{uid}"), "owned");
        at.owner(format!("file-{uid}"), uid, gid);
        at.folder(format!("folder-{uid}"), |at| at.file("file", "root's"));
        at.owner(format!("folder-{uid}"), uid, gid);
        at.symlink(format!("symlink-{uid}"), "nowhere");
        at.owner(format!("symlink-{uid}"), uid, gid);
    }
    at.file("set-ids", "run as others");
    at.owner("set-ids", 1000, 2000);
    at.mode("set-ids", 0o6755);
}

fn devices(at: &Folder) {
    at.node("null", FileType::CharacterDevice, makedev(1, 3));
    at.node("loop", FileType::BlockDevice, makedev(7, 0));
    at.node("whiteout", FileType::CharacterDevice, makedev(0, 0));
    at.node("large-numbers", FileType::BlockDevice, makedev(0xfff, 0xf_ffff));
    at.link("null-too", at, "null");
}

/// Bytes that do not compress; others for each `seed`.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(word());
    }
    bytes.truncate(length);
    bytes
}
