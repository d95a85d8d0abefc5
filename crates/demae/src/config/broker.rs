//! The message broker between relay and workers.

use demae_broker::BrokerUrl;

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
}

/// `None`: relay and workers need none between them.
pub(super) fn read(reader: &mut Reader, trusted: Option<&Authorities>) -> Option<BrokerSettings> {
    let url = reader.optional("broker_url", broker_url);
    let prefetch = reader.one("broker_prefetch", number(1, u16::MAX));
    let mut url = url?;
    if let Some(trusted) = trusted {
        url = url.trusting(trusted.pem());
    }
    Some(BrokerSettings { url, prefetch })
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
