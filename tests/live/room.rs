//! A disk that gets full: who writes is told, nothing that was acknowledged is lost, and files can
//! be removed.

use super::with_store;
use crate::support::Packfs;

/// What is done on a disk of its own; `$1` is a store to begin with, `$2` an empty folder.
const SCRIPT: &str = r#"
    disk=$2/disk mnt=$2/mnt
    mkdir "$disk" "$mnt"
    mount -t tmpfs -o size=100m none "$disk"
    cp -a "$1" "$disk/store"
    serve() {
        "$PACKFS" mount --rw --foreground $options "$disk/store" "$mnt" &
        daemon=$!
        until mountpoint -q "$mnt"; do kill -0 $daemon; sleep 0.05; done
    }
    serve
    # Files of 3 MiB until there is no room.
    count=0
    while head -c 3145728 /dev/urandom >"$2/next" &&
        dd if="$2/next" of="$mnt/file-$count" bs=64k conv=fsync 2>"$2/said"
    do
        cp "$2/next" "$2/kept-$count"
        count=$((count + 1))
        test $count -lt 40
    done
    grep -q "No space left" "$2/said"
    test $count -gt 5
    compare() {
        for number in $(seq $first $((count - 1))); do
            cmp "$2/kept-$number" "$mnt/file-$number"
        done
        cmp "$mnt/packed" "$2/../source/packed"
    }
    first=0
    compare "$@"
    # There is always room to remove files, and that is kept as well.
    rm -f "$mnt/file-$count"
    rm "$mnt/file-0" "$mnt/file-1"
    sync "$mnt/packed"
    first=2
    compare "$@"
    $end
    mount -o remount,size=400m "$disk"
    serve
    compare "$@"
    test ! -e "$mnt/file-0"
    # Now there is room again.
    head -c 3145728 /dev/urandom >"$mnt/file-0"
    cp "$mnt/file-0" "$2/kept-0"
    "$PACKFS" umount "$mnt"
    wait $daemon
    "$PACKFS" mount "$disk/store" "$mnt"
    compare "$@"
    cmp "$2/kept-0" "$mnt/file-0"
    "$PACKFS" umount "$mnt"
"#;

fn fill(options: &str, end: &str) {
    let (scratch, store) = with_store(|at| at.file("packed", vec![b'x'; 100_000]));
    std::fs::create_dir(scratch.join("work")).unwrap();
    let script = SCRIPT.replace("$options", options).replace("$end", end);
    Packfs::namespace(&script).arg(&store).arg(scratch.join("work")).run().ok();
}

/// A disk that is hardly larger than the file; `$1` is an empty folder.
const SMALL: &str = r#"
    cd "$1"
    mkdir disk mnt source
    mount -t tmpfs -o size=30m none disk
    echo some >source/some
    "$PACKFS" create -q source disk/store
    "$PACKFS" mount --rw disk/store mnt
    room() { df -k --output=avail mnt | tail -1; }
    before=$(room)
    test $before -gt 8000
    test $before -lt 15000
    if dd if=/dev/urandom of=mnt/large bs=256k count=200 conv=fsync 2>said; then exit 1; fi
    grep -q "No space left" said
    test $(room) -lt 1000
    test $(stat -c %s mnt/large) -gt $((before * 900))
    rm mnt/large
    "$PACKFS" flush mnt
    "$PACKFS" gc disk/store
    test $(room) -gt $((before - 1500))
    dd if=/dev/urandom of=mnt/large bs=256k count=16 conv=fsync 2>said
    "$PACKFS" umount mnt
    "$PACKFS" fsck --deep disk/store
"#;

#[test]
fn a_small_disk_that_was_full_has_room_again() {
    let scratch = crate::support::Scratch::new();
    Packfs::namespace(SMALL).arg(scratch.path()).run().ok();
}

#[test]
fn a_full_disk_and_an_unmount() {
    // Whether there is room for the commit or not, that is in the journal at least.
    fill("", r#""$PACKFS" umount "$mnt" || true; wait $daemon || true"#);
}

#[test]
fn a_full_disk_and_a_crash() {
    let end = r#"kill -9 $daemon; wait $daemon || true; "$PACKFS" umount --lazy "$mnt""#;
    fill("--freeze-after 0", end);
}
