//! Mount options: the `-o` list of mount(8) and /etc/fstab.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::format::valid_snapshot_name;

/// Who may use a mount, besides what the permissions of its files say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Only the user who mounted it.
    #[default]
    Owner,
    /// The user who mounted it, and root.
    Root,
    /// Everyone.
    Everyone,
}

/// What a list of mount options comes to. Where two contradict each other, the later one holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Who may use the mount.
    pub access: Access,
    /// Honour setuid and setgid bits.
    pub suid: bool,
    /// Honour device files.
    pub dev: bool,
    /// Run no programs.
    pub noexec: bool,
    /// Let files be changed.
    pub writable: bool,
    /// Most bytes that may be written and not packed yet.
    pub spool: Option<u64>,
    /// How many seconds nothing must have been written before what was is packed.
    pub freeze_after: Option<u32>,
    /// Everything belongs to this user.
    pub uid: Option<u32>,
    /// Everything belongs to this group.
    pub gid: Option<u32>,
    /// Bytes of inflated data to keep in memory.
    pub working_set: Option<u64>,
    /// Show the snapshot of that name, not the newest root.
    pub snapshot: Option<String>,
    /// Show the newest root, also when there is another one.
    pub follow: bool,
    /// Show snapshots in a folder of a mount that can be written to.
    pub snapdir: bool,
    /// Let idle processors sleep, also while requests follow closely.
    pub nopoll: bool,
    /// Write down in this file in which order files are read.
    pub trace: Option<PathBuf>,
    /// How many reads are served at a time.
    pub threads: Option<NonZeroUsize>,
    /// Mount over a folder even if it is not empty, or is a mount point.
    pub nonempty: bool,
    /// The name to show as what is mounted, in place of the archive's path.
    pub fsname: Option<String>,
    /// The type to show after `fuse.`, in place of `packfs`.
    pub subtype: Option<String>,
}

/// A mount option that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No option has this name.
    #[error("unknown mount option `{0}`")]
    Unknown(String),
    /// The option lacks its value, or has one that makes no sense.
    #[error("mount option `{option}`: {expected}")]
    Value {
        /// The option as it was given.
        option: String,
        /// What its value should be.
        expected: &'static str,
    },
}

impl Options {
    /// Takes in a comma-separated list of options.
    ///
    /// # Errors
    /// At the first option that is unknown, refused or malformed.
    pub fn apply(&mut self, list: &str) -> Result<(), OptionError> {
        list.split(',').filter(|option| !option.is_empty()).try_for_each(|one| self.apply_one(one))
    }

    fn apply_one(&mut self, option: &str) -> Result<(), OptionError> {
        if let Some((name, value)) = option.split_once('=') {
            return self.apply_value(option, name, value);
        }
        match option {
            "allow_other" => self.access = Access::Everyone,
            "allow_root" => self.access = Access::Root,
            "suid" => self.suid = true,
            "nosuid" => self.suid = false,
            "dev" => self.dev = true,
            "nodev" => self.dev = false,
            "exec" => self.noexec = false,
            "noexec" => self.noexec = true,
            "nonempty" => self.nonempty = true,
            "follow" => self.follow = true,
            "snapdir" => self.snapdir = true,
            "nopoll" => self.nopoll = true,
            // mount(8) says `rw` whenever nobody says `ro`, so there it takes another word.
            "rw" | "live" => self.writable = true,
            "ro" => self.writable = false,
            "uid" | "gid" | "working_set" | "spool" | "freeze_after" | "threads" | "fsname"
            | "subtype" | "snapshot" => {
                return self.apply_value(option, option, "");
            }
            _ if ignored(option) => {}
            _ => return Err(OptionError::Unknown(option.to_owned())),
        }
        Ok(())
    }

