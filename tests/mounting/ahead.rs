//! What a mount does beside answering: small files handed over, figures, traces.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{
    Advice, CWD, FileType, Mode, XattrFlags, fadvise, getxattr, listxattr, mknodat, setxattr,
};
use rustix::io::Errno;
use serde_json::Value;

use crate::support::command::packfs;
use crate::support::layout::object_keys;
use crate::support::{Mount, Scratch, patience};

/// An image of folders of small files, each with text of its own, and its source.
fn many(folders: usize, files: usize) -> (Scratch, PathBuf, PathBuf) {
    let scratch = Scratch::new();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    for folder in 0..folders {
        let folder = source.join(format!("{folder:03}"));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..files {
            let text = format!("{} {file}\n", folder.display());
            fs::write(folder.join(format!("{file:03}")), text).unwrap();
        }
    }
    packfs!("create", source, image).run().ok();
    (scratch, source, image)
}

/// An image of one file, and the text in that: so many lines, each of its own.
fn one_file(lines: u32, options: &[&str]) -> (Scratch, PathBuf, String) {
    let scratch = Scratch::new();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    fs::create_dir(&source).unwrap();
    let line = |number: u32| format!("{:08x}\n", number.wrapping_mul(2_654_435_761));
    let text: String = (0..lines).map(line).collect();
    fs::write(source.join("file"), &text).unwrap();
    packfs!("create", source, image).args(options).run().ok();
    (scratch, image, text)
}

fn live(mount: &Path) -> Value {
    let told = packfs!("info", "--live", "--json", mount).run().ok();
    serde_json::from_slice(&told.stdout).unwrap()
}

fn number(told: &Value, path: &str) -> u64 {
    told.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}: {told}"))
}

