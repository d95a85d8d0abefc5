//! An OpenAPI document as it is served.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::Value;

/// A document with its two texts. Each is made once: answers share it, so that clients that do not read theirs cost no
/// memory.
#[derive(Debug)]
pub struct Document {
    value: Value,
    json: OnceLock<Bytes>,
    yaml: OnceLock<Bytes>,
}

impl Document {
    /// Of this content.
    pub fn new(value: Value) -> Self {
        Self {
            value,
            json: OnceLock::new(),
            yaml: OnceLock::new(),
        }
    }

    /// Its content.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The answer with the document as JSON.
    pub fn as_json(&self) -> Response {
        let text = self.json.get_or_init(|| self.value.to_string().into());
        answer("application/json", text)
    }

    /// The answer with the document as YAML.
    #[expect(clippy::expect_used, reason = "every JSON value can be written as YAML")]
    pub fn as_yaml(&self) -> Response {
        let text = self.yaml.get_or_init(|| {
            let text = serde_yaml_ng::to_string(&self.value);
            text.expect("JSON values are YAML values").into()
        });
        answer("application/yaml", text)
    }
}

fn answer(content_type: &'static str, text: &Bytes) -> Response {
    let content_type = HeaderValue::from_static(content_type);
    ([(header::CONTENT_TYPE, content_type)], text.clone()).into_response()
}
