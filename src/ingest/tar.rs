//! A tar as the source of an archive: it comes as a stream, and is read once.

use std::collections::HashMap;
use std::io::Read;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::CreateError;
use super::catalog::{Catalog, File, Name, ROOT, place};
use super::feed::{BATCH_BYTES, End, Feeder, Gone, Item};
use crate::format::Kind;
use crate::monitor::{Monitor, Problem};
use crate::tar::{TarEntry, TarError, TarKind, TarReader};

/// Files up to this length, in bytes, are read into memory, several for one job.
const LOADED: u64 = BATCH_BYTES as u64;

/// The tar being read, and what came of it so far.
pub struct TarSource<'a> {
    reader: TarReader<&'a mut (dyn Read + Send)>,
    catalog: Catalog,
    /// By folder and name: the place among the names.
    known: HashMap<(u32, Box<[u8]>), u32>,
    /// What folders are like that the tar does not have itself.
    around: File,
    all_times: bool,
    monitor: &'a dyn Monitor,
    problems: u64,
    failure: Option<TarError>,
    /// A large file that was come to and not read.
    waiting: Option<(u32, TarEntry)>,
}

/// What one file of a job consists of: its place, and stretches of data and holes.
struct Loaded {
    file: u32,
    stretches: Vec<(bool, u64)>,
}

/// Work for a reading thread.
pub enum TarJob<'a> {
    /// Small files, whose data is here.
    Loaded(Vec<u8>, LoadedFiles),
    /// A large file, still to be read: the tar comes with it, and goes back afterwards.
    Large(Box<TarSource<'a>>, u32, TarEntry),
}

/// The files of a job whose data was read.
pub struct LoadedFiles(Vec<Loaded>);

/// Hands the tar from one reader to the next.
pub struct TarJobs<'a> {
    slot: (Sender<Box<TarSource<'a>>>, Receiver<Box<TarSource<'a>>>),
}

impl<'a> TarJobs<'a> {
    /// Jobs from the tar on `input`; folders that it does not have itself are like `around`.
    ///
    /// # Errors
    /// If it is no tar.
    pub fn new(
        input: &'a mut (dyn Read + Send),
        around: &File,
        all_times: bool,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, CreateError> {
        let mut catalog = Catalog::default();
        catalog.files.push(around.clone());
        let source = TarSource {
            reader: TarReader::new(input)?,
            catalog,
            known: HashMap::new(),
            around: around.clone(),
            all_times,
            monitor,
            problems: 0,
            failure: None,
            waiting: None,
        };
        let slot = bounded(1);
        let _ = slot.0.send(Box::new(source));
        Ok(Self { slot })
    }

    /// Where the tar comes back to.
    pub fn back(&self) -> Sender<Box<TarSource<'a>>> {
        self.slot.0.clone()
    }

    /// Ends the reading: what the tar had, and how many of its members could not be taken whole.
    ///
    /// # Errors
    /// What was wrong with the tar.
    pub fn finish(self) -> Result<(Catalog, u64), CreateError> {
        // It is lost with the job that has it, if that is dropped: then the build failed.
        let source = self.slot.1.try_recv().map_err(|_| CreateError::Thread)?;
        match source.failure {
            Some(failure) => Err(failure.into()),
            None => {
                let problems = source.problems;
                Ok((source.without_replaced(), problems))
            }
        }
    }
}

impl<'a> Iterator for &TarJobs<'a> {
    type Item = TarJob<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut source = self.slot.1.recv().ok()?;
        if let Some((file, entry)) = source.waiting.take() {
            return Some(TarJob::Large(source, file, entry));
        }
        let (mut data, mut files) = (Vec::new(), Vec::new());
        while data.len() < BATCH_BYTES && files.len() < 4096 && !source.monitor.cancelled() {
            match source.step(&mut data, &mut files) {
                Ok(true) => {}
                Ok(false) => break,
                Err(failure) => {
                    source.failure = Some(failure);
                    break;
                }
            }
        }
        match (files.is_empty(), source.waiting.take()) {
            (true, Some((file, entry))) => return Some(TarJob::Large(source, file, entry)),
            (_, waiting) => source.waiting = waiting,
        }
        let _ = self.slot.0.send(source);
        (!files.is_empty()).then_some(TarJob::Loaded(data, LoadedFiles(files)))
    }
}

