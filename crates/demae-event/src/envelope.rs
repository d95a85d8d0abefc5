//! The body of the `standard` dialect: `{"name", "type", "data", "headers"?}` (kaiten.md, section 1).

use serde_json::value::RawValue;

/// The body that is delivered, and signed, for an event.
///
/// `data` and `headers` go in as the text they are: no key is reordered, no number rewritten, so a receiver sees what
/// the producer wrote. Without `headers` there is no such key, because the later contract knows only the other three.
pub fn envelope(name: &str, event_type: &str, data: &RawValue, headers: Option<&RawValue>) -> Vec<u8> {
    /// The punctuation, the keys, and a little for escapes in the names.
    const OVERHEAD: usize = 64;
    let headers_length = headers.map_or(0, |headers| headers.get().len());
    let mut body =
        Vec::with_capacity(OVERHEAD + name.len() + event_type.len() + data.get().len() + headers_length);
    body.extend_from_slice(b"{\"name\":");
    push_string(&mut body, name);
    body.extend_from_slice(b",\"type\":");
    push_string(&mut body, event_type);
    body.extend_from_slice(b",\"data\":");
    body.extend_from_slice(data.get().as_bytes());
    if let Some(headers) = headers {
        body.extend_from_slice(b",\"headers\":");
        body.extend_from_slice(headers.get().as_bytes());
    }
    body.push(b'}');
    body
}

#[expect(
    clippy::expect_used,
    reason = "writing to a vector cannot fail, and every &str is a JSON string"
)]
fn push_string(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text).expect("a string can be written to memory");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn keeps_data_and_headers_byte_for_byte() {
        let data = raw(r#"{ "z": 1.50,  "a": 12345678901234567890, "dup": 1, "dup": 2 }"#);
        let headers = raw("{\"instance_id\":\t\"x\"}");
        let body = envelope(
            "CUSTOMER_CREATION",
            "com.kaiten.customer.v1.created",
            &data,
            Some(&headers),
        );
        let expected = concat!(
            r#"{"name":"CUSTOMER_CREATION","type":"com.kaiten.customer.v1.created","data":"#,
            r#"{ "z": 1.50,  "a": 12345678901234567890, "dup": 1, "dup": 2 }"#,
            ",\"headers\":{\"instance_id\":\t\"x\"}}",
        );
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn has_no_headers_unless_the_event_has() {
        let body = envelope("A", "b", &raw("{}"), None);
        assert_eq!(body, br#"{"name":"A","type":"b","data":{}}"#);
    }

    proptest! {
        #[test]
        fn is_json_whatever_the_names_are(name in any::<String>(), event_type in any::<String>()) {
            let body = envelope(&name, &event_type, &raw(r#"{"id":1}"#), None);
            let read: Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(read, serde_json::json!({"name": name, "type": event_type, "data": {"id": 1}}));
        }
    }
}
