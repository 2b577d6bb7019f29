//! What the writer writes, the reader reads; archives of GNU tar; damage.

use std::io::Read;

use proptest::prelude::*;

use super::*;

/// Bytes of an archive's files: what lies between their holes.
type Data = Vec<Vec<u8>>;

fn read(archive: &[u8]) -> Result<(Vec<TarEntry>, Data), TarError> {
    let mut reader = TarReader::new(archive)?;
    let (mut entries, mut data) = (Vec::new(), Data::new());
    loop {
        let entry = match reader.next_entry() {
            Ok(None) => return Ok((entries, data)),
            Ok(Some(entry)) => entry,
            Err(error) if error.is_fatal() => return Err(error),
            Err(_) => continue,
        };
        let mut bytes = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match reader.read_data(&mut buffer)? {
                0 => break,
                length => bytes.extend(&buffer[..length]),
            }
        }
        entries.push(entry);
        data.push(bytes);
    }
}

fn write(entries: &[TarEntry], data: &[Vec<u8>]) -> Result<Vec<u8>, TarError> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, data) in entries.iter().zip(data) {
        writer.begin(entry)?;
        for piece in data.chunks(700) {
            writer.write_data(piece)?;
        }
        writer.end()?;
    }
    writer.finish()
}

/// A line for each entry: kind, mode, owner, group, time, path, and what else it has.
fn list(archive: &[u8]) -> Vec<String> {
    let (entries, data) = read(archive).unwrap();
    let line = |(entry, data): (&TarEntry, &Vec<u8>)| {
        let (kind, target) = match &entry.kind {
            TarKind::Node(kind) => (format!("{kind:?}"), String::new()),
            TarKind::Symlink(target) => ("Symlink".into(), format!(" -> {}", short(target))),
            TarKind::Hardlink(target) => ("Hardlink".into(), format!(" = {}", short(target))),
        };
        let mut line = format!("{kind} {:o} {}:{}", entry.mode, entry.uid, entry.gid);
        line += &format!(" {}.{:09} ", entry.mtime.sec, entry.mtime.nsec);
        line += &format!("{}{target}", short(&entry.path));
        if entry.is_file() {
            line += &format!(" {:?} of {}", short(data), entry.size);
        }
        if entry.rdev != 0 {
            let (major, minor) = (rustix::fs::major(entry.rdev), rustix::fs::minor(entry.rdev));
            line += &format!(" {major},{minor}");
        }
        line
    };
    entries.iter().zip(&data).map(line).collect()
}

/// Text with runs of the same byte cut down.
fn short(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|a, b| a == b);
    let run = |run: &[u8]| match run.len() {
        ..=4 => run.escape_ascii().to_string(),
        length => format!("{}*{length}", run[..1].escape_ascii()),
    };
    runs.map(run).collect()
}

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/fixtures/tar/", $name, ".tar")).as_slice()
    };
}

const FIXTURES: [&[u8]; 9] = [
    fixture!("v7"),
    fixture!("ustar"),
    fixture!("gnu"),
    fixture!("posix"),
    fixture!("sparse-gnu"),
    fixture!("sparse-0.0"),
    fixture!("sparse-0.1"),
    fixture!("sparse-1.0"),
    fixture!("attributes"),
];

#[test]
fn gnu_tars_v7_and_ustar_are_read() {
    let expected = [
        "Folder 755 1000:100 1700000000.000000000 folder",
        "File 644 1000:100 1700000000.000000000 folder/file \"hello\\\\n\" of 6",
        "Folder 755 1000:100 1700000000.000000000 folder/sub",
        "Hardlink 644 1000:100 1700000000.000000000 folder/sub/hard = folder/file",
        "Fifo 644 1000:100 1700000000.000000000 fifo",
        "Symlink 777 1000:100 1700000000.000000000 link -> ../folder/file",
        "File 4755 1000:100 1700000000.000000000 setuid \"x\" of 1",
    ];
    assert_eq!(list(fixture!("ustar")), expected);
    let without_fifo: Vec<&str> =
        expected.into_iter().filter(|line| !line.contains("fifo")).collect();
    assert_eq!(list(fixture!("v7")), without_fifo);
}

