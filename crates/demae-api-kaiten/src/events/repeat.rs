//! Publications with an `Idempotency-Key`.
//!
//! # Guarantees
//! A publication is repeatable without a stored answer: an event without an id of its sender's own gets one that is derived
//! from the request's key (see [`Operation::key_digest`](demae_api::write::Operation::key_digest)). A repetition finds the
//! events that are there, and answers with them. So such events share commits like all others, and the key is good for as
//! long as its events are kept. The same key with other events is refused.
//!
//! # Limits
//! Two requests with the same key and different events that arrive at the same moment are refused only after the events of
//! both were written, as far as their ids differ.

use bytes::Bytes;
use demae_api::{ApiState, problem::Problem, write::key_reused};
use demae_delivery::management::{ManagementError, events::PublishInput};
use demae_event::{Event, EventId, Scope};
use demae_store::engine::{Appended, Message};
use serde_json::{Number, Value, value::RawValue};

use super::{body::AcceptedBody, read};

/// A publication that may be repeated.
pub(super) struct Repeatable {
    scope: Scope,
    body: Bytes,
    /// The ids that were derived, by place; none for events whose sender named them.
    ids: Vec<Option<EventId>>,
}

impl Repeatable {
    /// Gives `events` of `body` their derived ids. `named` says which have an id of their sender's own.
    pub(super) fn new(request: &[u8; 32], body: Bytes, named: &[bool], events: &mut [Event]) -> Option<Self> {
        let scope = events.first()?.scope;
        let derive = |(place, (event, named)): (usize, (&mut Event, &bool))| {
            let id = (!named).then(|| EventId::from_request(scope, request, place as u32));
            event.id = id.unwrap_or(event.id);
            id
        };
        Some(Self {
            scope,
            body,
            ids: events.iter_mut().zip(named).enumerate().map(derive).collect(),
        })
    }

    /// Whether a list was taken in before, as far as its first event tells. (A single event tells by its outcome, without
    /// a question before.)
    pub(super) async fn is_repeated_list(&self, state: &ApiState) -> Result<bool, Problem> {
        match self.ids.as_slice() {
            [Some(first), _, ..] => Ok(self.find(state, *first).await?.is_some()),
            _ => Ok(false),
        }
    }

    /// Whether these outcomes are those of a repetition.
    pub(super) fn is_repetition(&self, outcomes: &[Appended]) -> bool {
        let mut derived = self.ids.iter().zip(outcomes).filter(|(id, _)| id.is_some());
        derived.any(|(_, outcome)| *outcome == Appended::Duplicate)
    }

    /// The answer to the first request of this key, `offered` being what the present one would have been told.
    pub(super) async fn answer_again(
        &self,
        state: &ApiState,
        offered: Vec<AcceptedBody>,
    ) -> Result<Vec<AcceptedBody>, Problem> {
        let inputs = read::read(&self.body, state.limits().events_per_request)?.inputs;
        let mut answers = Vec::with_capacity(offered.len());
        for ((offered, input), id) in offered.into_iter().zip(inputs).zip(&self.ids) {
            let Some(id) = id else {
                answers.push(offered.with(Appended::Duplicate));
                continue;
            };
            // None: removed by the retention since, or another list with this key was shorter.
            let message = self.find(state, *id).await?.ok_or_else(key_reused)?;
            if !offered.is_about(&message) || !is_the_same(&input, &message) {
                return Err(key_reused());
            }
            answers.push(AcceptedBody::of_stored(&message));
        }
        Ok(answers)
    }

    async fn find(&self, state: &ApiState, id: EventId) -> Result<Option<Message>, Problem> {
        match state.management().event(self.scope, id).await {
            // One that cannot be read is not the same as anything.
            Ok(view) => Ok(Some(view.message).filter(|_| view.unreadable.is_none())),
            Err(ManagementError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_the_same(input: &PublishInput, message: &Message) -> bool {
    if message.expunged_at.is_some() {
        // Nothing is left to compare with.
        return true;
    }
    let headers = (input.headers.as_deref(), message.headers.as_deref());
    is_same_json(&input.data, &message.data)
        && match headers {
            (Some(sent), Some(stored)) => is_same_json(sent, stored),
            (sent, stored) => sent.is_none() && stored.is_none(),
        }
}

fn is_same_json(sent: &RawValue, stored: &RawValue) -> bool {
    if sent.get() == stored.get() {
        return true;
    }
    let values = (
        serde_json::from_str(sent.get()),
        serde_json::from_str(stored.get()),
    );
    matches!(values, (Ok(sent), Ok(stored)) if is_equal(&sent, &stored))
}

/// Whether both mean the same. Postgres writes numbers in its own way: `1e2` as `100`.
fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || Number::as_f64(a) == Number::as_f64(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| is_equal(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_wrote_in_its_own_way_is_the_same() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        for (sent, stored, same) in [
            (r#"{"a":1e2,"b":[-0]}"#, r#"{"b": [0], "a": 100}"#, true),
            (r#"{"n":1.50}"#, r#"{"n": 1.50}"#, true),
            (r#"{"a":1,"a":2}"#, r#"{"a": 2}"#, true),
            (r#"{"a":1}"#, r#"{"a": 2}"#, false),
            (r#"{"a":1}"#, r#"{"a": 1, "b": null}"#, false),
            (r#"{"a":[1,2]}"#, r#"{"a": [2, 1]}"#, false),
            (r#"{"a":"1"}"#, r#"{"a": 1}"#, false),
        ] {
            assert_eq!(is_same_json(&raw(sent), &raw(stored)), same, "{sent} {stored}");
        }
    }
}
