//! The trace a request belongs to: W3C Trace Context, `traceparent`.

use http::HeaderMap;

/// Length of `00-<32 hex>-<16 hex>-<2 hex>`.
const LENGTH: usize = 55;

/// The request's `traceparent` if it has one that is well-formed.
///
/// A damaged one is ignored, as the specification asks (Trace Context, section 3.2.2): a trace never costs an event. Of
/// a later version only the part that version 00 knows is kept, as version 00.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = parts.next().is_none()
        && is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(parent, 16)
        && !is_zero(parent)
        && is_hex(flags, 2)
        && (rest.is_empty() || (version != "00" && rest.starts_with('-')));
    well_formed.then(|| format!("00-{trace}-{parent}-{flags}"))
}

/// Lower-case only: section 3.2.2 allows nothing else.
fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(text: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", text.parse().unwrap());
        traceparent(&headers)
    }

    #[test]
    fn keeps_what_is_well_formed_and_ignores_the_rest() {
        let known = Some(format!("00-{TRACE}"));
        assert_eq!(read(&format!("00-{TRACE}")), known);
        assert_eq!(read(&format!("cc-{TRACE}-what-the-future-brings")), known);
        for damaged in [
            format!("00-{TRACE}-more"),
            format!("cc-{TRACE}.more"),
            format!("ff-{TRACE}"),
            format!("00-{}", TRACE.to_uppercase()),
            format!(
                "00-{}",
                TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32))
            ),
            format!("00-{}", TRACE.replace("00f067aa0ba902b7", &"0".repeat(16))),
            format!("00-{}", &TRACE[1..]),
            "é".repeat(28),
            String::new(),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                "traceparent",
                http::HeaderValue::from_bytes(damaged.as_bytes()).unwrap(),
            );
            assert_eq!(traceparent(&headers), None, "{damaged}");
        }
        assert_eq!(traceparent(&HeaderMap::new()), None);
    }
}
