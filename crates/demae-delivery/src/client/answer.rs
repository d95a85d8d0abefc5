//! Keeps a bounded part of an answer, as text that people can read.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

/// Response headers kept, by count; the rest is dropped.
pub const RESPONSE_HEADER_COUNT_LIMIT: usize = 64;

/// Response headers kept, by bytes of names and values together; the rest is dropped.
pub const RESPONSE_HEADER_BYTES_LIMIT: usize = 8_192;

/// The longest part of a header's value that is shown in place of a body.
const LABEL_LIMIT: usize = 60;

/// A body as the history shows it: its text, or a note such as `[binary body, 312 bytes, gzip]`.
///
/// `headers` are those of the answer with names in lower case, and `cut` says that the body went on beyond `body`. Text is
/// UTF-8 without NUL, which no database keeps. A body in another encoding is not decoded: the request asked for none
/// (`Accept-Encoding: identity`), and decompression would let a receiver choose the size.
pub fn body_text(headers: &[(String, String)], body: &[u8], cut: bool) -> String {
    let header = |name: &http::HeaderName| {
        let found = headers.iter().find(|(other, _)| other == name.as_str());
        found
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    };
    let coding = header(&CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    match (coding, text_of(body, cut)) {
        _ if body.is_empty() => String::new(),
        (None, Some(text)) => text.to_owned(),
        (Some(coding), _) => note(body, cut, Some(coding)),
        (None, None) => note(body, cut, header(&CONTENT_TYPE)),
    }
}

/// The body as text without NUL, less a last character that was cut through; `None` if it is anything else.
fn text_of(body: &[u8], cut: bool) -> Option<&str> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(&body[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    (!text.contains('\0')).then_some(text)
}

fn note(body: &[u8], cut: bool, label: Option<&str>) -> String {
    let at_least = if cut { "at least " } else { "" };
    let label = label.map(|label| {
        let end = label.floor_char_boundary(LABEL_LIMIT);
        format!(", {}", label[..end].replace('\0', ""))
    });
    format!(
        "[binary body, {at_least}{} bytes{}]",
        body.len(),
        label.unwrap_or_default()
    )
}

/// The first headers within both limits. A value that is not UTF-8 is read as ISO 8859-1, which every sequence of bytes
/// is (RFC 9110 section 5.5).
pub(super) fn keep_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept = Vec::with_capacity(headers.len().min(RESPONSE_HEADER_COUNT_LIMIT));
    let mut bytes = 0;
    for (name, value) in headers.iter().take(RESPONSE_HEADER_COUNT_LIMIT) {
        bytes += name.as_str().len() + value.len();
        if bytes > RESPONSE_HEADER_BYTES_LIMIT {
            break;
        }
        let value = match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => text.to_owned(),
            Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
        };
        kept.push((name.as_str().to_owned(), value));
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(headers: &[(&str, &str)], body: &[u8], cut: bool) -> String {
        let owned: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        body_text(&owned, body, cut)
    }

    #[test]
    fn text_is_kept_and_the_rest_is_named() {
        let gzip = [("content-encoding", "gzip"), ("content-type", "application/json")];
        assert_eq!(
            shown(&gzip, &[0x1f, 0x8b, 8], false),
            "[binary body, 3 bytes, gzip]"
        );
        assert_eq!(
            shown(&gzip, b"text all the same", false),
            "[binary body, 17 bytes, gzip]"
        );
        assert_eq!(shown(&gzip, b"", false), "");
        assert_eq!(
            shown(&[("content-encoding", "identity")], b"plain", false),
            "plain"
        );
        assert_eq!(shown(&[], "grün".as_bytes(), false), "grün");
        assert_eq!(
            shown(
                &[("content-type", "text/html; charset=iso-8859-1")],
                b"gr\xfcn",
                false
            ),
            "[binary body, 4 bytes, text/html; charset=iso-8859-1]"
        );
        assert_eq!(shown(&[], b"a\0b", false), "[binary body, 3 bytes]");
    }

    #[test]
    fn a_character_that_was_cut_through_is_left_out() {
        let body = "grün".as_bytes();
        assert_eq!(shown(&[], &body[..3], true), "gr");
        assert_eq!(shown(&[], &body[..3], false), "[binary body, 3 bytes]");
        assert_eq!(shown(&[], b"\xff\xfe", true), "[binary body, at least 2 bytes]");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_text_without_replacements(
            body in proptest::collection::vec(any::<u8>(), 0..100), cut in any::<bool>(),
        ) {
            let text = shown(&[], &body, cut);
            prop_assert!(!text.contains('\0'));
            let replaced = text.contains(char::REPLACEMENT_CHARACTER);
            prop_assert!(!replaced || std::str::from_utf8(&body).is_ok());
        }
    }
}
