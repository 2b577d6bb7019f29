//! A level of modules imports only the levels above it in the table of `src/lib.rs`, and only the
//! command line prints.

use std::fs;
use std::path::Path;

use super::source::{code, rust_files, top};

/// The modules of the table, highest level first.
fn levels() -> Vec<String> {
    let text = fs::read_to_string(top().join("src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    rows.map(|row| row.split_once('`').unwrap().0.to_owned()).collect()
}

/// The module of the top level that a file below `src/` belongs to.
fn module(path: &Path) -> String {
    let first = path.iter().nth(1).unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn the_table_lists_every_module_there_is() {
    let mut listed = levels();
    let mut there: Vec<String> = rust_files("src").iter().map(|file| module(&file.path)).collect();
    there.retain(|module| module != "lib" && module != "main");
    there.sort();
    there.dedup();
    listed.sort();
    assert_eq!(listed, there, "the table in src/lib.rs, and the modules below src/");
}

#[test]
fn modules_import_only_levels_above() {
    let levels = levels();
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        let Some(level) = levels.iter().position(|name| *name == module(&file.path)) else {
            continue;
        };
        let code = code(&file.text);
        for import in imports(&code) {
            let allowed = levels[..=level].contains(&import);
            if !allowed {
                wrong.push(format!("{}: crate::{import}", file.path.display()));
            }
        }
        // The number of modules a file is in: so many `super` lead out to the crate.
        let depth = file.path.iter().count() - 1 - usize::from(file.path.ends_with("mod.rs"));
        let own = code.split("#[cfg(test)]").next().unwrap_or_default();
        if own.contains(&"super::".repeat(depth)) {
            wrong.push(format!("{}: super:: up to the crate; say crate::", file.path.display()));
        }
    }
    assert!(wrong.is_empty(), "imports of levels below:\n{}", wrong.join("\n"));
}

/// The modules of the top level that code names, as `crate::x` or `crate::{x, y::z}`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.push(word(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The first word of each member of a `{..}` group, whose opening brace is gone.
fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads = vec![word(group.trim_start())];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(group[at + 1..].trim_start())),
            _ => (),
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::a::B; use crate::{c, d::{E, f}, g::h}; fn x() { crate::i::j() }";
    assert_eq!(imports(code), ["a", "c", "d", "g", "i"]);
}

#[test]
fn only_the_command_line_prints() {
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        if module(&file.path) == "cli" || module(&file.path) == "main" {
            continue;
        }
        for (number, line) in code(&file.text).lines().enumerate() {
            if ["print!", "println!", "eprint!", "eprintln!"].iter().any(|m| line.contains(m)) {
                wrong.push(format!("{}:{}", file.path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "prints outside of src/cli:\n{}", wrong.join("\n"));
}
