//! Times of inodes: a table of those that a page has, and a column of places in it.
//! Layout: `format-spec.md`, "Page of inodes".

use std::time::SystemTime;

use super::Problem;
use super::wire::{Cursor, Put, narrow};

const NSEC: u32 = 1_000_000_000;

/// Seconds since 1970, and nanoseconds after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nsec: u32,
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let (since, before) = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => (since, false),
            Err(error) => (error.duration(), true),
        };
        let (sec, nsec) =
            (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos());
        match (before, nsec) {
            (false, _) => Self { sec, nsec },
            (true, 0) => Self { sec: -sec, nsec },
            // Seconds are rounded down.
            (true, _) => Self { sec: -sec - 1, nsec: NSEC - nsec },
        }
    }
}

/// The distinct times of a page, ascending.
///
/// Files are written in about the order of their names, and folders change when a file in them is
/// written. So sorted times lie close together, and the places count up.
#[derive(Debug, Default)]
pub(super) struct TimeTable(Vec<Time>);

impl TimeTable {
    /// The table of these times.
    pub(super) fn new(mut times: Vec<Time>) -> Self {
        times.iter_mut().for_each(|time| time.nsec = time.nsec.min(NSEC - 1));
        times.sort_unstable();
        times.dedup();
        Self(times)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Writes the table: the first, then seconds and nanoseconds less those of the one before.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let first = self.0.first().copied().unwrap_or_default();
        out.put_u64(first.sec.cast_unsigned());
        out.put_u32(first.nsec);
        let since = |time: &Time| time.sec.wrapping_sub(first.sec).cast_unsigned();
        out.put_delta_column(self.0.iter().map(since));
        let mut last = first.nsec;
        out.put_column(self.0.iter().map(|time| {
            let difference = (time.nsec + NSEC - last) % NSEC;
            last = time.nsec;
            u64::from(difference)
        }));
    }

    /// Writes a column of times, all of which are in the table.
    pub(super) fn put_column(&self, out: &mut Vec<u8>, times: impl Iterator<Item = Time>) {
        let place = |time: Time| self.0.binary_search(&time).unwrap_or_else(|near| near) as u64;
        out.put_delta_column(times.map(place));
    }

    /// Reads a table of `count` times, in any order.
    pub(super) fn parse(cursor: &mut Cursor<'_>, count: usize) -> Result<Self, Problem> {
        let (first, mut nsec) = (cursor.u64()?, cursor.u32()?);
        let seconds = cursor.delta_column(count)?;
        let differences = cursor.column_u32(count)?;
        let over = || Problem::Malformed("nanoseconds over a second");
        if nsec >= NSEC {
            return Err(over());
        }
        let time = |(since, difference): (u64, u32)| {
            if difference >= NSEC {
                return Err(over());
            }
            nsec += difference;
            nsec = if nsec >= NSEC { nsec - NSEC } else { nsec };
            Ok(Time { sec: first.wrapping_add(since).cast_signed(), nsec })
        };
        seconds.into_iter().zip(differences).map(time).collect::<Result<_, _>>().map(Self)
    }

    /// Reads a column of `rows` times.
    pub(super) fn column(
        &self,
        cursor: &mut Cursor<'_>,
        rows: usize,
    ) -> Result<Vec<Time>, Problem> {
        let places = narrow(cursor.delta_column(rows)?)?;
        let time = |place: u32| self.0.get(place as usize).copied();
        let times = places.into_iter().map(time).collect::<Option<_>>();
        times.ok_or(Problem::Malformed("a time that is not there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_whatever_their_order() {
        let time = |sec, nsec| Time { sec, nsec };
        let times =
            [time(5, 999_999_999), time(i64::MIN, 4), time(6, 0), time(i64::MAX, 1), time(6, 0)];
        let table = TimeTable::new(times.to_vec());
        assert_eq!(table.len(), 4);
        let mut bytes = Vec::new();
        table.put(&mut bytes);
        table.put_column(&mut bytes, times.into_iter());
        let mut cursor = Cursor::new(&bytes);
        let read = TimeTable::parse(&mut cursor, 4).unwrap();
        assert_eq!(read.column(&mut cursor, 5).unwrap(), times);
        assert!(cursor.end().is_ok());
        let mut cursor = Cursor::new(&bytes[..bytes.len() - 6]);
        let read = TimeTable::parse(&mut cursor, 4).unwrap();
        assert!(read.column(&mut cursor, 5).is_err());
    }
}
