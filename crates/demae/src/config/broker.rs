//! The message broker between relay and workers.

use demae_broker::BrokerUrl;
use demae_cdc::envelope::EnvelopeKey;
use demae_event::OrganizationId;

use super::{
    Authorities,
    parse::number,
    reader::{Problem, Reader},
};

/// A message broker.
#[derive(Debug, Clone)]
pub(crate) struct BrokerSettings {
    /// Shows no password.
    pub(crate) url: BrokerUrl,
    /// Messages that a worker has taken and not yet acknowledged.
    pub(crate) prefetch: u16,
    /// Tells what relays wrote from what others did.
    pub(crate) key: Option<EnvelopeKey>,
    /// The only organization that others may speak for.
    pub(crate) organization: Option<OrganizationId>,
}

/// `None`: relay and workers need none between them.
pub(super) fn read(reader: &mut Reader, trusted: Option<&Authorities>) -> Option<BrokerSettings> {
    let url = reader.optional("broker_url", broker_url);
    let prefetch = reader.one("broker_prefetch", number(1, u16::MAX));
    let key = reader.optional("broker_key", broker_key);
    let organization = reader.optional("broker_organization", organization);
    reader.require(
        "broker_organization",
        &["broker_key"],
        organization.is_none() || key.is_some(),
        "without a broker_key, what relays publish cannot be told from what others do",
        "set broker_key on every process that publishes or consumes",
    );
    let mut url = url?;
    if let Some(trusted) = trusted {
        url = url.trusting(trusted.pem());
    }
    Some(BrokerSettings {
        url,
        prefetch,
        key,
        organization,
    })
}

/// The text is not repeated.
fn broker_key(text: &str) -> Result<EnvelopeKey, Problem> {
    EnvelopeKey::new(text).map_err(|error| {
        (
            error.to_string(),
            "make one with `openssl rand -base64 32`".to_owned(),
        )
    })
}

fn organization(text: &str) -> Result<OrganizationId, Problem> {
    text.parse().map_err(|_| {
        (
            format!("{text:?} is no organization's ID"),
            "write the UUID that `demae org list` shows".to_owned(),
        )
    })
}

/// The text may hold a password and is not repeated.
fn broker_url(text: &str) -> Result<BrokerUrl, Problem> {
    text.parse().map_err(|error: demae_broker::BrokerUrlError| {
        (
            error.to_string(),
            "write amqp://user:password@host:5672/vhost, or amqps:// for TLS".to_owned(),
        )
    })
}
