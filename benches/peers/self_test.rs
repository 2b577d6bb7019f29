//! Tests of the harness: peers that lie, crash, hang or cannot build, and a run broken off.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::mounted::How;
use crate::peer::{Ceiling, Fault, Peer};
use crate::process::Stop;
use crate::results::{Failure, Machine, Run, TreeRun};
use crate::run::{Bench, Plan};

/// Runs the tests that the command line asks for.
pub fn main() -> ExitCode {
    let mut trials = vec![
        Trial::test("peers::a_peer_that_lies_is_named", || fault(Fault::Wrong)),
        Trial::test("peers::a_peer_that_crashes_is_named", || fault(Fault::Crash)),
        Trial::test("peers::a_peer_that_hangs_is_named", || fault(Fault::Hang)),
        Trial::test("peers::a_peer_that_cannot_build_is_named", cannot_build),
        Trial::test("peers::an_interrupt_leaves_nothing", interrupt),
    ];
    // Only root can drop caches. Where tests have to pass, they have to run.
    let excused = !geteuid().is_root() && std::env::var_os("CI").is_none();
    trials = trials.into_iter().map(|trial| trial.with_ignored_flag(excused)).collect();
    trials.extend(crate::report::trials());
    trials.extend(crate::gate::trials());
    // Dropping caches is for all of the machine: one at a time.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A peer whose archive cannot be made.
struct CannotBuild;

impl Peer for CannotBuild {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn about(&self) -> &'static str {
        "cannot build"
    }

    fn version(&self) -> Result<String, String> {
        Ok("0".to_owned())
    }

    fn build(&self, _: &Path, _: &Path) -> Vec<Command> {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck >&2; exit 7"]);
        vec![command]
    }

    fn mount(&self, _: &Path, archive: &Path, dir: &Path) -> Option<How> {
        let mut command = Command::new("mount");
        command.args(["-o", "loop,ro"]).arg(archive).arg(dir);
        Some(How::Kernel(command))
    }
}

/// A small tree with enough files for a fault to show.
fn sample(folder: &Path) -> Result<(), Failed> {
    for at in 0..8 {
        let below = folder.join(format!("d{at}"));
        fs::create_dir_all(&below)?;
        fs::write(below.join("file"), format!("{at} ").repeat(5000))?;
    }
    Ok(())
}

/// Runs these peers, after a good one, on a sample.
fn run(bad: Box<dyn Peer>, limit: Duration) -> Result<TreeRun, Failed> {
    let scratch = TempDir::new()?;
    let tree = scratch.path().join("tree");
    sample(&tree)?;
    let plan = Plan {
        end: Instant::now() + Duration::from_secs(300),
        repetitions: 2,
        limit,
        build_limit: limit,
        patience: limit,
        share: Duration::from_secs(60),
        picks: 50,
        quiet: true,
        part: None,
    };
    let peers: Vec<Box<dyn Peer>> = vec![bad, Box::new(Ceiling { fault: None })];
    let mut run = Run {
        started: String::new(),
        command: String::new(),
        quick: true,
        interrupted: false,
        seconds: 0.0,
        machine: Machine {
            processor: String::new(),
            cores: 1,
            memory: 0,
            kernel: String::new(),
            disk: String::new(),
        },
        trees: Vec::new(),
    };
    let stopped = |stop: Stop| Failed::from(crate::message(&stop));
    let work = scratch.path().join("work");
    fs::create_dir(&work)?;
    let bench = Bench::new(plan, peers, &work).map_err(stopped)?;
    bench.run(&[tree], &mut run).map_err(stopped)?;
    drop(bench);
    must(fs::read_dir(&work)?.next().is_none(), "the run left files behind")?;
    must(!mounts()?.contains(&*scratch.path().to_string_lossy()), "the run left a mount behind")?;
    run.trees.pop().ok_or_else(|| Failed::from("no results"))
}

fn mounts() -> Result<String, Failed> {
    Ok(fs::read_to_string("/proc/self/mounts")?)
}

