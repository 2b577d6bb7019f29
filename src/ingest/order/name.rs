//! Names of versions: what is the same in them, and which comes first.

use std::cmp::Ordering;

/// What joins the numbers of one version: `1.2.3`, `2024-05-01`, `1_2`.
const JOINTS: &[u8] = b".-_+";

/// A name without its numbers, bit by bit.
struct Shape<'a>(&'a [u8]);

impl Iterator for Shape<'_> {
    type Item = u8;

    /// A lower-case byte, or 0 for a version, which no name has.
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        if !first.is_ascii_digit() {
            return Some(first.to_ascii_lowercase());
        }
        loop {
            match self.0 {
                [digit, rest @ ..] if digit.is_ascii_digit() => self.0 = rest,
                [joint, digit, ..] if JOINTS.contains(joint) && digit.is_ascii_digit() => {
                    self.0 = &self.0[2..];
                }
                _ => return Some(0),
            }
        }
    }
}

/// A number for what a name is without versions and upper case: `Foo-1.2.so` and `foo-10.so`
/// have the same. (FNV-1a, folded.)
pub fn shape(name: &[u8]) -> u32 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = Shape(name).fold(0xcbf2_9ce4_8422_2325, mix);
    u32::try_from((hash >> 32) ^ (hash & 0xffff_ffff)).unwrap_or(0)
}

/// Puts names of the same shape side by side, and these in natural order: 4.2 before 4.10.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    Shape(a).cmp(Shape(b)).then_with(|| natural(a, b))
}

fn natural(a: &[u8], b: &[u8]) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (more, other) = (number(left), number(right));
        if !more.0.is_empty() && !other.0.is_empty() {
            let order = more.0.len().cmp(&other.0.len()).then_with(|| more.0.cmp(other.0));
            if order.is_ne() {
                return order;
            }
            (left, right) = (more.1, other.1);
            continue;
        }
        let ([one, after @ ..], [two, others @ ..]) = (left, right) else {
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        // Where one goes on with a number and the other does not, it is the longer version.
        let key = |byte: &u8| (byte.is_ascii_digit(), byte.to_ascii_lowercase());
        let order = key(one).cmp(&key(two));
        if order.is_ne() {
            return order;
        }
        (left, right) = (after, others);
    }
}

/// The digits that bytes begin with, without leading zeros unless it is zero, and what follows.
fn number(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at(end);
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    (&digits[zeros.min(end.saturating_sub(1))..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_no_shape() {
        let same = [
            ("foo-1.2.so", "foo-1.10.3.so"),
            ("Django-3.2.11-py3-none-any", "django-5.1-py3-none-any"),
            ("python3.8", "python3.10"),
            ("name@1.2.3", "name@12.0"),
            ("2024-05-01", "2023"),
        ];
        for (a, b) in same {
            assert_eq!(shape(a.as_bytes()), shape(b.as_bytes()), "{a} {b}");
        }
        for (a, b) in [("foo-1.so", "foo-1.a"), ("foo", "foo1"), ("a1b", "a1.b"), ("", "1")] {
            assert_ne!(shape(a.as_bytes()), shape(b.as_bytes()), "{a} {b}");
        }
    }

    #[test]
    fn versions_of_a_name_come_in_natural_order() {
        let mut names = [
            "foo-1.10.so",
            "bar.so",
            "foo-1.2.so",
            "Foo-1.3.so",
            "foo-1.2.txt",
            "foo-01.2.so",
            "foo-1.2.0.so",
            "foo",
            "foo-1.02.so",
        ];
        names.sort_by(|a, b| compare(a.as_bytes(), b.as_bytes()));
        let expected = [
            "bar.so",
            "foo",
            "foo-01.2.so",
            "foo-1.02.so",
            "foo-1.2.so",
            "foo-1.2.0.so",
            "Foo-1.3.so",
            "foo-1.10.so",
            "foo-1.2.txt",
        ];
        assert_eq!(names, expected);
    }
}
