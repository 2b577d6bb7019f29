//! The command line: one file per command; only here is anything printed.

mod add;
mod allocator;
mod archive;
mod background;
mod cat;
mod copy;
mod create;
mod diff;
mod extract;
mod failure;
mod flush;
mod frames;
mod fsck;
mod gc;
mod generate;
mod info;
mod live;
mod logger;
mod ls;
mod mount;
mod mount_helper;
mod output;
mod packing;
mod progress;
mod rebuild;
mod report;
mod sample;
mod size;
mod snapshot;
mod stdin;
mod time;
mod trial;
mod umount;
mod users;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// Keep very many files in very little space, and use them in place.
#[derive(Debug, Parser)]
#[command(name = "packfs", version, propagate_version = true, subcommand_required = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed or incomplete, 2 bad usage, 130 interrupted.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::CreateArgs),
    Add(add::AddArgs),
    Extract(extract::ExtractArgs),
    Ls(ls::LsArgs),
    Cat(cat::CatArgs),
    Info(info::InfoArgs),
    Mount(mount::MountArgs),
    Umount(umount::UmountArgs),
    Flush(flush::FlushArgs),
    Snapshot(snapshot::SnapshotArgs),
    Diff(diff::DiffArgs),
    Rebuild(rebuild::RebuildArgs),
    Gc(gc::GcArgs),
    Fsck(fsck::FsckArgs),
    Copy(copy::CopyArgs),
    Try(trial::TryArgs),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
}

/// What a command comes to.
type Outcome = Result<ExitCode, Failure>;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(call) = mount_helper::from_helper_argv(&arguments) {
        return mount_helper::run(call).unwrap_or_else(Failure::report);
    }
    // The exit codes of fsck are those of fsck(8).
    let is_fsck = arguments.get(1).is_some_and(|command| command == "fsck");
    let usage = if is_fsck { fsck::USAGE } else { failure::USAGE };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return misuse(&error, usage),
    };
    run(&cli.command).unwrap_or_else(|failure| failure.report())
}

/// What was asked for is help, or cannot be made sense of.
fn misuse(error: &clap::Error, usage: u8) -> ExitCode {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as NoCommand;
    if !error.use_stderr() || error.kind() == NoCommand {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { usage } else { 0 });
    }
    // The first paragraph says what is wrong; how it is to be used, --help tells.
    let text = error.render().to_string();
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let what = lines.collect::<Vec<_>>().join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    failure::complain(&format!("{what}; see packfs --help"));
    ExitCode::from(usage)
}

fn run(command: &Command) -> Outcome {
    match command {
        Command::Create(args) => create::run(args),
        Command::Add(args) => add::run(args),
        Command::Extract(args) => extract::run(args),
        Command::Ls(args) => ls::run(args),
        Command::Cat(args) => cat::run(args),
        Command::Info(args) => info::run(args),
        Command::Mount(args) => mount::run(args),
        Command::Umount(args) => umount::run(args),
        Command::Flush(args) => flush::run(args),
        Command::Snapshot(args) => snapshot::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Rebuild(args) => rebuild::run(args),
        Command::Gc(args) => gc::run(args),
        Command::Fsck(args) => fsck::run(args),
        Command::Copy(args) => copy::run(args),
        Command::Try(args) => trial::run(args),
        Command::Completions(args) => generate::completions(args),
        Command::Man(args) => generate::man(args),
    }
}
