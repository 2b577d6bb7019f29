//! Opens an archive whatever is left of it. Of an image that has lost its table of contents, the
//! objects are found by what they begin and end with.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

mod known;

use super::Error;
use super::check::reason;
use crate::format::{
    Config, Contents, ENVELOPE_LEN, Id, MAX_ITEMS, Member, ParityTable, Root, Section, Snapshot,
    TAIL_LEN, check, read_tail, section_len,
};
use crate::pack;
use crate::parity::parity_key;
use crate::storage::{self, ErrorKind, ImageStorage, LocalStorage, Storage, StorageError};
use crate::store::{CONFIG, index_key, parse_root, root_key, snapshot_key};
use crate::tree;

/// Bytes that are looked through at once.
const READ: usize = 1 << 20;
/// Longest settings, in bytes.
const MAX_CONFIG: usize = 65_536;
/// How settings begin.
const CONFIG_START: &[u8] = b"# PFSconf:";
/// Longest root, in bytes, that is taken for one though it is damaged.
const MAX_ROOT: u64 = 1 << 20;
/// Longest object but packs and trees, in bytes, that is looked for.
const MAX_SECTION: u64 = 1 << 30;

/// Something that keeps an image from being opened.
#[derive(Debug)]
pub struct Broken {
    /// What it is.
    pub place: Section,
    /// Where it is.
    pub at: u64,
    /// What is wrong with it.
    pub why: String,
}

/// An archive, as far as its objects can be found.
#[derive(Debug)]
pub struct Source {
    /// Where they lie.
    pub storage: Arc<dyn Storage>,
    /// What keeps it from being opened, if anything does.
    pub problems: Vec<Broken>,
    /// Whether it was an archive for sure, whatever is left of it.
    pub salvaged: bool,
}

impl Source {
    /// What lies at `path`.
    ///
    /// # Errors
    /// If there is nothing, it may not be read, or nothing there is of an archive.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let whole = |storage| Self { storage, problems: Vec::new(), salvaged: false };
        if path.is_dir() {
            return Ok(whole(Arc::new(LocalStorage::new(path))));
        }
        let error = match storage::open(path) {
            Ok(storage) => return Ok(whole(storage)),
            Err(error) => error,
        };
        match &error.kind {
            ErrorKind::Io(_) | ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let name = path.display().to_string();
        let fail = |error| StorageError::io(&name, error);
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            return Err(error.into());
        }
        let image = Image { file, length: metadata.len() };
        let mut problems = Vec::new();
        if let Some(why) = image.head().err() {
            problems.push(Broken { place: Section::ImageHead, at: 0, why });
        }
        let storage = match image.contents() {
            Ok(contents) => ImageStorage::with(path, contents)?,
            Err(_) => {
                let (mut contents, marks) = image.scan().map_err(fail)?;
                if contents.members.is_empty() && !problems.is_empty() {
                    return Err(ErrorKind::NotArchive.of(&name).into());
                }
                let (place, at) = (Section::Contents, image.length);
                problems.push(Broken { place, at, why: lost(&error.kind) });
                let storage = ImageStorage::with(path, contents.clone())?;
                let found = known::find(&image, &storage, marks.starts());
                // What lies where one of these does is a part of it, or it by a wrong name.
                contents.members.retain(|member| {
                    let before = found.partition_point(|other| other.offset <= member.offset);
                    let other = before.checked_sub(1).map(|at| &found[at]);
                    other.is_none_or(|other| member.offset - other.offset >= other.length)
                });
                contents.members.extend(found);
                contents.members.sort_by(|a, b| a.key.cmp(&b.key));
                ImageStorage::with(path, contents)?
            }
        };
        Ok(Self { storage: Arc::new(storage), problems, salvaged: true })
    }
}

fn lost(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::NotArchive => "cannot be found".to_owned(),
        kind => reason(kind),
    }
}

/// A file that is, or was, an image.
struct Image {
    file: File,
    length: u64,
}

/// What may be the beginning of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Config,
    Pack,
    Tree,
    Parity,
    Section(Section),
    /// An image within a file of this one.
    Image,
}

/// What was found by looking through all of an image once.
#[derive(Default)]
struct Marks {
    starts: BTreeMap<u64, Start>,
    /// Where objects that have a tail end, by where they begin, with their last section.
    ends: HashMap<u64, Vec<(u64, u64)>>,
}

impl Marks {
    /// Where objects may begin.
    fn starts(&self) -> impl Iterator<Item = u64> {
        self.starts.keys().chain(self.ends.keys()).copied()
    }
}

impl Image {
    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = self.length.saturating_sub(at);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn head(&self) -> Result<(), String> {
        let head = self.read(0, ENVELOPE_LEN).map_err(|error| error.to_string())?;
        check(Section::ImageHead, &head).map(drop).map_err(|error| error.problem.to_string())
    }