    fn apply_value(&mut self, option: &str, name: &str, value: &str) -> Result<(), OptionError> {
        let wrong = |expected| OptionError::Value { option: option.to_owned(), expected };
        match name {
            "uid" => self.uid = Some(value.parse().map_err(|_| wrong("the user is a number"))?),
            "gid" => self.gid = Some(value.parse().map_err(|_| wrong("the group is a number"))?),
            "threads" => {
                self.threads =
                    Some(value.parse().map_err(|_| wrong("threads are a number over 0"))?)
            }
            "spool" => self.spool = Some(parse_size(value).map_err(wrong)?),
            "freeze_after" => {
                let seconds = value.parse().map_err(|_| wrong("a time is a number of seconds"))?;
                self.freeze_after = Some(seconds);
            }
            "working_set" => self.working_set = Some(parse_size(value).map_err(wrong)?),
            "snapshot" if valid_snapshot_name(value) => self.snapshot = Some(value.to_owned()),
            "snapshot" => return Err(wrong("no snapshot can have that name")),
            "fsname" | "subtype" if value.is_empty() => return Err(wrong("the name is missing")),
            "fsname" => self.fsname = Some(value.to_owned()),
            "subtype" => self.subtype = Some(value.to_owned()),
            _ if ignored(name) => {}
            _ => return Err(OptionError::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

/// Options that mean nothing to this mount, or that are mount(8)'s own.
fn ignored(name: &str) -> bool {
    const IGNORED: [&str; 30] = [
        "_netdev",
        "async",
        "atime",
        "auto",
        "comment",
        "default_permissions",
        "defaults",
        "diratime",
        "dirsync",
        "group",
        "iversion",
        "lazytime",
        "loud",
        "noatime",
        "noauto",
        "nodiratime",
        "nofail",
        "nogroup",
        "nolazytime",
        "norelatime",
        "nostrictatime",
        "nouser",
        "owner",
        "relatime",
        "silent",
        "strictatime",
        "sync",
        "uhelper",
        "user",
        "users",
    ];
    IGNORED.contains(&name) || name.starts_with("x-") || name.starts_with("X-")
}

/// Reads a number of bytes, or with K, M, G or T after it (1024 each), as 16M.
///
/// # Errors
/// What was expected, if it is anything else or over 64 bits.
pub fn parse_size(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a size is a number with K, M, G or T after it, as 16M";
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let power = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 1,
        "M" | "MB" | "MIB" => 2,
        "G" | "GB" | "GIB" => 3,
        "T" | "TB" | "TIB" => 4,
        _ => return Err(EXPECTED),
    };
    let number: u64 = digits.parse().map_err(|_| EXPECTED)?;
    number.checked_mul(1024u64.pow(power)).ok_or("the size is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<Options, OptionError> {
        let mut options = Options::default();
        options.apply(list).map(|()| options)
    }

    #[test]
    fn an_empty_list_is_the_default() {
        assert_eq!(parse(""), Ok(Options::default()));
        assert_eq!(
            parse("defaults,ro,,x-systemd.automount,x-gvfs-name=a,user=me,comment=b,noauto"),
            Ok(Options::default())
        );
    }

    #[test]
    fn each_option_is_taken() {
        let list = "allow_other,suid,dev,noexec,rw,spool=3G,freeze_after=9,uid=7,gid=8,\
            working_set=2G,threads=3,nonempty,fsname=a=b,subtype=other,snapshot=v=1,\
            follow,snapdir,nopoll";
        let expected = Options {
            access: Access::Everyone,
            suid: true,
            dev: true,
            noexec: true,
            writable: true,
            spool: Some(3 << 30),
            freeze_after: Some(9),
            uid: Some(7),
            gid: Some(8),
            working_set: Some(2 << 30),
            snapshot: Some("v=1".to_owned()),
            follow: true,
            snapdir: true,
            nopoll: true,
            trace: None,
            threads: NonZeroUsize::new(3),
            nonempty: true,
            fsname: Some("a=b".to_owned()),
            subtype: Some("other".to_owned()),
        };
        assert_eq!(parse(list), Ok(expected));
    }

    #[test]
    fn the_later_option_holds() {
        let options = parse("suid,nosuid,rw,ro,allow_root,allow_other,noexec,exec").unwrap();
        assert_eq!(options, Options { access: Access::Everyone, ..Options::default() });
    }

    #[test]
    fn a_refusal_names_the_option() {
        assert_eq!(parse("ro,bogus"), Err(OptionError::Unknown("bogus".to_owned())));
        assert_eq!(parse("bogus=1"), Err(OptionError::Unknown("bogus".to_owned())));
        for option in [
            "uid=-1",
            "uid=me",
            "uid",
            "gid=",
            "threads=0",
            "working_set=5X",
            "fsname=",
            "snapshot",
            "snapshot=.a",
            "snapshot=a/b",
        ] {
            assert!(parse(option).unwrap_err().to_string().contains(option), "{option}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024_and_do_not_overflow() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("3k"), Ok(3072));
        assert_eq!(parse_size("3KiB"), Ok(3072));
        assert_eq!(parse_size("16777215T"), Ok(16_777_215 << 40));
        for wrong in ["", "M", "1.5G", "-1", "16777216T", "99999999999999999999", "1é"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