#[test]
fn gnu_tars_own_and_posix_archives_are_read() {
    let second = [
        "File 644 0:0 1700000000.000000000 -odd\\n\\xff \"odd\" of 3",
        "Block 644 0:0 1700000000.000000000 block 259,70000",
        "Char 644 0:0 1700000000.000000000 char 1,3",
        "File 644 0:0 -6.000000000 fraction \"late\" of 4",
        "File 4755 3000000000:5 1700000000.000000000 setuid \"x\" of 1",
        "Folder 755 0:0 1700000000.000000000 n*255",
        "File 644 0:0 1700000000.000000000 n*255/n*255 \"long\" of 4",
        "Hardlink 644 0:0 1700000000.000000000 zhard = n*255/n*255",
        "Symlink 777 0:0 1700000000.000000000 zlink -> n*255/n*255",
    ];
    assert_eq!(list(fixture!("gnu")), second);
    let mut nanosecond = second.map(String::from);
    nanosecond[3] = nanosecond[3].replace("-6.000000000", "-6.750000000");
    for line in &mut nanosecond[6..8] {
        *line = line.replace(".000000000", ".000000001");
    }
    assert_eq!(list(fixture!("posix")), nanosecond);
}

#[test]
fn holes_are_read_in_every_form() {
    const PAGE: u64 = 4096;
    let archives = [
        fixture!("sparse-gnu"),
        fixture!("sparse-0.0"),
        fixture!("sparse-0.1"),
        fixture!("sparse-1.0"),
    ];
    for archive in archives {
        let (entries, data) = read(archive).unwrap();
        let paths: Vec<&[u8]> = entries.iter().map(|entry| entry.path.as_slice()).collect();
        assert_eq!(paths, [&b"all"[..], b"many", b"middle"]);
        assert!(entries.iter().all(|entry| entry.size == 1 << 20));
        assert_eq!(entries[0].holes, [(0, 1 << 20)]);
        let data_at = [0, 40, 80, 120, 160, 255];
        let gaps = data_at.windows(2).map(|at| ((at[0] + 1) * PAGE, (at[1] - at[0] - 1) * PAGE));
        assert_eq!(entries[1].holes, gaps.collect::<Vec<_>>());
        assert_eq!(entries[2].holes, [(0, 122 * PAGE), (123 * PAGE, 133 * PAGE)]);
        assert_eq!(data.iter().map(Vec::len).collect::<Vec<_>>(), [0, 6 * 4096, 4096]);
        assert_eq!(&data[1][5 * 4096..][..4], b"255\0");
        assert_eq!(data[2][500_000 - 122 * 4096], b'x');
    }
}

#[test]
fn attributes_and_acls_are_read() {
    let (entries, _) = read(fixture!("attributes")).unwrap();
    let names = |entry: &TarEntry| {
        entry.xattrs.iter().map(|(name, _)| name.escape_ascii().to_string()).collect::<Vec<_>>()
    };
    let expected = ["system.posix_acl_access", "user.a=b%c", "user.binary", "user.plain"];
    assert_eq!(names(&entries[0]), expected);
    assert_eq!(names(&entries[1]), ["system.posix_acl_default"]);
    assert_eq!(entries[0].xattrs[2].1, [0, 10, 255, 61]);
    assert_eq!(entries[0].xattrs[0].1.len(), 4 + 7 * 8);
    assert_eq!(entries[1].xattrs[0].1.len(), 4 + 3 * 8);
    assert!(entries.iter().all(|entry| entry.lost.is_empty()));
}

#[test]
fn zstd_is_read_and_other_compression_is_named() {
    let packed = zstd::encode_all(fixture!("ustar"), 3).unwrap();
    assert_eq!(list(&packed), list(fixture!("ustar")));
    let cut = read(&packed[..packed.len() / 2]).unwrap_err();
    assert!(matches!(cut, TarError::CutShort { .. }), "{cut}");
    let gzip = read(b"\x1f\x8b\x08\0\0\0\0\0").unwrap_err();
    assert!(gzip.to_string().contains("gzip -d"), "{gzip}");
    assert!(matches!(read(b"\x89PNG\r\n").unwrap_err(), TarError::NotTar));
    assert!(matches!(read(&[b'a'; 4096]).unwrap_err(), TarError::NotTar));
    assert!(matches!(read(b"").unwrap_err(), TarError::CutShort { offset: 0 }));
}

#[test]
fn an_end_is_only_where_a_member_could_begin() {
    let archive = fixture!("ustar");
    let whole = list(archive);
    let blocks = archive.len() / 512;
    for cut in 0..archive.len() {
        match read(&archive[..cut]) {
            Ok((entries, _)) => assert!(cut % 512 == 0 && entries.len() <= whole.len(), "{cut}"),
            Err(TarError::NotTar) => assert!((1..512).contains(&cut)),
            Err(TarError::CutShort { offset }) => assert!(offset <= cut as u64),
            Err(error) => panic!("{cut}: {error}"),
        }
    }
    for without in 1..=2 {
        assert_eq!(list(&archive[..(blocks - without) * 512]), whole);
    }
    let twice = [&archive[..archive.len() - 512], archive].concat();
    assert!(matches!(read(&twice).unwrap_err(), TarError::Malformed { .. }));
    assert_eq!(list(&[archive, archive].concat()), whole);
}

