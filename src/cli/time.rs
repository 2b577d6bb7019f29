//! Times as people read them.

use std::time::SystemTime;

use crate::format::Time;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Now, in seconds since 1970.
pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0))
}

/// A time in UTC, to the nanosecond, as 2026-01-31T12:00:00.000000001Z.
pub(super) fn show(time: Time) -> String {
    format!("{}.{:09}Z", second(time.sec), time.nsec)
}

/// A second in UTC, as 2026-01-31T12:00:00Z.
pub(super) fn show_second(sec: i64) -> String {
    format!("{}Z", second(sec))
}

fn second(sec: i64) -> String {
    let (days, second) = (sec.div_euclid(DAY), sec.rem_euclid(DAY));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let show = |sec| show(Time { sec, nsec: 5 });
        assert_eq!(show(0), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(show(-1), "1969-12-31T23:59:59.000000005Z");
        assert_eq!(show(951_782_400), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(show(4_102_444_799), "2099-12-31T23:59:59.000000005Z");
        // As far as a header can go, and no further.
        show(i64::MAX);
        show(i64::MIN);
    }
}
