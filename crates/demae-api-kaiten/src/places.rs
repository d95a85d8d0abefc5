//! The names that this surface has for the places of the domains' inputs, and for endpoints.
//!
//! This surface calls an endpoint a webhook, in codes and details, too.
//!
//! A fault is located as `body.eventNames[0]`. Bodies write most of their fields in camel case; those of feature flags and
//! integrations are in snake case (kaiten.md, section 2.0), and so are their faults.

use std::borrow::Cow;

use demae_api::problem::{self, Problem, Rendered};

/// Fields that this surface writes in snake case, whatever the operation.
const IN_SNAKE_CASE: [&str; 4] = ["default_variant", "external_id", "last_error", "web_url"];

/// Writes a refusal as a problem document.
pub(crate) fn render(problem: &Problem, path: &str) -> Rendered {
    match code_name(problem.code()) {
        None => problem::render_naming(problem, path, name),
        Some(code) => {
            let problem = problem.reworded(code, in_own_words(problem.detail()));
            problem::render_naming(&problem, path, name)
        }
    }
}

/// What is said of an endpoint, said of a webhook. Not for texts that repeat something of a request.
pub(crate) fn in_own_words(text: &str) -> String {
    text.replace("endpoint", "webhook")
}

/// The code for a refusal that is about an endpoint or one of its attempts.
fn code_name(code: &str) -> Option<String> {
    let (operation, reason) = code.split_once('.')?;
    let operation = match operation {
        "CreateEndpoint" => "CreateWebhook",
        "GetEndpoint" => "GetWebhook",
        "UpdateEndpoint" => "UpdateWebhook",
        "DeleteEndpoint" => "DeleteWebhook",
        "RotateEndpointSecret" => "RotateWebhookSecret",
        "GetEndpointStats" => "GetWebhookStats",
        "RecoverEndpoint" => "RecoverWebhook",
        "TestEndpoint" => "TestWebhook",
        "GetAttempt" => "GetWebhookAttempt",
        "RetryAttempt" => "RetryWebhookAttempt",
        _ => return None,
    };
    let reason = match reason {
        "EndpointDisabled" => "WebhookDisabled",
        "EndpointDeleted" => "WebhookDeleted",
        reason => reason,
    };
    Some(format!("{operation}.{reason}"))
}

/// The place `location` of an input, in a refusal with this code.
fn name(code: &str, location: &str) -> String {
    // An integration is known by its adapter, which is in the path.
    if location == "adapter" {
        return "path.name".to_owned();
    }
    problem::write_place("body", location, |field| field_name(code, field))
}

fn field_name<'f>(code: &str, field: &'f str) -> Cow<'f, str> {
    let operation = code.split('.').next().unwrap_or_default();
    match (operation, field) {
        ("RotateWebhookSecret", "key") => "secret".into(),
        (operation, "event_name") if operation.ends_with("FeatureFlag") => field.into(),
        (_, field) if IN_SNAKE_CASE.contains(&field) || !field.contains('_') => field.into(),
        (_, field) => in_camel_case(field).into(),
    }
}

fn in_camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

#[cfg(test)]
mod tests {
    use demae_api::problem::ProblemKind;
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_endpoint_is_called_a_webhook() {
        for (code, detail, expected) in [
            (
                "TestEndpoint.EndpointDisabled",
                "The endpoint is disabled; enable it first.",
                [
                    "TestWebhook.WebhookDisabled",
                    "The webhook is disabled; enable it first.",
                ],
            ),
            (
                "GetEventType.NotFound",
                "There is no endpoint.",
                ["GetEventType.NotFound", "There is no endpoint."],
            ),
        ] {
            let rendered = render(
                &Problem::new(ProblemKind::Conflict, code, detail),
                "/api/webhooks",
            );
            let document: Value = serde_json::from_slice(&rendered.body).unwrap();
            assert_eq!([&document["code"], &document["detail"]], expected);
        }
    }

    #[test]
    fn places_have_the_names_of_the_bodies() {
        for (code, location, expected) in [
            ("CreateInstance.Invalid", "", "body"),
            ("CreateCustomerIntegration.Invalid", "adapter", "path.name"),
            ("CreateWebhook.Invalid", "event_names[1]", "body.eventNames[1]"),
            (
                "CreateWebhook.Invalid",
                "headers[\"X_Team.a\"]",
                "body.headers.X_Team.a",
            ),
            ("RotateWebhookSecret.Invalid", "key", "body.secret"),
            (
                "CreateCustomer.Invalid",
                "integrations[\"my_crm\"].external_id",
                "body.integrations.my_crm.external_id",
            ),
            (
                "CreateCustomer.Invalid",
                "external_customer_id",
                "body.externalCustomerId",
            ),
            ("TestWebhook.Invalid", "event_name", "body.eventName"),
            ("CreateFeatureFlag.Invalid", "event_name", "body.event_name"),
            (
                "UpdateFeatureFlag.Invalid",
                "default_variant.end.percentage",
                "body.default_variant.end.percentage",
            ),
            (
                "CreateEventType.Invalid",
                "schema/$defs/a_b",
                "body.schema/$defs/a_b",
            ),
            ("PublishEvents.Invalid", "events[2].data", "body.events[2].data"),
        ] {
            assert_eq!(name(code, location), expected);
        }
    }
}
