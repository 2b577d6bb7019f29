//! The source files, and what is code in them.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders with code that people write.
pub const CODE: [&str; 4] = ["src", "tests", "benches", "fuzz"];
/// Folders in these that tools fill.
const MADE: [&str; 4] = ["target", "corpus", "artifacts", "coverage"];

/// The top folder of the repository.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file, by its path from the top folder.
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

/// All Rust files below a folder; none where there is no such folder.
pub fn rust_files(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![top().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() && !MADE.contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push(Source { path: path.strip_prefix(top()).unwrap().to_owned(), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// All Rust files.
pub fn all_rust_files() -> Vec<Source> {
    let files: Vec<_> = CODE.iter().flat_map(|folder| rust_files(folder)).collect();
    assert!(files.len() > 20, "where is the source?");
    files
}

/// The text with comments, strings and characters blanked out: only code and line breaks stay.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = blank_length(&bytes[at..], out.last().copied());
        let blank = |byte: &u8| if *byte == b'\n' { b'\n' } else { b' ' };
        if length == 0 {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..at + length].iter().map(blank));
            at += length;
        }
    }
    String::from_utf8(out).unwrap()
}

/// How many bytes from here on are a comment, a string or a character; 0 if it is code.
fn blank_length(rest: &[u8], before: Option<u8>) -> usize {
    let until = |from: usize, end: &[u8]| {
        let found = rest[from..].windows(end.len()).position(|window| window == end);
        found.map_or(rest.len(), |at| from + at + end.len())
    };
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => until(2, b"\n") - 1,
        [b'/', b'*', ..] => until(2, b"*/"),
        [b'"', ..] => string_length(rest),
        [b'r', b'"', ..] if !in_word => until(2, b"\""),
        [b'r', b'#', ..] if !in_word => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return 0;
            }
            until(2 + hashes, &[b"\"", vec![b'#'; hashes].as_slice()].concat())
        }
        [b'\'', b'\\', _, ..] => until(3, b"'"),
        // A character; else it is a lifetime.
        [b'\'', ..] => {
            let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]).into_owned();
            let character = text.chars().next().map_or(0, char::len_utf8);
            if rest.get(1 + character) == Some(&b'\'') { character + 2 } else { 0 }
        }
        _ => 0,
    }
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    rest.len().min(at + 1)
}

#[test]
fn only_code_is_left_of_a_text() {
    let text =
        "let a = \"fn {\\\" \"; // fn {\nlet b = '{'; let c: &'a str = r#\"\"}\"#; /* { */ b'\\''";
    assert_eq!(code(text).split_whitespace().collect::<Vec<_>>().join(" "), {
        "let a = ; let b = ; let c: &'a str = ; b"
    });
    assert_eq!(code(text).lines().count(), text.lines().count());
}
