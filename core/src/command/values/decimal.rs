//! Exact decimal numbers, for INCRBYFLOAT: a sum of a thousand cents is ten, not nearly ten.
//!
//! Redis adds in the long doubles of its machine and prints seventeen places. Wherever those are exact, this is the same; and
//! it is the same on every machine. It reads what Redis reads: digits, a point, an exponent.

/// Places behind the point.
const PLACES: i32 = 17;

/// Ten to the power of [`PLACES`].
const ONE: i128 = 10_i128.pow(PLACES as u32);

/// Numbers lie below this, either way: twenty digits before the point.
const BOUND: i128 = 10_i128.pow(20 + PLACES as u32);

/// Most digits that are read; none behind them can change the result.
const DIGITS: usize = 60;

/// A number with seventeen places behind the point, in units of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(i128);

impl Decimal {
    /// Reads a number. What has more places is rounded, halves away from zero. `None` if it is none, or has more than twenty
    /// digits before the point.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let digits: Vec<u8> = whole.iter().chain(fraction).copied().collect();
        if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        // So many of the digits count; the next one rounds.
        let places = i32::try_from(whole.len()).ok()? + exponent + PLACES;
        let digit = |at: i32| {
            let digit = usize::try_from(at).ok().and_then(|at| digits.get(at));
            i128::from(digit.map_or(0, |digit| digit - b'0'))
        };
        if places > 0 && digits.iter().all(|digit| *digit == b'0') {
            return Some(Self(0));
        }
        let mut units: i128 = 0;
        for at in 0..places {
            units = units * 10 + digit(at);
            if units >= BOUND {
                return None;
            }
        }
        units += i128::from(digit(places) >= 5);
        Some(Self(if negative { -units } else { units }))
    }

    /// The sum; `None` if it has more than twenty digits before the point.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        let sum = self.0 + other.0;
        (sum.abs() < BOUND).then_some(Self(sum))
    }

    /// The number without needless digits.
    #[must_use]
    pub fn text(self) -> String {
        let (units, sign) = (self.0.unsigned_abs(), if self.0 < 0 { "-" } else { "" });
        let (whole, fraction) = (units / ONE.unsigned_abs(), units % ONE.unsigned_abs());
        let text = format!("{sign}{whole}.{fraction:017}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

fn exponent(text: &[u8]) -> Option<i32> {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        Some(Decimal::parse(a.as_bytes())?.plus(Decimal::parse(b.as_bytes())?)?.text())
    }

    #[test]
    fn sums_are_those_of_paper() {
        for (a, b, is) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-3", "0"),
            ("-0", "0", "0"),
            ("1e-17", "0", "0.00000000000000001"),
            ("1e-18", "0", "0"),
            ("5e-18", "0", "0.00000000000000001"),
            (".5", "+1.", "1.5"),
            ("0e999", "7", "7"),
            ("99999999999999999999.99999999999999999", "0", "99999999999999999999.99999999999999999"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(is), "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_large_is_none() {
        for text in ["", "-", ".", "1.2.3", " 1", "1 ", "nan", "inf", "1e", "1e1000", "0x10", "1e20", "--1"] {
            assert_eq!(Decimal::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(sum("99999999999999999999", "1"), None);
    }

    proptest! {
        #[test]
        fn text_reads_back(units in -(BOUND - 1)..BOUND) {
            let number = Decimal(units);
            prop_assert_eq!(Decimal::parse(number.text().as_bytes()), Some(number));
        }
    }
}
