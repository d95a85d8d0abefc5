//! Reading published events.
//!
//! `data` and `headers` stay the text they are: never parsed into values, never written anew, so that a receiver gets
//! the producer's own bytes. The quick reader takes what is in order and says nothing about what is not; then the slow
//! one takes the body apart to name every fault.

use std::borrow::Cow;

use demae_api::{
    json::{
        self,
        fields::{self, Fields, Node, ReadBody},
    },
    problem::Problem,
};
use demae_delivery::management::events::{MAX_CLIENT_ID, PublishInput};
use demae_event::subscription::MAX_NAME_LENGTH;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use crate::input::Kaiten;

/// What was sent.
#[derive(Debug)]
pub(super) struct Submission {
    /// The events.
    pub(super) inputs: Vec<PublishInput>,
    /// Whether they came as a list, even of one.
    pub(super) several: bool,
}

/// One event, or several.
#[derive(ToSchema)]
#[schema(as = PublishEvents)]
#[expect(dead_code, reason = "describes the body")]
#[serde(untagged)]
pub(super) enum PublishBody {
    /// One.
    One(PublishEventBody),
    /// Several.
    Several(PublishEventsBody),
}

/// An event.
#[derive(ToSchema)]
#[schema(as = PublishEvent, example = json!({"name": "ORDER_SHIPPED", "type": "shop.order.shipped", "data": {"id": "17"}}))]
#[expect(dead_code, reason = "describes the body")]
pub(super) struct PublishEventBody {
    /// Its name; may be left out if its type is known.
    #[schema(min_length = 1, max_length = 256, pattern = "^[A-Za-z0-9_.-]+$")]
    name: Option<String>,
    /// Its type; may be left out if its name is known: of the catalogue, or registered as an event type.
    #[schema(min_length = 1, max_length = 256, pattern = "^[A-Za-z0-9_.-]+$")]
    r#type: Option<String>,
    /// Its payload.
    #[schema(value_type = Object)]
    data: Value,
    /// The producer's own headers, delivered as the envelope's `headers`.
    #[schema(value_type = Option<Object>)]
    headers: Option<Value>,
    /// The sender's own id: the same id is the same event, however often it is sent.
    #[schema(min_length = 1, max_length = 256)]
    id: Option<String>,
}

/// Several events.
#[derive(ToSchema)]
#[schema(as = PublishEventList, example = json!({"events": [{"name": "ORDER_SHIPPED", "type": "shop.order.shipped", "data": {"id": "17"}}]}))]
#[expect(dead_code, reason = "describes the body")]
pub(super) struct PublishEventsBody {
    /// The events, taken in together or not at all.
    #[schema(min_items = 1, max_items = 100)]
    events: Vec<PublishEventBody>,
}

/// The body as it is in the request's bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quick<'b> {
    #[serde(borrow, default)]
    events: Option<Vec<QuickEvent<'b>>>,
    #[serde(borrow, default)]
    name: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    r#type: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    data: Option<&'b RawValue>,
    #[serde(borrow, default)]
    headers: Option<&'b RawValue>,
    #[serde(borrow, default)]
    id: Option<Cow<'b, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuickEvent<'b> {
    #[serde(borrow, default)]
    name: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    r#type: Option<Cow<'b, str>>,
    #[serde(borrow)]
    data: &'b RawValue,
    #[serde(borrow, default)]
    headers: Option<&'b RawValue>,
    #[serde(borrow, default)]
    id: Option<Cow<'b, str>>,
}

/// Reads one event, or at most `limit`.
pub(super) fn read(body: &[u8], limit: usize) -> Result<Submission, Problem> {
    let text = json::text(body)?;
    if let Some(submission) = quick(text, limit) {
        return Ok(submission);
    }
    let value: Value = serde_json::from_str(text).map_err(|error| json::not_json(&error))?;
    Err(explain(&value, limit))
}

/// The events if everything is in order.
fn quick(text: &str, limit: usize) -> Option<Submission> {
    let body: Quick<'_> = serde_json::from_str(text).ok()?;
    match (body.events, body.data) {
        (None, Some(data)) => {
            let event = QuickEvent {
                name: body.name,
                r#type: body.r#type,
                data,
                headers: body.headers,
                id: body.id,
            };
            Some(Submission {
                inputs: vec![input(String::new(), event)?],
                several: false,
            })
        }
        (Some(events), None) => {
            let alone =
                body.name.is_none() && body.r#type.is_none() && body.headers.is_none() && body.id.is_none();
            if !alone || events.is_empty() || events.len() > limit {
                return None;
            }
            let inputs = events
                .into_iter()
                .enumerate()
                .map(|(place, event)| input(format!("events[{place}]"), event))
                .collect::<Option<_>>()?;
            Some(Submission {
                inputs,
                several: true,
            })
        }
        _ => None,
    }
}

