//! Something real: Python imports a package, or `git grep` searches source code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Stage, sample};
use crate::process::{Stop, output};
use crate::results::Sample;

/// Imports every module of a package that can be imported, and counts them.
const IMPORT_ALL: &str = "\
import contextlib, importlib, io, pkgutil, sys
sys.dont_write_bytecode = True
sys.path.insert(0, '.')
import django
count = 0
for module in pkgutil.walk_packages(django.__path__, 'django.', onerror=lambda name: None):
    if '__main__' in module.name:
        continue
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module(module.name)
        count += 1
    except BaseException:
        pass
print(django.get_version(), count)
if len(sys.argv) > 1:
    print(*(name for name in sys.modules if not name.startswith('django')))
";
/// Imports the modules that it is told, as far as there are any.
const IMPORT_OWN: &str = "\
import contextlib, importlib, sys
for name in sys.argv[1:]:
    with contextlib.suppress(BaseException):
        importlib.import_module(name)
";

/// A program to run on a tree, and what it has to print.
#[derive(Debug, Clone)]
pub struct Program {
    /// What it does, in a few words.
    pub about: String,
    program: PathBuf,
    arguments: Vec<String>,
    /// What makes it load all that is its own, and nothing of the tree.
    idle: Vec<String>,
    /// Where it runs, from the top.
    folder: PathBuf,
    expected: Vec<u8>,
}

impl Program {
    /// Chooses a program for a tree, and runs it on the source.
    pub fn choose(top: &Path) -> Result<Option<Self>, Stop> {
        let mut found = match (python_package(top), sources(top)) {
            (Some(folder), _) => Self::importing(top, folder)?,
            (None, Some((folder, parts))) => Self::searching(folder, parts),
            (None, None) => return Ok(None),
        };
        match output(&mut found.command(top), Duration::from_secs(60)) {
            Ok((_, out)) => found.expected = out,
            // Not there, or not for this tree.
            Err(Stop::Failed(failure)) => {
                crate::run::say(format_args!("{}: {failure}; it is not run", found.about));
                return Ok(None);
            }
            Err(stop) => return Err(stop),
        }
        Ok(Some(found))
    }

    fn importing(top: &Path, folder: PathBuf) -> Result<Self, Stop> {
        // The interpreter itself, not a script in front of it.
        let mut which = Command::new("python3");
        which.args(["-c", "import sys; print(sys.executable)"]);
        let (_, path) = output(&mut which, Duration::from_secs(10))?;
        let mut program = Self {
            about: format!("python3 imports all modules of {}", folder.display()),
            program: String::from_utf8_lossy(&path).trim().into(),
            arguments: vec!["-c".to_owned(), IMPORT_ALL.to_owned()],
            idle: vec!["-c".to_owned(), IMPORT_OWN.to_owned()],
            folder,
            expected: Vec::new(),
        };
        if let Ok((_, out)) = output(program.command(top).arg("own"), Duration::from_secs(60)) {
            let text = String::from_utf8_lossy(&out);
            let own = text.lines().nth(1).unwrap_or_default().split_whitespace();
            program.idle.extend(own.map(str::to_owned));
        }
        Ok(program)
    }

    fn searching(folder: PathBuf, parts: Vec<String>) -> Self {
        let about = format!("git grep mutex_lock in {} of {}", parts.join(", "), folder.display());
        let fixed = ["grep", "--no-index", "--count", "mutex_lock", "--"].map(str::to_owned);
        Self {
            about,
            program: "git".into(),
            arguments: fixed.into_iter().chain(parts).collect(),
            idle: vec!["--version".to_owned()],
            folder,
            expected: Vec::new(),
        }
    }

    fn command(&self, top: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(top.join(&self.folder));
        command.env("PYTHONPATH", "").env("GIT_CEILING_DIRECTORIES", "/");
        command
    }
}

/// Runs the program in the mount, and compares what it prints with what it printed in the source.
pub fn run(stage: &Stage) -> Result<Sample, Stop> {
    let Some(program) = &stage.program else {
        return Err(Stop::Broken("no program for this tree".to_owned()));
    };
    // What the program itself is made of shall not count as cold: first it runs on nothing.
    let mut idle = Command::new(&program.program);
    idle.args(&program.idle).current_dir("/");
    output(&mut idle, stage.limit)?;
    let (cost, out) = output(&mut program.command(&stage.root), stage.limit)?;
    match out == program.expected {
        true => Ok(sample(cost)),
        false => Err(Stop::wrong(format!("{}: other output than on the source", program.about))),
    }
}

/// The middle one of the folders that hold the package `django`.
fn python_package(top: &Path) -> Option<PathBuf> {
    let mut found = folders(top);
    found.retain(|name| top.join(name).join("django/__init__.py").is_file());
    found.sort();
    found.get(found.len().saturating_sub(1) / 2).cloned()
}

/// A folder of source code, and the parts of it to search.
fn sources(top: &Path) -> Option<(PathBuf, Vec<String>)> {
    let inside: Vec<PathBuf> = folders(top).into_iter().chain([PathBuf::new()]).collect();
    let wanted = ["fs", "kernel", "mm", "src", "lib", "include", "Documentation"];
    inside.into_iter().find_map(|folder| {
        let there = |part: &&&str| top.join(&folder).join(part).is_dir();
        let parts: Vec<String> = wanted.iter().filter(there).map(ToString::to_string).collect();
        if parts.is_empty() { None } else { Some((folder, parts)) }
    })
}

fn folders(top: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(top).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.file_name().into()).collect()
}
