//! What the audit trail says of webhooks.
//!
//! Whoever may read the trail need not have a webhook's scope, so that an entry tells less than the webhook's own
//! document: not the whole URL, which may be all that guards the receiver, nor headers, nor anything of the secret.

use demae_api::{caller::Caller, problem::Problem};
use demae_control_plane::change::Subject;
use demae_delivery::management::Endpoint;
use demae_event::EndpointId;
use demae_store::Transaction;
use serde::Serialize;
use url::Url;

/// What happened to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    Created,
    Updated,
    Deleted,
    SecretRotated,
}

impl Happened {
    /// The entry's name and type.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Created => ("WEBHOOK_CREATION", "com.kaiten.webhook.v1.created"),
            Self::Updated => ("WEBHOOK_UPDATE", "com.kaiten.webhook.v1.updated"),
            Self::Deleted => ("WEBHOOK_DELETION", "com.kaiten.webhook.v1.deleted"),
            Self::SecretRotated => ("WEBHOOK_SECRET_ROTATION", "com.kaiten.webhook.v1.secret_rotated"),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'e> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_names: Option<&'e [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
}

/// Writes the entry about a webhook that is there.
pub(super) async fn note(
    transaction: &mut Transaction,
    caller: &Caller,
    happened: Happened,
    endpoint: &Endpoint,
) -> Result<(), Problem> {
    let entry = Entry {
        id: endpoint.id.to_string(),
        host: Url::parse(&endpoint.url)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned)),
        event_names: Some(&endpoint.event_names),
        enabled: Some(endpoint.enabled),
    };
    write(transaction, caller, happened, endpoint.id, entry).await
}

/// Writes the entry about a webhook that was deleted.
pub(super) async fn note_deleted(
    transaction: &mut Transaction,
    caller: &Caller,
    id: EndpointId,
) -> Result<(), Problem> {
    let entry = Entry {
        id: id.to_string(),
        host: None,
        event_names: None,
        enabled: None,
    };
    write(transaction, caller, Happened::Deleted, id, entry).await
}

async fn write(
    transaction: &mut Transaction,
    caller: &Caller,
    happened: Happened,
    id: EndpointId,
    entry: Entry<'_>,
) -> Result<(), Problem> {
    let (name, event_type) = happened.names();
    let subject = Subject::new("webhook", id.0, &entry.id);
    let mut change = caller.change(transaction);
    Ok(change.note(name, event_type, subject, &entry).await?)
}
