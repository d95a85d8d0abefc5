//! Exact decimal numbers: what a license grants, and what an instance has used.
//!
//! JSON has one kind of number and most readers take it for a double, which cannot hold a tenth. What a caller writes as
//! `0.1` is a tenth here: an amount is a whole number of billionths, so that sums and comparisons are exact on every
//! database and in every order. Callers may state amounts up to [`Amount::MAX`] with up to nine decimal places; sums of
//! many of them still have room.

use std::{fmt, str::FromStr};

use demae_store::StoreError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Number;

/// Decimal places.
const PLACES: usize = 9;
/// Billionths in one.
const ONE: i128 = 1_000_000_000;

/// A decimal number with nine places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i128);

/// The text or the number is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be from -{max} to {max}, with at most {PLACES} decimal places", max = Amount::MAX)]
pub struct InvalidAmount;

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// What stands for "no limit" in a grant (kaiten.md, section 2.4).
    pub const UNLIMITED: Self = Self(-ONE);
    /// The largest that a caller may state, either way: a thousand million million, which a double still counts in steps
    /// of one.
    pub const MAX: Self = Self(1_000_000_000_000_000 * ONE);

    /// So many billionths.
    pub const fn from_billionths(billionths: i128) -> Self {
        Self(billionths)
    }

    /// How many billionths it is.
    pub const fn billionths(self) -> i128 {
        self.0
    }

    /// The number that a caller wrote, if it is one that may be stated.
    pub fn from_number(number: &Number) -> Result<Self, InvalidAmount> {
        // The shortest text that reads as the same double: what the caller wrote, up to fifteen digits.
        number.to_string().parse()
    }

    /// As JSON shows it: whole numbers without a fraction.
    pub fn to_number(self) -> Number {
        let whole = i64::try_from(self.0 / ONE).ok().filter(|_| self.0 % ONE == 0);
        let nearest = || {
            let double = self.to_string().parse().ok();
            double.and_then(Number::from_f64)
        };
        // A decimal text always reads as a finite double.
        whole
            .map(Number::from)
            .or_else(nearest)
            .unwrap_or_else(|| Number::from(0))
    }
}

impl From<i64> for Amount {
    fn from(whole: i64) -> Self {
        Self(i128::from(whole) * ONE)
    }
}

impl fmt::Display for Amount {
    /// Plain decimal digits, exactly.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let one = ONE.unsigned_abs();
        let (whole, rest) = (self.0.unsigned_abs() / one, self.0.unsigned_abs() % one);
        write!(formatter, "{sign}{whole}")?;
        if rest != 0 {
            let places = format!("{rest:0PLACES$}");
            write!(formatter, ".{}", places.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

impl FromStr for Amount {
    type Err = InvalidAmount;

    /// Reads a JSON number's text, if what it says may be stated.
    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let amount = Self::exactly(text)?;
        if amount.0.unsigned_abs() <= Self::MAX.0.unsigned_abs() {
            Ok(amount)
        } else {
            Err(InvalidAmount)
        }
    }
}

impl Amount {
    /// What a column holds: it may be a sum, which is larger than what may be stated.
    pub(crate) fn from_column(text: &str) -> Result<Self, StoreError> {
        Self::exactly(text).map_err(|_| StoreError::Unreadable("an amount"))
    }

    /// Reads a JSON number's text.
    fn exactly(text: &str) -> Result<Self, InvalidAmount> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| InvalidAmount)?),
            None => (text, 0),
        };
        let (sign, digits) = match mantissa.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty()
            || ![whole, fraction]
                .concat()
                .bytes()
                .all(|byte| byte.is_ascii_digit())
        {
            return Err(InvalidAmount);
        }
        let digits = [whole, fraction].concat();
        let significant = digits.trim_start_matches('0').trim_end_matches('0');
        if significant.is_empty() {
            return Ok(Self::ZERO);
        }
        // Where the last significant digit stands, in places before the ninth decimal one.
        let trailing = digits.len() - digits.trim_end_matches('0').len();
        let shift = place(trailing)? - place(fraction.len())? + exponent + place(PLACES)?;
        let power = u32::try_from(shift)
            .ok()
            .and_then(|shift| 10_i128.checked_pow(shift));
        let value = significant.parse::<i128>().map_err(|_| InvalidAmount)?;
        power
            .and_then(|power| value.checked_mul(power))
            .map(|billionths| Self(sign * billionths))
            .ok_or(InvalidAmount)
    }
}

/// No text of a number is so long that its places do not fit.
fn place(count: usize) -> Result<i32, InvalidAmount> {
    i32::try_from(count).map_err(|_| InvalidAmount)
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_number().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_number(&Number::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_a_caller_may_state() {
        for (text, billionths) in [
            ("0", 0),
            ("-0.000", 0),
            ("0e99", 0),
            ("-1", -ONE),
            ("0.1", ONE / 10),
            ("1e3", 1_000 * ONE),
            ("1.5E+2", 150 * ONE),
            ("0.000000001", 1),
            ("1e-9", 1),
            ("120e-10", 12),
            ("1000000000000000", Amount::MAX.0),
            ("-1e15", -Amount::MAX.0),
        ] {
            assert_eq!(text.parse(), Ok(Amount(billionths)), "{text}");
        }
        for text in [
            "",
            "-",
            ".",
            ".5",
            "--1",
            "+1",
            "1e",
            "1e99999999999",
            "e5",
            "1.2.3",
            "NaN",
            "0.0000000001",
            "1e-10",
            "1000000000000000.1",
            "1e16",
            "1e308",
            "٣",
        ] {
            assert_eq!(text.parse::<Amount>(), Err(InvalidAmount), "{text}");
        }
    }

    #[test]
    fn is_shown_as_a_caller_would_write_it() {
        for (value, text) in [
            (json!(10.0), "10"),
            (json!(-1), "-1"),
            (json!(0.1), "0.1"),
            (json!(-2.50), "-2.5"),
            (json!(1e15), "1000000000000000"),
        ] {
            let amount: Amount = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(amount.to_string(), text);
            assert_eq!(serde_json::to_string(&amount).unwrap(), text);
        }
        assert!(serde_json::from_value::<Amount>(json!("1")).is_err());
        // Sums may pass what can be stated, and what an i64 can hold.
        let sum = Amount(Amount::MAX.0 * 100_000 + 1);
        assert_eq!(sum.to_string(), "100000000000000000000.000000001");
        assert_eq!(sum.to_number().as_f64(), Some(1e20));
        assert_eq!(Amount::from_column(&sum.to_string()).unwrap(), sum);
    }

    proptest! {
        #[test]
        fn text_and_back(billionths in -Amount::MAX.0..=Amount::MAX.0) {
            let amount = Amount(billionths);
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        }

        #[test]
        fn order_is_the_order_of_numbers(left in -1_000_000_i64..1_000_000, right in -1_000_000_i64..1_000_000) {
            let amount = |hundredths: i64| Amount(i128::from(hundredths) * (ONE / 100));
            prop_assert_eq!(amount(left).cmp(&amount(right)), left.cmp(&right));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}", number in "-?[0-9]{0,30}(\\.[0-9]{0,30})?([eE][-+]?[0-9]{0,12})?") {
            let _ = text.parse::<Amount>();
            let _ = number.parse::<Amount>();
        }
    }
}
