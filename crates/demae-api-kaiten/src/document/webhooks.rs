//! The `webhooks` section: what an endpoint receives, one entry per event of the catalogue.

use demae_event::{EventDefinition, catalogue};
use serde_json::{Map, Value, json};

/// The section.
pub(super) fn section() -> Value {
    let events = catalogue::all().iter().chain(catalogue::operational());
    Value::Object(
        events
            .map(|event| (event.name.to_owned(), entry(event)))
            .collect::<Map<_, _>>(),
    )
}

fn entry(event: &EventDefinition) -> Value {
    json!({
        "post": {
            "operationId": format!("receive_{}", event.name.to_lowercase()),
            "tags": ["Deliveries"],
            "summary": event.name,
            "description": event.description,
            "parameters": headers(),
            "requestBody": {
                "required": true,
                "content": {"application/json": {"schema": envelope(event), "example": example(event)}},
            },
            "responses": {
                "2XX": {"description": "Received. Any other answer is a failure and is retried."},
                "410": {"description": "The endpoint wants no more events and is disabled."},
            },
        }
    })
}

/// The JSON Schema of the whole body that is delivered.
pub(crate) fn envelope(event: &EventDefinition) -> Value {
    // An endpoint gets the form it subscribed with; for some events both are the same.
    let mut names = vec![event.name, event.later_name];
    names.dedup();
    json!({
        "type": "object",
        "required": ["name", "type", "data"],
        "properties": {
            "name": {"type": "string", "enum": names},
            "type": {"type": "string", "const": event.event_type},
            "data": event.schema(),
            "headers": {"type": "object", "description": "The producer's own headers."},
        },
        "additionalProperties": false,
    })
}

/// An example of the whole body.
pub(crate) fn example(event: &EventDefinition) -> Value {
    json!({"name": event.name, "type": event.event_type, "data": event.example()})
}

/// Standard Webhooks, under both families of names.
fn headers() -> Value {
    let described = [
        (
            "id",
            "The message's identity, the same on every attempt.",
            "msg_2bZ8Q0iZkzJ2yq1cZ5mWc0J1x7T",
        ),
        ("timestamp", "Unix seconds of the attempt.", "1790000000"),
        (
            "signature",
            "Space-separated signatures, `v1,<base64>` or `v1a,<base64>`.",
            "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
        ),
    ];
    let headers = ["webhook", "svix"].into_iter().flat_map(|family| {
        described.map(|(name, description, example)| {
            json!({
                "name": format!("{family}-{name}"),
                "in": "header",
                "required": true,
                "description": description,
                "schema": {"type": "string"},
                "example": example,
            })
        })
    });
    headers.collect()
}
