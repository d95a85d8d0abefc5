//! What is shared by the models, which serialise as kaiten.md, section 2 says.

use demae_event::Timestamp;
use demae_fields::Shown;
use demae_store::{
    StoreError,
    entity::resource::{Changeable, Stamp},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Shown)]
pub struct User {
    /// The service account's id.
    pub id: Uuid,
    /// Its name at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Who created something that changes, and who changed it last, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
pub struct Stamps {
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: User,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: User,
}

impl Stamps {
    /// Those of a row.
    pub(crate) fn of(row: &impl Changeable) -> Self {
        let (created, changed) = (row.created(), row.changed());
        Self {
            created_at: time(created.at),
            created_by: created.into(),
            updated_at: time(changed.at),
            updated_by: changed.into(),
        }
    }
}

impl From<Stamp> for User {
    fn from(stamp: Stamp) -> Self {
        Self {
            id: stamp.id,
            name: stamp.name,
        }
    }
}

pub(crate) fn user(id: Option<Uuid>, name: Option<String>) -> Option<User> {
    id.map(|id| User { id, name })
}

/// A model's column that holds JSON.
#[expect(
    clippy::expect_used,
    reason = "only maps with keys that are not text cannot be written as JSON"
)]
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a model is JSON")
}

/// The value in a column that [`json`] wrote; `what` is said if it is not readable.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable(what))
}

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}
