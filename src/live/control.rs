//! How other processes ask a live store for something: over a socket in its folder.
//!
//! A line of words goes in, and a line comes out: `ok` and what came of it, or `error` and why.
//! The socket is open to whoever may write to the store's folder.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::LiveFs;
use crate::format::{ObjectRef, hex, unhex};
use crate::maintain::collect::Collected;
use crate::maintain::rebuild::Made;
use crate::store::snapshots;

/// The socket, in the folder of journals and spools.
const SOCKET: &str = "socket";
/// Longest line, in bytes.
const LONGEST: u64 = 4096;
/// How often whoever waits for an answer looks whether it should.
const LOOK: Duration = Duration::from_millis(100);
/// Whoever connects says at once what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Make all that was written part of the archive.
    Flush,
    /// Do so, and name the root.
    Create(String),
    /// Take a snapshot away.
    Delete(String),
    /// Give a snapshot another name.
    Rename(String, String),
    /// Remove what nothing needs any more.
    Collect,
    /// Take on what was packed anew.
    Adopt(Made),
    /// Tell what it did so far, as JSON.
    Tell,
}

impl Request {
    fn line(&self) -> String {
        match self {
            Self::Flush => "flush".to_owned(),
            Self::Create(name) => format!("create\t{name}"),
            Self::Delete(name) => format!("delete\t{name}"),
            Self::Rename(name, new) => format!("rename\t{name}\t{new}"),
            Self::Collect => "collect".to_owned(),
            Self::Tell => "tell".to_owned(),
            Self::Adopt(Made { segments, tree }) => {
                let show = |object: &ObjectRef| {
                    format!("\t{}\t{}\t{}", hex(&object.id), object.length, object.checksum)
                };
                let verb = if tree.is_some() { "adopt-tree" } else { "adopt" };
                let objects = tree.iter().flatten().chain(segments);
                format!("{verb}{}", objects.map(show).collect::<String>())
            }
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split('\t').collect();
        Some(match words.as_slice() {
            ["flush"] => Self::Flush,
            ["create", name] => Self::Create((*name).to_owned()),
            ["delete", name] => Self::Delete((*name).to_owned()),
            ["rename", name, new] => Self::Rename((*name).to_owned(), (*new).to_owned()),
            ["collect"] => Self::Collect,
            ["tell"] => Self::Tell,
            [verb @ ("adopt" | "adopt-tree"), objects @ ..] => {
                let object = |words: &[&str; 3]| {
                    let [id, length, checksum] = *words;
                    let (length, checksum) = (length.parse().ok()?, checksum.parse().ok()?);
                    Some(ObjectRef { id: unhex(id)?, length, checksum })
                };
                let (triples, []) = objects.as_chunks() else { return None };
                let mut segments = triples.iter().map(object).collect::<Option<Vec<_>>>()?;
                let tree = match *verb {
                    "adopt" => None,
                    _ => Some(segments.drain(..2.min(segments.len())).as_slice().try_into().ok()?),
                };
                Self::Adopt(Made { segments, tree })
            }
            _ => return None,
        })
    }
}

/// A path of the socket that is not too long for one, and the folder that must stay open for it.
fn socket(live: &Path) -> io::Result<(File, PathBuf)> {
    let folder = File::open(live)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
    Ok((folder, path.into()))
}

/// Asks whoever writes to the store in a folder, and waits until it is done, or there is a reason
/// to `stop`; `None`: it does not listen.
///
/// # Errors
/// If it may not be asked, the connection breaks, or it is not waited for any more
/// (`ErrorKind::Interrupted`); inside: why it was refused.
pub fn ask(
    store: &Path,
    request: &Request,
    stop: impl Fn() -> bool,
) -> io::Result<Option<Result<String, String>>> {
    let connected = socket(&store.join(super::open::LIVE))
        .and_then(|(_folder, path)| UnixStream::connect(path));
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        Err(_) => return Ok(None),
    };
    writeln!(stream, "{}", request.line())?;
    stream.set_read_timeout(Some(LOOK))?;
    let (mut answer, mut stream) = (String::new(), BufReader::new(stream.take(LONGEST)));
    loop {
        match stream.read_line(&mut answer) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if stop() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    match answer.trim_end_matches('\n').split_once(' ') {
        Some(("ok", what)) => Ok(Some(Ok(what.to_owned()))),
        Some(("error", why)) => Ok(Some(Err(why.to_owned()))),
        _ => Err(io::Error::other("it ended before it was done")),
    }
}

/// The thread that listens, while it runs.
#[derive(Debug)]
pub struct Control {
    live: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Listens for requests to `fs`.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn start(fs: Arc<LiveFs>) -> io::Result<Self> {
        let live = fs.live.clone();
        let (_folder, path) = socket(&live)?;
        // Of a process that is gone: this one has the lock.
        match fs::remove_file(live.join(SOCKET)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let body = move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                if let Err(error) = serve(&fs, stream) {
                    log::debug!("{}: {error}", fs.live.join(SOCKET).display());
                }
            }
        };
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(body)?;
        Ok(Self { live, stop, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // So that it looks.
        let woken = socket(&self.live).and_then(|(_folder, path)| UnixStream::connect(path));
        let _ = fs::remove_file(self.live.join(SOCKET));
        if woken.is_ok() {
            self.thread.take().map(JoinHandle::join);
        }
    }
}

fn serve(fs: &LiveFs, stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(LONGEST)).read_line(&mut line)?;
    let done = match Request::parse(line.trim_end_matches('\n')) {
        None => Err("no such request; use the same version of packfs for both".to_owned()),
        Some(request) => fs.answer(&request),
    };
    let answer = match done {
        Ok(what) => format!("ok {what}"),
        Err(why) => format!("error {}", why.replace('\n', " ")),
    };
    writeln!(&stream, "{answer}")
}

impl LiveFs {
    fn answer(&self, request: &Request) -> Result<String, String> {
        let storage = &*self.storage;
        match request {
            Request::Flush => {
                self.commit().map_err(|error| error.to_string())?;
                self.protect();
                Ok(self.base().store().root().1.number.to_string())
            }
            Request::Create(name) => {
                self.commit().map_err(|error| error.to_string())?;
                let base = self.base();
                let (key, root) = base.store().root();
                let created = snapshots::create(storage, name, key, super::now().sec);
                created.map(|()| root.number.to_string()).map_err(|error| error.to_string())
            }
            Request::Delete(name) => {
                let deleted = snapshots::delete(storage, name);
                deleted.map(|()| String::new()).map_err(|error| error.to_string())
            }
            Request::Collect => {
                let show = |it: Collected| {
                    let Collected { objects, bytes, written, read, dead } = it;
                    format!("{objects} {bytes} {written} {read} {dead}")
                };
                self.collect().map(show).map_err(|error| error.to_string())
            }
            Request::Tell => Ok(self.figures().to_string()),
            Request::Adopt(made) => {
                let adopted = self.adopt(made);
                adopted.map(|()| String::new()).map_err(|error| error.to_string())
            }
            Request::Rename(name, new) => {
                let renamed = snapshots::rename(storage, name, new);
                renamed.map(|()| String::new()).map_err(|error| error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_line() {
        let (a, b) = ("a b".to_owned(), "é".to_owned());
        let object = ObjectRef { id: [7; 32], length: 5, checksum: 9 };
        let all = [
            Request::Flush,
            Request::Create(a.clone()),
            Request::Delete(b.clone()),
            Request::Rename(a, b),
            Request::Collect,
            Request::Tell,
            Request::Adopt(Made { segments: vec![object; 2], tree: None }),
            Request::Adopt(Made { segments: vec![object], tree: Some([object; 2]) }),
        ];
        for request in all {
            assert_eq!(Request::parse(&request.line()), Some(request));
        }
        assert_eq!(Request::parse("flush\tnow"), None);
    }
}
