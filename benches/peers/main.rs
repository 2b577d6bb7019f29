//! packfs beside its peers, on the same trees in the same run.
//!
//! `cargo bench --bench peers -- --tree DIR` measures; `cargo test --bench peers` tests the harness
//! itself, with peers that fail in every way.
//!
//! | file | what it holds |
//! |---|---|
//! | `run` | the order of a run |
//! | `peer` | the systems compared, a file each |
//! | `workload` | what is done to them, a file each |
//! | `tree` | the source, which all that is read is compared with |
//! | `process`, `mounted`, `cold` | programs, mounts and caches under control |
//! | `results` | what was found |
//! | `report` | how it is shown: tables, Markdown, and a page with charts |
//! | `gate` | whether it is as good as it was |

mod cold;
mod gate;
mod machine;
mod mounted;
mod peer;
mod process;
mod report;
mod results;
mod run;
mod self_test;
mod tree;
mod workload;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;

use peer::{Fault, Peer};
use process::Stop;
use results::Run;
use run::{Bench, Plan};

/// Measures packfs beside its peers on real trees. Needs root.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench peers --")]
struct Arguments {
    /// A tree to measure on; once for each. Packages of Python in it may be imported
    #[arg(long, value_name = "DIR")]
    tree: Vec<PathBuf>,
    /// Only these peers, beside packfs itself
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Only a small part of each tree, once: a hint within five minutes
    #[arg(long)]
    quick: bool,
    /// How long the run may take
    #[arg(long, value_name = "N")]
    minutes: Option<u32>,
    /// Write results.json, report.html and RESULTS.md into this folder
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    out: PathBuf,
    /// Where archives and mount points are made, and removed again
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Fail if packfs has lost ground, by the ratios in this file
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
    /// Write such a file from this run
    #[arg(long, value_name = "FILE")]
    write_gate: Option<PathBuf>,
    /// What `cargo bench` passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match arguments.first().and_then(|first| first.to_str()) {
        Some("worker") => work(&arguments[1..]).map(|()| ExitCode::SUCCESS),
        // Only `cargo bench` passes `--bench`: without it this is `cargo test`.
        _ if !arguments.iter().any(|argument| argument == "--bench") => return self_test::main(),
        _ => bench(&Arguments::parse()),
    };
    done.unwrap_or_else(|stop| {
        // The terminal may be gone by now.
        let _ = writeln!(std::io::stderr(), "peers: {}", message(&stop));
        match stop {
            Stop::Interrupted => ExitCode::from(130),
            _ => ExitCode::FAILURE,
        }
    })
}

/// What to tell of a stop.
fn message(stop: &Stop) -> String {
    match stop {
        Stop::Failed(failure) => failure.to_string(),
        Stop::Interrupted => "interrupted".to_owned(),
        Stop::Broken(what) => what.clone(),
    }
}

/// Does what another process of this program asks for.
fn work(arguments: &[std::ffi::OsString]) -> Result<(), Stop> {
    let path = |at: usize| arguments.get(at).map(Path::new).unwrap_or(Path::new(""));
    let text = |at: usize| arguments.get(at).and_then(|it| it.to_str()).unwrap_or_default();
    match text(0) {
        "stream" => workload::stream::work(path(1)),
        "readers" => workload::readers::work(path(1)),
        "random" => workload::random::work(path(1), path(2), text(3).parse().unwrap_or(1)),
        "ceiling" => peer::serve(path(1), path(2), Fault::named(text(3))),
        other => Err(Stop::Broken(format!("no such work: {other}"))),
    }
}

fn bench(arguments: &Arguments) -> Result<ExitCode, Stop> {
    if arguments.tree.is_empty() {
        println!("peers: which tree? cargo bench --bench peers -- --tree DIR");
        return Ok(ExitCode::SUCCESS);
    }
    process::watch_signals().map_err(|error| Stop::broken("signals", error))?;
    let work = arguments.work.clone().unwrap_or_else(std::env::temp_dir);
    let work = work.canonicalize().map_err(|error| Stop::broken(work.display(), error))?;
    check(arguments, &work)?;
    let start = Instant::now();
    let mut run = Run {
        started: date()?,
        command: command_line(),
        quick: arguments.quick,
        interrupted: false,
        seconds: 0.0,
        machine: machine::describe(&work),
        trees: Vec::new(),
    };
    let bench = Bench::new(plan(arguments), peers(&arguments.only)?, &work)?;
    let done = bench.run(&arguments.tree, &mut run);
    run.seconds = start.elapsed().as_secs_f64();
    run.interrupted = matches!(done, Err(Stop::Interrupted));
    drop(bench);
    // What was measured before the run broke off is worth having, too.
    match done {
        Ok(()) | Err(Stop::Interrupted) => show(&run, arguments),
        Err(broken) => show(&run, arguments).and(Err(broken)),
    }
}

