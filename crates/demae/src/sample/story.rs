//! The requests of the sample.

use std::collections::HashMap;

use anyhow::Context as _;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

/// One request.
#[derive(Debug)]
pub(super) struct Step {
    /// Its place in the story.
    pub(super) number: usize,
    /// POST or PUT.
    pub(super) method: Method,
    /// Below `/api`.
    pub(super) path: String,
    /// With references instead of ids.
    pub(super) body: Value,
}

impl Step {
    /// Where that which it makes is afterwards; none if it makes nothing, but changes or reports something.
    pub(super) fn place(&self) -> Option<String> {
        if self.method != Method::POST {
            return None;
        }
        let name = self.body["slug"]
            .as_str()
            .or(self.body["entitlementSlug"].as_str())?;
        Some(format!("{}/{name}", self.path))
    }
}

#[derive(Deserialize)]
struct Written {
    method: String,
    path: String,
    body: Value,
}

/// All requests, in order.
#[expect(clippy::expect_used, reason = "the story is compiled in, and a test reads it")]
pub(super) fn steps() -> Vec<Step> {
    let written: Vec<Written> = serde_json::from_str(include_str!("story.json")).expect("a list of requests");
    let numbered = written.into_iter().enumerate();
    numbered
        .map(|(number, step)| Step {
            number,
            method: step.method.parse().expect("a method"),
            path: step.path,
            body: step.body,
        })
        .collect()
}

/// The ids of what was made or found, by place.
#[derive(Debug, Default)]
pub(super) struct Ids(HashMap<String, String>);

impl Ids {
    pub(super) fn remember(&mut self, place: String, id: &str) {
        self.0.insert(place, id.to_owned());
    }

    /// `body` with ids instead of references.
    pub(super) fn resolve(&self, body: &Value) -> anyhow::Result<Value> {
        Ok(match body {
            Value::Object(object) => match object.get("$id") {
                Some(place) => self.id(place)?,
                None => Value::Object(
                    object
                        .iter()
                        .map(|(key, value)| Ok((key.clone(), self.resolve(value)?)))
                        .collect::<anyhow::Result<_>>()?,
                ),
            },
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.resolve(item))
                    .collect::<anyhow::Result<_>>()?,
            ),
            _ => body.clone(),
        })
    }

    fn id(&self, place: &Value) -> anyhow::Result<Value> {
        let id = place.as_str().and_then(|place| self.0.get(place));
        let id = id.with_context(|| format!("nothing was made at {place}"))?;
        Ok(Value::String(id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reference_is_to_something_that_was_made_before() {
        let mut ids = Ids::default();
        let steps = steps();
        for step in &steps {
            ids.resolve(&step.body)
                .unwrap_or_else(|error| panic!("{}: {error}", step.path));
            if let Some(place) = step.place() {
                ids.remember(place, "an-id");
            }
        }
        let last = steps.last().and_then(Step::place);
        assert_eq!(last.as_deref(), Some(super::super::LAST));
    }

    #[test]
    fn references_become_ids_wherever_they_are() {
        let mut ids = Ids::default();
        ids.remember("/releases/first".to_owned(), "42");
        let body = json!({"releaseId": {"$id": "/releases/first"}, "list": [{"$id": "/releases/first"}], "name": "x"});
        assert_eq!(
            ids.resolve(&body).unwrap(),
            json!({"releaseId": "42", "list": ["42"], "name": "x"})
        );
        assert!(ids.resolve(&json!([{"$id": "/releases/second"}])).is_err());
    }
}