fn must(holds: bool, what: &str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(Failed::from(what)) }
}

/// The good peer has all its figures, whatever the other one did.
fn good_one_is_whole(tree: &TreeRun) -> Result<(), Failed> {
    let good = tree.peer("ceiling").ok_or("no good peer")?;
    for measure in ["find-cold", "find-warm", "tar-cold", "tar4-warm", "random-4", "stream-warm"] {
        let cell = good.cells.get(measure).ok_or_else(|| format!("no {measure}"))?;
        must(cell.failure.is_none(), &format!("{measure}: {:?}", cell.failure))?;
        must(cell.samples.len() == 2, &format!("{measure}: not all repetitions"))?;
    }
    Ok(())
}

fn fault(fault: Fault) -> Result<(), Failed> {
    let tree = run(Box::new(Ceiling { fault: Some(fault) }), Duration::from_secs(4))?;
    good_one_is_whole(&tree)?;
    let bad = &tree.peers[0];
    // Walks read no data: there it is as good as any.
    must(bad.cells["find-cold"].samples.len() == 2, "its walk has no figure")?;
    for measure in ["tar-cold", "tar4-cold", "random-4"] {
        let cell = &bad.cells[measure];
        must(cell.samples.is_empty(), &format!("{measure}: has a figure"))?;
        let failure = cell.failure.as_ref().ok_or_else(|| format!("{measure}: no failure"))?;
        let as_expected = match fault {
            Fault::Wrong => matches!(failure, Failure::Wrong(_)),
            Fault::Crash => matches!(failure, Failure::Crashed(_)),
            Fault::Hang => matches!(failure, Failure::OverTime(_)),
        };
        must(as_expected, &format!("{measure}: {failure:?}"))?;
    }
    Ok(())
}

fn cannot_build() -> Result<(), Failed> {
    let tree = run(Box::new(CannotBuild), Duration::from_secs(20))?;
    good_one_is_whole(&tree)?;
    let bad = &tree.peers[0];
    let failure = bad.build.as_ref().and_then(|build| build.failure.as_ref());
    let said = matches!(failure, Some(Failure::Crashed(what)) if what.contains("no such luck"));
    must(said, &format!("build: {failure:?}"))?;
    let failure = &bad.cells["find-cold"].failure;
    must(matches!(failure, Some(Failure::NotRun(_))), &format!("find: {failure:?}"))
}

/// SIGINT in the middle of a run, with a peer that hangs so that it is surely under way.
fn interrupt() -> Result<(), Failed> {
    let scratch = TempDir::new()?;
    let (tree, work, out) =
        (scratch.path().join("tree"), scratch.path().join("work"), scratch.path().join("out"));
    sample(&tree)?;
    fs::create_dir(&work)?;
    for moment in [300, 1000, 2500] {
        let mut bench = Command::new(std::env::current_exe()?);
        bench.arg("--bench").arg("--tree").arg(&tree).arg("--work").arg(&work);
        bench.arg("--out").arg(&out).args(["--only", "ceiling,squashfs"]);
        let mut bench = bench.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_millis(moment));
        kill_process(Pid::from_child(&bench), Signal::INT)?;
        bench.wait()?;
        must(fs::read_dir(&work)?.next().is_none(), "files are left behind")?;
        let name = scratch.path().to_string_lossy().into_owned();
        must(!mounts()?.contains(&name), "a mount is left behind")?;
        let loops = Command::new("losetup").arg("--list").output()?;
        must(!String::from_utf8_lossy(&loops.stdout).contains(&name), "a loop device is left")?;
        must(!processes()?.contains(&name), "a process is left behind")?;
    }
    Ok(())
}

/// The command lines of all processes, but for this one.
fn processes() -> Result<String, Failed> {
    let mut lines = String::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        if entry.file_name().to_string_lossy() != std::process::id().to_string() {
            lines.push_str(&fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default());
        }
    }
    Ok(lines)
}
