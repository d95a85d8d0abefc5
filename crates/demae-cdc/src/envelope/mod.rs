//! An event on the wire between processes: CloudEvents 1.0 around Debezium's change event (kaiten.md, section 6.2).
//!
//! What [`encode`] writes, Kaiten's own consumers can read; what Debezium Server writes for Kaiten, [`decode`] can read.
//! Besides the form of today it takes what the documents describe (columns `payload`, `traceparent`, `created_at`), change
//! events without their `payload` level (Debezium without schemas), `data` as text or base64 (CloudEvents), and times as
//! text or as Debezium's numbers.
//!
//! Pure. Any bytes are an [`Envelope`] or an [`EnvelopeError`], which never repeats their content.

mod read;
mod signature;
#[cfg(test)]
mod tests;
mod write;

use demae_event::Event;

pub use self::{
    read::decode,
    signature::{EnvelopeKey, MIN_KEY, ShortKey},
    write::encode,
};

/// What the bytes say.
#[derive(Debug, Clone)]
pub enum Envelope {
    /// A row of the outbox was inserted.
    Event(Event),
    /// The source is alive: to be acknowledged and forgotten.
    Heartbeat,
    /// Something that is no event and never will be: a deletion, an update, a tombstone. To be acknowledged.
    Ignored,
}

/// Why bytes are no envelope. They never will be one, so nobody needs to try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// No JSON, or not of the expected shape.
    #[error("{part} is not what it should be (line {line}, column {column})")]
    Shape {
        /// Which part: `the document`, `data`, …
        part: &'static str,
        /// Counted from 1, within the part.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Something needed is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has no usable value.
    #[error("{field}: {problem}")]
    Field {
        /// Its path.
        field: &'static str,
        /// What is wrong, without the value.
        problem: String,
    },
}