#[test]
fn a_member_that_leads_elsewhere_is_left_out_alone() {
    let file = |path: &[u8]| {
        let entry = TarEntry::new(path.to_vec(), TarKind::Node(Kind::File));
        TarEntry { size: 5, ..entry }
    };
    let link = |kind| TarEntry::new(b"link".to_vec(), kind);
    let members = [
        file(b"../up"),
        file(b"/./a//b/./c"),
        file(b"a/../../b"),
        file(&[b'n'; 256]),
        file(b"./."),
        link(TarKind::Hardlink(b"../x".to_vec())),
        link(TarKind::Hardlink(b"/".to_vec())),
        link(TarKind::Symlink(Vec::new())),
        link(TarKind::Symlink(vec![b'x'; 4096])),
        link(TarKind::Hardlink(b"./a/b".to_vec())),
    ];
    let data = |entry: &TarEntry| if entry.is_file() { b"hello".to_vec() } else { Vec::new() };
    let data: Vec<_> = members.iter().map(data).collect();
    let (entries, data) = read(&write(&members, &data).unwrap()).unwrap();
    let paths: Vec<&[u8]> = entries.iter().map(|entry| entry.path.as_slice()).collect();
    assert_eq!(paths, [&b"a/b/c"[..], b"link"]);
    assert_eq!(entries[1].kind, TarKind::Hardlink(b"a/b".to_vec()));
    assert_eq!(data, [&b"hello"[..], b""]);
}

#[test]
fn a_nul_in_a_record_is_refused() {
    for (key, flag) in [(b"path".as_slice(), b'0'), (b"linkpath", b'1'), (b"linkpath", b'2')] {
        let mut records = Vec::new();
        pax::put(&mut records, key, b"a\0b");
        let mut before = header::Header::ustar(b'x');
        before.set_number(header::SIZE, i64::try_from(records.len()).unwrap());
        before.seal();
        records.resize(512, 0);
        let mut header = header::Header::ustar(flag);
        header.set_path(b"name");
        header.seal();
        let archive = [&before.0[..], &records, &header.0].concat();
        let error = TarReader::new(&archive[..]).unwrap().next_entry().unwrap_err();
        assert!(matches!(error, TarError::Unfit { .. }), "{error}");
    }
}

#[test]
fn what_an_archive_cannot_hold_is_refused_before_anything_is_written() {
    let mut writer = TarWriter::new(Vec::new());
    let file = TarEntry::new(b"f".to_vec(), TarKind::Node(Kind::File));
    let refused = [
        TarEntry::new(b"s".to_vec(), TarKind::Node(Kind::Socket)),
        TarEntry { size: 9, holes: vec![(5, 5)], ..file.clone() },
        TarEntry { path: vec![b'p'; MAX_PATH], ..file.clone() },
        TarEntry { size: u64::MAX, ..file.clone() },
        TarEntry { path: b"a\0b".to_vec(), ..file.clone() },
        TarEntry::new(b"l".to_vec(), TarKind::Symlink(b"a\0b".to_vec())),
    ];
    for entry in refused {
        assert!(!writer.begin(&entry).unwrap_err().is_fatal());
    }
    assert_eq!(writer.finish().unwrap(), [0; 1024]);
    for (size, data) in [(3, b"four"), (5, b"four")] {
        let error = write(&[TarEntry { size, ..file.clone() }], &[data.to_vec()]).unwrap_err();
        assert!(matches!(error, TarError::Length { .. }), "{error}");
    }
}

/// Archives that promise much must not be believed.
#[test]
fn promises_cost_no_memory() {
    for (flag, size) in [(b'x', 1i64 << 32), (b'L', 1 << 21), (b'g', 1 << 40), (b'K', 1 << 32)] {
        let mut header = header::Header::ustar(flag);
        header.set_number(header::SIZE, size);
        header.seal();
        assert!(matches!(read(&header.0).unwrap_err(), TarError::Malformed { .. }));
    }
    let mut header = header::Header::ustar(b'0');
    header.set_path(b"big");
    header.set_number(header::SIZE, i64::MAX);
    header.seal();
    assert!(matches!(read(&header.0).unwrap_err(), TarError::CutShort { .. }));
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'a'), Just(b'\n'), Just(b'='), Just(b'-'), 1u8..=255];
    let name = prop_oneof![
        proptest::collection::vec(byte.clone(), 1..12),
        proptest::collection::vec(byte, 240..=255),
        "[a-zäöü]{1,12}".prop_map(String::into_bytes),
    ];
    name.prop_filter("a name", |name| valid_name(name))
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let short = proptest::collection::vec(name(), 1..4);
    let deep = proptest::collection::vec(name(), 30..40);
    prop_oneof![9 => short, 1 => deep].prop_map(|names| names.join(&b'/'))
}

