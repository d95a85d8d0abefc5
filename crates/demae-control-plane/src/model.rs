//! What is shared by the models, which serialise as kaiten.md, section 2 says.

use demae_event::Timestamp;
use serde::Serialize;
use uuid::Uuid;

/// Who did something (`createdBy`, `updatedBy`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// The service account's id.
    pub id: Uuid,
    /// Its name at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

pub(crate) fn user(id: Option<Uuid>, name: Option<String>) -> Option<User> {
    id.map(|id| User { id, name })
}

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}