    /// Its table of contents, if that is whole.
    fn contents(&self) -> Result<Contents, ()> {
        let tail_at = self.length.checked_sub(TAIL_LEN as u64).ok_or(())?;
        let tail = self.read(tail_at, TAIL_LEN).map_err(drop)?;
        let (at, length) = read_tail(&tail, self.length).map_err(drop)?;
        let table = self.read(at, usize::try_from(length).map_err(drop)?).map_err(drop)?;
        Contents::decode(&table, self.length).map_err(drop)
    }

    /// Finds the objects of an image that has no table of contents: one after the other from its
    /// head on, and by their beginnings where that is interrupted.
    fn scan(&self) -> io::Result<(Contents, Marks)> {
        let marks = self.marks()?;
        let mut members: BTreeMap<String, Member> = BTreeMap::new();
        let (mut at, mut budget) = (ENVELOPE_LEN as u64, self.length.saturating_mul(4));
        // Where the last object ended, and the number of the newest root before that.
        let (mut end, mut newest) = (at, 0u64);
        loop {
            let start = marks.starts.get(&at).copied();
            let mut found = match start {
                Some(start) => self.object(start, at, &marks, &mut budget)?,
                None => None,
            };
            // Not what is within an object that is damaged itself.
            if found.is_none() && at == end && start == Some(Start::Section(Section::Root)) {
                found = self.damaged_root(at, newest, &marks)?;
            }
            if let Some((key, length)) = found {
                newest = newest.max(parse_root(&key).map_or(0, |(number, _)| number));
                if !key.is_empty() && members.len() < MAX_ITEMS {
                    members.insert(key.clone(), Member { key, offset: at, length });
                }
                at += length.max(1);
                end = at;
                continue;
            }
            match marks.starts.range(at + 1..).next() {
                Some((next, _)) => at = *next,
                None => break,
            }
        }
        Ok((Contents { members: members.into_values().collect() }, marks))
    }

    /// Looks for all that objects begin and end with.
    fn marks(&self) -> io::Result<Marks> {
        let mut marks = Marks::default();
        // So much is looked at again, so that nothing is missed between two reads.
        const OVERLAP: usize = 64;
        let mut at = 0;
        while at < self.length {
            let bytes = self.read(at, READ + OVERLAP)?;
            for here in 0..bytes.len().min(READ) {
                if bytes[here] == b'P' && bytes[here..].starts_with(b"PFS") {
                    self.mark(at + here as u64, &bytes[here..], &mut marks)?;
                }
            }
            at += READ as u64;
        }
        self.begun(&mut marks)?;
        Ok(marks)
    }

    /// Takes note of objects whose beginning is damaged: their tails tell where it is.
    fn begun(&self, marks: &mut Marks) -> io::Result<()> {
        for (at, ends) in &marks.ends {
            for (_, offset) in ends {
                let last = self.read(at.saturating_add(*offset), 8)?;
                let is = |section: Section| last == section.magic();
                let start = match () {
                    () if is(Section::PackFooter) => Start::Pack,
                    () if is(Section::Tree) => Start::Tree,
                    () if is(Section::Parity) => Start::Parity,
                    () => continue,
                };
                marks.starts.entry(*at).or_insert(start);
            }
        }
        Ok(())
    }

    fn mark(&self, at: u64, bytes: &[u8], marks: &mut Marks) -> io::Result<()> {
        let is = |section: Section| bytes.starts_with(&section.magic());
        if is(Section::Tail) {
            let tail_at = at.saturating_sub(16);
            let tail = self.read(tail_at, TAIL_LEN)?;
            let field = |from: usize| tail.get(from..from + 8).and_then(|it| it.try_into().ok());
            let (Some(offset), Some(length)) = (field(0), field(8)) else { return Ok(()) };
            let (offset, length) = (u64::from_le_bytes(offset), u64::from_le_bytes(length));
            let object = offset.checked_add(length).and_then(|it| it.checked_add(TAIL_LEN as u64));
            let end = tail_at + TAIL_LEN as u64;
            if let Some(object) = object.filter(|it| *it <= end)
                && read_tail(&tail, object).is_ok()
                && marks.ends.len() < MAX_ITEMS
            {
                marks.ends.entry(end - object).or_default().push((end, offset));
            }
            return Ok(());
        }
        let pages = [Section::Inodes, Section::Entries, Section::Extents, Section::Dictionary];
        let sections = [Section::Index, Section::Root, Section::Snapshot];
        let start = match () {
            () if bytes.starts_with(&CONFIG_START[2..]) => {
                let Some(at) = at.checked_sub(2) else { return Ok(()) };
                if marks.starts.len() < MAX_ITEMS {
                    marks.starts.insert(at, Start::Config);
                }
                return Ok(());
            }
            () if is(Section::PackHead) => Start::Pack,
            () if is(Section::Parity) => Start::Parity,
            () if is(Section::ImageHead) && at > 0 => Start::Image,
            () if pages.into_iter().any(is) => Start::Tree,
            () => match sections.into_iter().find(|section| is(*section)) {
                Some(section) => Start::Section(section),
                None => return Ok(()),
            },
        };
        if marks.starts.len() < MAX_ITEMS {
            marks.starts.insert(at, start);
        }
        Ok(())
    }

