//! packfs as the helper that mount(8) calls: `mount.fuse.packfs`.
//!
//! With a link to packfs of that name in /sbin, `mount -t fuse.packfs ARCHIVE DIR` and a line
//! `ARCHIVE DIR fuse.packfs defaults 0 0` in /etc/fstab work.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use super::mount::MountArgs;
use super::{Failure, Outcome};
use crate::mount::{OptionError, Options};

/// What mount(8) asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HelperCall {
    /// To mount.
    Mount(MountArgs),
    /// To do all but that (`-f`).
    Pretend,
}

/// A call that mount(8) would not make.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HelperError {
    /// It has not the arguments of a helper.
    #[error("usage: mount.fuse.packfs ARCHIVE DIR [-sfnv] [-o OPTS] [-t TYPE]")]
    Usage,
    /// Network namespaces and the like are not for a helper that serves files.
    #[error("mount -N: packfs cannot mount in another namespace; use nsenter")]
    Namespace,
    /// An option is not known.
    #[error(transparent)]
    Option(#[from] OptionError),
}

/// What mount(8) asks for; `None` if the program was not called by a helper's name.
pub(super) fn from_helper_argv(argv: &[OsString]) -> Option<Result<HelperCall, HelperError>> {
    let (program, rest) = argv.split_first()?;
    let name = Path::new(program).file_name()?;
    (name == "mount.fuse.packfs" || name == "mount.packfs").then(|| parse(rest))
}

/// Does what mount(8) asks for.
pub(super) fn run(call: Result<HelperCall, HelperError>) -> Outcome {
    match call {
        Ok(HelperCall::Mount(args)) => super::mount::run(&args),
        Ok(HelperCall::Pretend) => Ok(ExitCode::SUCCESS),
        // Bad usage, as mount(8) numbers it.
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

fn parse(argv: &[OsString]) -> Result<HelperCall, HelperError> {
    let mut places = Vec::new();
    let mut lists = Vec::new();
    let (mut pretend, mut sloppy) = (false, false);
    let mut words = argv.iter();
    while let Some(word) = words.next() {
        let flags = match word.as_encoded_bytes() {
            [b'-', flags @ ..] if !flags.is_empty() => flags,
            _ => {
                places.push(word);
                continue;
            }
        };
        match flags {
            b"o" => lists.push(words.next().and_then(|list| list.to_str())),
            b"t" => drop(words.next()),
            b"N" => return Err(HelperError::Namespace),
            _ => {
                // -n (no mtab) and -v (verbose) change nothing.
                if !flags.iter().all(|flag| b"sfnv".contains(flag)) {
                    return Err(HelperError::Usage);
                }
                pretend |= flags.contains(&b'f');
                sloppy |= flags.contains(&b's');
            }
        }
    }
    let lists: Option<Vec<&str>> = lists.into_iter().collect();
    let [archive, dir] = places[..] else { return Err(HelperError::Usage) };
    let options = options(&lists.ok_or(HelperError::Usage)?, sloppy)?;
    Ok(if pretend { HelperCall::Pretend } else { HelperCall::Mount(mount(archive, dir, options)) })
}

/// The options that packfs is to have. mount(8) passes `rw` on whenever nobody asked for `ro`; a
/// sloppy call (`-s`) wants unknown ones left out.
fn options(lists: &[&str], sloppy: bool) -> Result<Vec<String>, OptionError> {
    let mut kept = Vec::new();
    for option in lists.iter().flat_map(|list| list.split(',')).filter(|option| *option != "rw") {
        match Options::default().apply(option) {
            Err(OptionError::Unknown(_)) if sloppy => {}
            result => {
                result?;
                kept.push(option.to_owned());
            }
        }
    }
    Ok(kept)
}

fn mount(archive: &OsStr, dir: &OsStr, options: Vec<String>) -> MountArgs {
    MountArgs {
        archive: archive.into(),
        dir: dir.into(),
        options,
        snapshot: None,
        foreground: false,
        rw: false,
        spool: None,
        freeze_after: None,
        working_set: None,
        log: None,
        trace: None,
        threads: None,
        background: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Option<Result<HelperCall, HelperError>> {
        from_helper_argv(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn options_of(line: &str) -> Vec<String> {
        match call(line) {
            Some(Ok(HelperCall::Mount(args))) => args.options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn other_names_are_not_the_helper() {
        assert_eq!(call("/usr/bin/packfs mount a b"), None);
        assert_eq!(from_helper_argv(&[]), None);
    }

    #[test]
    fn what_mount_passes_is_understood() {
        let line = "/sbin/mount.fuse.packfs /a /b -n -o rw,allow_other,noauto -t fuse.packfs";
        let Some(Ok(HelperCall::Mount(args))) = call(line) else { panic!() };
        assert_eq!((args.archive.to_str(), args.dir.to_str()), (Some("/a"), Some("/b")));
        assert_eq!(args.options, ["allow_other", "noauto"]);
        assert_eq!(options_of("mount.packfs a b -sv -o ro,unheard=of -o uid=1"), ["ro", "uid=1"]);
        assert_eq!(call("mount.packfs a b -fnv"), Some(Ok(HelperCall::Pretend)));
    }

    #[test]
    fn what_mount_would_not_pass_is_refused() {
        for line in [
            "mount.packfs a",
            "mount.packfs a b c",
            "mount.packfs a b -x",
            "mount.packfs a b -o",
            "mount.packfs",
        ] {
            assert_eq!(call(line), Some(Err(HelperError::Usage)), "{line}");
        }
        assert_eq!(call("mount.packfs a b -N 3"), Some(Err(HelperError::Namespace)));
        let unknown = OptionError::Unknown("bogus".to_owned());
        assert_eq!(call("mount.packfs a b -o bogus"), Some(Err(HelperError::Option(unknown))));
    }
}
