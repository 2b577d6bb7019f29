//! The bytes of an archive, unpacked if they are compressed with zstd.

use std::io::{self, BufReader, Chain, Cursor, Read};

use super::TarError;
use super::header::{BLOCK, Header};

/// Buffer between the stream and the archive, in bytes.
const BUFFER: usize = 128 << 10;

/// A stream, with its first block put back in front.
type Stream<R> = Chain<Cursor<Vec<u8>>, R>;

/// The bytes of an archive.
pub(super) enum Source<R: Read> {
    Plain(Stream<R>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Stream<R>>>>),
}

impl<R: Read> Source<R> {
    /// Looks at the first block of `stream` to see what it is.
    pub(super) fn open(mut stream: R) -> Result<BufReader<Self>, TarError> {
        let mut first = Vec::with_capacity(BLOCK);
        let limit = BLOCK as u64;
        stream.by_ref().take(limit).read_to_end(&mut first).map_err(TarError::Io)?;
        let is_archive = match <[u8; BLOCK]>::try_from(first.as_slice()) {
            Ok(block) => Header(block).is_end() || Header(block).is_intact(),
            Err(_) => false,
        };
        let program = compressor(&first);
        if first.is_empty() {
            return Err(TarError::CutShort { offset: 0 });
        }
        let stream = Cursor::new(first).chain(stream);
        let source = match program {
            _ if is_archive => Self::Plain(stream),
            Some("zstd") => Self::Zstd(Box::new(zstd::Decoder::new(stream).map_err(TarError::Io)?)),
            Some(program) => return Err(TarError::Compressed(program)),
            None => return Err(TarError::NotTar),
        };
        Ok(BufReader::with_capacity(BUFFER, source))
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Zstd(decoder) => decoder.read(buf),
        }
    }
}

/// The program that compressed bytes which begin like this.
fn compressor(first: &[u8]) -> Option<&'static str> {
    let magics: [(&[u8], &str); 7] = [
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"BZh", "bzip2"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"LZIP", "lzip"),
        (b"\x1f\x9d", "uncompress"),
    ];
    magics.into_iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, program)| program)
}
