//! `packfs mount`.

use std::ffi::OsString;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::{Failure, Outcome, allocator, archive, background, logger, size};
use crate::fs::Owner;
use crate::live::{LiveFs, LiveOptions, Packer};
use crate::mount::{
    Access, Files, OptionError, Options, SNAPDIR, SignalWatch, check_mount_point, mount,
};
use crate::tree::ROOT;

/// Show an archive's files in a folder
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(super) struct MountArgs {
    /// Archive: a store's folder, or an image
    pub(super) archive: PathBuf,
    /// Empty folder to mount it on
    pub(super) dir: PathBuf,
    /// Mount options, as mount(8) takes them: allow_other, uid=N, noexec, ...
    #[arg(short, value_name = "OPTS", value_parser = checked)]
    pub(super) options: Vec<String>,
    /// Show that snapshot, not the newest root
    #[arg(long, value_name = "NAME", value_parser = archive::snapshot_name)]
    pub(super) snapshot: Option<String>,
    /// Serve in the foreground, until unmounted or interrupted
    #[arg(short, long)]
    pub(super) foreground: bool,
    /// Let files be changed: what is written is packed in the background, and is part of the store
    /// once it was
    #[arg(long)]
    pub(super) rw: bool,
    /// Most that may be written and not packed yet; whoever writes more waits [default: 4G]
    #[arg(long, value_name = "SIZE", value_parser = size::parse, requires = "rw")]
    pub(super) spool: Option<u64>,
    /// How long nothing must have been written before what was is packed [default: 10]
    #[arg(long, value_name = "SECONDS", requires = "rw")]
    pub(super) freeze_after: Option<u32>,
    /// Memory for inflated frames, an eighth of it for what else reading takes [default: 1/16 of
    /// the machine's, 64M to 2G]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(super) working_set: Option<u64>,
    /// Log to this file, not to the system's log
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// Write down in which order files are read
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// How many reads to serve at a time [default: one per core, at least 4]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,
    /// What `packfs mount` starts to serve in the background
    #[arg(long, hide = true)]
    pub(super) background: bool,
}

/// Least bytes that are written and not packed yet: a spool that always is full helps nobody.
const SPOOL: u64 = 1 << 20;

fn checked(list: &str) -> Result<String, OptionError> {
    Options::default().apply(list).map(|()| list.to_owned())
}

impl MountArgs {
    /// All options together; what has an argument of its own goes before what `-o` says.
    fn all_options(&self) -> Result<Options, OptionError> {
        let mut options = Options::default();
        self.options.iter().try_for_each(|list| options.apply(list))?;
        options.writable |= self.rw;
        options.spool = self.spool.or(options.spool);
        options.freeze_after = self.freeze_after.or(options.freeze_after);
        options.threads = self.threads.or(options.threads);
        options.working_set = self.working_set.or(options.working_set);
        options.snapshot = self.snapshot.clone().or(options.snapshot);
        options.trace.clone_from(&self.trace);
        Ok(options)
    }

    /// The arguments of a process that does the same in the background, wherever it is started.
    pub(super) fn for_background(&self) -> io::Result<Vec<OsString>> {
        let mut line: Vec<OsString> = vec!["mount".into(), "--background".into()];
        // In one word, since a name may begin with a dash.
        line.extend(self.snapshot.iter().map(|name| format!("--snapshot={name}").into()));
        let mut option = |name: &str, value: OsString| line.extend([name.into(), value]);
        for list in &self.options {
            option("-o", list.into());
        }
        if let Some(bytes) = self.spool {
            option("--spool", bytes.to_string().into());
        }
        if let Some(seconds) = self.freeze_after {
            option("--freeze-after", seconds.to_string().into());
        }
        if let Some(bytes) = self.working_set {
            option("--working-set", bytes.to_string().into());
        }
        if let Some(path) = &self.log {
            option("--log", absolute(path)?.into());
        }
        if let Some(path) = &self.trace {
            option("--trace", absolute(path)?.into());
        }
        if let Some(threads) = self.threads {
            option("--threads", threads.to_string().into());
        }
        if self.rw {
            line.push("--rw".into());
        }
        line.extend(["--".into(), whole(&self.archive)?.into(), absolute(&self.dir)?.into()]);
        Ok(line)
    }
}