/// The figures once a read is among them: who made it may go on before it is counted.
fn live_once_read(mount: &Path) -> Value {
    let start = Instant::now();
    loop {
        let told = live(mount);
        if number(&told, "/messages/reads") > 0 || start.elapsed() > patience() {
            return told;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Lists each folder, then calls `each` with its files.
fn walk(top: &Path, each: impl Fn(&Path)) {
    let listed = |folder: &Path| {
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths
    };
    for folder in listed(top) {
        listed(&folder).iter().for_each(|file| each(file));
    }
}

#[test]
fn who_lists_and_reads_everything_is_handed_small_files_unasked() {
    let (_scratch, source, archive) = many(40, 50);
    let mount = Mount::new(&archive);
    walk(mount.path(), |file| {
        let below = file.strip_prefix(mount.path()).unwrap();
        assert_eq!(fs::read(file).unwrap(), fs::read(source.join(below)).unwrap());
    });
    let told = live(mount.path());
    let (reads, handed) = (number(&told, "/messages/reads"), number(&told, "/handed_over/files"));
    assert!(handed > 1000, "{told}");
    assert!(reads < 1000, "{told}");
    assert!(number(&told, "/handed_over/bytes") >= handed * 4, "{told}");
}

#[test]
fn who_reads_each_file_as_soon_as_it_is_listed_is_handed_the_others() {
    // Also those that the kernel has not been told of by then.
    for (folders, files) in [(40, 50), (3, 900)] {
        let (_scratch, source, archive) = many(folders, files);
        let mount = Mount::new(&archive);
        let mut count = 0;
        for folder in fs::read_dir(mount.path()).unwrap() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                let file = file.unwrap().path();
                let below = file.strip_prefix(mount.path()).unwrap();
                assert_eq!(fs::read(&file).unwrap(), fs::read(source.join(below)).unwrap());
                count += 1;
            }
        }
        assert_eq!(count, folders * files);
        let told = live(mount.path());
        let reads = number(&told, "/messages/reads");
        let handed = number(&told, "/handed_over/files");
        assert!(handed > count as u64 / 2, "{told}");
        assert!(reads < count as u64 / 2, "{told}");
    }
}

#[test]
fn who_only_lists_is_handed_nothing() {
    let (_scratch, _, archive) = many(40, 50);
    let mount = Mount::new(&archive);
    walk(mount.path(), |_| ());
    let told = live(mount.path());
    assert_eq!(number(&told, "/handed_over/files"), 0, "{told}");
    assert_eq!(number(&told, "/messages/reads"), 0, "{told}");
    assert!(number(&told, "/messages/listings") >= 41, "{told}");
}

#[test]
fn a_file_that_is_read_in_sequence_is_inflated_once() {
    let (_scratch, image, text) = one_file(4_000_000, &["--level", "1"]);
    // Less and more than is inflated ahead where there is room; all of it.
    for working_set in ["16M", "64M", "1G"] {
        let mount = Mount::with(&image, &["--working-set", working_set]);
        assert!(fs::read(mount.path().join("file")).unwrap() == text.as_bytes());
        let told = live(mount.path());
        let (inflated, length) = (number(&told, "/inflated"), text.len() as u64);
        assert!((length..length + length / 16).contains(&inflated), "{working_set}: {told}");
    }
}

#[test]
fn a_frame_that_is_read_here_and_there_is_inflated_as_a_whole() {
    let (_scratch, image, text) = one_file(150_000, &[]);
    let mount = Mount::new(&image);
    let file = File::open(mount.path().join("file")).unwrap();
    fadvise(&file, 0, None, Advice::Random).unwrap();
    let whole = text.len() as u64;
    let inflated = |at: usize| {
        let mut bytes = [0; 4096];
        file.read_exact_at(&mut bytes, at as u64).unwrap();
        assert_eq!(bytes, text.as_bytes()[at..at + 4096]);
        number(&live(mount.path()), "/inflated")
    };
    assert!(inflated(4096) < whole / 2);
    inflated(400 << 10);
    let start = Instant::now();
    while number(&live(mount.path()), "/inflated") < whole {
        assert!(start.elapsed() < patience(), "{}", live(mount.path()));
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(inflated(1 << 20), whole);
}

#[test]
fn a_read_that_fails_is_counted() {
    let (scratch, source, _) = many(1, 1);
    let store = scratch.join("store");
    packfs!("create", source, store).run().ok();
    let pack = object_keys(&store).into_iter().find(|key| key.starts_with("packs/")).unwrap();
    let bytes = fs::read(store.join(&pack)).unwrap();
    fs::write(store.join(&pack), vec![0; bytes.len()]).unwrap();
    let mount = Mount::new(&store);
    let error = fs::read(mount.path().join("000/000")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    let told = live_once_read(mount.path());
    assert!(number(&told, "/messages/reads") > 0, "{told}");
    assert_eq!(number(&told, "/returned"), 0, "{told}");
}

#[test]
fn a_mount_tells_what_it_did_and_lists_no_more_than_the_archive() {
    let (_scratch, _, archive) = many(1, 1);
    let mount = Mount::new(&archive);
    let before = live(mount.path());
    fs::read(mount.path().join("000/000")).unwrap();
    let after = live_once_read(mount.path());
    assert_eq!(number(&before, "/messages/reads"), 0);
    assert_eq!(number(&after, "/messages/reads"), 1);
    let length = fs::metadata(mount.path().join("000/000")).unwrap().len();
    assert_eq!(number(&after, "/returned"), length);
    assert_eq!(number(&after, "/inflated"), length);
    assert_eq!(number(&after, "/working_set/misses"), 1);
    assert!(number(&after, "/memory") > 0);
    let names: Vec<_> =
        fs::read_dir(mount.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["000"]);
    let text = packfs!("info", "--live", mount.path()).run().ok();
    assert!(String::from_utf8_lossy(&text.stdout).contains("1 reads"));
}

#[test]
fn a_folder_that_is_no_mount_is_named() {
    let scratch = Scratch::new();
    packfs!("info", "--live", scratch.path()).run().fails(1, &["no archive is mounted there"]);
}

#[test]
fn a_trace_has_each_read_in_its_order() {
    let (scratch, _, archive) = many(40, 50);
    let trace = scratch.join("trace");
    let mount = Mount::with(&archive, &["--trace", trace.to_str().unwrap()]);
    let walked = Mutex::new(Vec::new());
    walk(mount.path(), |file| {
        fs::read(file).unwrap();
        walked.lock().unwrap().push(fs::metadata(file).unwrap().ino());
    });
    drop(mount);
    let text = fs::read_to_string(&trace).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("packfs-trace 1 roots/1-"));
    let reads: Vec<Vec<u64>> =
        lines.map(|line| line.split(' ').map(|field| field.parse().unwrap()).collect()).collect();
    assert_eq!(reads.len(), 40 * 50, "none is handed over");
    assert!(reads.iter().all(|read| read.len() == 3 && read[1] == 0 && read[2] >= 4));
    let inodes: Vec<u64> = reads.iter().map(|read| read[0]).collect();
    assert_eq!(inodes, walked.into_inner().unwrap());
}

#[test]
fn a_trace_that_cannot_be_written_is_said_before_anything_is_mounted() {
    let (scratch, _, archive) = many(1, 1);
    let folder = scratch.join("mount");
    fs::create_dir(&folder).unwrap();
    let missing = scratch.join("no/trace");
    let mount = packfs!("mount", "--trace", missing, archive, folder).run();
    mount.fails(1, &["cannot write the trace"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn a_folder_of_very_many_files_is_handed_over_a_part_at_a_time() {
    let scratch = Scratch::new();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    for (folder, files) in [("few", 100), ("many", 3000)] {
        fs::create_dir_all(source.join(folder)).unwrap();
        for file in 0..files {
            fs::write(source.join(folder).join(format!("{file:04}")), format!("{file}")).unwrap();
        }
    }
    packfs!("create", source, image).run().ok();
    let mount = Mount::new(&image);
    // To its end, before the first of them is read.
    let few: Vec<_> = fs::read_dir(mount.path().join("few")).unwrap().collect();
    few.into_iter().for_each(|entry| drop(fs::read(entry.unwrap().path()).unwrap()));
    let before = number(&live(mount.path()), "/handed_over/files");
    let listed = fs::read_dir(mount.path().join("many")).unwrap().count();
    assert_eq!(listed, 3000);
    let handed = number(&live(mount.path()), "/handed_over/files") - before;
    assert!((1..=512).contains(&handed), "{handed} files of a page each: 2 MiB at the most");
    // Whoever goes on gets the rest, and the right bytes.
    for file in 0..3000 {
        let read = fs::read(mount.path().join("many").join(format!("{file:04}"))).unwrap();
        assert_eq!(read, format!("{file}").as_bytes());
    }
    let handed = number(&live(mount.path()), "/handed_over/files") - before;
    assert!(handed > 2000, "{handed}");
}

#[test]
fn a_file_that_only_has_the_name_is_not_taken_for_figures() {
    let scratch = Scratch::new();
    let words = ["a file of its own"];
    for (folder, fifo) in [("file", false), ("pipe", true)] {
        let folder = scratch.join(folder);
        fs::create_dir(&folder).unwrap();
        let path = folder.join(".packfs-live");
        match fifo {
            true => mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
            false => fs::write(&path, "{}").unwrap(),
        }
        packfs!("info", "--live", folder).run().fails(1, &words);
    }
    // An archive's own file goes before that of the mount.
    let image = scratch.join("image.pfs");
    packfs!("create", scratch.join("file"), image).run().ok();
    let mount = Mount::new(&image);
    assert_eq!(fs::read(mount.path().join(".packfs-live")).unwrap(), b"{}");
    packfs!("info", "--live", mount.path()).run().fails(1, &words);
}

#[test]
fn figures_are_there_where_files_have_extended_attributes() {
    let scratch = Scratch::new();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "text").unwrap();
    setxattr(source.join("file"), "user.note", b"x", XattrFlags::empty()).unwrap();
    packfs!("create", source, image).run().ok();
    let mount = Mount::new(&image);
    let path = mount.path().join(".packfs-live");
    // The kernel asks for the ACL of whoever opens it without being root.
    let acl = getxattr(&path, "system.posix_acl_access", &mut [0; 64][..]);
    assert_eq!(acl, Err(Errno::NODATA));
    assert_eq!(listxattr(&path, &mut [0; 64][..]), Ok(0));
    assert_eq!(number(&live(mount.path()), "/messages/reads"), 0);
}
