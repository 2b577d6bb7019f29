//! `ls` and `info` against the tree itself.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::small;
use crate::support::command::packfs;
use crate::support::hostile;

#[test]
fn ls_lists_the_paths_in_a_folder_in_order() {
    let out = packfs!("ls", hostile::image(), "kinds").run().ok().text();
    let paths: Vec<&str> = out.lines().collect();
    let names = ["fifo", "file", "folder", "socket", "symlink"];
    assert_eq!(paths, names.map(|name| format!("kinds/{name}")));
    let out = packfs!("ls", hostile::image()).run().ok().text();
    let mut expected: Vec<_> = fs::read_dir(hostile::folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_name_takes_one_line_whatever_bytes_it_has() {
    let out = packfs!("ls", hostile::image(), "names").run().ok().text();
    let names = fs::read_dir(hostile::folder().join("names")).unwrap().count();
    assert_eq!(out.lines().count(), names);
    assert!(!out.contains('\x1b'), "an escape sequence of a name reaches the terminal");
}

#[test]
fn a_long_listing_tells_what_stat_tells() {
    let out = packfs!("ls", "-l", hostile::image(), "modes").run().ok().text();
    for (name, mode) in [
        ("file-0444", "-r--r--r--"),
        ("file-4755", "-rwsr-xr-x"),
        ("file-2755", "-rwxr-sr-x"),
        ("file-1644", "-rw-r--r-T"),
        ("folder-1777", "drwxrwxrwt"),
    ] {
        let line = out.lines().find(|line| line.trim_end_matches('/').ends_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {out}"));
        assert!(line.starts_with(mode), "{line}");
    }
    let out = packfs!("ls", "-l", hostile::image(), "content").run().ok().text();
    let size = (40 << 20).to_string();
    let line = out.lines().find(|line| line.ends_with("40-mib")).unwrap();
    assert!(line.split_whitespace().any(|field| field == size), "{line}");
    let out = packfs!("ls", "-l", hostile::image(), "symlinks").run().ok().text();
    assert!(out.lines().any(|line| line.ends_with("absolute -> /etc/passwd")), "{out}");
}

#[test]
fn a_recursive_listing_has_every_entry() {
    let (_scratch, _, image) = small(|at| {
        at.folder("a", |at| {
            at.folder("b", |at| at.file("c", "deep"));
            at.file("d", "");
        });
        at.file("e", "");
    });
    let out = packfs!("ls", "-R", image).run().ok().text();
    assert_eq!(out.lines().collect::<Vec<_>>(), ["a", "a/b", "a/b/c", "a/d", "e"]);
    let all = packfs!("ls", "-R", hostile::image()).run().ok().text().lines().count();
    assert!(all > 20_000 + 1000, "{all}");
}

#[test]
fn json_tells_the_same_as_stat() {
    for part in ["links", "modes", "symlinks", "holes"] {
        let out = packfs!("ls", "--json", hostile::image(), part).run().ok().text();
        for line in out.lines() {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            let path = entry["path"].as_str().unwrap();
            if path == "symlinks/bytes" {
                assert_eq!(entry["target_hex"], "ff0a5c20");
                continue;
            }
            let path = hostile::folder().join(path);
            let stat = fs::symlink_metadata(&path).unwrap();
            assert_eq!(entry["mode"], format!("{:04o}", stat.mode() & 0o7777), "{line}");
            assert_eq!(entry["uid"].as_u64(), Some(stat.uid().into()), "{line}");
            assert_eq!(entry["gid"].as_u64(), Some(stat.gid().into()), "{line}");
            if !stat.is_dir() {
                assert_eq!(entry["size"].as_u64(), Some(stat.size()), "{line}");
                assert_eq!(entry["links"].as_u64(), Some(stat.nlink()), "{line}");
            }
            if stat.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                assert_eq!(entry["target"].as_str(), target.to_str(), "{line}");
            }
        }
        let names = fs::read_dir(hostile::folder().join(part)).unwrap().count();
        assert_eq!(out.lines().count(), names);
    }
}

#[test]
fn names_of_one_file_have_one_inode_number() {
    let out = packfs!("ls", "--json", "-R", hostile::image(), "links").run().ok().text();
    let inode = |path: &str| {
        let entries = out.lines().map(|line| serde_json::from_str(line).unwrap());
        let mut found = entries.filter(|entry: &serde_json::Value| entry["path"] == path);
        found.next().unwrap()["inode"].as_u64().unwrap()
    };
    assert_eq!(inode("links/one"), inode("links/elsewhere/three"));
    assert_eq!(inode("links/symlink"), inode("links/elsewhere/symlink-too"));
    assert_ne!(inode("links/one"), inode("links/alike"));
}

#[test]
fn info_counts_files_bytes_and_what_is_left_of_duplicates() {
    let (_scratch, _, image) = small(|at| {
        at.file("a", [7; 10_000]);
        at.file("b", [7; 10_000]);
        at.link("c", at, "a");
    });
    let out = packfs!("info", "--json", image).run().ok().text();
    let info: serde_json::Value = serde_json::from_str(&out).unwrap();
    let counts = ["entries", "files", "source_bytes", "unique_bytes", "blocks", "packs"];
    let counts = counts.map(|name| info[name].as_u64().unwrap());
    assert_eq!(counts, [4, 2, 20_000, 10_000, 1, 1], "{out}");
}

#[test]
fn info_tells_where_the_data_of_a_file_lies() {
    let (_scratch, _, image) = small(|at| {
        at.sparse("sparse", 1 << 20, &[(1 << 19, &hostile::noise(10_000, 1))]);
    });
    let out = packfs!("info", "--json", image, "sparse").run().ok().text();
    let info: serde_json::Value = serde_json::from_str(&out).unwrap();
    let pieces = info["extents"].as_array().unwrap();
    let data = pieces.iter().filter(|piece| piece["pack"].is_string());
    let bytes: u64 = data.map(|piece| piece["bytes"].as_u64().unwrap()).sum();
    // The data, to the ends of the pages that it lies in.
    assert_eq!(bytes, 10_000_u64.next_multiple_of(4096), "{out}");
}