/// The archive, whatever folder it is named from: a path or a URL.
fn whole(archive: &Path) -> io::Result<PathBuf> {
    match archive.to_string_lossy().contains("://") {
        true => Ok(archive.to_owned()),
        // A symlink may point elsewhere tomorrow: it is what is mounted that counts.
        false => archive.canonicalize().or_else(|_| absolute(archive)),
    }
}

/// Mounts, and serves until unmounted; in the background, unless told otherwise.
pub(super) fn run(args: &MountArgs) -> Outcome {
    match args.foreground || args.background {
        true => serve(args).map(|()| ExitCode::SUCCESS),
        false => background::start(args),
    }
}

fn serve(args: &MountArgs) -> Result<(), Failure> {
    if args.background {
        background::follow_parent()?;
    }
    logger::start(args.log.as_deref())?;
    allocator::set_up();
    let options = args.all_options()?;
    check(args, &options)?;
    // Before anything is taken up, and packed, that an earlier mount has left.
    check_mount_point(&args.dir, options.nonempty)?;
    let archive = whole(&args.archive)?;
    let (files, packer) = open(&archive, &options)?;
    let refused = |error| Failure::Failed(format!("cannot watch for signals: {error}"));
    let mut signals = SignalWatch::new().map_err(refused)?;
    let frozen = match &files {
        Files::Frozen(fs) => Some(Arc::clone(fs)),
        Files::Live(_) => None,
    };
    let mounted = match mount(files, &archive, &args.dir, &options) {
        Ok(mounted) => mounted,
        Err(error) => {
            // Whoever took it off while it was being made waits for what an earlier one had left.
            packer.map(Packer::finish).transpose().map_err(|error| {
                Failure::Failed(format!("{error}; what was written is in the journal"))
            })?;
            return Err(error.into());
        }
    };
    signals.start(mounted.detacher()).map_err(refused)?;
    // Its folders can be listed by now. Whoever waits for the mount gets a sound one, or is told.
    frozen.map_or(Ok(()), |fs| fs.store().check_index())?;
    if args.background && !background::released()? {
        // The parent is gone or has given up: nobody wants this mount.
        drop(mounted);
        return Err(Failure::Interrupted);
    }
    let served = mounted.wait();
    // Whatever became of the mount, what was written through it is committed.
    let committed = packer.map(Packer::finish).transpose();
    served?;
    let safe = |error| Failure::Failed(format!("{error}; what was written is in the journal"));
    committed.map(|_| ()).map_err(safe)
}

/// Options that do not go together.
fn check(args: &MountArgs, options: &Options) -> Result<(), Failure> {
    let read_only = || args.options.iter().any(|list| list.split(',').any(|word| word == "ro"));
    let (written, whose) = (options.writable, options.uid.or(options.gid));
    let is_root = rustix::process::geteuid().is_root();
    let contradictions = [
        (
            options.follow && (written || options.snapshot.is_some()),
            "mount option `follow` shows the newest root, read-only; leave out --rw and --snapshot",
        ),
        (args.rw && read_only(), "mount option `ro` goes against --rw; leave one of them out"),
        (
            options.snapdir && !written,
            "mount option `snapdir` goes with --rw alone; --snapshot shows one read-only",
        ),
        (
            options.spool.is_some_and(|bytes| bytes < SPOOL),
            "--spool is too small to be kept to; give it 1M at least",
        ),
        (
            written && options.trace.is_some(),
            "--trace goes with read-only mounts alone; mount it without --rw",
        ),
        (
            written && options.snapshot.is_some(),
            "a snapshot is never changed; mount it without --rw",
        ),
        (
            written && options.access == Access::Root && !is_root,
            "mount option `allow_root` goes with read-only mounts alone; use allow_other",
        ),
        (
            written && whose.is_some(),
            "mount options `uid` and `gid` go with read-only mounts alone; leave them out",
        ),
    ];
    let wrong = contradictions.iter().find_map(|(wrong, text)| wrong.then_some(*text));
    wrong.map_or(Ok(()), |text| Err(Failure::Usage(text.to_owned())))
}

