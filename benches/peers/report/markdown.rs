//! The results as Markdown: `benches/RESULTS.md`.

use std::io::{self, Write};

use super::figures::{duration, one_line};
use super::sheets::{LEGEND, Sheet, absent, present, sheets, troubles};
use super::table::{machine, tree_line, warnings};
use crate::results::{Run, TreeRun};

/// Writes all results.
///
/// # Errors
/// What writing to `out` fails with.
pub fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "# packfs beside its peers\n")?;
    writeln!(out, "Made by\n\n```sh\n{}\n```\n", one_line(&run.command))?;
    let (started, took) = (escape(&run.started), duration(run.seconds));
    writeln!(out, "on {started} in {took}, on {}.\n", escape(&machine(&run.machine)))?;
    for warning in warnings(run) {
        writeln!(out, "**{warning}**\n")?;
    }
    LEGEND.iter().try_for_each(|line| writeln!(out, "- {line}"))?;
    run.trees.iter().try_for_each(|tree| write_tree(tree, out))?;
    write_peers(run, out)
}

fn write_tree(tree: &TreeRun, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n## {}\n\n{}.", escape(&tree.name), escape(&tree_line(tree)))?;
    for sheet in sheets(tree) {
        write_sheet(&sheet, out)?;
    }
    let troubles = troubles(tree);
    if !troubles.is_empty() {
        writeln!(out, "\n### Failures\n")?;
    }
    for trouble in troubles {
        let [peer, what] = [&trouble.peer, &trouble.what].map(|text| escape(text));
        writeln!(out, "- **{peer}**, {}: {}: {what}", trouble.at, trouble.kind)?;
    }
    let absent = absent(tree);
    if !absent.is_empty() {
        writeln!(out, "\n### Absent\n")?;
    }
    for (peer, why) in absent {
        writeln!(out, "- **{}**: {}", escape(peer), escape(&why))?;
    }
    Ok(())
}

fn write_sheet(sheet: &Sheet, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n### {}\n", capital(&sheet.title))?;
    let mut line = |cells: &[String]| writeln!(out, "| {} |", cells.join(" | "));
    let escaped = |cells: &[String]| cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>();
    line(&escaped(&sheet.head))?;
    let rule = |column| if column == 0 { ":---" } else { "---:" }.to_owned();
    line(&(0..sheet.head.len()).map(rule).collect::<Vec<_>>())?;
    sheet.rows.iter().try_for_each(|row| line(&escaped(row)))
}

/// What the peers are, and their versions.
fn write_peers(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let Some(tree) = run.trees.first() else { return Ok(()) };
    writeln!(out, "\n## Peers\n\n| peer | what | version |\n| :--- | :--- | :--- |")?;
    for peer in present(tree) {
        let version = peer.version.as_deref().unwrap_or_default();
        let [name, about, version] = [&peer.name, &peer.about, version].map(escape);
        writeln!(out, "| {name} | {about} | {version} |")?;
    }
    Ok(())
}

/// A heading with a capital.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

/// A text that Markdown shows as it is, on one line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' | '#' | '~' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}
