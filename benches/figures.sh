#!/usr/bin/env bash
# Prints the figures of README.md: packfs beside the kernel's squashfs, on the same tree in one run.
# usage: benches/figures.sh PACKFS TREE [WORK]     as root; needs mksquashfs and a loop device
#   PACKFS  the program, built with --release
#   TREE    the folder to archive
#   WORK    where archives and mount points are made, and removed again (default: a temporary folder)
# Cold: caches dropped and, for packfs, a fresh process. Times are in seconds.
set -euo pipefail
packfs=$(realpath "$1") tree=$(realpath "$2") work=$(mktemp -d -p "${3:-${TMPDIR:-/tmp}}")
cd "$work"
mkdir packfs-mount squashfs-mount
finish() {
  umount -l packfs-mount squashfs-mount 2>/dev/null || true
  cd / && rm -rf "$work"
}
trap finish EXIT

timed() {
  local start=$EPOCHREALTIME
  "${@:2}" >/dev/null
  printf '%-22s %8.2f\n' "$1" "$(bc <<<"$EPOCHREALTIME - $start")"
}
read_all() { tar -C "$1" -cf - . | cat; }
drop_caches() { sync; echo 3 >/proc/sys/vm/drop_caches; }
packfs_up() { drop_caches; "$packfs" mount tree.pfs packfs-mount; }
squashfs_up() { drop_caches; mount -o loop,ro tree.squashfs squashfs-mount; }

read_all "$tree" >/dev/null # both builds find the tree in memory
timed 'build packfs' "$packfs" create "$tree" tree.pfs --quiet
timed 'build squashfs' mksquashfs "$tree" tree.squashfs -comp zstd -noappend -no-progress
stat -c 'bytes of %n: %s' tree.pfs tree.squashfs
for _ in 1 2 3; do
  packfs_up; timed 'cold find packfs' find packfs-mount -printf '%s\n'; umount packfs-mount
  squashfs_up; timed 'cold find squashfs' find squashfs-mount -printf '%s\n'; umount squashfs-mount
  packfs_up; timed 'cold tar packfs' read_all packfs-mount
  timed 'warm tar packfs' read_all packfs-mount; umount packfs-mount
  squashfs_up; timed 'cold tar squashfs' read_all squashfs-mount
  timed 'warm tar squashfs' read_all squashfs-mount; umount squashfs-mount
done
