//! What a writer that ended left behind, where it cannot be taken up as it is.
//!
//! A journal is used up to its last group that checks out and whose data is there; what it has
//! after that, and the layers above, which rest on it, are set aside in a folder of their own:
//! nothing is deleted.
//!
//! Order of writes: layers above are moved, newest first, each journal before its spool. Then the
//! journal is copied, the copy and the folders synced, and only then it is cut. After a crash there
//! is less left to do.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::layer::{check_beginning, check_change, journal_path, spool_path};
use super::log::{HEAD_LEN, Log};
use super::open::{LIVE, has_changes, is_blank, never_begun, numbers, rests};
use super::spool::Spool;
use crate::storage::{ErrorKind, Lock, StorageError};
use crate::store::Store;

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
/// nothing, or somebody writes to it.
///
/// # Errors
/// If it cannot be read.
pub fn left_behind(store: &Path, root: &Store) -> Result<Option<Left>, StorageError> {
    if !has_changes(store)? {
        return Ok(None);
    }
    let Ok(_lock) = Lock::take(store) else { return Ok(None) };
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
    let journals = numbers(&live, journal_path)?;
    let done = move_all(&live, &folder, &trouble, &journals);
    done.map_err(|error| StorageError::io(&folder.display().to_string(), error))?;
    Ok(Some((trouble.why, folder)))
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
    let (log, beginning) = match Log::open(&path) {
        Ok(Some(opened)) => opened,
        Ok(None) => return useless(never_begun(&path)),
        Err(why @ StorageError { kind: ErrorKind::Left(_), .. }) => return useless(why),
        Err(error) => return Err(error),
    };
    let rests = |it: &_| rests(it, under.map(|(number, _)| number), root);
    if let Err(why) = check_beginning(live, number, &beginning, rests) {
        return useless(why);
    }
    let spool = match Spool::open(&spool_path(live, number)) {
        Ok(spool) => spool,
        Err(why @ StorageError { kind: ErrorKind::Left(_), .. }) => return useless(why),
        Err(error) => return Err(error),
    };
    let length = spool.length();
    let replayed = log.survey(|change| check_change(live, number, &change, length, under))?;
    let end = Some(replayed.end).filter(|end| *end > HEAD_LEN as u64);
    Ok(match replayed.damage {
        None => Ok(replayed.next - 1),
        Some(why) => Err(Trouble { number, end, why }),
    })
}

fn move_all(live: &Path, folder: &Path, trouble: &Trouble, journals: &[u64]) -> io::Result<()> {
    fs::create_dir(folder)?;
    let kept = |number: &u64| *number < trouble.number + u64::from(trouble.end.is_some());
    for number in journals.iter().rev().take_while(|number| !kept(number)) {
        for file in [journal_path(live, *number), spool_path(live, *number)] {
            match fs::rename(&file, folder.join(file.file_name().unwrap_or_default())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    let sync = |folder: &Path| File::open(folder)?.sync_all();
    if let Some(end) = trouble.end {
        let journal = journal_path(live, trouble.number);
        let copy = journal_path(folder, trouble.number);
        fs::copy(&journal, &copy)?;
        File::open(&copy)?.sync_all()?;
        sync(folder)?;
        sync(live)?;
        let journal = File::options().write(true).open(&journal)?;
        journal.set_len(end)?;
        journal.sync_all()?;
    }
    sync(folder)?;
    sync(live)
}
