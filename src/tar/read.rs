//! Reading an archive.

use std::io::{self, BufReader, ErrorKind, Read};

use super::acl::{self, Names};
use super::header::{self, BLOCK, Header};
use super::pax::{self, Records, Values};
use super::source::Source;
use super::sparse::{self, MapReader, Runs};
use super::{MAX_PATH, TarEntry, TarError, TarKind, clean};
use crate::format::{Kind, MAX_TARGET, Time};

/// Most bytes of extended records of one member.
const MAX_RECORDS: u64 = 16 << 20;
/// Most bytes after the end of the archive that are read, so that whoever writes them into a pipe
/// can finish: GNU tar pads to its blocking factor.
const MAX_TRAILER: u64 = 16 << 20;

const MAX_SIZE: u64 = i64::MAX.cast_unsigned();
const TOO_BIG: &str = "a size over 8 EiB";
const BAD_ID: &str = "its owner or group is over 32 bits";

/// Reads an archive from a stream, which need not be seekable.
pub struct TarReader<R: Read> {
    input: BufReader<Source<R>>,
    /// Bytes taken from the input so far.
    offset: u64,
    /// Bytes of the current file's data that were not read yet.
    data: u64,
    /// Bytes after those, up to the next header.
    padding: u64,
    globals: Values,
    names: Names,
    ended: bool,
}

/// What comes before a header and is about the same member.
#[derive(Default)]
struct Prelude {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Option<Records>,
}

impl<R: Read> TarReader<R> {
    /// Begins to read an archive, which may be compressed with zstd.
    ///
    /// # Errors
    /// If the input cannot be read, is empty, no archive, or compressed in another way.
    pub fn new(input: R) -> Result<Self, TarError> {
        Ok(Self {
            input: Source::open(input)?,
            offset: 0,
            data: 0,
            padding: 0,
            globals: Values::default(),
            names: Names::default(),
            ended: false,
        })
    }