fn input(location: String, event: QuickEvent<'_>) -> Option<PublishInput> {
    let is_object = |value: &RawValue| value.get().starts_with('{');
    let storable = |text: &Option<Cow<'_, str>>| text.as_deref().is_none_or(|text| !text.contains('\0'));
    let id_fits = event
        .id
        .as_ref()
        .is_none_or(|id| (1..=MAX_CLIENT_ID).contains(&id.len()));
    let in_order = is_object(event.data)
        && event.headers.is_none_or(is_object)
        && id_fits
        && [&event.name, &event.r#type, &event.id].into_iter().all(storable);
    in_order.then(|| PublishInput {
        location,
        name: event.name.map(Cow::into_owned),
        event_type: event.r#type.map(Cow::into_owned),
        data: event.data.to_owned(),
        headers: event.headers.map(RawValue::to_owned),
        id: event.id.map(Cow::into_owned),
    })
}

/// Every fault of a body that the quick reader did not take.
fn explain(body: &Value, limit: usize) -> Problem {
    let faults = if body.get("events").is_some() {
        fields::read_with(body, |fields| {
            fields
                .field("events")
                .required(|node| node.array(1..=limit, |node| node.object(Explained::read)))
        })
        .err()
    } else {
        fields::read::<Kaiten, Explained>(body).err()
    };
    // Values keep one of two equal keys, the quick reader refuses the second.
    faults.unwrap_or_else(|| Problem::invalid_at("body", "has a key twice"))
}

/// An event that is read for its faults.
struct Explained;

impl ReadBody<Kaiten> for Explained {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let length = 1..=MAX_NAME_LENGTH;
        let name = fields.field("name").nullable(|node| node.string(length.clone()));
        let event_type = fields.field("type").nullable(|node| node.string(length));
        let data = fields.field("data").required(Node::any_object);
        let headers = fields.field("headers").nullable(Node::any_object);
        let id = fields.field("id").nullable(|node| {
            node.string_with(1..=MAX_CLIENT_ID, |text| {
                if text.len() > MAX_CLIENT_ID {
                    Err(format!("must have at most {MAX_CLIENT_ID} bytes"))
                } else {
                    Ok(())
                }
            })
        });
        let _ = (name?, event_type?, data?, headers?, id?);
        Some(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_text_of_the_payload() {
        let body =
            br#"{ "type":"a.b", "name":"A", "data": {"n": 1.50, "big": 12345678901234567890, "a":{ } } }"#;
        let submission = read(body, 10).unwrap();
        assert!(!submission.several);
        let input = &submission.inputs[0];
        assert_eq!(
            input.data.get(),
            r#"{"n": 1.50, "big": 12345678901234567890, "a":{ } }"#
        );
        assert_eq!(
            (input.name.as_deref(), input.event_type.as_deref()),
            (Some("A"), Some("a.b"))
        );
    }

    #[test]
    fn a_list_is_bounded() {
        let list = |length: usize| {
            format!(
                r#"{{"events":[{}]}}"#,
                vec![r#"{"name":"A","data":{}}"#; length].join(",")
            )
        };
        for (length, fits) in [(0, false), (1, true), (3, true), (4, false)] {
            let read = read(list(length).as_bytes(), 3);
            assert_eq!(read.is_ok(), fits, "{length}");
            assert!(read.is_err() || read.is_ok_and(|submission| submission.several));
        }
    }

    #[test]
    fn names_every_fault() {
        let locations = |body: &str| {
            let document = serde_json::to_value(
                read(body.as_bytes(), 5)
                    .unwrap_err()
                    .document(None, |_, _| String::new()),
            )
            .unwrap();
            let faults = document["errors"].as_array().unwrap().clone();
            faults
                .iter()
                .map(|fault| fault["location"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        for (body, expected) in [
            ("[]", vec!["body"]),
            ("{}", vec!["body.data"]),
            (r#"{"name":"A","data":[]}"#, vec!["body.data"]),
            (
                r#"{"name":7,"data":{},"id":"","headers":"x","foo":1}"#,
                vec!["body.foo", "body.headers", "body.id", "body.name"],
            ),
            (
                r#"{"events":[{"data":{}},{"data":1,"x":2}],"name":"A"}"#,
                vec!["body.events[1].data", "body.events[1].x", "body.name"],
            ),
            (r#"{"data":{},"data":{}}"#, vec!["body"]),
            (r#"{"data":{"a":"\u0000"}}"#, vec!["body"]),
            (r#"{"data":{"a":1e999}}"#, vec!["body"]),
        ] {
            assert_eq!(locations(body), expected, "{body}");
        }
    }
}
