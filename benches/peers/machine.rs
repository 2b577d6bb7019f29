//! The machine that a run is made on.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use crate::results::Machine;

/// Describes this machine; `work` is where archives will lie.
pub fn describe(work: &Path) -> Machine {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let meminfo = read("/proc/meminfo");
    let memory = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = memory.and_then(|it| it.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let system = rustix::system::uname();
    Machine {
        processor: processor.map_or("unknown", |it| it.trim_start_matches([' ', '\t', ':'])).into(),
        cores: available_parallelism().map_or(1, usize::from),
        memory: kib.unwrap_or(0) * 1024,
        kernel: format!(
            "{} {}",
            system.sysname().to_string_lossy(),
            system.release().to_string_lossy()
        ),
        disk: disk(work, &read("/proc/self/mounts")).unwrap_or_else(|| "unknown".to_owned()),
    }
}

/// The type of the file system that a folder lies on.
fn disk(folder: &Path, mounts: &str) -> Option<String> {
    let fields = mounts.lines().map(|line| line.split(' '));
    let on = fields.filter_map(|mut fields| Some((fields.nth(1)?, fields.next()?)));
    let covering = on.filter(|(dir, _)| folder.starts_with(dir));
    covering.max_by_key(|(dir, _)| dir.len()).map(|(_, kind)| kind.to_owned())
}