/// Finds before the run what would end it in vain.
fn check(arguments: &Arguments, work: &Path) -> Result<(), Stop> {
    for tree in &arguments.tree {
        let broken = |error| Stop::broken(tree.display(), error);
        let top = tree.canonicalize().map_err(broken)?;
        std::fs::read_dir(&top).map_err(broken)?;
        if work.starts_with(&top) {
            let (tree, work) = (tree.display(), work.display());
            let what =
                format!("{work}: archives would be made inside {tree}; choose another --work");
            return Err(Stop::Broken(what));
        }
    }
    let out = &arguments.out;
    std::fs::create_dir_all(out)
        .and_then(|()| tempfile::tempfile_in(out))
        .map_err(|error| Stop::broken(out.display(), error))?;
    match &arguments.gate {
        Some(path) => gate::read(path).map(drop).map_err(|error| Stop::Broken(error.to_string())),
        None => Ok(()),
    }
}

fn plan(arguments: &Arguments) -> Plan {
    let quick = arguments.quick;
    let seconds = |quickly, fully| Duration::from_secs(if quick { quickly } else { fully });
    let minutes = arguments.minutes.unwrap_or(if quick { 4 } else { 80 });
    Plan {
        end: Instant::now() + Duration::from_secs(60 * u64::from(minutes)),
        repetitions: if quick { 1 } else { 3 },
        limit: seconds(10, 60),
        build_limit: seconds(60, 900),
        patience: seconds(5, 30),
        share: seconds(20, 240),
        picks: if quick { 500 } else { 3000 },
        quiet: false,
        part: quick.then_some(24 << 20),
    }
}

fn peers(only: &[String]) -> Result<Vec<Box<dyn Peer>>, Stop> {
    let mut peers = peer::all();
    if let Some(unknown) = only.iter().find(|name| peers.iter().all(|peer| peer.name() != **name)) {
        let known: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
        return Err(Stop::Broken(format!("no peer {unknown}; there are {}", known.join(", "))));
    }
    // Who shows another's archive needs that other to make it.
    let needed: Vec<_> = peers
        .iter()
        .filter(|peer| only.iter().any(|name| name == peer.name()))
        .map(|peer| peer.archive_of())
        .collect();
    peers.retain(|peer| {
        let named = only.iter().any(|name| name == peer.name());
        only.is_empty() || named || needed.contains(&peer.name()) || peer.name() == "packfs"
    });
    Ok(peers)
}

/// Prints and writes what was found, and compares it with the gate.
fn show(run: &Run, arguments: &Arguments) -> Result<ExitCode, Stop> {
    let broken = |error| Stop::broken("output", error);
    let json = serde_json::to_vec_pretty(run).map_err(|e| Stop::broken("results.json", e))?;
    let html = report::html(run).map_err(|error| Stop::broken("report.html", error))?;
    let mut markdown = Vec::new();
    report::markdown(run, &mut markdown).map_err(broken)?;
    let out = &arguments.out;
    std::fs::create_dir_all(out)
        .and_then(|()| std::fs::write(out.join("results.json"), json))
        .and_then(|()| std::fs::write(out.join("report.html"), html))
        .and_then(|()| std::fs::write(out.join("RESULTS.md"), markdown))
        .map_err(|error| Stop::broken(out.display(), error))?;
    report::table(run, &mut std::io::stdout().lock()).map_err(broken)?;
    println!("\nresults.json, report.html and RESULTS.md are in {}", out.display());
    if run.interrupted {
        return Err(Stop::Interrupted);
    }
    if let Some(path) = &arguments.write_gate {
        let rules = gate::write(run, path).map_err(|e| Stop::Broken(e.to_string()))?;
        println!("{rules} ratios written to {}", path.display());
    }
    match &arguments.gate {
        Some(path) => pass(run, path),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Fails where packfs has lost ground.
fn pass(run: &Run, gate: &Path) -> Result<ExitCode, Stop> {
    let verdict = gate::check(run, gate).map_err(|error| Stop::Broken(error.to_string()))?;
    println!("\ngate: {} ratios held, {} lost", verdict.held, verdict.losses.len());
    verdict.skipped.iter().for_each(|rule| println!("gate: skipped: {rule}"));
    verdict.losses.iter().for_each(|loss| println!("gate: lost: {loss}"));
    Ok(if verdict.losses.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn date() -> Result<String, Stop> {
    let mut command = Command::new("date");
    command.args(["-u", "+%Y-%m-%d %H:%M UTC"]);
    let (_, out) = process::output(&mut command, Duration::from_secs(10))?;
    Ok(String::from_utf8_lossy(&out).trim().to_owned())
}

fn command_line() -> String {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let words: Vec<_> = arguments.collect();
    format!("cargo bench --bench peers -- {}", words.join(" "))
}
