//! Damage hurts only what it hits.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use crate::support::command::packfs;
use crate::support::hostile::noise;
use crate::support::tree::Folder;
use crate::support::{Mount, Scratch, layout};

const PAGE: usize = 4096;

#[test]
fn a_damaged_frame_is_eio_for_its_range_and_the_log_names_the_path() {
    let scratch = Scratch::new();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    let content = noise(100 * PAGE, 1);
    Folder::open(scratch.path()).folder("source", |at| {
        at.folder("folder", |at| at.file("the-file", &content));
    });
    packfs!("create", "--pack-size", "128K", "--frame-size", "32K", source, image).run().ok();
    let mut files = layout::load(&image);
    let places = layout::places(&files);
    let frames: Vec<_> = places.iter().filter(|place| place.kind == "frame").collect();
    assert!(frames.len() > 5, "{}", frames.len());
    let frame = frames[frames.len() / 2].range.clone();
    let longest = inflated_length(&files[""], &places, frame.start);
    files.get_mut("").unwrap()[frame.start + frame.len() / 2] ^= 1;
    fs::remove_file(&image).unwrap();
    layout::save(&files, &image);

    let mount = Mount::foreground(&image);
    let bad = mount.watch(|folder| {
        let file = File::open(folder.join("folder/the-file")).unwrap();
        let mut bad = Vec::new();
        for (number, page) in content.chunks(PAGE).enumerate() {
            let mut bytes = vec![0; PAGE];
            match file.read_exact_at(&mut bytes, (number * PAGE) as u64) {
                Ok(()) => assert!(bytes == page, "wrong bytes in page {number}"),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()), "{error}");
                    bad.push(number);
                }
            }
        }
        bad
    });
    assert!(!bad.is_empty(), "nobody noticed the damage");
    assert_eq!(bad.len(), bad[bad.len() - 1] - bad[0] + 1, "one range: {bad:?}");
    let most = longest.div_ceil(PAGE) + 1;
    assert!(bad.len() <= most, "{} pages are unreadable, the frame has {most}", bad.len());
    let log = mount.log();
    assert!(log.contains("folder/the-file"), "the log does not name the path: {log}");
}

/// Length of the frame that is stored at `start`, once inflated.
fn inflated_length(image: &[u8], places: &[layout::Place], start: usize) -> usize {
    let holds = |place: &&layout::Place| place.kind == "pack" && place.range.contains(&start);
    let pack = places.iter().find(holds).unwrap();
    let offset = (start - pack.range.start) as u64;
    let frames = layout::frames(&image[pack.range.clone()]);
    let frame = frames.iter().find(|frame| frame.offset == offset).unwrap();
    usize::try_from(frame.inflated).unwrap()
}

#[test]
fn other_files_read_on_beside_a_damaged_one() {
    let scratch = Scratch::new();
    let (source, image) = (scratch.join("source"), scratch.join("image.pfs"));
    let good = noise(300_000, 2);
    Folder::open(scratch.path()).folder("source", |at| {
        at.file("good", &good);
        at.file("hurt", noise(30_000, 3));
    });
    packfs!("create", "--pack-size", "64K", "--frame-size", "16K", source, image).run().ok();
    let mut files = layout::load(&image);
    let bytes = files.get_mut("").unwrap();
    // The file's own bytes, which are stored as they are, for they do not compress.
    let hurt = noise(30_000, 3);
    let at = bytes.windows(64).position(|window| window == &hurt[20_000..20_064]).unwrap();
    bytes[at] ^= 1;
    fs::remove_file(&image).unwrap();
    layout::save(&files, &image);
    let line = packfs!("cat", image, "hurt").run().fails(1, &["hurt"]);
    assert!(line.contains("hurt"), "{line}");
    assert_eq!(packfs!("cat", image, "good").run().ok().stdout, good);
    let mount = Mount::foreground(&image);
    assert_eq!(fs::read(mount.path().join("good")).unwrap(), good);
    for _ in 0..3 {
        let error = fs::read(mount.path().join("hurt")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    }
    // However often somebody tries, and the kernel with less at a time.
    let log = mount.log();
    assert_eq!(log.lines().filter(|line| line.contains("hurt")).count(), 1, "{log}");
}
