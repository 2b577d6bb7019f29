//! The results as a page: one file with charts in both themes, and all figures below them.

use std::fmt::Write;

use thiserror::Error;

use super::chart::{self, ChartError};
use super::figures::duration;
use super::markdown::capital;
use super::sheets::{LEGEND, Sheet, Trouble, absent, present, sheets, troubles};
use super::table::{machine, tree_line, warnings};
use crate::results::{MEASURES, Run, TreeRun};

/// Pixels of a picture on a wide page, on a narrow one, and of one of many side by side.
const WIDE: u32 = 1040;
const NARROW: u32 = 340;
const CELL: u32 = 330;
/// Pixels of how high the picture of sizes and build times is.
const HEIGHT: u32 = 420;

/// Why there is no page.
#[derive(Debug, Error)]
#[error("report: the chart of {chart} of {tree} cannot be drawn: {source}")]
pub struct ReportError {
    tree: String,
    chart: &'static str,
    source: ChartError,
}

/// The whole page.
///
/// # Errors
/// If a chart cannot be drawn.
pub fn html(run: &Run) -> Result<String, ReportError> {
    let mut page = head(run);
    for (number, tree) in run.trees.iter().enumerate() {
        page += &section(tree, number)?;
    }
    page += &peers(run);
    page += "</main>\n<script>";
    page += include_str!("page.js");
    page += "</script>\n</body>\n</html>\n";
    Ok(page)
}

fn head(run: &Run) -> String {
    let colors = chart::palette::css();
    let style = include_str!("page.css");
    let (started, took) = (escape(&run.started), duration(run.seconds));
    let (machine, command) = (escape(&machine(&run.machine)), escape(&run.command));
    let warning = |text| format!("<p class=\"warning\">{text}</p>\n");
    let warnings: String = warnings(run).into_iter().map(warning).collect();
    let link = |(number, tree): (usize, &TreeRun)| {
        format!("<a href=\"#tree-{number}\">{}</a>\n", escape(&tree.name))
    };
    let links: String = run.trees.iter().enumerate().map(link).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>packfs beside its peers</title>\n<style>\n{colors}{style}</style>\n</head>\n\
         <body>\n<main>\n<header>\n\
         <button id=\"theme\" type=\"button\" hidden>Theme: automatic</button>\n\
         <h1>packfs beside its peers</h1>\n{warnings}\
         <dl>\n<dt>Machine</dt><dd>{machine}</dd>\n<dt>Began</dt><dd>{started}, took {took}</dd>\n\
         <dt>Command</dt><dd><code>{command}</code></dd>\n</dl>\n\
         <nav>{links}<a href=\"#peers\">the peers</a></nav>\n</header>\n"
    )
}

/// A tree: its charts, what failed, what was absent, and all figures.
fn section(tree: &TreeRun, number: usize) -> Result<String, ReportError> {
    let failed = |chart| move |source| ReportError { tree: tree.name.clone(), chart, source };
    let name = escape(&tree.name);
    let mut out = format!(
        "<section id=\"tree-{number}\">\n<h2>{name}</h2>\n<p class=\"lead\">{}</p>\n",
        escape(&tree_line(tree))
    );
    let charts = [(WIDE, HEIGHT), (NARROW, HEIGHT * 6 / 7)].map(|size| chart::scatter(tree, size));
    let [wide, narrow] = charts.map(|svg| svg.map_err(failed("sizes and build times")));
    if let (Some(wide), Some(narrow)) = (wide?, narrow?) {
        out += "<h3>Size and time to build</h3>\n";
        out += "<p>Nearer to the lower left corner is better. Lines go from the fastest build to \
                the slowest.</p>\n";
        out += &twofold("Size of the archive and time to build, for each peer", &wide, &narrow);
    }
    let mut cells = String::new();
    for measure in MEASURES {
        if let Some(svg) = chart::dots(tree, *measure, CELL).map_err(failed(measure.title))? {
            cells += &figure(measure.title, &svg);
        }
    }
    if !cells.is_empty() {
        out += "<h3>Reading</h3>\n<p>Dots are medians, lines go from the least to the greatest; \
                further left is better. Random reads: the median of their latencies.</p>\n";
        write_to(&mut out, format_args!("<div class=\"cells\">\n{cells}</div>\n"));
    }
    out += &latencies(tree).map_err(failed("latencies"))?;
    out += &honest(tree);
    let tables: String = sheets(tree).iter().map(table).collect();
    if !tables.is_empty() {
        let legend = LEGEND.map(escape).join(" ");
        let text = format!("<summary>All figures of {name}</summary>\n<p>{legend}</p>\n{tables}");
        write_to(&mut out, format_args!("<details>{text}</details>\n"));
    }
    Ok(out + "</section>\n")
}

