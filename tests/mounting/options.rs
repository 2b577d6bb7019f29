//! What `-o` asks for.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::with_image;
use crate::support::command::{NOBODY, binary, packfs};
use crate::support::{Mount, Packfs, is_root};

/// The options that the kernel has for the mount on a folder.
fn kernel_options(folder: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.split(' ').nth(4) == folder.to_str()).unwrap();
    line.split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect()
}

#[test]
fn a_mount_is_read_only_and_honours_no_set_ids_and_devices() {
    let (_scratch, image, _) = with_image();
    let mount = Mount::new(&image);
    let options = kernel_options(mount.path());
    for option in ["ro", "nosuid", "nodev"] {
        assert!(options.iter().any(|one| one == option), "no {option} in {options:?}");
    }
}

#[test]
fn root_may_ask_for_set_ids_and_devices() {
    if !is_root() {
        // Only root can have them.
        return;
    }
    let (_scratch, image, _) = with_image();
    let mount = Mount::with(&image, &["-o", "suid,dev,noexec"]);
    let options = kernel_options(mount.path());
    assert!(!options.iter().any(|one| one == "nosuid" || one == "nodev"), "{options:?}");
    assert!(options.iter().any(|one| one == "noexec"), "{options:?}");
}

#[test]
fn all_belongs_to_the_owner_asked_for() {
    let (_scratch, image, _) = with_image();
    let mount = Mount::with(&image, &["-o", "uid=1234,gid=5678"]);
    for name in ["", "open", "closed"] {
        let stat = fs::symlink_metadata(mount.path().join(name)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (1234, 5678), "{name}");
    }
}

/// Whether a user who owns nothing can read a file.
fn nobody_reads(path: &Path) -> bool {
    let user = NOBODY.to_string();
    let cat = Packfs::program("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "cat"])
        .arg(path);
    cat.run().status.success()
}

#[test]
fn others_may_look_only_if_allowed_and_then_by_the_modes_of_files() {
    if !is_root() {
        // It takes two users.
        return;
    }
    let (_scratch, image, _) = with_image();
    let alone = Mount::public(&image, &[]);
    assert!(!nobody_reads(&alone.path().join("open")));
    let shared = Mount::public(&image, &["-o", "allow_other"]);
    assert!(nobody_reads(&shared.path().join("open")));
    assert!(!nobody_reads(&shared.path().join("closed")));
}

#[test]
fn the_helper_of_mount_mounts_as_fstab_asks() {
    let (scratch, image, _) = with_image();
    let helper = scratch.join("mount.fuse.packfs");
    symlink(binary(), &helper).unwrap();
    let mount = Mount::by(&image, |image, folder| {
        Packfs::program(&helper).args([image, folder]).args(["-o", "ro,noauto,nofail,uid=1234"])
    });
    assert_eq!(fs::metadata(mount.path().join("open")).unwrap().uid(), 1234);
    assert_eq!(fs::read(mount.path().join("open")).unwrap(), b"for all");
}

#[test]
fn what_is_written_to_is_not_read_only() {
    let (scratch, ..) = with_image();
    let store = scratch.join("store");
    packfs!("create", scratch.join("source"), store).run().ok();
    let folder = scratch.join("mount");
    fs::create_dir_all(&folder).unwrap();
    packfs!("mount", "--rw", "-o", "nodev,ro", store, folder).run().fails(2, &["ro", "--rw"]);
}

#[test]
fn a_relative_archive_outlives_the_folder_it_was_named_from() {
    let (scratch, image, _) = with_image();
    let mount = Mount::by(Path::new("image.pfs"), |image, folder| {
        packfs!("mount", image, folder).within(scratch.path())
    });
    fs::remove_file(&image).unwrap();
    assert_eq!(fs::read(mount.path().join("open")).unwrap(), b"for all");
}

/// What keeps them awake, in /dev.
const AWAKE: &str = "cpu_dma_latency";

/// Whether a process has what keeps idle processors awake.
fn keeps_awake(process: u32) -> bool {
    let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|file| file.ends_with(AWAKE))
}

#[test]
fn processors_are_kept_awake_while_somebody_asks_and_no_longer() {
    let allowed = fs::File::options().write(true).open(Path::new("/dev").join(AWAKE)).is_ok();
    let several = std::thread::available_parallelism().unwrap().get() > 1;
    let (scratch, ..) = with_image();
    let store = scratch.join("store");
    packfs!("create", scratch.join("source"), store).run().ok();
    for (options, kept) in [(&[][..], allowed && several), (&["-onopoll"], false)] {
        let mount = Mount::writable(&store, options);
        let process = mount.daemon().id();
        assert!(!keeps_awake(process));
        let busy = Instant::now();
        let mut seen = false;
        // As long as it takes on a machine with much else to do.
        while busy.elapsed() < Duration::from_secs(if kept { 30 } else { 1 }) && !seen {
            for at in 0..500 {
                drop(fs::write(mount.path().join(format!("file-{at}")), "some"));
            }
            seen = keeps_awake(process);
        }
        assert_eq!(seen, kept, "{options:?}");
        let idle = Instant::now();
        while keeps_awake(process) {
            assert!(idle.elapsed() < Duration::from_secs(30));
            sleep(Duration::from_millis(50));
        }
    }
}
