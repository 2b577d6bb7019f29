//! Trials of what is shown of a run.

use libtest_mimic::{Failed, Trial};

use super::page::{self, html};
use super::sheets::{absent, sheets, troubles};
use super::{chart, figures, markdown, sample, table};
use crate::results::{Run, Spread};

/// All trials of this module.
pub fn trials() -> Vec<Trial> {
    let trial = |name: &str, body: fn() -> Result<(), Failed>| Trial::test(name, body);
    let mut trials = vec![
        trial("figures_have_three_digits_and_a_unit_that_suits", units),
        trial("what_comes_from_outside_is_escaped", escaping),
        trial("failures_and_absent_peers_are_told", told),
        trial("a_table_fits_the_terminal", narrow),
        trial("every_row_is_as_long_as_its_headings", rows),
        trial("runs_of_extremes_can_be_shown", extremes),
    ];
    trials.extend(chart::trials());
    trials
}

fn units() -> Result<(), Failed> {
    let text = |value| figures::Unit::Seconds.text(value);
    let expected = ["0 s", "123 ns", "1.00 µs", "12.3 ms", "1.00 s", "7200 s"];
    assert_eq!([0.0, 1.23e-7, 9.999e-7, 0.0123, 0.9996, 7200.0].map(text), expected);
    assert_eq!(figures::Unit::Micros.text(1500.0), "1.50 ms");
    assert_eq!(figures::Unit::Seconds.tick(0.02), "20 ms");
    assert_eq!(figures::Unit::Seconds.tick(100.0), "100 s");
    let spread = Spread { median: 0.0123, min: 0.0119, max: 1.4 };
    assert_eq!(figures::Unit::Seconds.spread(spread), "12.3 ms (11.9–1400)");
    assert_eq!([0.004, 0.4, 4.0, 40.0].map(figures::ratio), ["0.004", "0.40", "4.00", "40.0"]);
    assert_eq!([0.001, 0.05, 0.42].map(figures::percent), ["0.1 %", "5.0 %", "42 %"]);
    assert_eq!([0, 999, 1000, 34_120_000].map(figures::count), ["0", "999", "1,000", "34,120,000"]);
    assert_eq!(figures::over(1.0, 0.0), None);
    Ok(())
}

fn terminal(run: &Run) -> Result<String, Failed> {
    let mut out = Vec::new();
    table::print(run, &mut out)?;
    Ok(String::from_utf8(out)?)
}

fn marked_down(run: &Run) -> Result<String, Failed> {
    let mut out = Vec::new();
    markdown::write(run, &mut out)?;
    Ok(String::from_utf8(out)?)
}

fn escaping() -> Result<(), Failed> {
    assert_eq!(page::escape("<a b='\"&\n"), "&lt;a b=&#39;&quot;&amp; ");
    let run = sample::extreme();
    let (page, text) = (html(&run)?, marked_down(&run)?);
    assert!(!page.contains("<i>") && !page.contains("<b>&"), "a name is markup in the page");
    assert!(!text.contains("<i>") && text.contains("&lt;i>\\|\\`x\\`"), "{text}");
    let all = [page, text, terminal(&run)?];
    assert!(all.iter().all(|text| !text.contains('\u{1b}')), "an escape code gets through");
    Ok(())
}

fn told() -> Result<(), Failed> {
    let run = sample::run();
    let tree = &run.trees[1];
    assert_eq!(troubles(tree).len(), 4, "{:?}", troubles(tree));
    assert_eq!(absent(tree), [("restic", "restic is not in PATH: apt install restic".into())]);
    let words =
        ["crashed", "over time", "not run", "wrong", "status 139", "in 4096 bytes", "apt install"];
    for text in [terminal(&run)?, marked_down(&run)?, html(&run)?] {
        for word in words {
            assert!(text.contains(word), "{word} is not in\n{text}");
        }
    }
    Ok(())
}

fn narrow() -> Result<(), Failed> {
    let text = terminal(&sample::run())?;
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(wide.is_empty(), "{}", wide.join("\n"));
    Ok(())
}

fn rows() -> Result<(), Failed> {
    for run in [sample::run(), sample::extreme()] {
        for sheet in run.trees.iter().flat_map(sheets) {
            let is_whole = |row: &Vec<String>| row.len() == sheet.head.len();
            assert!(sheet.rows.iter().all(is_whole), "{sheet:?}");
        }
    }
    Ok(())
}

fn extremes() -> Result<(), Failed> {
    let mut empty = sample::run();
    empty.trees.clear();
    let runs = [sample::extreme(), sample::nobody(), Run { quick: true, ..empty }];
    for run in runs {
        terminal(&run)?;
        marked_down(&run)?;
        let page = html(&run)?;
        assert!(!page.contains("NaN") && !page.contains(">inf"), "{page}");
    }
    Ok(())
}
