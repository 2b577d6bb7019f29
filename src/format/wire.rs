//! Little-endian fields and packed columns. Layout: `format-spec.md`, "Notation" and "Columns".

use xxhash_rust::xxh3::xxh3_64;

use super::{FormatError, Problem, Section};

/// Reads fields off the front of a slice; every read is checked.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or(Problem::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Takes `count` records of `each` bytes.
    pub(super) fn records(&mut self, count: usize, each: usize) -> Result<&'a [u8], Problem> {
        self.take(count.checked_mul(each).ok_or(Problem::Truncated)?)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(Problem::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Problem> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Problem> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Problem> {
        self.array().map(u64::from_le_bytes)
    }

    /// A 32-bit count of things of which each takes at least `each` of the bytes left.
    ///
    /// So a count is bounded by the bytes that are there, before anything is allocated for it.
    pub(super) fn count(&mut self, each: usize) -> Result<usize, Problem> {
        let count = self.u32()? as usize;
        if count.checked_mul(each).is_none_or(|need| need > self.bytes.len()) {
            return Err(Problem::Truncated);
        }
        Ok(count)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    /// The end of the section: no byte may be left.
    pub(super) fn end(self) -> Result<(), Problem> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Problem::Malformed("bytes after its end")) }
    }

    /// Reads a column of `rows` values.
    pub(super) fn column(&mut self, rows: usize) -> Result<Vec<u64>, Problem> {
        let width = usize::from(self.u8()?);
        if width > 8 {
            return Err(Problem::Malformed("a column wider than 8 bytes"));
        }
        let planes = self.records(rows, width)?;
        let mut values = vec![0u64; rows];
        for plane in 0..width {
            let bytes = &planes[plane * rows..(plane + 1) * rows];
            for (value, byte) in values.iter_mut().zip(bytes) {
                *value |= u64::from(*byte) << (8 * plane);
            }
        }
        Ok(values)
    }

    /// Reads a column of differences and sums them up.
    pub(super) fn delta_column(&mut self, rows: usize) -> Result<Vec<u64>, Problem> {
        let mut values = self.column(rows)?;
        let mut last = 0u64;
        for value in &mut values {
            last = last.wrapping_add(unzigzag(*value));
            *value = last;
        }
        Ok(values)
    }

    /// Reads a column whose values must fit 32 bits.
    pub(super) fn column_u32(&mut self, rows: usize) -> Result<Vec<u32>, Problem> {
        narrow(self.column(rows)?)
    }
}

/// Narrows values to 32 bits, refusing any that do not fit.
pub(super) fn narrow(values: Vec<u64>) -> Result<Vec<u32>, Problem> {
    let narrow = |value| u32::try_from(value).map_err(|_| Problem::Malformed("a value too large"));
    values.into_iter().map(narrow).collect()
}

/// Folds a signed difference so that small ones of either sign are small numbers.
pub(super) fn zigzag(difference: u64) -> u64 {
    let signed = difference.cast_signed();
    ((signed << 1) ^ (signed >> 63)).cast_unsigned()
}

/// Undoes [`zigzag`].
pub(super) fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

/// Appends fields and columns to a section under construction.
pub(super) trait Put {
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_len(&mut self, length: usize);
    fn put_column(&mut self, values: impl IntoIterator<Item = u64>);
    fn put_delta_column(&mut self, values: impl IntoIterator<Item = u64>);
}

impl Put for Vec<u8> {
    fn put_u16(&mut self, value: u16) {
        self.extend(value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend(value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend(value.to_le_bytes());
    }

    /// A count or length as 32 bits. Sections are capped well below that, so it saturates only
    /// where sealing would fail anyway.
    fn put_len(&mut self, length: usize) {
        self.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn put_column(&mut self, values: impl IntoIterator<Item = u64>) {
        let values: Vec<u64> = values.into_iter().collect();
        let all = values.iter().fold(0, |all, value| all | value);
        let width = (64 - all.leading_zeros()).div_ceil(8) as usize;
        self.push(width.to_le_bytes()[0]);
        for plane in 0..width {
            self.extend(values.iter().map(|value| value.to_le_bytes()[plane]));
        }
    }

    fn put_delta_column(&mut self, values: impl IntoIterator<Item = u64>) {
        let mut last = 0u64;
        self.put_column(values.into_iter().map(|value| {
            let difference = value.wrapping_sub(last);
            last = value;
            zigzag(difference)
        }));
    }
}

/// Length of the tail that ends a pack, a tree and an image, in bytes.
pub const TAIL_LEN: usize = 32;

/// The tail of an object whose last section starts at `offset` and is `length` bytes long.
#[must_use]
pub fn tail(offset: u64, length: u64) -> [u8; TAIL_LEN] {
    let mut out = Vec::with_capacity(TAIL_LEN);
    out.put_u64(offset);
    out.put_u64(length);
    out.extend(Section::Tail.magic());
    out.put_u64(xxh3_64(&out));
    let mut tail = [0; TAIL_LEN];
    tail.copy_from_slice(&out);
    tail
}

/// Reads the tail of an object of `object_len` bytes: offset and length of its last section.
///
/// # Errors
/// If it is not a tail, is damaged, or points outside of the object.
pub fn read_tail(bytes: &[u8], object_len: u64) -> Result<(u64, u64), FormatError> {
    let read = || {
        let mut cursor = Cursor::new(bytes);
        let (offset, length, magic) = (cursor.u64()?, cursor.u64()?, cursor.array::<8>()?);
        let sum = cursor.u64()?;
        cursor.end()?;
        if magic != Section::Tail.magic() {
            return Err(Problem::Magic);
        }
        if xxh3_64(&bytes[..24]) != sum {
            return Err(Problem::Checksum);
        }
        let end = offset.checked_add(length).and_then(|end| end.checked_add(TAIL_LEN as u64));
        if end != Some(object_len) || length > super::MAX_TABLE as u64 {
            return Err(Problem::Malformed("points outside of the object"));
        }
        Ok((offset, length))
    };
    read().map_err(|problem: Problem| problem.of(Section::Tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_round_trip(values: Vec<u64>, small in prop::collection::vec(0u64..300, 0..50)) {
            for values in [values, small] {
                let mut bytes = Vec::new();
                bytes.put_column(values.iter().copied());
                bytes.put_delta_column(values.iter().copied());
                let mut cursor = Cursor::new(&bytes);
                prop_assert_eq!(&cursor.column(values.len()).unwrap(), &values);
                prop_assert_eq!(&cursor.delta_column(values.len()).unwrap(), &values);
                prop_assert!(cursor.end().is_ok());
            }
        }
    }

    #[test]
    fn a_tail_points_inside_its_object() {
        let tail = tail(100, 50);
        assert_eq!(read_tail(&tail, 182).unwrap(), (100, 50));
        assert!(read_tail(&tail, 181).is_err());
        assert!(read_tail(&tail[1..], 182).is_err());
    }
}