fn time() -> impl Strategy<Value = Time> {
    let sec = prop_oneof![0i64..1 << 31, -1000i64..1000, any::<i64>()];
    let nsec = prop_oneof![Just(0), 0u32..1_000_000_000];
    (sec, nsec).prop_map(|(sec, nsec)| Time { sec, nsec })
}

fn kind() -> impl Strategy<Value = TarKind> {
    let bytes = proptest::collection::vec(1u8..=255, 1..200);
    prop_oneof![
        4 => Just(TarKind::Node(Kind::File)),
        1 => Just(TarKind::Node(Kind::Folder)),
        1 => Just(TarKind::Node(Kind::Fifo)),
        1 => Just(TarKind::Node(Kind::Char)),
        1 => Just(TarKind::Node(Kind::Block)),
        1 => bytes.prop_map(TarKind::Symlink),
        1 => path().prop_map(TarKind::Hardlink),
    ]
}

fn xattrs() -> impl Strategy<Value = XattrSet> {
    let names = prop_oneof![
        Just(b"system.posix_acl_access".to_vec()),
        Just(b"system.posix_acl_default".to_vec()),
        proptest::collection::vec(1u8..=255, 1..=255),
        "user[.][a%=]{1,5}".prop_map(String::into_bytes),
    ];
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x05\0\0\0".to_vec();
    let values = prop_oneof![proptest::collection::vec(any::<u8>(), 0..50), Just(acl)];
    proptest::collection::btree_map(names, values, 0..3)
        .prop_map(|xattrs| xattrs.into_iter().collect())
}

/// A byte that is likely to mean something in an archive.
fn byte() -> impl Strategy<Value = u8> {
    let telling = b"0123456789\0\n =,/.LKxgSVMD\x80\xff".to_vec();
    prop_oneof![proptest::sample::select(telling), any::<u8>()]
}

/// Alternating lengths of data and holes, either of which may come first.
fn runs() -> impl Strategy<Value = (bool, Vec<u64>)> {
    (any::<bool>(), proptest::collection::vec(1u64..3000, 0..7))
}

fn entry() -> impl Strategy<Value = (TarEntry, Vec<u8>)> {
    let id = prop_oneof![0u32..100_000, any::<u32>()];
    let numbers = (0u32..0o10000, id.clone(), id, any::<(u32, u32)>());
    let times = (time(), proptest::option::of(time()), proptest::option::of(time()));
    (path(), kind(), numbers, times, xattrs(), runs()).prop_map(
        |(path, kind, (mode, uid, gid, device), (mtime, atime, ctime), xattrs, runs)| {
            let entry = TarEntry::new(path, kind);
            let mut entry = TarEntry { mode, uid, gid, mtime, atime, ctime, xattrs, ..entry };
            let mut data = Vec::new();
            if entry.is_file() {
                let (mut hole, lengths) = runs;
                for length in lengths {
                    match hole {
                        true => entry.holes.push((entry.size, length)),
                        false => data.extend((0..length).map(|at| at.to_le_bytes()[0])),
                    }
                    entry.size += length;
                    hole = !hole;
                }
            }
            if matches!(entry.kind, TarKind::Node(Kind::Char | Kind::Block)) {
                entry.rdev = rustix::fs::makedev(device.0, device.1);
            }
            (entry, data)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(members in proptest::collection::vec(entry(), 0..8)) {
        let (entries, data): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let archive = write(&entries, &data).unwrap();
        prop_assert_eq!(archive.len() % 512, 0);
        prop_assert_eq!(read(&archive).unwrap(), (entries, data));
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        archive in proptest::sample::select(FIXTURES.to_vec()),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), byte()), 1..6),
        reseal: bool,
    ) {
        let mut archive = archive.to_vec();
        // Zeros are padding or data, for the most part.
        let places: Vec<usize> = (0..archive.len()).filter(|at| archive[*at] != 0).collect();
        for (at, byte) in flips {
            archive[*at.get(&places)] = byte;
        }
        // With checksums made right again, damage reaches what lies behind them.
        for block in archive.chunks_exact_mut(512).filter(|_| reseal) {
            let mut header = header::Header(block.try_into().unwrap());
            if header.text(257..262) == b"ustar" {
                header.seal();
                block.copy_from_slice(&header.0);
            }
        }
        let _ = read(&archive);
    }
}

#[test]
fn a_stream_that_fails_is_an_error_and_not_an_end() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("no more"))
        }
    }
    let mut reader = TarReader::new(fixture!("ustar")[..1024].chain(Failing)).unwrap();
    let error = loop {
        match reader.next_entry() {
            Ok(entry) => assert!(entry.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, TarError::Io(_)) && error.is_fatal());
    assert!(reader.next_entry().unwrap().is_none());
}
