//! An archive mounted through FUSE.
//!
//! | file | what it holds |
//! |---|---|
//! | `options` | `-o` and what it comes to |
//! | `session` | a mount from its start to its end: [`mount`], [`Mounted`] |
//! | `signals` | SIGINT, SIGTERM and SIGHUP unmount |
//! | `attach` | getting a FUSE connection onto a folder: mount(2) or fusermount3 |
//! | `detach` | the way back |
//! | `mountinfo` | what the kernel says is mounted where |
//! | `adapter` | FUSE messages ↔ calls of [`crate::fs`]; no logic |
//! | `writable` | the same for [`crate::live`], where the mount can be written to |
//! | `snapdir` | what that shows: its files, and snapshots beside them |
//! | `links` | when the kernel has counted that a name is gone |
//! | `answer` | what both adapters answer alike |
//! | `pool` | threads for what would keep the event loop |
//! | `waiters` | threads for who waits for room |
//! | `awake` | keeps processors awake while requests follow closely |
//! | `linger` | looks for the next request for a moment, before an event loop sleeps |
//! | `ahead` | inflates and hands to the kernel what will be asked for |
//! | `shown` | the root that is shown, and the next one |
//! | `live` | what the mount did so far, as a file in it |
//! | `trace` | writes down in which order files are read |
//! | `attributes` | attributes as FUSE wants them |

mod adapter;
mod ahead;
mod answer;
mod attach;
mod attributes;
mod awake;
mod detach;
mod error;
mod linger;
mod links;
mod live;
mod mountinfo;
mod options;
mod pool;
mod session;
mod shown;
mod signals;
mod snapdir;
mod trace;
mod waiters;
mod walks;
mod writable;

pub use detach::{UnmountError, unmount};
pub use error::MountError;
pub use live::{LIVE, LIVE_INODES};
use mountinfo::mounts_at;
pub use mountinfo::{MountEntry, mount_at};
pub use options::{Access, OptionError, Options, parse_size};
pub use session::{Detached, Detacher, Files, Mounted, check_mount_point, mount};
pub use signals::SignalWatch;
pub use snapdir::NAME as SNAPDIR;

/// The file system type of a mount, as mount(8) and `/proc/self/mountinfo` show it.
pub const FS_TYPE: &str = "fuse.packfs";
