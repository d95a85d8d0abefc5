//! What a webhook is made of, as callers send it.
//!
//! The readers check what can be told from the body alone, so that a caller hears of a bad event name together with a
//! missing URL; management checks the rest.

use std::collections::BTreeMap;

use demae_api::json::fields::{Fields, Node, ReadBody};
use demae_delivery::{
    client::{EndpointUrl, URL_LENGTH_LIMIT},
    dialect::Dialect,
    management::{
        EndpointInput, EndpointPatch,
        validation::{
            MAX_DESCRIPTION, MAX_HEADER_NAME, MAX_HEADER_VALUE, MAX_HEADERS, MAX_METADATA, MAX_NAME,
            RATE_LIMITS, TIMEOUTS,
        },
    },
    policy::{MAX_STEPS, MAX_WAIT},
};
use demae_event::{Subscription, subscription::MAX_SUBSCRIPTIONS};
use utoipa::ToSchema;

use crate::input::Kaiten;

/// Longest signing key that is read at all, in characters.
pub(super) const MAX_SECRET: usize = 512;

/// The body of an operation: its own fields, and the settings that all of them have.
macro_rules! webhook_body {
    ($(#[$attribute:meta])* $name:ident { $($own:tt)* }) => {
        #[derive(Debug, ToSchema)]
        $(#[$attribute])*
        #[schema(rename_all = "camelCase")]
        #[expect(dead_code, reason = "describes the body; management's own type is read")]
        pub(crate) struct $name {
            $($own)*
            /// What people call it.
            #[schema(max_length = 100)]
            name: Option<String>,
            /// What it is for.
            #[schema(max_length = 500)]
            description: Option<String>,
            /// Own headers sent with every delivery, at most 20. Those that belong to the request or the signature are
            /// refused. Their values are secret unless `publicHeaders` names them, and belong to the origin of the URL: if
            /// the URL gets another scheme, host or port, secret headers are removed unless they are given again in the same
            /// request.
            headers: Option<BTreeMap<String, String>>,
            /// Names of own headers whose values may be shown, in answers and in the history. A header that was secret
            /// must be given again in the same request. `Authorization` and `Cookie` are always secret.
            #[schema(max_items = 20)]
            public_headers: Option<Vec<String>>,
            /// Deliveries per second at most; null for no limit.
            #[schema(minimum = 1, maximum = 10000)]
            rate_limit: Option<i64>,
            /// Seconds for a whole exchange; null for 30.
            #[schema(minimum = 1, maximum = 30)]
            timeout_seconds: Option<i64>,
            /// Seconds between attempts, each 0 to 604,800; null for the server's own schedule, an empty list for no
            /// retries.
            #[schema(max_items = 20)]
            retry_schedule: Option<Vec<i64>>,
            /// Whether anything is delivered; null for yes.
            enabled: Option<bool>,
            /// How it is spoken to: `standard`.
            #[schema(pattern = "^standard$")]
            dialect: Option<String>,
            /// Its owner's own notes; at most 4,096 bytes as JSON.
            metadata: Option<BTreeMap<String, String>>,
        }
    };
}

webhook_body! {
    /// A new webhook.
    #[schema(as = CreateWebhook,
        example = json!({"url": "https://example.com/hooks/kaiten", "eventNames": ["CUSTOMER_CREATION"]}))]
    CreateWebhookBody {
        /// Where its deliveries go: `https`, or `http` unless the operator forbids it. A user name and password become
        /// an `Authorization` header, in the place of an earlier one.
        #[schema(min_length = 1, max_length = 2048)]
        url: String,
        /// What it subscribes to: event names (either form), types, and wildcards (`*`, `CUSTOMER_*`).
        #[schema(min_items = 1, max_items = 500)]
        event_names: Vec<String>,
        /// A signing key of the caller's own, `whsec_…` or `whsk_…`; made here if left out.
        #[schema(max_length = 512)]
        secret: Option<String>,
    }
}

webhook_body! {
    /// What a webhook is replaced with.
    #[schema(as = ReplaceWebhook,
        example = json!({"url": "https://example.com/hooks/kaiten", "eventNames": ["CUSTOMER_*"]}))]
    ReplaceWebhookBody {
        /// Where its deliveries go.
        #[schema(min_length = 1, max_length = 2048)]
        url: String,
        /// What it subscribes to.
        #[schema(min_items = 1, max_items = 500)]
        event_names: Vec<String>,
    }
}

webhook_body! {
    /// What changes about a webhook.
    #[schema(as = PatchWebhook, example = json!({"enabled": false}))]
    PatchWebhookBody {
        /// Where its deliveries go.
        #[schema(min_length = 1, max_length = 2048, nullable = false)]
        url: Option<String>,
        /// What it subscribes to.
        #[schema(min_items = 1, max_items = 500, nullable = false)]
        event_names: Option<Vec<String>>,
    }
}

