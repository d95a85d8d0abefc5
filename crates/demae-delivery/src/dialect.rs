//! How an endpoint is spoken to: the body and the headers of a request.
//!
//! A dialect is a pure function of frozen things (the message, the name form in the delivery row) and of the attempt's
//! time, so every attempt of a message to an endpoint has the same body and only the signature's time differs.

use bytes::Bytes;
use demae_event::{Timestamp, envelope::envelope};
use demae_signature::standard::{self, SigningKey};
use demae_store::engine::Message;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What Demae calls itself.
pub const USER_AGENT: &str = concat!("Demae/", env!("CARGO_PKG_VERSION"));

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Both families carry the same values: Svix's libraries look for one, Standard Webhooks' for the other.
const ID: [HeaderName; 2] = [
    HeaderName::from_static("webhook-id"),
    HeaderName::from_static("svix-id"),
];
const TIMESTAMP: [HeaderName; 2] = [
    HeaderName::from_static("webhook-timestamp"),
    HeaderName::from_static("svix-timestamp"),
];
const SIGNATURE: [HeaderName; 2] = [
    HeaderName::from_static("webhook-signature"),
    HeaderName::from_static("svix-signature"),
];

/// The way an endpoint is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `{name, type, data, headers?}`, Standard Webhooks signature under both header families.
    Standard,
}

impl Dialect {
    /// The name in settings and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
        }
    }

    /// The dialect of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "standard" => Some(Self::Standard),
            _ => None,
        }
    }

    /// The body of `message` under the name form `delivered_name`.
    pub fn body(self, message: &Message, delivered_name: &str) -> Bytes {
        match self {
            Self::Standard => envelope(
                delivered_name,
                &message.event_type,
                &message.data,
                message.headers.as_deref(),
            )
            .into(),
        }
    }

    /// The request's headers: the endpoint's `own`, overlaid with those of the dialect. `keys` sign, the current one first.
    pub fn headers<'k>(
        self,
        own: &HeaderMap,
        keys: impl IntoIterator<Item = &'k SigningKey>,
        message: &Message,
        body: &[u8],
        now: Timestamp,
    ) -> HeaderMap {
        match self {
            Self::Standard => standard_headers(own.clone(), keys, message, body, now),
        }
    }
}

fn standard_headers<'k>(
    mut headers: HeaderMap,
    keys: impl IntoIterator<Item = &'k SigningKey>,
    message: &Message,
    body: &[u8],
    now: Timestamp,
) -> HeaderMap {
    let id = message.event_id.message_id(message.created_at);
    let seconds = now.as_secs();
    let signature = standard::sign(keys, &id, seconds, body);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    for (names, value) in [(ID, id), (TIMESTAMP, seconds.to_string()), (SIGNATURE, signature)] {
        // Base62, digits and base64: always valid in a header.
        if let Ok(value) = HeaderValue::try_from(value) {
            let [webhook, svix] = names;
            headers.insert(webhook, value.clone());
            headers.insert(svix, value);
        }
    }
    if let Some(Ok(traceparent)) = message.traceparent.as_deref().map(HeaderValue::from_str) {
        headers.insert(TRACEPARENT, traceparent);
    }
    headers
}