/// Opens the archive as the options have it, and starts what packs what is written to it.
fn open(archive: &Path, options: &Options) -> Result<(Files, Option<Packer>), Failure> {
    if options.follow && archive.is_file() {
        let image = archive.display();
        let text = format!("{image}: an image never changes; mount it without `follow`");
        return Err(Failure::Failed(text));
    }
    if !options.writable {
        let owner = Owner { uid: options.uid, gid: options.gid };
        let at = archive::shown(options.snapshot.as_deref());
        let fs = archive::begin(archive, at, options.working_set, owner)?;
        return Ok((Files::Frozen(Arc::new(fs)), None));
    }
    archive::storage(archive)?;
    let default = LiveOptions::default();
    let seconds = options.freeze_after.map(|seconds| Duration::from_secs(seconds.into()));
    let fs = LiveFs::open(
        archive,
        LiveOptions {
            working_set: options.working_set.unwrap_or(default.working_set),
            spool: options.spool.unwrap_or(default.spool),
            freeze_after: seconds.unwrap_or(default.freeze_after),
            ..default
        },
    )?;
    if options.snapdir && fs.lookup(ROOT, SNAPDIR).is_ok_and(|found| found.is_some()) {
        let text = "mount option `snapdir`: the store has a .packfs of its own; rename that first";
        return Err(Failure::Failed(format!("{}: {text}", archive.display())));
    }
    let fs = Arc::new(fs);
    let packer = Packer::start(Arc::clone(&fs));
    let packer = packer.map_err(|error| Failure::Failed(format!("no threads left: {error}")))?;
    Ok((Files::Live(fs), Some(packer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    fn parse(line: &[OsString]) -> Result<MountArgs, clap::Error> {
        let matches = MountArgs::augment_args(Command::new("mount")).try_get_matches_from(line)?;
        MountArgs::from_arg_matches(&matches)
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_background_process_is_told_all_there_is() {
        let given = "mount -o allow_other,uid=3 --snapshot=-s --working-set 3M --log /l --trace /t \
             --threads 2 --rw --spool 3G --freeze-after 7 -o suid -- /a -b";
        let args = parse(&words(given)).unwrap();
        let told = parse(&args.for_background().unwrap()).unwrap();
        let dir = absolute("-b").unwrap();
        assert_eq!(told, MountArgs { background: true, dir, ..args });
    }

    #[test]
    fn only_paths_are_made_absolute() {
        assert_eq!(whole(Path::new("s3://a/b")).unwrap(), Path::new("s3://a/b"));
        assert!(whole(Path::new("a/b")).unwrap().is_absolute());
    }

    #[test]
    fn arguments_go_before_options() {
        let args =
            parse(&words("mount a b -o threads=1,working_set=1,snapshot=s --threads 2")).unwrap();
        let options = args.all_options().unwrap();
        assert_eq!((options.threads, options.working_set), (NonZeroUsize::new(2), Some(1)));
        assert_eq!(options.snapshot.as_deref(), Some("s"));
        let args = parse(&words("mount a b -o snapshot=s --snapshot t")).unwrap();
        assert_eq!(args.all_options().unwrap().snapshot.as_deref(), Some("t"));
    }

    #[test]
    fn a_wrong_option_is_bad_usage() {
        let error = parse(&words("mount a b -o ro,nonsense")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("nonsense"), "{error}");
    }
}
