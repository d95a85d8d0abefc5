//! One change as it is kept until it is acknowledged.

use std::sync::Arc;

use bytes::Bytes;
use demae_event::{Event, OrganizationId};
use uuid::Uuid;

use crate::{
    ledger::Stretch,
    mapping::{Layout, MAX_REJECTED_BODY, Place, Speaker, cut, message_event},
    pgoutput::{self, Xid},
};

/// A change that may become an event. Holds the network's bytes, so that offering it again costs a reading, not a copy
/// of every event that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) content: Content,
    pub(crate) place: Place,
    /// The transaction, if it came with one.
    pub(crate) xid: Option<Xid>,
    pub(crate) stretch: Stretch,
}

/// Where it came from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A row of the table.
    Row { layout: Arc<Layout>, tuple: Bytes },
    /// A message written with `pg_logical_emit_message`.
    Message {
        content: Bytes,
        /// Where it stands in the log.
        position: String,
        transactional: bool,
        source: Arc<str>,
        /// The only one that the source may speak for.
        organization: Option<OrganizationId>,
    },
}

/// Why a change is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) reason: String,
    /// What it looks like.
    pub(crate) body: String,
    /// What stands in the row's column for the id, if it is a UUID.
    pub(crate) row_id: Option<Uuid>,
}

impl Change {
    /// Its size in memory, roughly: bytes.
    pub(crate) fn size(&self) -> usize {
        match &self.content {
            Content::Row { tuple, .. } => tuple.len(),
            Content::Message { content, .. } => content.len(),
        }
    }

    /// The event, or why it is none and what it looks like.
    pub(crate) fn event(&self) -> Result<Event, Unfit> {
        match &self.content {
            Content::Row { layout, tuple } => match pgoutput::values(tuple) {
                Ok(row) => layout.event(&row, self.place).map_err(|reason| Unfit {
                    reason,
                    body: layout.describe(&row),
                    row_id: layout.row_id(&row),
                }),
                Err(error) => Err(Unfit {
                    reason: error.to_string(),
                    body: String::new(),
                    row_id: None,
                }),
            },
            Content::Message {
                content,
                position,
                transactional,
                source,
                organization,
            } => if *transactional {
                let speaker = Speaker {
                    source,
                    organization: *organization,
                };
                message_event(content, position, self.place.committed_at, speaker)
            } else {
                Err(
                    "the message is not part of a transaction: call pg_logical_emit_message with true"
                        .to_owned(),
                )
            }
            .map_err(|reason| Unfit {
                reason,
                body: described(content),
                row_id: None,
            }),
        }
    }
}

fn described(content: &[u8]) -> String {
    let kept = &content[..content.len().min(MAX_REJECTED_BODY)];
    cut(&String::from_utf8_lossy(kept), MAX_REJECTED_BODY).to_owned()
}