fn latencies(tree: &TreeRun) -> Result<String, ChartError> {
    let mut out = String::new();
    for measure in MEASURES.iter().filter(|measure| measure.random) {
        let wide = chart::latencies(tree, *measure, WIDE)?;
        let narrow = chart::latencies(tree, *measure, NARROW)?;
        if let (Some(wide), Some(narrow)) = (wide, narrow) {
            write_to(&mut out, format_args!("<h4>{}</h4>\n", capital(measure.title)));
            out += &twofold(&format!("Latencies, {}", measure.title), &wide, &narrow);
        }
    }
    let text = "<h3>Latencies</h3>\n<p>Lines go from the fastest tenth of all reads to the \
                slowest read. Dot: half of the reads were as fast; short stroke: 90 %; long \
                stroke: 99 %.</p>\n";
    Ok(if out.is_empty() { out } else { text.to_owned() + &out })
}

/// A picture for wide pages, and the same for narrow ones.
fn twofold(title: &str, wide: &str, narrow: &str) -> String {
    let [wide, narrow] = [("wide", wide), ("narrow", narrow)]
        .map(|(class, svg)| format!("<div class=\"{class}\">{}</div>\n", labelled(title, svg)));
    format!("<figure>\n{wide}{narrow}</figure>\n")
}

fn figure(title: &str, svg: &str) -> String {
    let caption = capital(title);
    format!("<figure>\n<figcaption>{caption}</figcaption>\n{}</figure>\n", labelled(title, svg))
}

/// A picture that those who cannot see are told the title of.
fn labelled(title: &str, svg: &str) -> String {
    svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", escape(title)), 1)
}

/// What went wrong, and who was absent.
fn honest(tree: &TreeRun) -> String {
    let mut out = String::new();
    let failure = |trouble: &Trouble| {
        let [peer, what] = [&trouble.peer, &trouble.what].map(|text| escape(text));
        let (kind, at) = (trouble.kind, &trouble.at);
        format!("<dt>{peer}</dt><dd><b>{kind}</b> <span>{at}</span> {what}</dd>\n")
    };
    let failed: String = troubles(tree).iter().map(failure).collect();
    if !failed.is_empty() {
        write_to(&mut out, format_args!("<h3>Failures</h3>\n<dl class=\"bad\">\n{failed}</dl>\n"));
    }
    let item =
        |(who, why): &(&str, String)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(who), escape(why));
    let gone: String = absent(tree).iter().map(item).collect();
    if !gone.is_empty() {
        write_to(&mut out, format_args!("<h3>Absent</h3>\n<dl>\n{gone}</dl>\n"));
    }
    out
}

fn table(sheet: &Sheet) -> String {
    let row = |tag: &str, cells: &[String]| {
        let cell = |text: &String| format!("<{tag}>{}</{tag}>", escape(text));
        let own =
            if cells.first().is_some_and(|name| name == "packfs") { " class=own" } else { "" };
        format!("<tr{own}>{}</tr>\n", cells.iter().map(cell).collect::<String>())
    };
    let rows: String = sheet.rows.iter().map(|cells| row("td", cells)).collect();
    let (title, head) = (escape(&capital(&sheet.title)), row("th", &sheet.head));
    format!(
        "<div class=\"table\"><table>\n<caption>{title}</caption>\n\
         <thead>{head}</thead>\n<tbody>{rows}</tbody>\n</table></div>\n"
    )
}

/// What the peers are, and their versions.
fn peers(run: &Run) -> String {
    let peers = run.trees.first().into_iter().flat_map(present);
    let row = |peer: &crate::results::PeerRun| {
        let version = peer.version.as_deref().unwrap_or_default();
        let [name, about, version] = [&peer.name, &peer.about, version].map(escape);
        format!("<tr><td>{name}</td><td>{about}</td><td>{version}</td></tr>\n")
    };
    let rows: String = peers.map(row).collect();
    format!(
        "<section id=\"peers\">\n<h2>The peers</h2>\n<div class=\"table\"><table class=\"words\">\n\
         <thead><tr><th>peer</th><th>what</th><th>version</th></tr></thead>\n\
         <tbody>{rows}</tbody>\n</table></div>\n</section>\n"
    )
}

/// A string takes all that is written to it.
fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// A text that HTML shows as it is, in attributes too.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
