//! What can go wrong with a broker.

use std::time::Duration;

/// Why the broker did not do what it was asked to.
///
/// No variant holds a credential or a message's content.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// No connection could be made.
    #[error("the broker at {broker} cannot be reached")]
    Unreachable {
        /// Host and port.
        broker: String,
        /// What the client library says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection ended, or the broker closed the channel.
    #[error("the connection to the broker was lost")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The broker is connected and says nothing.
    #[error("the broker did not answer within {0:?}")]
    Silent(Duration),
    /// No queue took these messages: the queue is gone, or nothing is bound to the exchange.
    #[error("no queue took {count} of {of} messages; is a queue bound to the exchange {exchange}?")]
    Unroutable {
        /// Messages that came back.
        count: usize,
        /// Messages in the batch.
        of: usize,
        /// Where they were published.
        exchange: String,
    },
    /// The broker could not store these messages.
    #[error("the broker refused {count} of {of} messages")]
    Refused {
        /// Messages refused.
        count: usize,
        /// Messages in the batch.
        of: usize,
    },
    /// An exchange or queue can be neither made nor used: missing rights, or something of that name exists and is
    /// something else.
    #[error("the broker does not let us use {what}")]
    Declaration {
        /// Which exchange or queue.
        what: String,
        /// What the broker says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file with certificates that the URL names cannot be used.
    #[error("cannot read the certificates in {0}")]
    Certificates(String, #[source] std::io::Error),
}
