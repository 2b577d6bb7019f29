//! One pack: how its frames are compressed, and how it is put together.

mod codec;
mod level;
mod writer;

pub use codec::{Compressor, inflate, inflate_prefix};
pub use level::Level;
pub use writer::{PackWriter, SealedPack};

use crate::format::{Id, hex};

/// The key of the pack of that id.
#[must_use]
pub fn key(id: &Id) -> String {
    let name = hex(id);
    format!("packs/{}/{name}", &name[..2])
}
