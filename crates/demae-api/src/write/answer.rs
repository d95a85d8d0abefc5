//! Successes, in a form that can be stored.
//!
//! # Guarantees
//! A repetition gets the first answer's status, headers and body, but for a secret that is shown once, and one header more:
//! `Idempotent-Replayed: true`.
//!
//! # Limits
//! A stored header's value is visible ASCII. Headers that the edge layer gives to every answer are not a part of it.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::problem::Problem;

static REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A success, in a form that can be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// The body that is stored instead.
    kept: Option<Bytes>,
    pub(super) replayed: bool,
}

impl Answer {
    /// A body of any type.
    pub fn new(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self::empty(status)
            .with_header(header::CONTENT_TYPE, content_type)
            .with_body(body.into())
    }

    /// `body` as JSON.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(body).map_err(|error| Problem::internal(&error))?;
        Ok(Self::new(
            status,
            HeaderValue::from_static("application/json"),
            body,
        ))
    }

    /// `body` as JSON, whose `secret` is shown this once: the stored answer is without it.
    pub fn with_secret(
        status: StatusCode,
        body: &impl Serialize,
        secret: &'static str,
    ) -> Result<Self, Problem> {
        let mut kept = serde_json::to_value(body).map_err(|error| Problem::internal(&error))?;
        if let Some(members) = kept.as_object_mut() {
            members.remove(secret);
        }
        Ok(Self {
            kept: Some(kept.to_string().into()),
            ..Self::json(status, body)?
        })
    }

    /// 204.
    pub fn no_content() -> Self {
        Self::empty(StatusCode::NO_CONTENT)
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The answer to a repetition.
    #[must_use]
    pub fn replayed(self) -> Self {
        Self {
            replayed: true,
            ..self
        }
    }

    /// Its status, which is stored beside the rest.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Headers and body as they are stored: the headers as a line of JSON, then the body.
    pub(super) fn to_stored(&self) -> Result<Vec<u8>, Problem> {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| value.to_str().map(|value| (name.as_str(), value)));
        let headers = headers
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Problem::internal(&error))?;
        let mut stored = serde_json::to_vec(&headers).map_err(|error| Problem::internal(&error))?;
        stored.push(b'\n');
        stored.extend_from_slice(self.kept.as_ref().unwrap_or(&self.body));
        Ok(stored)
    }

    /// The answer that [`Self::to_stored`] wrote.
    pub(super) fn from_stored(status: StatusCode, stored: &[u8]) -> Result<Self, Problem> {
        let mut parts = stored.splitn(2, |byte| *byte == b'\n');
        let (headers, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let headers: Vec<(String, String)> =
            serde_json::from_slice(headers).map_err(|error| Problem::internal(&error))?;
        let mut answer = Self::empty(status).with_body(Bytes::copy_from_slice(body));
        for (name, value) in headers {
            let name = HeaderName::try_from(name).map_err(|error| Problem::internal(&error))?;
            let value = HeaderValue::try_from(value).map_err(|error| Problem::internal(&error))?;
            answer = answer.with_header(name, value);
        }
        Ok(answer)
    }

    fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            kept: None,
            replayed: false,
        }
    }

    fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.headers, Body::from(self.body)).into_response();
        if self.replayed {
            response
                .headers_mut()
                .insert(&REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stored_answer_has_status_headers_and_body_but_no_secret() {
        let link = |text: &'static str| (header::LINK, HeaderValue::from_static(text));
        let (first, second) = (link("</a>; rel=\"self\""), link("</b>; rel=\"next\""));
        let body = json!({"id": 1, "note": "two\nlines", "key": "s3cret"});
        let answer = Answer::with_secret(StatusCode::CREATED, &body, "key").unwrap();
        let answer = answer
            .with_header(first.0, first.1)
            .with_header(second.0, second.1);
        let stored = answer.to_stored().unwrap();
        let read = Answer::from_stored(answer.status(), &stored).unwrap();
        assert_eq!((read.status, &read.headers), (answer.status, &answer.headers));
        assert_eq!(read.headers.get_all(header::LINK).iter().count(), 2);
        let read: serde_json::Value = serde_json::from_slice(&read.body).unwrap();
        assert_eq!(read, json!({"id": 1, "note": "two\nlines"}));
    }

    #[test]
    fn a_body_may_be_of_any_type_or_none() {
        let bytes = HeaderValue::from_static("application/octet-stream");
        let answers = [
            Answer::new(StatusCode::OK, bytes, vec![b'\n', 0xff, b'\n']),
            Answer::no_content(),
        ];
        for answer in answers {
            let stored = answer.to_stored().unwrap();
            assert_eq!(Answer::from_stored(answer.status, &stored).unwrap(), answer);
        }
    }
}
