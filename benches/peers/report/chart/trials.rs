//! Trials of the charts.

use libtest_mimic::{Failed, Trial};
use plotters::coord::ranged1d::{Ranged, ValueFormatter};

use super::axis::Axis;
use super::labels::{Rect, place};
use super::{dots, latencies, palette, scatter};
use crate::report::figures::Unit;
use crate::report::sample;
use crate::results::MEASURES;

/// All trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("labels_do_not_cover_each_other", labels),
        Trial::test("an_axis_has_few_round_marks", axes),
        Trial::test("every_chart_of_any_run_can_be_drawn", charts),
        Trial::test("every_colour_of_a_chart_is_one_of_the_themes", colours),
    ]
}

fn labels() -> Result<(), Failed> {
    let points: Vec<(i32, i32)> = (0..10).map(|n| (300 + n % 3 * 4, 200 + n / 3 * 5)).collect();
    let bounds = Rect::at((0, 0), (600, 400));
    let placed = place(&points, &[(80, 16); 10], Vec::new(), &bounds);
    assert_eq!(placed.len(), points.len());
    for (number, label) in placed.iter().enumerate() {
        assert_eq!(label.shared(&bounds), 80 * 16, "{label:?} leaves the picture");
        let others = placed.iter().skip(number + 1);
        assert!(others.clone().all(|other| label.shared(other) == 0), "{placed:?}");
    }
    Ok(())
}

fn axes() -> Result<(), Failed> {
    let marks = |axis: &Axis| -> Vec<String> {
        axis.key_points(9).iter().map(|mark| axis.format_ext(mark)).collect()
    };
    let axis = |figures: &[f64]| Axis::log(figures, Unit::Seconds, 0.2).ok_or("no axis");
    assert_eq!(marks(&axis(&[0.011, 0.4])?), ["10 ms", "30 ms", "100 ms", "300 ms"]);
    for figures in [&[1e-6, 1e4][..], &[0.0], &[0.0, 3.0], &[2.5], &[f64::NAN, 1.0], &[1e300]] {
        let axis = axis(figures)?;
        assert!(axis.key_points(9).len() <= 6, "{axis:?}");
        for figure in figures {
            assert!((0..=100).contains(&axis.map(figure, (0, 100))), "{figure} on {axis:?}");
        }
    }
    assert!(Axis::log(&[], Unit::Seconds, 0.2).is_none());
    let linear = Axis::fitting(&[20.0, 40.0], Unit::Seconds, 0.2).ok_or("no axis")?;
    assert_eq!(marks(&linear), ["0", "10 s", "20 s", "30 s", "40 s"]);
    Ok(())
}

fn charts() -> Result<(), Failed> {
    for run in [sample::run(), sample::extreme(), sample::nobody()] {
        let someone = run.trees[0].peers.iter().any(|peer| peer.absent.is_none());
        for tree in &run.trees {
            assert_eq!(scatter(tree, (1040, 420))?.is_some(), someone);
            assert_eq!(scatter(tree, (340, 360))?.is_some(), someone);
            for measure in MEASURES {
                assert_eq!(dots(tree, *measure, 330)?.is_some(), someone);
                let drawn = latencies(tree, *measure, 340)?.is_some();
                assert_eq!(drawn, someone && (measure.random || run.trees.len() == 1));
            }
        }
    }
    Ok(())
}

fn colours() -> Result<(), Failed> {
    let css = palette::css();
    let run = sample::run();
    let mut drawn = scatter(&run.trees[1], (1040, 420))?.unwrap_or_default();
    for measure in MEASURES {
        drawn += &dots(&run.trees[1], *measure, 330)?.unwrap_or_default();
        drawn += &latencies(&run.trees[1], *measure, 1040)?.unwrap_or_default();
    }
    for kind in ["fill=\"#", "stroke=\"#"] {
        for (at, _) in drawn.match_indices(kind) {
            let colour = &drawn[at..at + kind.len() + 7];
            let rules = css.matches(&format!("[{colour}]")).count();
            assert_eq!(rules, 1, "rules for {colour}");
        }
    }
    Ok(())
}
