//! Trials of the gate.

use std::fs;
use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};

use super::figure::Figure;
use super::{GateError, Reason, Verdict, check, read, write};
use crate::report::sample;
use crate::results::{Failure, Run};

/// All trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("a_run_keeps_the_rules_made_from_it", own_rules),
        Trial::test("a_ratio_beyond_its_tolerance_is_a_loss", over),
        Trial::test("a_figure_that_is_missing_is_a_loss", missing),
        Trial::test("an_absent_peer_is_skipped", absent),
        Trial::test("faulty_gates_are_refused_with_their_path", faulty),
        Trial::test("every_figure_is_found_by_its_name", names),
    ]
}

/// A folder, and the path of a gate in it with that text.
fn gate(text: &str) -> Result<(tempfile::TempDir, PathBuf), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("gate.json");
    fs::write(&path, text)?;
    Ok((folder, path))
}

fn rule(tree: &str, measure: &str, against: &str, ratio: f64) -> String {
    format!(
        r#"[{{"tree":"{tree}","measure":"{measure}","against":"{against}","ratio":{ratio},
            "tolerance":0.25}}]"#
    )
}

fn verdict(run: &Run, text: &str) -> Result<Verdict, Failed> {
    let (_folder, path) = gate(text)?;
    Ok(check(run, &path)?)
}

fn own_rules() -> Result<(), Failed> {
    let (_folder, path) = gate("")?;
    let run = sample::run();
    let rules = write(&run, &path)?;
    assert_eq!(rules, read(&path)?.len());
    let verdict = check(&run, &path)?;
    assert_eq!((verdict.held, verdict.losses.len(), verdict.skipped.len()), (rules, 0, 0));
    let nothing = write(&sample::nobody(), &path);
    assert!(matches!(nothing, Err(GateError::Empty { .. })), "{nothing:?}");
    Ok(())
}

fn over() -> Result<(), Failed> {
    // The sample's packfs takes 1.2 times what squashfs takes.
    let run = sample::run();
    let found = verdict(&run, &rule("django", "find-cold", "squashfs", 1.0))?;
    assert_eq!((found.held, found.losses.len()), (1, 0));
    let found = verdict(&run, &rule("django", "find-cold", "squashfs", 0.9))?;
    assert_eq!((found.held, found.losses.len()), (0, 1));
    let text = found.losses[0].to_string();
    assert_eq!(text, "django, find-cold against squashfs: 1.200, more than 1.125 (0.9 and 25 %)");
    Ok(())
}

fn missing() -> Result<(), Failed> {
    let mut run = sample::run();
    let reason = |run: &Run, tree: &str, measure: &str, against: &str| -> Result<_, Failed> {
        let mut found = verdict(run, &rule(tree, measure, against, 100.0))?;
        match found.losses.pop().map(|loss| loss.reason) {
            Some(Reason::Missing(why)) => Ok(why),
            other => Err(format!("{other:?}").into()),
        }
    };
    assert_eq!(reason(&run, "gnome", "find-cold", "squashfs")?, "the tree gnome was not run");
    assert_eq!(reason(&run, "django", "find-cold", "zip")?, "zip was not run");
    assert_eq!(reason(&run, "django", "build-wall", "ceiling")?, "ceiling: it builds nothing");
    assert_eq!(reason(&run, "django", "tar-cold", "tar-zstd")?, "tar-zstd: it was not run");
    let why = reason(&run, "linux", "tar-cold", "borg")?;
    assert_eq!(why, "borg: over time: not done within 120 s");
    if let Some(cell) = run.trees[0].peers[0].cells.get_mut("find-cold") {
        cell.failure = Some(Failure::Wrong("one name is missing".into()));
    }
    let why = reason(&run, "django", "find-cold", "squashfs")?;
    assert_eq!(why, "packfs: wrong: one name is missing");
    Ok(())
}

fn absent() -> Result<(), Failed> {
    let found = verdict(&sample::run(), &rule("django", "find-cold", "restic", 1.0))?;
    assert_eq!((found.held, found.losses.len(), found.skipped.len()), (0, 0, 1));
    Ok(())
}

fn faulty() -> Result<(), Failed> {
    let good = rule("django", "find-cold", "squashfs", 1.0);
    let extra = good.replace("\"tree\"", "\"treee\":1,\"tree\"");
    let texts = [
        ("", "no list of rules"),
        ("[]", "no rules"),
        (extra.as_str(), "unknown field `treee`"),
        (&good.replace("find-cold", "find-hot"), "rule 1: there is no measure \"find-hot\""),
        (&good.replace("find-cold", "find-cold:p99"), "there is no measure"),
        (&good.replace(":1,", ":0,"), "its ratio is 0; it must be more than 0"),
        (&good.replace("0.25", "-1"), "its tolerance is -1"),
    ];
    for (text, expected) in texts {
        let (_folder, path) = gate(text)?;
        let error = read(&path).err().ok_or_else(|| format!("{text} is taken"))?.to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    }
    let error = read("/nowhere/gate.json".as_ref()).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("--write-gate")));
    Ok(())
}

fn names() -> Result<(), Failed> {
    for figure in Figure::all() {
        let again = Figure::parse(&figure.name()).map(Figure::name);
        assert_eq!(again, Some(figure.name()));
    }
    assert!(Figure::parse("random-1:p99.99").is_some());
    assert!(Figure::parse("random-1:max").is_some());
    assert!(Figure::parse("random-1:p42").is_none());
    Ok(())
}