/// Feeds the files of one job; the tar goes `back`.
pub fn read<'a>(
    job: TarJob<'a>,
    back: &Sender<Box<TarSource<'a>>>,
    feeder: &mut Feeder,
) -> Result<(), Gone> {
    match job {
        TarJob::Loaded(data, LoadedFiles(files)) => feed_loaded(&data, &files, feeder),
        TarJob::Large(mut source, file, entry) => {
            let fed = source.feed(file, &entry, feeder);
            let _ = back.send(source);
            fed
        }
    }
}

fn feed_loaded(data: &[u8], files: &[Loaded], feeder: &mut Feeder) -> Result<(), Gone> {
    let mut rest = data;
    for Loaded { file, stretches } in files {
        for (hole, length) in stretches {
            if *hole {
                feeder.tell(Item::Hole(*length))?;
                continue;
            }
            let (bytes, after) = rest.split_at(usize::try_from(*length).unwrap_or(0));
            feeder.buffer().extend_from_slice(bytes);
            rest = after;
            if feeder.cutter().is_one_block(bytes.len()) {
                feeder.block(feeder.cutter().name(bytes))?;
            } else {
                feeder.cut(true)?;
            }
        }
        feeder.tell(Item::End(End { file: *file, digest: None, trouble: None }))?;
    }
    Ok(())
}

/// The stretches of a file: holes (true) and data, in turn.
fn stretches(entry: &TarEntry) -> Vec<(bool, u64)> {
    let mut stretches = Vec::new();
    let mut at = 0;
    for (offset, length) in &entry.holes {
        if *offset > at {
            stretches.push((false, offset - at));
        }
        stretches.push((true, *length));
        at = offset + length;
    }
    if entry.size > at {
        stretches.push((false, entry.size - at));
    }
    stretches
}

