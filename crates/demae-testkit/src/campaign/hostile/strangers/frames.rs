//! HTTP/2 frames by hand, since no library would send them in these orders (RFC 9113, section 6).

/// What a client says first (section 3.4), with settings of its own left out.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// Adds a frame.
pub(super) fn put(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    to.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}

/// `GET path` with a token, as HPACK literals (RFC 7541, section 6.2.2) of fewer than 127 bytes each.
pub(super) fn request(path: &str, token: &str) -> Vec<u8> {
    const METHOD_GET: u8 = 0x82;
    const SCHEME_HTTP: u8 = 0x86;
    const AUTHORITY: &[u8] = &[0x01];
    const PATH: &[u8] = &[0x04];
    // Entry 23 of the static table, which takes more than four bits.
    const AUTHORIZATION: &[u8] = &[0x0f, 0x08];
    let mut block = vec![METHOD_GET, SCHEME_HTTP];
    let authorization = format!("Bearer {token}");
    for (name, value) in [
        (AUTHORITY, "demae"),
        (PATH, path),
        (AUTHORIZATION, authorization.as_str()),
    ] {
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_length_kind_flags_and_stream_in_front() {
        let mut frames = Vec::new();
        put(&mut frames, PING, 0, 0, &[7; 8]);
        put(&mut frames, HEADERS, END_STREAM | END_HEADERS, 259, b"ab");
        assert_eq!(frames[..9], [0, 0, 8, 6, 0, 0, 0, 0, 0]);
        assert_eq!(frames[17..], [0, 0, 2, 1, 5, 0, 0, 1, 3, b'a', b'b']);
    }
}
