//! What JSON allows and we do not.
//!
//! An event's `data` is never parsed into values: it stays the text it was. So what a parser of values would refuse has
//! to be found here, or it would be found by a database (Postgres' `jsonb` takes neither `\u0000`, nor half of a
//! surrogate pair, nor numbers of any size) or by a receiver's parser, long after the answer went out.
//!
//! The pass does not check JSON's grammar; that is the parser's part. On text that is no JSON its verdict means nothing.

/// Objects and arrays within each other, at most.
pub const MAX_DEPTH: usize = 64;

/// Longest number, in bytes. A double needs at most 24.
const MAX_NUMBER_LENGTH: usize = 400;

/// Largest power of ten in a number's exponent, either way. A double ends at 308.
const MAX_EXPONENT: u32 = 308;

/// Why a JSON text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScanError {
    /// See [`MAX_DEPTH`].
    #[error("is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Text in a database cannot hold it.
    #[error("holds the character U+0000")]
    Nul,
    /// A `\uD800`-style escape without its other half is no character.
    #[error("holds half of a surrogate pair")]
    LoneSurrogate,
    /// Larger, smaller or longer than any double.
    #[error("holds a number that is out of range")]
    Number,
}

/// Looks for what is refused.
pub(super) fn check(text: &str) -> Result<(), ScanError> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(ScanError::TooDeep);
                }
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'"' => at = string_end(bytes, at + 1)?,
            b'-' | b'0'..=b'9' => at = number_end(bytes, at)?,
            _ => at += 1,
        }
    }
    Ok(())
}

/// The index after the closing quote of the string whose first character is at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Result<usize, ScanError> {
    loop {
        match bytes.get(at) {
            None => return Ok(at),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') if bytes.get(at + 1) == Some(&b'u') => at = escape_end(bytes, at)?,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// The index after the `\uXXXX` at `at`, or after both if it is a surrogate pair.
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    match code_unit(bytes, at) {
        Some(0) => Err(ScanError::Nul),
        Some(0xD800..=0xDBFF) => match code_unit(bytes, at + 6) {
            Some(0xDC00..=0xDFFF) => Ok(at + 12),
            _ => Err(ScanError::LoneSurrogate),
        },
        Some(0xDC00..=0xDFFF) => Err(ScanError::LoneSurrogate),
        // Without four digits it is no JSON, which the parser will say.
        _ => Ok(at + 2),
    }
}

fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn number_end(bytes: &[u8], start: usize) -> Result<usize, ScanError> {
    let length = bytes[start..]
        .iter()
        .take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
        .count();
    let number = &bytes[start..start + length];
    let exponent = number
        .iter()
        .position(|byte| matches!(byte, b'e' | b'E'))
        .map(|at| &number[at + 1..]);
    let exponent_fits = exponent.is_none_or(|digits| {
        digits
            .iter()
            .filter(|byte| byte.is_ascii_digit())
            .try_fold(0_u32, |value, digit| {
                value.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
            })
            .is_some_and(|value| value <= MAX_EXPONENT)
    });
    // Leading digits move the exponent: both bounds together keep a number within a thousand digits.
    if length > MAX_NUMBER_LENGTH || !exponent_fits {
        return Err(ScanError::Number);
    }
    Ok(start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_later_parts_cannot_hold() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let long = "9".repeat(MAX_NUMBER_LENGTH + 1);
        for (text, expected) in [
            (deep(MAX_DEPTH).as_str(), Ok(())),
            (deep(MAX_DEPTH + 1).as_str(), Err(ScanError::TooDeep)),
            (r#"{"a":"\u0000"}"#, Err(ScanError::Nul)),
            (r#"{"\u0000":1}"#, Err(ScanError::Nul)),
            (r#"{"a":"\\u0000"}"#, Ok(())),
            (r#"{"a":"\\\u0000"}"#, Err(ScanError::Nul)),
            (r#"["\ud83d\ude00"]"#, Ok(())),
            (r#"["\ud83d"]"#, Err(ScanError::LoneSurrogate)),
            (r#"["\ud83d\u0041"]"#, Err(ScanError::LoneSurrogate)),
            (r#"["\ude00"]"#, Err(ScanError::LoneSurrogate)),
            ("[1e308,-1E-308,0.5]", Ok(())),
            ("[1e309]", Err(ScanError::Number)),
            ("[1e-99999999999999999999]", Err(ScanError::Number)),
            (long.as_str(), Err(ScanError::Number)),
            (r#"["[[[\"[[[", "1e999"]"#, Ok(())),
        ] {
            assert_eq!(check(text), expected, "{text}");
        }
    }

    #[test]
    fn survives_text_that_is_no_json() {
        for text in [
            "\"",
            "\"\\",
            "\"\\u12",
            "]]]]",
            "{\"a",
            "\"\\ud83d\\",
            "-",
            "\"\\u\u{e9}\u{e9}\u{e9}",
        ] {
            let _ = check(text);
        }
    }
}
