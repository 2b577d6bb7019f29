//! Figures as people read them: three digits that count, and a unit that suits.

use crate::results::Spread;

/// What a figure is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds; shown in nanoseconds to seconds.
    Seconds,
    /// Microseconds; shown likewise.
    Micros,
    /// MiB; shown as such.
    Mebibytes,
}

impl Unit {
    /// What figures as large as `value` are multiplied by, and the unit that they are then in.
    fn scale(self, value: f64) -> (f64, &'static str) {
        let seconds = match self {
            Self::Mebibytes => return (1.0, "MiB"),
            Self::Seconds => 1.0,
            Self::Micros => 1e-6,
        };
        // What would be rounded up to 1000 is already in the next unit.
        match value * seconds {
            0.0 => (seconds, "s"),
            value if value < 999.5e-9 => (seconds * 1e9, "ns"),
            value if value < 999.5e-6 => (seconds * 1e6, "µs"),
            value if value < 999.5e-3 => (seconds * 1e3, "ms"),
            _ => (seconds, "s"),
        }
    }

    /// A figure with its unit: `12.3 ms`.
    pub fn text(self, value: f64) -> String {
        let (factor, unit) = self.scale(value);
        format!("{} {unit}", digits(value * factor))
    }

    /// A round figure with its unit, for an axis: `20 ms`.
    pub fn tick(self, value: f64) -> String {
        let (factor, unit) = self.scale(value);
        let digits = digits(value * factor);
        let short = match digits.contains('.') {
            true => digits.trim_end_matches('0').trim_end_matches('.'),
            false => &digits,
        };
        format!("{short} {unit}")
    }

    /// A median with the least and the greatest: `12.3 ms (11.9–14.0)`.
    pub fn spread(self, spread: Spread) -> String {
        let (factor, _) = self.scale(spread.median);
        let [min, max] = [spread.min, spread.max].map(|value| digits(value * factor));
        let median = self.text(spread.median);
        if spread.min < spread.max { format!("{median} ({min}–{max})") } else { median }
    }
}

/// A number in three digits that count, or all that are before its point.
pub fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        size if size >= 0.000_5 => format!("{value:.3}"),
        _ => format!("{value:.0e}"),
    }
}

/// How many times another figure it is: `0.42`.
pub fn ratio(value: f64) -> String {
    match value {
        value if (0.000_5..0.095).contains(&value) => format!("{value:.3}"),
        value if (0.095..9.95).contains(&value) => format!("{value:.2}"),
        _ => digits(value),
    }
}

/// A share, in percent: `42 %`.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        value if value >= 9.95 => format!("{value:.0} %"),
        value if value >= 0.05 => format!("{value:.1} %"),
        value => format!("{} %", digits(value)),
    }
}

/// Bytes in MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// A count with its thousands apart: `34,120`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time of minutes: `71 min 5 s`.
pub fn duration(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    match whole.as_secs() {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// One figure over another, where that says something.
pub fn over(value: f64, base: f64) -> Option<f64> {
    let ratio = value / base;
    (ratio.is_finite() && base > 0.0).then_some(ratio)
}

/// A text that came from outside, on one line and without control characters.
pub fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}
