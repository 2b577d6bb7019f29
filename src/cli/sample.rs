//! A small tree to try packfs on: versions of a project, and a bit of everything a file can be.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// How many versions of the project there are.
const VERSIONS: u64 = 6;
/// How many source files each version has.
const SOURCES: u64 = 240;
/// Length of the file that does not compress, in bytes.
const NOISE: usize = 2 << 20;
/// Length of the sparse file, in bytes.
const SPARSE: u64 = 1 << 20;

const WORDS: [&str; 24] = [
    "block", "frame", "pack", "index", "tree", "root", "page", "inode", "extent", "origin", "read",
    "write", "open", "close", "find", "list", "cut", "hash", "let", "match", "return", "for", "if",
    "else",
];

/// Numbers that look random and are always the same (xorshift64*; Vigna, 2016).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % limit
    }
}

/// Makes the sample below `folder`, which is there and empty.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    for version in 1..=VERSIONS {
        let project = folder.join(format!("project-1.{version}"));
        for source in 0..SOURCES {
            let module = project.join(format!("src/module{:02}", source / 12));
            fs::create_dir_all(&module)?;
            fs::write(module.join(format!("file{source:03}.rs")), text(source, version))?;
        }
        symlink("src/module00/file000.rs", project.join("main.rs"))?;
        let run = project.join("run.sh");
        fs::write(&run, "#!/bin/sh\nexec cargo run\n")?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755))?;
        fs::hard_link(&run, project.join("start.sh"))?;
    }
    let mut numbers = Numbers(7);
    let noise: Vec<u8> = (0..NOISE).map(|_| numbers.next().to_le_bytes()[7]).collect();
    fs::write(folder.join("noise.bin"), noise)?;
    let mut sparse = fs::File::create(folder.join("sparse.img"))?;
    sparse.seek(SeekFrom::Start(SPARSE / 2))?;
    sparse.write_all(b"an island in a sea of nothing")?;
    sparse.set_len(SPARSE)?;
    fs::write(folder.join("empty"), "")?;
    fs::create_dir(folder.join("empty folder"))
}

/// A source file; a version changes one line in some of them.
fn text(source: u64, version: u64) -> String {
    let mut numbers = Numbers(source + 1);
    let lines = 40 + numbers.below(400);
    let mut text = String::new();
    for line in 0..lines {
        for _ in 0..4 + numbers.below(8) {
            text.push_str(WORDS[numbers.below(WORDS.len())]);
            text.push(' ');
        }
        if line == lines / 2 && source % 5 == version % 5 {
            text.push_str(&format!("changed in {version}"));
        }
        text.push('\n');
    }
    text
}