    /// The next member, past what was not read of the last one's data; `None` at the end.
    ///
    /// # Errors
    /// After an error that is fatal ([`TarError::is_fatal`]) there are no more members. Any other
    /// is about one member, which was passed over.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let entry = self.find_entry();
        self.ended = match &entry {
            Ok(entry) => entry.is_none(),
            Err(error) => error.is_fatal(),
        };
        if self.ended {
            (self.data, self.padding) = (0, 0);
        }
        entry
    }

    /// Fills `buf` with the data of the current file, which is what lies between its holes, in
    /// order. Returns how many bytes that were; 0 at the end of the data.
    ///
    /// # Errors
    /// If the input cannot be read or is cut short.
    pub fn read_data(&mut self, buf: &mut [u8]) -> Result<usize, TarError> {
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        let found = loop {
            match self.input.read(&mut buf[..most]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                found => break found.map_err(|error| self.failed(error))?,
            }
        };
        if found == 0 {
            return Err(TarError::CutShort { offset: self.offset });
        }
        self.offset += found as u64;
        self.data -= found as u64;
        Ok(found)
    }

    fn find_entry(&mut self) -> Result<Option<TarEntry>, TarError> {
        self.pass(self.data)?;
        self.pass(self.padding)?;
        (self.data, self.padding) = (0, 0);
        let mut prelude = Prelude::default();
        let mut pending = false;
        loop {
            let start = self.offset;
            let Some(header) = self.read_header()? else {
                return if pending { Err(TarError::CutShort { offset: start }) } else { Ok(None) };
            };
            let size = number_at(&header, header::SIZE, start)?;
            let (records, path) = (MAX_RECORDS, MAX_PATH as u64 + 1);
            match header.kind() {
                b'x' | b'X' => {
                    let body = self.read_body(size, records, "extended records over 16 MiB")?;
                    prelude.records = Some(pax::parse(&body, self.globals).map_err(at(start))?);
                }
                b'g' => {
                    let body = self.read_body(size, records, "extended records over 16 MiB")?;
                    pax::parse_globals(&body, &mut self.globals).map_err(at(start))?;
                }
                b'L' => prelude.path = Some(self.read_path(size, path)?),
                b'K' => prelude.link = Some(self.read_path(size, path)?),
                b'V' => self.pass(padded(size))?,
                _ => return self.read_entry(&header, size, prelude, start).map(Some),
            }
            pending = matches!(header.kind(), b'x' | b'X' | b'L' | b'K');
        }
    }

    /// The next header; `None` at the end of the archive.
    fn read_header(&mut self) -> Result<Option<Header>, TarError> {
        let start = self.offset;
        let Some(header) = self.read_block()? else { return Ok(None) };
        if !header.is_end() {
            let damaged = "a header with a wrong checksum";
            return if header.is_intact() { Ok(Some(header)) } else { Err(at(start)(damaged)) };
        }
        match self.read_block()? {
            Some(second) if !second.is_end() => Err(at(start)("zeros, and then more")),
            _ => {
                let trailer = self.input.by_ref().take(MAX_TRAILER);
                io::copy(&mut { trailer }, &mut io::sink()).map_err(|error| self.failed(error))?;
                Ok(None)
            }
        }
    }

    /// The next block; `None` if the input ends before it.
    fn read_block(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::CutShort { offset: self.offset }),
                Ok(found) => {
                    filled += found;
                    self.offset += found as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(Some(Header(block)))
    }

    /// A block that has to be there.
    fn require_block(&mut self) -> Result<Header, TarError> {
        self.read_block()?.ok_or(TarError::CutShort { offset: self.offset })
    }

    /// A body of `size` bytes and its padding.
    fn read_body(
        &mut self,
        size: u64,
        limit: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, TarError> {
        if size > limit {
            return Err(at(self.offset)(what));
        }
        // The vector grows with what comes, not with what the header promises.
        let mut body = Vec::new();
        let result = self.input.by_ref().take(size).read_to_end(&mut body);
        self.offset += body.len() as u64;
        result.map_err(|error| self.failed(error))?;
        if (body.len() as u64) < size {
            return Err(TarError::CutShort { offset: self.offset });
        }
        self.pass(padded(size) - size)?;
        Ok(body)
    }

    /// A path or link that is too long for a header (GNU).
    fn read_path(&mut self, size: u64, limit: u64) -> Result<Vec<u8>, TarError> {
        let mut body = self.read_body(size, limit, "a path over 1 MiB")?;
        let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
        body.truncate(end);
        Ok(body)
    }

    /// Passes over `count` bytes.
    fn pass(&mut self, count: u64) -> Result<(), TarError> {
        let passed = io::copy(&mut self.input.by_ref().take(count), &mut io::sink());
        let passed = passed.map_err(|error| self.failed(error))?;
        self.offset += passed;
        if passed < count { Err(TarError::CutShort { offset: self.offset }) } else { Ok(()) }
    }

    fn failed(&self, error: io::Error) -> TarError {
        match error.kind() {
            // A compressed stream that stops in the middle.
            ErrorKind::UnexpectedEof => TarError::CutShort { offset: self.offset },
            _ => TarError::Io(error),
        }
    }

    fn read_entry(
        &mut self,
        header: &Header,
        size: u64,
        prelude: Prelude,
        start: u64,
    ) -> Result<TarEntry, TarError> {
        let mut records = prelude.records.unwrap_or_else(|| Records::new(self.globals));
        let path = records.sparse.name.take().or_else(|| records.path.take());
        let path = path.or(prelude.path).unwrap_or_else(|| header.path());
        let link = records.link.take().or(prelude.link);
        let link = link.unwrap_or_else(|| header.text(header::LINK).to_vec());
        let flag = header.kind();
        // Links, folders and devices have no data, whatever size their headers give.
        let stored = match flag {
            b'1'..=b'6' => 0,
            b'M' => return Err(at(start)("a part of a file from another volume")),
            _ => records.values.size.unwrap_or(size),
        };
        if stored > MAX_SIZE {
            return Err(at(start)(TOO_BIG));
        }
        (self.data, self.padding) = (stored, padded(stored) - stored);
        let is_file = has_data(flag, &path);
        let (size, holes) = match is_file {
            true => self.read_holes(header, stored, &mut records, start)?,
            false => (0, Runs::new()),
        };
        let entry = self.build(header, records, path, link, start);
        if !is_file || entry.is_err() {
            (self.data, self.padding) = (0, self.padding + self.data);
        }
        Ok(TarEntry { size, holes, ..entry? })
    }

    /// The size and the holes of a file of which `stored` bytes follow. Takes a map that is
    /// before the data.
    fn read_holes(
        &mut self,
        header: &Header,
        stored: u64,
        records: &mut Records,
        start: u64,
    ) -> Result<(u64, Runs), TarError> {
        let mut map = std::mem::take(&mut records.sparse.map);
        let size = match (header.kind(), records.sparse.size) {
            (b'S', _) => {
                self.read_old_map(header, &mut map, start)?;
                number_at(header, header::GNU_REAL_SIZE, start)?
            }
            (_, Some(size)) if records.sparse.version == 1 => {
                map = self.read_map(start)?;
                size
            }
            (_, Some(size)) => size,
            _ => return Ok((stored, Runs::new())),
        };
        if size > MAX_SIZE {
            return Err(at(start)(TOO_BIG));
        }
        let holes = sparse::gaps(&map, size).map_err(at(start))?;
        if size - sparse::total(&holes) != self.data {
            return Err(at(start)("a sparse file whose map does not match its size"));
        }
        Ok((size, holes))
    }

    fn read_old_map(
        &mut self,
        header: &Header,
        map: &mut Runs,
        start: u64,
    ) -> Result<(), TarError> {
        const PAIRS: usize = 21 * 24;
        sparse::push_pairs(map, &header.0[header::GNU_SPARSE]).map_err(at(start))?;
        let mut more = header.0[header::GNU_EXTENDED] != 0;
        while more {
            let block = self.require_block()?;
            let before = map.len();
            sparse::push_pairs(map, &block.0[..PAIRS]).map_err(at(start))?;
            more = block.0[PAIRS] != 0;
            if more && map.len() == before {
                return Err(at(start)("an empty part of a map of holes"));
            }
        }
        Ok(())
    }

    fn read_map(&mut self, start: u64) -> Result<Runs, TarError> {
        let mut reader = MapReader::default();
        loop {
            let left = self.data.checked_sub(BLOCK as u64);
            self.data = left.ok_or_else(|| at(start)("a map of holes without an end"))?;
            let block = self.require_block()?;
            if reader.feed(&block.0).map_err(at(start))? {
                return Ok(reader.map);
            }
        }
    }

    /// The entry without its size and holes.
    fn build(
        &mut self,
        header: &Header,
        mut records: Records,
        path: Vec<u8>,
        link: Vec<u8>,
        start: u64,
    ) -> Result<TarEntry, TarError> {
        let name = path.get(..MAX_PATH).unwrap_or(&path).to_vec();
        let unfit = |why| TarError::Unfit { path: name.clone(), why };
        if path.len() > MAX_PATH {
            return Err(unfit("its path is over 1 MiB"));
        }
        let kind = kind(header.kind(), &path, link).map_err(unfit)?;
        let mut entry = TarEntry::new(clean(&path).map_err(unfit)?, kind);
        if entry.path.is_empty() && entry.kind != TarKind::Node(Kind::Folder) {
            return Err(unfit("it has no name"));
        }
        let mode = number_at(header, header::MODE, start)? & 0o7777;
        entry.mode = u32::try_from(mode).unwrap_or(0);
        let values = records.values;
        entry.uid = owner(header, header::UID, values.uid, start)?.ok_or_else(|| unfit(BAD_ID))?;
        entry.gid = owner(header, header::GID, values.gid, start)?.ok_or_else(|| unfit(BAD_ID))?;
        let sec = header.number(header::MTIME).map_err(at(start))?;
        let times = header.times().map_err(at(start))?;
        entry.mtime = values.mtime.unwrap_or(Time { sec, nsec: 0 });
        entry.atime = values.atime.or(times[0]);
        entry.ctime = values.ctime.or(times[1]);
        if matches!(entry.kind, TarKind::Node(Kind::Char | Kind::Block)) {
            let device = device(header, &values).map_err(at(start))?;
            entry.rdev = device.ok_or_else(|| unfit("its device number is over 32 bits"))?;
        }
        for (attribute, text) in std::mem::take(&mut records.acls) {
            match acl::from_text(attribute, &text, &mut self.names) {
                Ok(Some(bytes)) => records.set_xattr(attribute.to_vec(), bytes, true),
                Ok(None) => {}
                Err(lost) => records.lose(lost),
            }
        }
        entry.xattrs = records.xattrs.into_iter().collect();
        entry.lost = records.lost;
        Ok(entry)
    }
}

