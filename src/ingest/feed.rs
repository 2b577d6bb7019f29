//! What readers hand to the filler: blocks in the order of the source, in batches.

use crossbeam_channel::Sender;

use super::cut::Cutter;
use crate::format::Id;

/// A batch is handed over once it holds so many bytes.
pub const BATCH_BYTES: usize = 1 << 20;
/// Or so many items.
const BATCH_ITEMS: usize = 4096;

/// One thing about the file being read.
#[derive(Debug)]
pub enum Item {
    /// Its next bytes of data are a block of that length and name.
    Block(u32, Id),
    /// Its next bytes are a block of that length and name that came before, and are not told.
    Again(u32, Id),
    /// Its next bytes are a hole of that length.
    Hole(u64),
    /// All its data is that of an earlier file, of that digest.
    Same(Id),
    /// It ends here.
    End(End),
}

/// How the reading of a file ended.
#[derive(Debug)]
pub struct End {
    /// Its place among the files.
    pub file: u32,
    /// The digest under which later files may refer to it.
    pub digest: Option<Id>,
    /// What went wrong, if something did.
    pub trouble: Option<Trouble>,
}

/// What can happen to a file while it is read.
#[derive(Debug)]
pub enum Trouble {
    /// It is left out.
    Lost(String),
    /// What was read of it is kept.
    Changed(String),
}

/// Items, and the bytes of their blocks one after another.
#[derive(Debug, Default)]
pub struct Batch {
    /// What it tells, in order.
    pub items: Vec<Item>,
    /// The bytes of its blocks.
    pub data: Vec<u8>,
}

/// The filler is gone: it failed, and will say why.
#[derive(Debug)]
pub struct Gone;

/// Collects items of one job into batches and hands them over.
#[derive(Debug)]
pub struct Feeder {
    cutter: Cutter,
    sender: Sender<Batch>,
    batch: Batch,
    /// Where the bytes begin that are not cut into blocks yet.
    uncut: usize,
}

impl Feeder {
    /// A feeder for one job.
    pub fn new(cutter: Cutter, sender: Sender<Batch>) -> Self {
        Self { cutter, sender, batch: Batch::default(), uncut: 0 }
    }

    /// The settings it cuts by.
    pub fn cutter(&self) -> &Cutter {
        &self.cutter
    }

    /// Where bytes of the current file are to be appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.batch.data
    }

    /// The bytes appended since the last block.
    pub fn pending(&self) -> &[u8] {
        &self.batch.data[self.uncut..]
    }

    /// Cuts what was appended; at the `end` of a stretch of data, all of it.
    pub fn cut(&mut self, end: bool) -> Result<(), Gone> {
        let (items, data) = (&mut self.batch.items, &self.batch.data[self.uncut..]);
        self.uncut += self.cutter.cut(data, end, |length, id| items.push(Item::Block(length, id)));
        self.hand_over(BATCH_BYTES)
    }

    /// Makes what was appended one block, of that name.
    pub fn block(&mut self, name: Id) -> Result<(), Gone> {
        let length = u32::try_from(self.batch.data.len() - self.uncut).unwrap_or(u32::MAX);
        if length > 0 {
            self.batch.items.push(Item::Block(length, name));
        }
        self.uncut = self.batch.data.len();
        self.hand_over(BATCH_BYTES)
    }

    /// Drops what was appended and not cut.
    pub fn forget(&mut self) {
        self.batch.data.truncate(self.uncut);
    }

    /// Tells anything else.
    pub fn tell(&mut self, item: Item) -> Result<(), Gone> {
        self.batch.items.push(item);
        self.hand_over(BATCH_BYTES)
    }

    /// Ends the job.
    pub fn finish(mut self) -> Result<(), Gone> {
        self.hand_over(0)
    }

    fn hand_over(&mut self, bytes: usize) -> Result<(), Gone> {
        if self.uncut < bytes && self.batch.items.len() < BATCH_ITEMS {
            return Ok(());
        }
        // What is not cut yet goes on in the next batch.
        let mut next = Vec::with_capacity(if bytes > 0 { BATCH_BYTES } else { 0 });
        next.extend_from_slice(&self.batch.data[self.uncut..]);
        self.batch.data.truncate(self.uncut);
        self.uncut = 0;
        let batch = std::mem::replace(&mut self.batch, Batch { items: Vec::new(), data: next });
        self.sender.send(batch).map_err(|_| Gone)
    }
}
