//! The textual form of engine identifiers: 27 characters of base62 over 20 bytes (svix.md, section 3.1).
//!
//! The first 4 bytes are seconds since [`EPOCH`], big-endian; the other 16 are the UUID. Text therefore sorts by time,
//! as Svix clients expect, and the UUID, which is what the database holds, can be read back from it.

use uuid::Uuid;

/// Unix seconds at which KSUID time begins: 2014-05-13T16:53:20Z.
const EPOCH: i64 = 1_400_000_000;
const LENGTH: usize = 27;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes `id` with the time `unix_seconds`, clamped to what 32 bits hold.
pub(crate) fn encode(unix_seconds: i64, id: Uuid) -> String {
    let seconds = unix_seconds.saturating_sub(EPOCH).clamp(0, i64::from(u32::MAX)) as u32;
    let mut bytes = [0_u8; 20];
    bytes[..4].copy_from_slice(&seconds.to_be_bytes());
    bytes[4..].copy_from_slice(id.as_bytes());
    // Long division by 62 in 32-bit digits: a quarter of the steps that bytes would take, on a path that every delivery
    // passes.
    let mut digits = [0_u32; 5];
    for (digit, chunk) in digits.iter_mut().zip(bytes.chunks_exact(4)) {
        *digit = chunk
            .iter()
            .fold(0, |value, byte| (value << 8) | u32::from(*byte));
    }
    let mut text = [b'0'; LENGTH];
    for place in text.iter_mut().rev() {
        let mut remainder = 0_u64;
        for digit in &mut digits {
            let value = (remainder << 32) | u64::from(*digit);
            *digit = (value / 62) as u32;
            remainder = value % 62;
        }
        *place = ALPHABET[remainder as usize];
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

/// Reads the UUID back; `None` unless `text` is a well-formed KSUID.
pub(crate) fn decode(text: &str) -> Option<Uuid> {
    if text.len() != LENGTH {
        return None;
    }
    let mut bytes = [0_u8; 20];
    for character in text.bytes() {
        let mut carry = ALPHABET.iter().position(|known| *known == character)? as u32;
        for byte in bytes.iter_mut().rev() {
            let value = u32::from(*byte) * 62 + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Uuid::from_slice(&bytes[4..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_and_sorts_by_time() {
        let ids = [Uuid::nil(), Uuid::max(), Uuid::from_u128(0x0123_4567_89ab_cdef)];
        for id in ids {
            for seconds in [0, EPOCH, EPOCH + 1, 1_800_000_000, i64::MAX] {
                let text = encode(seconds, id);
                assert_eq!(text.len(), LENGTH);
                assert_eq!(decode(&text), Some(id), "{text}");
            }
        }
        assert!(encode(EPOCH + 1, Uuid::max()) < encode(EPOCH + 2, Uuid::nil()));
    }

    #[test]
    fn refuses_what_is_no_ksuid() {
        for text in [
            "",
            "0",
            "zzzzzzzzzzzzzzzzzzzzzzzzzzz",
            "00000000000000000000000000-",
            "0000000000000000000000000000",
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
