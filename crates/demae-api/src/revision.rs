//! Entity tags: which state of a resource a caller saw (RFC 9110, sections 8.8.3 and 13.1).
//!
//! A GET of a single resource answers with an `ETag`; the same tag in `If-None-Match` of a later GET saves the body, and in
//! `If-Match` of a PUT or DELETE it refuses the change if somebody else changed the resource in between. What the tag is
//! made of is decided in [`demae_control_plane::revision`].

use std::convert::Infallible;

use axum::{
    Json,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use demae_control_plane::revision::{self, Expected};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;
use utoipa::IntoParams;

use crate::problem::Problem;

/// The `If-Match` of a request; without one, any state will do.
pub(crate) fn expected(headers: &HeaderMap) -> Expected {
    match tags(headers, &header::IF_MATCH) {
        None => Expected::Anything,
        Some(tags) if tags.iter().any(|tag| tag == "*") => Expected::Anything,
        Some(tags) => Expected::OneOf(tags),
    }
}

/// The tags in all headers of this name, without their quotes; a weak one is the strong one's equal only where the caller
/// compares weakly, so it keeps its mark. A text that is no tag is kept too and matches nothing.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    if !headers.contains_key(name) {
        return None;
    }
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    Some(values.flat_map(|value| value.split(',')).map(unquoted).collect())
}

fn unquoted(tag: &str) -> String {
    let tag = tag.trim();
    let inner = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(tag).to_owned()
}

/// Refuses a change of what is not as the caller saw it: `shown`, held by the change's transaction. What is not there is
/// left to the change to tell.
pub fn check<B: Serialize>(expected: &Expected, operation: &str, shown: Option<B>) -> Result<(), Problem> {
    match shown {
        Some(shown) if !expected.accepts(&shown) => {
            Err(Problem::outdated(format!("{operation}.PreconditionFailed")))
        }
        _ => Ok(()),
    }
}

/// For the document of operations that change a resource.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header; `expected` reads it")]
pub struct IfMatch {
    /// The resource's `ETag` as the caller saw it: if it has another one by now, nothing is changed, and the answer is 412.
    #[param(rename = "If-Match", max_length = 1024)]
    if_match: Option<String>,
}

/// Which states of a resource a caller holds already.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfNoneMatch {
    /// The `ETag` of the document that the caller holds: if it is still the same, the answer is 304 without a body.
    #[param(rename = "If-None-Match", value_type = Option<String>, max_length = 1024)]
    tags: Vec<String>,
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let tags = tags(&parts.headers, &header::IF_NONE_MATCH).unwrap_or_default();
        Ok(Self { tags })
    }
}

impl IfNoneMatch {
    /// Compares weakly, as RFC 9110, section 13.1.2 asks.
    fn holds(&self, revision: &str) -> bool {
        let strong = |tag: &String| tag.strip_prefix("W/").map_or_else(|| tag.clone(), unquoted);
        self.tags.iter().any(|tag| tag == "*" || strong(tag) == revision)
    }
}

/// A single resource with its tag; 304 without a body for who holds it already.
#[derive(Debug)]
pub struct Tagged<B> {
    revision: String,
    body: Option<B>,
}

impl<B> Tagged<B> {
    /// `model`, shown as `body` makes it.
    pub fn new<M: Serialize>(held: &IfNoneMatch, model: M, body: impl FnOnce(M) -> B) -> Self {
        let revision = revision::of(&model);
        let body = (!held.holds(&revision)).then(|| body(model));
        Self { revision, body }
    }
}

impl<B: Serialize> IntoResponse for Tagged<B> {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => Json(body).into_response(),
            None => StatusCode::NOT_MODIFIED.into_response(),
        };
        #[expect(clippy::expect_used, reason = "a revision is hexadecimal digits")]
        let tag = HeaderValue::from_str(&format!("\"{}\"", self.revision)).expect("a header value");
        response.headers_mut().insert(header::ETAG, tag);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn reads_every_form_of_if_match() {
        let expected = |values: &[&str]| expected(&headers(&header::IF_MATCH, values));
        let one_of = |tags: &[&str]| Expected::OneOf(tags.iter().map(|&tag| tag.to_owned()).collect());
        assert_eq!(expected(&[]), Expected::Anything);
        assert_eq!(expected(&["*"]), Expected::Anything);
        assert_eq!(expected(&["\"a\""]), one_of(&["a"]));
        assert_eq!(expected(&["\"a\", \"b\"", "\"c\""]), one_of(&["a", "b", "c"]));
        // A weak tag never matches strongly (RFC 9110, section 13.1.1).
        assert_eq!(expected(&["W/\"a\""]), one_of(&["W/\"a\""]));
        assert_eq!(expected(&[""]), one_of(&[""]));
    }

    #[test]
    fn compares_if_none_match_weakly() {
        let holds = |values: &[&str]| {
            let tags = tags(&headers(&header::IF_NONE_MATCH, values), &header::IF_NONE_MATCH);
            IfNoneMatch {
                tags: tags.unwrap_or_default(),
            }
            .holds("a")
        };
        assert!(holds(&["\"a\""]) && holds(&["W/\"a\""]) && holds(&["\"b\", \"a\""]) && holds(&["*"]));
        assert!(!holds(&[]) && !holds(&["\"b\""]) && !holds(&["W/\"b\""]));
    }
}