impl TarSource<'_> {
    /// Takes the next member; false at the end, or where a large file waits.
    fn step(&mut self, data: &mut Vec<u8>, files: &mut Vec<Loaded>) -> Result<bool, TarError> {
        let mut entry = match self.reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(false),
            Err(TarError::Unfit { path, why }) => {
                self.problem(path, format!("{why}; left out"));
                return Ok(true);
            }
            Err(failure) => return Err(failure),
        };
        for lost in std::mem::take(&mut entry.lost) {
            self.problem(entry.path.clone(), lost);
        }
        let Some(file) = self.add(&entry) else { return Ok(true) };
        if !entry.is_file() {
            self.monitor.advance(1, 0);
            return Ok(true);
        }
        let holes: u64 = entry.holes.iter().map(|(_, length)| length).sum();
        if entry.size - holes > LOADED {
            self.waiting = Some((file, entry));
            return Ok(false);
        }
        let stretches = stretches(&entry);
        let want = usize::try_from(entry.size - holes).unwrap_or(0);
        let start = data.len();
        data.resize(start + want, 0);
        let mut done = start;
        while done < data.len() {
            match self.reader.read_data(&mut data[done..])? {
                0 => break,
                read => done += read,
            }
        }
        files.push(Loaded { file, stretches });
        Ok(true)
    }

    /// Feeds a large file as it comes.
    fn feed(&mut self, file: u32, entry: &TarEntry, feeder: &mut Feeder) -> Result<(), Gone> {
        for (hole, length) in stretches(entry) {
            if hole {
                feeder.tell(Item::Hole(length))?;
                continue;
            }
            let mut left = length;
            while left > 0 {
                if self.monitor.cancelled() {
                    return Err(Gone);
                }
                let want = usize::try_from(left).unwrap_or(BATCH_BYTES).min(BATCH_BYTES);
                let buffer = feeder.buffer();
                let start = buffer.len();
                buffer.resize(start + want, 0);
                let read = match self.reader.read_data(&mut buffer[start..]) {
                    Ok(read) => read,
                    Err(failure) => {
                        self.failure = Some(failure);
                        return Err(Gone);
                    }
                };
                buffer.truncate(start + read);
                if read == 0 {
                    break;
                }
                left -= read as u64;
                feeder.cut(false)?;
            }
            feeder.cut(true)?;
        }
        feeder.tell(Item::End(End { file, digest: None, trouble: None }))
    }

    fn problem(&mut self, path: Vec<u8>, what: String) {
        self.problems += 1;
        self.monitor.problem(Problem { path, what });
    }

    /// Adds a member to the catalog; `None` where it adds no file.
    fn add(&mut self, entry: &TarEntry) -> Option<u32> {
        let (folder, name) = match entry.path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&entry.path[..slash], &entry.path[slash + 1..]),
            None => (&b""[..], entry.path.as_slice()),
        };
        if let TarKind::Hardlink(target) = &entry.kind {
            let Some(file) = self.find(target).filter(|file| !self.is_folder(*file)) else {
                self.problem(
                    entry.path.clone(),
                    "a link to a file that is not in the tar".to_owned(),
                );
                return None;
            };
            let folder = self.folder(folder);
            self.name(folder, name, file);
            return None;
        }
        let file = self.file(entry);
        if name.is_empty() {
            // The root folder itself.
            self.catalog.files[ROOT as usize] = file;
            return None;
        }
        let folder = self.folder(folder);
        let is_folder = file.kind() == Some(Kind::Folder);
        if is_folder && let Some(known) = self.child(folder, name).filter(|at| self.is_folder(*at))
        {
            let first_name = self.catalog.files[known as usize].first_name;
            self.catalog.files[known as usize] = File { first_name, ..file };
            return None;
        }
        let at = place(self.catalog.files.len());
        let first_name = place(self.catalog.names.len());
        self.catalog.files.push(File { first_name, ..file });
        self.name(folder, name, at);
        Some(at)
    }

    fn is_folder(&self, file: u32) -> bool {
        self.catalog.files[file as usize].kind() == Some(Kind::Folder)
    }

    fn child(&self, folder: u32, name: &[u8]) -> Option<u32> {
        let at = self.known.get(&(folder, name.into()))?;
        Some(self.catalog.names[*at as usize].file)
    }

    fn find(&self, path: &[u8]) -> Option<u32> {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.into_iter().try_fold(ROOT, |folder, name| self.child(folder, name))
    }

    /// Gives a file a name; whatever had that name before loses it.
    fn name(&mut self, folder: u32, name: &[u8], file: u32) {
        if let Some(known) = self.known.get(&(folder, name.into())) {
            // The name's place stays, and with it the path of the file that had it, for messages.
            self.catalog.names[*known as usize].file = file;
            self.catalog.files[file as usize].first_name = *known;
            return;
        }
        let at = place(self.catalog.names.len());
        self.catalog.names.push(Name { folder, name: name.into(), file });
        self.known.insert((folder, name.into()), at);
    }

    /// The folder of that path, made up where the tar does not have it (yet).
    fn folder(&mut self, path: &[u8]) -> u32 {
        let mut folder = ROOT;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            folder = match self.child(folder, name).filter(|at| self.is_folder(*at)) {
                Some(known) => known,
                None => {
                    let at = place(self.catalog.files.len());
                    let first_name = place(self.catalog.names.len());
                    self.catalog.files.push(File { first_name, ..self.around.clone() });
                    self.name(folder, name, at);
                    at
                }
            };
        }
        folder
    }

    fn file(&mut self, entry: &TarEntry) -> File {
        let (kind, target) = match &entry.kind {
            TarKind::Node(kind) => (*kind, Vec::new()),
            TarKind::Symlink(target) => (Kind::Symlink, target.clone()),
            TarKind::Hardlink(_) => (Kind::File, Vec::new()),
        };
        let times = || (entry.atime.unwrap_or(entry.mtime), entry.ctime.unwrap_or(entry.mtime));
        File {
            mode: kind.mode() | (entry.mode & 0o7777),
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size,
            rdev: entry.rdev,
            mtime: entry.mtime,
            times: self.all_times.then(times),
            xattrs: self.catalog.set_of(entry.xattrs.clone()),
            target: target.into(),
            ..File::default()
        }
    }

    /// The catalog, in which files that lost all their names are left out.
    fn without_replaced(mut self) -> Catalog {
        let mut named = vec![false; self.catalog.files.len()];
        named[ROOT as usize] = true;
        self.catalog.names.iter().for_each(|name| named[name.file as usize] = true);
        for (file, named) in self.catalog.files.iter_mut().zip(named) {
            file.gone |= !named;
        }
        self.catalog
    }
}