/// An owner or group: `None` if it is over 32 bits.
fn owner(
    header: &Header,
    field: std::ops::Range<usize>,
    value: Option<u64>,
    start: u64,
) -> Result<Option<u32>, TarError> {
    let id = match value {
        Some(value) => value,
        None => header.number(field).map_err(at(start))?.cast_unsigned(),
    };
    Ok(u32::try_from(id).ok())
}

/// A device's number: `None` if a half of it is over 32 bits.
fn device(header: &Header, values: &Values) -> Result<Option<u64>, &'static str> {
    let [major, minor] = header.device()?;
    let half =
        |value: Option<u64>, field: i64| u32::try_from(value.unwrap_or(field.cast_unsigned())).ok();
    let halves = half(values.major, major).zip(half(values.minor, minor));
    Ok(halves.map(|(major, minor)| rustix::fs::makedev(major, minor)))
}

/// What a member with this type flag and path is.
fn kind(flag: u8, path: &[u8], link: Vec<u8>) -> Result<TarKind, &'static str> {
    Ok(TarKind::Node(match flag {
        b'1' => {
            let target = clean(&link).ok().filter(|target| !target.is_empty());
            return target.map(TarKind::Hardlink).ok_or("it is a hard link to a path that is none");
        }
        b'2' => {
            let valid = (1..=MAX_TARGET).contains(&link.len()) && !link.contains(&0);
            let why = "the target of the symlink is empty, too long, or has a NUL";
            return if valid { Ok(TarKind::Symlink(link)) } else { Err(why) };
        }
        b'3' => Kind::Char,
        b'4' => Kind::Block,
        b'5' | b'D' => Kind::Folder,
        b'6' => Kind::Fifo,
        b'A' | b'E' | b'I' | b'N' => return Err("it is of a kind that is not read"),
        // Any other kind is to be taken for a file; v7 has no flag for folders but a slash.
        _ if has_data(flag, path) => Kind::File,
        _ => Kind::Folder,
    }))
}

/// Whether the bytes that follow a header are a file's.
fn has_data(flag: u8, path: &[u8]) -> bool {
    let is_folder = matches!(flag, 0 | b'0' | b'7') && path.ends_with(b"/");
    !is_folder && !matches!(flag, b'1'..=b'6' | b'D')
}

fn number_at(header: &Header, field: std::ops::Range<usize>, start: u64) -> Result<u64, TarError> {
    let number = header.number(field).map_err(at(start))?;
    u64::try_from(number).map_err(|_| at(start)("a size or mode below 0"))
}

/// Makes an error of what is wrong with the member whose header is at `offset`.
fn at(offset: u64) -> impl Fn(&'static str) -> TarError {
    move |what| TarError::Malformed { offset, what }
}

fn padded(size: u64) -> u64 {
    size.saturating_add(BLOCK as u64 - 1) / BLOCK as u64 * BLOCK as u64
}
