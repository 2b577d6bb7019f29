//! The results on a terminal: plain text, 120 columns.

use std::io::{self, Write};

use super::figures::{count, duration, mebibytes, one_line};
use super::markdown::capital;
use super::sheets::{LEGEND, Sheet, absent, sheets, troubles};
use crate::results::{Machine, Run, TreeRun};

/// Columns of a terminal.
const WIDTH: usize = 120;
/// What keeps two columns apart.
const GAP: &str = "  ";

/// Prints all results.
///
/// # Errors
/// What writing to `out` fails with.
pub fn print(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", machine(&run.machine))?;
    for warning in warnings(run) {
        writeln!(out, "{warning}")?;
    }
    for tree in &run.trees {
        print_tree(tree, out)?;
    }
    writeln!(out)?;
    LEGEND.iter().try_for_each(|line| print_item(line, out))?;
    writeln!(out, "\nThis took {}.", duration(run.seconds))
}

/// The machine in a line.
pub fn machine(machine: &Machine) -> String {
    let Machine { processor, cores, memory, kernel, disk } = machine;
    let cores = if *cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
    let memory = mebibytes(*memory) / 1024.0;
    let text = format!("{processor}, {cores}, {memory:.1} GiB of memory, {kernel}, {disk}");
    one_line(&text)
}

/// What is to be known before the figures of a run are believed.
pub fn warnings(run: &Run) -> Vec<&'static str> {
    let quick = "A short run: its figures are only a hint.";
    let interrupted = "The run was interrupted: what was not reached is missing.";
    [(run.quick, quick), (run.interrupted, interrupted)]
        .into_iter()
        .filter_map(|(is, text)| is.then_some(text))
        .collect()
}

/// A tree in a line.
pub fn tree_line(tree: &TreeRun) -> String {
    let (files, entries) = (count(tree.files), count(tree.entries));
    let program = tree.program.as_ref().map(|program| format!(". The real program: {program}"));
    let program = program.unwrap_or_default();
    format!("{files} files among {entries} entries, {:.1} MiB{program}", mebibytes(tree.bytes))
}

fn print_tree(tree: &TreeRun, out: &mut dyn Write) -> io::Result<()> {
    let title = format!("{}: {}", one_line(&tree.name), tree_line(tree));
    writeln!(out, "\n{title}\n{}", "=".repeat(title.chars().count()))?;
    for sheet in sheets(tree) {
        writeln!(out, "\n{}", capital(&sheet.title))?;
        print_sheet(&sheet, out)?;
    }
    let troubles = troubles(tree);
    if !troubles.is_empty() {
        writeln!(out, "\nFailures (* in the tables)")?;
    }
    for trouble in troubles {
        let text = format!("{}, {}: {}: {}", trouble.peer, trouble.at, trouble.kind, trouble.what);
        print_item(&text, out)?;
    }
    let absent = absent(tree);
    if !absent.is_empty() {
        writeln!(out, "\nAbsent")?;
    }
    for (peer, why) in absent {
        print_item(&format!("{peer}: {why}"), out)?;
    }
    Ok(())
}

fn print_item(text: &str, out: &mut dyn Write) -> io::Result<()> {
    for (number, line) in wrap(text, WIDTH - 4).iter().enumerate() {
        let indent = if number == 0 { "  " } else { "    " };
        writeln!(out, "{indent}{line}")?;
    }
    Ok(())
}

fn print_sheet(sheet: &Sheet, out: &mut dyn Write) -> io::Result<()> {
    let width = |text: &str| text.chars().count();
    let word = |text: &str| text.split(' ').map(width).max().unwrap_or(0);
    let body = |column: usize| sheet.rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
    let columns = sheet.head.iter().enumerate();
    let mut widths: Vec<usize> = columns.map(|(at, head)| body(at).max(word(head))).collect();
    // Headings are broken into words only where they would make the table too wide.
    let spare = WIDTH.saturating_sub(widths.iter().sum::<usize>() + GAP.len() * widths.len());
    let wanted: usize =
        sheet.head.iter().zip(&widths).map(|(head, have)| width(head).saturating_sub(*have)).sum();
    if wanted <= spare {
        widths.iter_mut().zip(&sheet.head).for_each(|(have, head)| *have = width(head).max(*have));
    }
    let head: Vec<Vec<String>> =
        sheet.head.iter().zip(&widths).map(|(head, width)| wrap(head, *width)).collect();
    let lines = head.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..lines {
        let cell = |text: &Vec<String>| {
            (line + text.len()).checked_sub(lines).map(|at| text[at].clone()).unwrap_or_default()
        };
        print_row(&head.iter().map(cell).collect::<Vec<_>>(), &widths, out)?;
    }
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    print_row(&rule, &widths, out)?;
    sheet.rows.iter().try_for_each(|row| print_row(row, &widths, out))
}

fn print_row(cells: &[String], widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
    let cell = |(at, (text, &width)): (usize, (&String, &usize))| match at {
        0 => format!("{text:<width$}"),
        _ => format!("{text:>width$}"),
    };
    let cells: Vec<String> = cells.iter().zip(widths).enumerate().map(cell).collect();
    writeln!(out, "{}", cells.join(GAP).trim_end())
}

/// A text in lines of at most `width` characters, unless a word is longer.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + length <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