impl ReadBody<Kaiten> for EndpointInput {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let secret = fields
            .field("secret")
            .nullable(|node| node.secret(1..=MAX_SECRET));
        let Replacement(input) = Replacement::read(fields)?;
        Some(Self {
            secret: secret?,
            ..input
        })
    }
}

/// Everything about a webhook but its secret.
pub(super) struct Replacement(pub(super) EndpointInput);

impl ReadBody<Kaiten> for Replacement {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let url = fields.field("url").required(read_url);
        let event_names = fields.field("eventNames").required(read_event_names);
        let settings = EndpointPatch::read_settings(fields)?;
        Some(Self(EndpointInput {
            url: url?,
            event_names: event_names?,
            name: settings.name.flatten(),
            description: settings.description.flatten(),
            headers: settings.headers.unwrap_or_default(),
            public_headers: settings.public_headers.unwrap_or_default(),
            rate_limit: settings.rate_limit.flatten(),
            timeout_seconds: settings.timeout_seconds.flatten(),
            retry_schedule: settings.retry_schedule.flatten(),
            enabled: settings.enabled,
            dialect: settings.dialect,
            metadata: settings.metadata.unwrap_or_default(),
            secret: None,
        }))
    }
}

impl ReadBody<Kaiten> for EndpointPatch {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let url = fields.field("url").optional(read_url);
        let event_names = fields.field("eventNames").optional(read_event_names);
        let settings = Self::read_settings(fields)?;
        Some(Self {
            url: url?,
            event_names: event_names?,
            ..settings
        })
    }
}

/// What is common to making, replacing and changing.
trait ReadSettings: Sized {
    fn read_settings(fields: &mut Fields<'_>) -> Option<Self>;
}

impl ReadSettings for EndpointPatch {
    fn read_settings(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.field("name").clearable(|node| read_note(node, MAX_NAME));
        let description = fields
            .field("description")
            .clearable(|node| read_note(node, MAX_DESCRIPTION));
        let headers = fields
            .field("headers")
            .clearable(|node| node.text_map(MAX_HEADERS, 1..=MAX_HEADER_NAME, 0..=MAX_HEADER_VALUE));
        let public_headers = fields
            .field("publicHeaders")
            .clearable(|node| node.array(0..=MAX_HEADERS, |node| node.string(1..=MAX_HEADER_NAME)));
        let rate_limit = fields
            .field("rateLimit")
            .clearable(|node| node.integer(RATE_LIMITS));
        let timeout_seconds = fields
            .field("timeoutSeconds")
            .clearable(|node| node.integer(TIMEOUTS));
        let wait = 0..=MAX_WAIT.as_secs() as i64;
        let retry_schedule = fields
            .field("retrySchedule")
            .clearable(|node| node.array(0..=MAX_STEPS, |node| node.integer(wait.clone())));
        let enabled = fields.field("enabled").clearable(Node::boolean);
        let dialect = fields
            .field("dialect")
            .clearable(|node| node.one_of(&[Dialect::Standard.as_str()]));
        let metadata = fields
            .field("metadata")
            .clearable(|node| node.text_map(MAX_METADATA, 0..=MAX_METADATA, 0..=MAX_METADATA));
        Some(Self {
            url: None,
            event_names: None,
            name: name?,
            description: description?,
            headers: headers?.map(Option::unwrap_or_default),
            public_headers: public_headers?.map(Option::unwrap_or_default),
            rate_limit: rate_limit?,
            timeout_seconds: timeout_seconds?,
            retry_schedule: retry_schedule?,
            enabled: enabled?.map(|enabled| enabled.unwrap_or(true)),
            dialect: dialect?.map(|dialect| dialect.unwrap_or_else(|| Dialect::Standard.as_str().to_owned())),
            metadata: metadata?.map(Option::unwrap_or_default),
        })
    }
}

/// Whether `http` is allowed is the operator's to say, in management.
fn read_url(node: Node<'_>) -> Option<String> {
    node.string_with(1..=URL_LENGTH_LIMIT, |text| {
        match EndpointUrl::parse(text, false) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// Whether a name is known is management's to say.
fn read_event_names(node: Node<'_>) -> Option<Vec<String>> {
    node.array(1..=MAX_SUBSCRIPTIONS, |node| {
        node.string_with(0..=usize::MAX, |text| match text.parse::<Subscription>() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
    })
}

/// A text for people, which may have lines.
fn read_note(node: Node<'_>, longest: usize) -> Option<String> {
    let is_layout = |letter: char| matches!(letter, '\n' | '\r' | '\t');
    node.string_with(0..=longest, |text| {
        if text
            .chars()
            .any(|letter| letter.is_control() && !is_layout(letter))
        {
            Err("must not contain control characters".to_owned())
        } else {
            Ok(())
        }
    })
}
