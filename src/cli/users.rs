//! `packfs info --block` and `--pack`: which paths use a block or a pack.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::output::{print, put_bytes};
use super::progress::{Progress, catch_interrupts};
use super::{Outcome, archive};
use crate::maintain::users::{User, Wanted, users};
use crate::monitor::show;

/// Fewest digits of an id: fewer would take too much for the same.
const DIGITS: usize = 4;

/// A block, as it is given: ORIGIN:NUMBER or HASH.
pub(super) fn block(text: &str) -> Result<Wanted, String> {
    match text.split_once(':') {
        Some((origin, number)) => {
            let number = number
                .parse()
                .map_err(|_| format!("\"{number}\" is no number; it is ORIGIN:NUMBER or HASH"))?;
            digits(origin).map(|origin| Wanted::Number(origin, number))
        }
        None => digits(text).map(Wanted::Hash),
    }
}

/// A pack, as it is given.
pub(super) fn pack(text: &str) -> Result<Wanted, String> {
    digits(text).map(Wanted::Pack)
}

fn digits(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let fits = (DIGITS..=64).contains(&text.len());
    match fits && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text),
        false => Err(format!("{DIGITS} to 64 hexadecimal digits are expected")),
    }
}

pub(super) fn run(path: &Path, wanted: &Wanted, as_json: bool) -> Outcome {
    let storage = archive::storage(path)?;
    catch_interrupts();
    let mut found: Vec<User> = Vec::new();
    users(&storage, wanted, &Progress::new(true), &mut |user| found.push(user))?;
    print(|output| {
        for User { roots, path, from, to } in &found {
            if as_json {
                let roots: Vec<&str> = roots.iter().map(String::as_str).collect();
                let mut json = json!({"roots": roots, "bytes": [from, to]});
                put_bytes(&mut json, "path", path);
                writeln!(output, "{json}")?;
                continue;
            }
            let roots = show(roots.join(", ").as_bytes());
            writeln!(output, "{roots}: {}: bytes {from} to {to}", show(path))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_named_in_two_ways() {
        assert_eq!(block("AB12:7"), Ok(Wanted::Number("ab12".into(), 7)));
        assert_eq!(block("ab123"), Ok(Wanted::Hash("ab123".into())));
        for wrong in ["", "abc", "abcz", "abcd:", "abcd:-1", "abcd:x", ":1"] {
            assert!(block(wrong).is_err(), "{wrong}");
        }
    }
}
