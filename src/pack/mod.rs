//! One pack: how its frames are compressed, how it is put together, and
//! what it says of itself.

mod codec;
mod level;
mod reader;
mod writer;

pub use codec::{Compressor, Inflation};
pub use level::Level;
pub use reader::footer;
pub use writer::{PackWriter, SealedPack};

use crate::format::{Id, hex};

/// The key of the pack of that id.
#[must_use]
pub fn key(id: &Id) -> String {
    let name = hex(id);
    format!("packs/{}/{name}", &name[..2])
}
