//! `packfs completions` and `packfs man`: what a packager installs beside the program.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::print;
use super::{Cli, Outcome};

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print the manual page
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Of that command, as `snapshot list`, rather than of packfs as a whole
    command: Vec<String>,
}

pub(super) fn completions(args: &CompletionsArgs) -> Outcome {
    print(|output| {
        let mut script = Vec::new();
        clap_complete::generate(args.shell, &mut Cli::command(), "packfs", &mut script);
        Ok(output.write_all(&script)?)
    })
}

pub(super) fn man(args: &ManArgs) -> Outcome {
    let mut command = Cli::command();
    command.build();
    for name in &args.command {
        let known = command.find_subcommand(name).cloned();
        command = known.ok_or_else(|| {
            super::Failure::Usage(format!("{name}: no such command; see packfs --help"))
        })?;
    }
    print(|output| Ok(clap_mangen::Man::new(command).render(output)?))
}
