//! Getting a FUSE connection onto a folder: with mount(2), or through fusermount3 for those who may
//! not call it.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{geteuid, getgid, getuid};

use super::{Access, MountError, Options};

const DEVICE: &str = "/dev/fuse";

/// Mounts on `dir` and returns the connection to the kernel. `source` is what mount(8) will show.
pub(super) fn attach(source: &OsStr, dir: &Path, options: &Options) -> Result<OwnedFd, MountError> {
    let device = match open_device() {
        // Whoever may not open the device needs fusermount3 first of all.
        Err(MountError::Device(_)) if !geteuid().is_root() && find_helper().is_none() => {
            return Err(MountError::NoHelper);
        }
        device => device?,
    };
    check_privileges(options)?;
    match mount(&device, source, dir, options) {
        Ok(()) => Ok(device.into()),
        Err(Errno::PERM) if geteuid().is_root() => Err(MountError::NotPermitted),
        // fusermount3 opens a connection of its own.
        Err(Errno::PERM) => mount_with_helper(source, dir, options),
        Err(error) => Err(MountError::Refused { dir: dir.to_owned(), error: error.into() }),
    }
}

/// Whether the kernel has to let users other than the one who mounts in. It knows no middle way:
/// that of [`Access::Root`] is up to the session.
pub(super) fn shared(access: Access) -> bool {
    match access {
        Access::Owner => false,
        Access::Root => !geteuid().is_root(),
        Access::Everyone => true,
    }
}

fn open_device() -> Result<File, MountError> {
    File::options().read(true).write(true).open(DEVICE).map_err(|error| match Errno::from_io_error(
        &error,
    ) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => MountError::NoDevice,
        _ => MountError::Device(error),
    })
}

/// Refuses what fusermount3 would refuse, or leave out without a word.
fn check_privileges(options: &Options) -> Result<(), MountError> {
    if geteuid().is_root() {
        return Ok(());
    }
    if options.suid {
        return Err(MountError::RootOnly("suid"));
    }
    if options.dev {
        return Err(MountError::RootOnly("dev"));
    }
    // Where the file cannot be read, fusermount3 has the last word.
    let may_share = |text: String| text.lines().any(|line| line.trim() == "user_allow_other");
    let allowed = match std::fs::read_to_string("/etc/fuse.conf") {
        Ok(text) => may_share(text),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    match options.access {
        Access::Root if !allowed => Err(MountError::AllowOther("allow_root")),
        Access::Everyone if !allowed => Err(MountError::AllowOther("allow_other")),
        _ => Ok(()),
    }
}

fn subtype(options: &Options) -> &str {
    options.subtype.as_deref().unwrap_or("packfs")
}

fn mount(device: &File, source: &OsStr, dir: &Path, options: &Options) -> Result<(), Errno> {
    let mut flags = MountFlags::NOATIME;
    flags.set(MountFlags::RDONLY, !options.writable);
    flags.set(MountFlags::NOSUID, !options.suid);
    flags.set(MountFlags::NODEV, !options.dev);
    flags.set(MountFlags::NOEXEC, options.noexec);
    // The type bits of a folder's mode: what is mounted is one.
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        getuid().as_raw(),
        getgid().as_raw()
    );
    if shared(options.access) {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(source, dir, format!("fuse.{}", subtype(options)), flags, data.as_c_str())
}

fn mount_with_helper(source: &OsStr, dir: &Path, options: &Options) -> Result<OwnedFd, MountError> {
    let program = find_helper().ok_or(MountError::NoHelper)?;
    let failed = |message: String| MountError::Helper { dir: dir.to_owned(), message };
    let broken = |error: io::Error| failed(error.to_string());
    let (ours, theirs) = UnixStream::pair().map_err(broken)?;
    // The connection comes over a socket whose number the environment names: standard input is
    // inherited without further ado.
    let child = Command::new(program)
        .arg("-o")
        .arg(helper_options(source, options))
        .arg("--")
        .arg(dir)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(broken)?;
    let received = receive(&ours).map_err(|error| broken(error.into()))?;
    let output = child.wait_with_output().map_err(broken)?;
    received.ok_or_else(|| failed(first_line(&output.stderr)))
}

fn helper_options(source: &OsStr, options: &Options) -> OsString {
    let how = if options.writable { "rw" } else { "ro" };
    let mut list = format!("{how},noatime,default_permissions,subtype={}", subtype(options));
    if options.noexec {
        list.push_str(",noexec");
    }
    if shared(options.access) {
        list.push_str(",allow_other");
    }
    list.push_str(",fsname=");
    let mut list = list.into_bytes();
    for &byte in source.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            list.push(b'\\');
        }
        list.push(byte);
    }
    OsString::from_vec(list)
}

/// The descriptor that fusermount3 sends; `None` if it ends without sending one.
fn receive(socket: &UnixStream) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

/// Where fusermount3 is: on the path or, where there is none, where distributions put it.
pub(super) fn find_helper() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin:/usr/sbin:/sbin".into());
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let programs = ["fusermount3", "fusermount"];
    let mut places =
        programs.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.find(|place| rustix::fs::access(place, rustix::fs::Access::EXEC_OK).is_ok())
}

/// What fusermount3 says, without its name in front.
pub(super) fn first_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    let said = line.split_once("fusermount3: ").or_else(|| line.split_once("fusermount: "));
    said.map_or(line, |(_, said)| said).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_backslashes_in_names_are_escaped_for_the_helper() {
        let list = helper_options(OsStr::new("/a,b\\c"), &Options::default());
        assert!(list.to_str().unwrap().ends_with(",fsname=/a\\,b\\\\c"), "{list:?}");
    }

    #[test]
    fn the_helpers_message_loses_its_name() {
        let said = b"\n/usr/bin/fusermount3: user has no write access to mountpoint /mnt\nmore\n";
        assert_eq!(first_line(said), "user has no write access to mountpoint /mnt");
        assert_eq!(first_line(b""), "it gave no reason");
    }
}
