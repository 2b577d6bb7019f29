//! Files, functions and lines of a size that people can take in.

use super::source::{all_rust_files, code};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 60;
const LINE_WIDTH: usize = 100;

#[test]
fn files_are_short() {
    let long: Vec<String> = all_rust_files()
        .iter()
        .filter(|file| file.text.lines().count() > FILE_LINES)
        .map(|file| format!("{}: {} lines", file.path.display(), file.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "over {FILE_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn functions_fit_a_screen() {
    let mut long = Vec::new();
    for file in all_rust_files() {
        for (name, line, length) in functions(&code(&file.text)) {
            if length > FUNCTION_LINES {
                long.push(format!("{}:{line}: {name}: {length} lines", file.path.display()));
            }
        }
    }
    assert!(long.is_empty(), "functions over {FUNCTION_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn lines_are_narrow() {
    let mut wide = Vec::new();
    for file in all_rust_files() {
        for (number, line) in file.text.lines().enumerate() {
            if line.chars().count() > LINE_WIDTH {
                wide.push(format!("{}:{}", file.path.display(), number + 1));
            }
        }
    }
    assert!(wide.is_empty(), "lines wider than {LINE_WIDTH}:\n{}", wide.join("\n"));
}

/// The functions with a body in a file's code: name, first line, number of lines.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name: String =
            code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if starts_word && !name.is_empty() {
            let line = code[..at].matches('\n').count() + 1;
            if let Some(body) = body_end(&code[at..]) {
                found.push((name, line, code[at..at + body].lines().count()));
            }
        }
    }
    found
}

/// Where the body of the function ends that the code starts with; `None` if it has no body.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b';' if braces == 0 && brackets == 0 => return None,
            b'{' => braces += 1,
            b'}' if braces == 1 => return Some(at + 1),
            b'}' => braces -= 1,
            _ => (),
        }
    }
    panic!("a function without an end: {}", code.lines().next().unwrap_or_default());
}

#[test]
fn functions_are_measured_from_their_name_to_their_last_brace() {
    let code =
        "trait A {\n fn none(&self);\n}\nfn one() { if x { y } }\n\nfn b(x: [u8; 3])\n{\n}\n";
    let found = functions(code);
    assert_eq!(found, [("one".to_owned(), 4, 1), ("b".to_owned(), 6, 3)]);
}
