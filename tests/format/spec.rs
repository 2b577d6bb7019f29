//! `format-spec.md` as data: its fenced blocks and its tables.

/// The text of the spec.
pub const SPEC: &str = include_str!("../../format-spec.md");

/// The lines of the fenced block that is marked with these words.
pub fn block(mark: &str) -> Vec<&'static str> {
    let mut lines = SPEC.lines().skip_while(|line| *line != format!("```{mark}"));
    assert!(lines.next().is_some(), "the spec has no block ```{mark}");
    lines.take_while(|line| *line != "```").collect()
}

/// The bytes of a hex block; what follows `;` on a line is a remark.
pub fn bytes(mark: &str) -> Vec<u8> {
    let digits = block(mark).into_iter().filter_map(|line| line.split(';').next());
    let bytes = digits.flat_map(str::split_whitespace).map(|pair| u8::from_str_radix(pair, 16));
    bytes.collect::<Result<_, _>>().unwrap_or_default()
}

/// The rows of the table below a heading, as trimmed cells without their backquotes.
pub fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let below = SPEC.lines().skip_while(|line| *line != heading).skip(1);
    let rows = below.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with('|'));
    let cells = |row: &'static str| -> Vec<&'static str> {
        row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()
    };
    rows.skip(2).map(cells).collect()
}
