//! `packfs diff`: what changed from one snapshot to another.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::failure::complain;
use super::ls::kind_name;
use super::output::{print, put_bytes};
use super::{Failure, Outcome, archive, size};
use crate::diff::{Change, Field, diff};
use crate::monitor::show;
use crate::store::{At, Cause, default_working_set};

/// Tell what changed from one snapshot to another
#[derive(Debug, Args)]
#[command(after_help = "A and B are names of snapshots. @head is the newest root, and '#3', in \
    quotes, the root of number 3. Each path that changed is a line: + what is new, - what is gone, \
    M what is another than before, with what of it: content, size, mode, owner, mtime, target, \
    xattrs, device, links. The exit code is 0 whether or not anything changed.")]
pub(super) struct DiffArgs {
    /// Archive: a store's folder, or an image
    archive: PathBuf,
    /// Snapshot to start from
    #[arg(value_name = "A", value_parser = at)]
    old: At,
    /// Snapshot to compare it with
    #[arg(value_name = "B", value_parser = at, default_value = "@head")]
    new: At,
    /// Memory for inflated frames
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    working_set: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// The root that an argument stands for.
fn at(text: &str) -> Result<At, Cause> {
    let number = text.strip_prefix('#').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    match number.and_then(|digits| digits.parse().ok()) {
        _ if text == "@head" => Ok(At::Head),
        Some(number) => Ok(At::Number(number)),
        None => archive::snapshot_name(text).map(At::Snapshot),
    }
}

pub(super) fn run(args: &DiffArgs) -> Outcome {
    // Each side has half of the memory that one would have.
    let memory = Some(args.working_set.unwrap_or_else(default_working_set) / 2);
    let open = |at: &At| archive::open_to_read(&args.archive, at.clone(), memory);
    let (old, new) = (open(&args.old)?, open(&args.new)?);
    let mut unreadable = false;
    let outcome = print(|output| {
        diff(&old, &new, &mut |path, change| {
            let path = if path.is_empty() { b"." } else { path };
            if let Change::Unreadable(error) = &change {
                unreadable = true;
                complain(&format!("{}: {error}", show(path)));
            }
            if args.json {
                return Ok(writeln!(output, "{}", as_json(path, &change))?);
            }
            let path = show(path);
            match change {
                Change::Added(_) => writeln!(output, "+ {path}")?,
                Change::Removed(_) => writeln!(output, "- {path}")?,
                Change::Modified(_, fields) => {
                    writeln!(output, "M {path} ({})", names(&fields).join(","))?;
                }
                Change::Unreadable(_) => {}
            }
            Ok::<_, Failure>(())
        })
    })?;
    Ok(if unreadable { ExitCode::FAILURE } else { outcome })
}

fn names(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().map(|field| field.name()).collect()
}

fn as_json(path: &[u8], change: &Change) -> Value {
    let mut json = match change {
        Change::Added(kind) => json!({"change": "added", "type": kind_name(*kind)}),
        Change::Removed(kind) => json!({"change": "removed", "type": kind_name(*kind)}),
        Change::Modified(kind, fields) => {
            json!({"change": "modified", "type": kind_name(*kind), "what": names(fields)})
        }
        Change::Unreadable(error) => json!({"change": "unknown", "error": error.to_string()}),
    };
    put_bytes(&mut json, "path", path);
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_named_in_three_ways() {
        assert!(matches!(at("@head"), Ok(At::Head)));
        assert!(matches!(at("#12"), Ok(At::Number(12))));
        for name in ["before", "12", "#", "#+1", "#99999999999999999999", "@heads", "head"] {
            assert!(matches!(at(name), Ok(At::Snapshot(given)) if given == name), "{name}");
        }
        assert!(at("a/b").is_err());
    }
}
