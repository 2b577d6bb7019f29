//! What a writer that ended left behind, where it cannot be taken up as it is.
//!
//! A journal is used up to its last group that checks out and whose data is there; what it has
//! after that, and the layers above, which rest on it, are set aside in a folder of their own:
//! nothing is deleted.
//!
//! Order of writes: layers above are moved, newest first, spools before journals, as spools alone
//! are nobody's. Then the journal and its spool are copied, the copies and the folders synced, and
//! only then the journal is cut. After a crash there is less left to do.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layer::{check_beginning, check_change, journal_path, spool_path};
use super::log::{HEAD_LEN, Log, plain};
use super::open::{LIVE, base_of, expect, has_changes, is_blank, never_begun, numbers, rests};
use crate::storage::{self, Announced, ErrorKind, Lock, Storage, StorageError};
use crate::store::{Store, parse_root};

/// Where a layer cannot be taken up as it is.
#[derive(Debug)]
struct Trouble {
    number: u64,
    /// Where the journal ends that can be used; `None`: none of it can.
    end: Option<u64>,
    why: StorageError,
}

/// What there is of a writer that ended without a commit.
#[derive(Debug)]
pub enum Left {
    /// Changes that can be taken up.
    Changes,
    /// Changes that cannot be taken up as they are.
    Damaged(StorageError),
}

/// What a writer of the store in the folder `store` left behind, over that root; `None` if there is
/// nothing, or somebody writes to it. Nothing is changed.
///
/// # Errors
/// If it cannot be read.
pub fn left_behind(store: &Path, root: &Store) -> Result<Option<Left>, StorageError> {
    if !has_changes(store)? {
        return Ok(None);
    }
    // Without a lock that can be looked at, nobody writes to it, or by no means that are known.
    if matches!(Lock::watch(store), Ok(None)) {
        return Ok(None);
    }
    let found = survey(store, root)?;
    Ok(Some(found.map_or(Left::Changes, |trouble| Left::Damaged(trouble.why))))
}

/// Sets aside what cannot be used of what a writer left behind, over that root; the caller has the
/// lock. Returns what was wrong, and the folder in which it is now, if there was anything.
///
/// # Errors
/// If that cannot be read or moved.
pub fn set_aside(
    store: &Path,
    root: &Store,
) -> Result<Option<(StorageError, PathBuf)>, StorageError> {
    if !has_changes(store)? {
        return Ok(None);
    }
    let Some(trouble) = survey(store, root)? else { return Ok(None) };
    let live = store.join(LIVE);
    let numbered = (1..).map(|number| live.join(format!("aside-{number}")));
    let mut folders = numbered.skip_while(|folder| folder.symlink_metadata().is_ok());
    let folder = folders.next().unwrap_or_else(|| live.join("aside"));
    let [journals, spools] = [numbers(&live, journal_path)?, numbers(&live, spool_path)?];
    let done = move_all(&live, &folder, &trouble, (&journals, &spools));
    done.map_err(|error| StorageError::io(&folder.display().to_string(), error))?;
    Ok(Some((trouble.why, folder)))
}

/// A store in a folder, to be written to by who has the lock and leaves the tree as it is: what was
/// left behind, and rests on its newest root, then rests on the one that comes next.
///
/// # Errors
/// If what was left behind cannot be read.
pub fn carried(store: &Path, root: Option<&Store>) -> Result<Arc<dyn Storage>, StorageError> {
    let (live, storage) = (store.join(LIVE), storage::LocalStorage::new(store));
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let lowest = numbers(&live, journal_path)?.first().copied();
    let (Some(lowest), Some(root)) = (lowest, root) else { return Ok(storage) };
    let Some((log, _)) = Log::open(&journal_path(&live, lowest))? else { return Ok(storage) };
    let newest = base_of(root);
    // It may be there as the next one alone, of which another is about to take the place.
    log.rest_on(&newest)?;
    let before = move |key: &str| match parse_root(key) {
        // Others are those of snapshots.
        Some((number, _)) if number > newest.number => expect(&log, key),
        _ => Ok(()),
    };
    Ok(Arc::new(Announced::new(storage, Box::new(before))))
}

/// Looks for the first layer that cannot be taken up.
fn survey(store: &Path, root: &Store) -> Result<Option<Trouble>, StorageError> {
    let live = store.join(LIVE);
    let journals = numbers(&live, journal_path)?;
    let mut under = None;
    for number in &journals {
        let path = journal_path(&live, *number);
        if journals.last() == Some(number) && fs::metadata(&path).is_ok_and(|it| is_blank(&it)) {
            break;
        }
        match survey_layer(&live, *number, under, root)? {
            Ok(groups) => under = Some((*number, groups)),
            Err(trouble) => return Ok(Some(trouble)),
        }
    }
    Ok(None)
}

/// How many groups the journal of a layer has, over the one `under` it, of that number and with so
/// many groups.
fn survey_layer(
    live: &Path,
    number: u64,
    under: Option<(u64, u64)>,
    root: &Store,
) -> Result<Result<u64, Trouble>, StorageError> {
    let path = journal_path(live, number);
    let useless = |why| Ok(Err(Trouble { number, end: None, why }));
    let (log, beginning) = match Log::look_at(&path) {
        Ok(Some(opened)) => opened,
        Ok(None) => return useless(never_begun(&path)),
        Err(why @ StorageError { kind: ErrorKind::Left(_), .. }) => return useless(why),
        Err(error) => return Err(error),
    };
    let rests = |it: &_| rests(it, under.map(|(number, _)| number), root);
    if let Err(why) = check_beginning(live, number, &beginning, rests) {
        return useless(why);
    }
    let spool = spool_path(live, number);
    let length = match plain(&spool) {
        Ok(about) => about.len(),
        Err(why @ StorageError { kind: ErrorKind::Left(_), .. }) => return useless(why),
        Err(error) => return Err(error),
    };
    let replayed = log.survey(|change| check_change(live, number, &change, length, under))?;
    let end = Some(replayed.end).filter(|end| *end > HEAD_LEN as u64);
    Ok(match replayed.damage {
        None => Ok(replayed.next - 1),
        Some(why) => Err(Trouble { number, end, why }),
    })
}

/// Moves what is not kept, of these journals and spools, to a folder of its own.
fn move_all(
    live: &Path,
    folder: &Path,
    trouble: &Trouble,
    (journals, spools): (&[u64], &[u64]),
) -> io::Result<()> {
    fs::create_dir(folder)?;
    let below = trouble.number + u64::from(trouble.end.is_some());
    let kept = |number: &u64| *number < below && journals.contains(number);
    let place = |file: &Path| folder.join(file.file_name().unwrap_or_default());
    let gone = |numbers: &[u64], path: fn(&Path, u64) -> PathBuf| {
        let gone = numbers.iter().rev().filter(|number| !kept(number));
        gone.map(|number| path(live, *number)).collect::<Vec<_>>()
    };
    for file in gone(spools, spool_path).into_iter().chain(gone(journals, journal_path)) {
        fs::rename(&file, place(&file))?;
    }
    let sync = |folder: &Path| File::open(folder)?.sync_all();
    if let Some(end) = trouble.end {
        let journal = journal_path(live, trouble.number);
        for file in [&spool_path(live, trouble.number), &journal] {
            fs::copy(file, place(file))?;
            File::open(place(file))?.sync_all()?;
        }
        sync(folder)?;
        sync(live)?;
        let journal = File::options().write(true).open(&journal)?;
        journal.set_len(end)?;
        journal.sync_all()?;
    }
    sync(folder)?;
    sync(live)
}