    /// The key (empty: it is none of this archive) and length of the object at `at`, if it is
    /// whole.
    fn object(
        &self,
        start: Start,
        at: u64,
        marks: &Marks,
        budget: &mut u64,
    ) -> io::Result<Option<(String, u64)>> {
        let ends = marks.ends.get(&at).map_or(&[][..], Vec::as_slice);
        match start {
            Start::Config => self.config(at),
            Start::Section(section) => self.section(section, at, budget),
            Start::Image => Ok(ends.first().map(|(end, _)| (String::new(), end - at))),
            Start::Pack | Start::Tree | Start::Parity => {
                let section = match start {
                    Start::Pack => Section::PackFooter,
                    Start::Parity => Section::Parity,
                    _ => Section::Tree,
                };
                for (end, offset) in ends {
                    let footer = self.read(at.saturating_add(*offset), 8)?;
                    if footer != section.magic() {
                        continue;
                    }
                    let Some(left) = budget.checked_sub(end - at) else { return Ok(None) };
                    *budget = left;
                    let id = self.id(at, *end)?;
                    let key = match start {
                        Start::Pack => pack::key(&id),
                        Start::Parity => parity_key(&id),
                        _ => tree::key(&id),
                    };
                    return Ok(Some((key, end - at)));
                }
                match start {
                    Start::Parity => self.cut_parity(at, budget),
                    _ => Ok(None),
                }
            }
        }
    }

    /// A root that does not check out: it is told as the one after the newest before it: roots
    /// come in their order.
    fn damaged_root(
        &self,
        at: u64,
        newest: u64,
        marks: &Marks,
    ) -> io::Result<Option<(String, u64)>> {
        let next = marks.starts.range(at + 1..).next().map_or(self.length, |(next, _)| *next);
        // Its length may be damaged, too.
        let fits = |length: &u64| *length <= MAX_ROOT.min(next - at);
        let length = section_len(&self.read(at, ENVELOPE_LEN)?).filter(fits);
        let Some(length) = length else { return Ok(None) };
        let id = self.id(at, at + length)?;
        Ok(Some((root_key(newest.saturating_add(1), &id), length)))
    }

    fn id(&self, from: u64, to: u64) -> io::Result<Id> {
        let (mut at, mut hash) = (from, blake3::Hasher::new());
        while at < to {
            let length = READ.min(usize::try_from(to - at).unwrap_or(READ));
            hash.update(&self.read(at, length)?);
            at += length as u64;
        }
        Ok(*hash.finalize().as_bytes())
    }

    /// A parity set whose end is damaged or cut off: what is left of it is of use.
    fn cut_parity(&self, at: u64, budget: &mut u64) -> io::Result<Option<(String, u64)>> {
        let Some(bytes) = self.whole(at, budget)? else { return Ok(None) };
        let Ok(table) = ParityTable::decode(&bytes) else { return Ok(None) };
        let end = self.length.min(at.saturating_add(table.set_len(bytes.len() as u64)));
        Ok(Some((parity_key(&self.id(at, end)?), end - at)))
    }

    fn config(&self, at: u64) -> io::Result<Option<(String, u64)>> {
        const SEAL: &[u8] = b"\n[seal]\nchecksum = \"";
        /// Sixteen digits, a quotation mark and a line feed.
        const REST: usize = 18;
        let bytes = self.read(at, MAX_CONFIG)?;
        for found in (0..bytes.len()).filter(|found| bytes[*found..].starts_with(SEAL)) {
            let end = found + SEAL.len() + REST;
            if bytes.get(..end).is_some_and(|bytes| Config::decode(bytes).is_ok()) {
                return Ok(Some((CONFIG.to_owned(), end as u64)));
            }
        }
        Ok(None)
    }

    /// All of a section, as long as it says it is; less may be read of all sections together than
    /// `budget`.
    fn whole(&self, at: u64, budget: &mut u64) -> io::Result<Option<Vec<u8>>> {
        let most = MAX_SECTION.min(self.length.saturating_sub(at)).min(*budget);
        let length = section_len(&self.read(at, ENVELOPE_LEN)?).filter(|length| *length <= most);
        let Some(length) = length else { return Ok(None) };
        *budget -= length;
        self.read(at, usize::try_from(length).unwrap_or(usize::MAX)).map(Some)
    }

    fn section(
        &self,
        section: Section,
        at: u64,
        budget: &mut u64,
    ) -> io::Result<Option<(String, u64)>> {
        let Some(bytes) = self.whole(at, budget)? else { return Ok(None) };
        if check(section, &bytes).is_err() {
            return Ok(None);
        }
        let id = *blake3::hash(&bytes).as_bytes();
        let key = match section {
            Section::Index => Some(index_key(&id)),
            Section::Root => Root::decode(&bytes).ok().map(|root| root_key(root.number, &id)),
            // Its name was in its key alone.
            _ => Snapshot::decode(&bytes)
                .ok()
                .and_then(|snapshot| snapshot_key(&format!("recovered-{}", snapshot.number))),
        };
        Ok(key.map(|key| (key, bytes.len() as u64)))
    }
}
