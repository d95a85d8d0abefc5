//! What a payload says about itself: its number and when it was meant to be sent.
//!
//! A mark is one JSON string of fixed length without anything that JSON escapes, so that it is found again in whatever
//! envelope and spacing the payload comes back in, without parsing JSON.

use memchr::memmem::Finder;

/// What a mark begins with.
const PREFIX: &[u8; 8] = b"~demae~:";
/// Hexadecimal digits of each of the two numbers.
const DIGITS: usize = 16;
/// Bytes of a mark.
pub(crate) const LENGTH: usize = PREFIX.len() + 2 * DIGITS;

/// The content of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The event's number, from 0.
    pub(crate) number: u64,
    /// [`clock::now`](crate::clock::now) when it was to be sent; 0: its latency does not count.
    pub(crate) intended: u64,
}

impl Mark {
    /// Writes it over the first [`LENGTH`] bytes of `place`.
    pub(crate) fn write(self, place: &mut [u8]) {
        let (prefix, digits) = place.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        write_hex(self.number, &mut digits[..DIGITS]);
        write_hex(self.intended, &mut digits[DIGITS..2 * DIGITS]);
    }
}

/// Finds marks; made once, used for every body.
#[derive(Debug)]
pub(crate) struct MarkFinder(Finder<'static>);

impl MarkFinder {
    /// A finder.
    pub(crate) fn new() -> Self {
        Self(Finder::new(PREFIX))
    }

    /// The first mark in `body`.
    pub(crate) fn find(&self, body: &[u8]) -> Option<Mark> {
        let digits = self.0.find(body)? + PREFIX.len();
        let number = read_hex(body.get(digits..digits + DIGITS)?)?;
        let intended = read_hex(body.get(digits + DIGITS..digits + 2 * DIGITS)?)?;
        Some(Mark { number, intended })
    }
}

/// The text of a mark as the databases can compose it: prefix, 16 digits of the number, and zeros.
pub(crate) fn sql_parts() -> (&'static str, String) {
    // The prefix is ASCII by its definition above.
    (
        std::str::from_utf8(PREFIX).unwrap_or_default(),
        "0".repeat(DIGITS),
    )
}

fn write_hex(number: u64, place: &mut [u8]) {
    for (position, byte) in place.iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(number >> (4 * (DIGITS - 1 - position)) & 15) as usize];
    }
}

fn read_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        Some(number << 4 | u64::from(char::from(*digit).to_digit(16)?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mark_is_found_in_any_envelope(number: u64, intended: u64, before in "[ -}]*", after in "[ -}]*") {
            let mark = Mark { number, intended };
            let mut place = [0; LENGTH];
            mark.write(&mut place);
            let body = [before.as_bytes(), &place, after.as_bytes()].concat();
            prop_assert_eq!(MarkFinder::new().find(&body), Some(mark));
        }

        #[test]
        fn a_cut_mark_is_none(number: u64, cut in 0..LENGTH) {
            let mut place = [0; LENGTH];
            Mark { number, intended: 1 }.write(&mut place);
            prop_assert_eq!(MarkFinder::new().find(&place[..cut]), None);
        }
    }
}
