//! `packfs info --live`: what a mount did so far.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::Value;

use super::output::print;
use super::{Failure, Outcome, size};
use crate::mount::LIVE;

pub(super) fn run(dir: &Path, json: bool) -> Outcome {
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("{}: {why}", dir.display()));
    let text = fs::read_to_string(dir.join(LIVE)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            failed(&"no archive is mounted there; name the folder that it is mounted on")
        }
        _ => failed(&error),
    })?;
    let told: Value = serde_json::from_str(&text).map_err(|error| failed(&error))?;
    print(|output| {
        if json {
            return Ok(writeln!(output, "{told}")?);
        }
        let number = |path: &str| told.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let bytes = |path: &str| size::show(number(path));
        let float = |path: &str| told.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
        let archive = told.pointer("/archive").and_then(Value::as_str).unwrap_or_default();
        writeln!(output, "{archive}, for {} s", number("/seconds"))?;
        writeln!(
            output,
            "  messages     {} look-ups, {} listings, {} reads",
            number("/messages/lookups"),
            number("/messages/listings"),
            number("/messages/reads")
        )?;
        writeln!(output, "  returned     {}", bytes("/returned"))?;
        writeln!(
            output,
            "  handed over  {} in {} files, unasked",
            bytes("/handed_over/bytes"),
            number("/handed_over/files")
        )?;
        writeln!(
            output,
            "  inflated     {}, {:.2} for each byte that went out",
            bytes("/inflated"),
            float("/inflated_for_each")
        )?;
        writeln!(
            output,
            "  working set  {} of {}: {} hits, {} misses, {} joined, {} evicted",
            bytes("/working_set/bytes"),
            bytes("/working_set/budget"),
            number("/working_set/hits"),
            number("/working_set/misses"),
            number("/working_set/joined"),
            number("/working_set/evicted")
        )?;
        writeln!(
            output,
            "  a read took  {} us (p50), {} us (p90), {} us (p99), {} us (most), at most",
            float("/read_microseconds/p50"),
            float("/read_microseconds/p90"),
            float("/read_microseconds/p99"),
            float("/read_microseconds/max")
        )?;
        Ok(writeln!(output, "  memory       {}", bytes("/memory"))?)
    })
}
