//! Sizes as people write and read them.

pub(super) use crate::mount::parse_size as parse;

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A size for people, with three digits or so.
#[expect(clippy::cast_precision_loss, reason = "it is rounded anyway")]
pub(super) fn show(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A share of a whole, in percent or as a factor; a dash where there is no whole.
#[expect(clippy::cast_precision_loss, reason = "it is rounded anyway")]
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1}%", 100.0 * part as f64 / whole as f64) }
}

/// Thousands apart, as in 144,590.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(parse("16M"), Ok(16 << 20));
        assert_eq!(parse("7"), Ok(7));
        assert!(parse("99999999999T").is_err());
        assert!(parse("M").is_err());
        assert!(parse("5 apples").is_err());
        assert_eq!(show(0), "0 B");
        assert_eq!(show(1536), "1.50 KiB");
        assert_eq!(show(u64::MAX), "16.0 EiB");
        assert_eq!(count(144_590), "144,590");
        assert_eq!(count(12), "12");
        assert_eq!(percent(1, 3), "33.3%");
    }
}
