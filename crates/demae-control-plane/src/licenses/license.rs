//! Licenses as they are shown, and what they are made of.

use demae_event::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::{User, choice::choices};

choices! {
    /// What a license is for.
    LicenseType {
        /// For building.
        Development = "DEVELOPMENT",
        /// For trying.
        Trial = "TRIAL",
        /// For money.
        Paid = "PAID",
        /// For everybody.
        Community = "COMMUNITY",
    }
}

choices! {
    /// Whether a license can be given to instances.
    LifecycleState {
        /// Not yet.
        Draft = "DRAFT",
        /// Yes.
        Published = "PUBLISHED",
        /// Not any more; instances that have it keep it.
        Archived = "ARCHIVED",
    }
}

/// A license.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct License {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    pub name: String,
    /// Name in URLs; never changes.
    pub slug: String,
    /// What it offers; may be empty.
    pub description: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: LicenseType,
    /// The version's number, as text.
    pub version: String,
    /// The version's display name.
    pub version_name: String,
    /// Whether it is put forward.
    pub is_default: bool,
    /// Whether it is published.
    pub is_active: bool,
    /// Whether it can be given to instances.
    pub lifecycle_state: LifecycleState,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: User,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: User,
}

/// What a license is made of, or replaced with.
#[derive(Debug, Clone)]
pub struct LicenseInput {
    /// Display name.
    pub name: String,
    /// On creation: derived from the name if left out. Afterwards: may be given if it is the same.
    pub slug: Option<String>,
    /// What it offers; may be empty.
    pub description: String,
    /// What it is for.
    pub kind: LicenseType,
    /// On creation: the next of its name if left out. Afterwards: may be given if it is the same.
    pub version: Option<i64>,
    /// `Version - <version>` if left out.
    pub version_name: Option<String>,
    /// Whether it is to be put forward.
    pub is_default: bool,
    /// Whether it is to be published; the older form of the state.
    pub is_active: Option<bool>,
    /// On creation: `DRAFT` or `PUBLISHED`, which it is if left out. Afterwards: may be given if it is the same.
    pub lifecycle_state: Option<LifecycleState>,
    /// Whether a license family was named, of which there are none here.
    pub names_family: bool,
}

impl LicenseInput {
    /// With nothing but what is required.
    pub fn new(name: impl Into<String>, kind: LicenseType) -> Self {
        Self {
            name: name.into(),
            slug: None,
            description: String::new(),
            kind,
            version: None,
            version_name: None,
            is_default: false,
            is_active: None,
            lifecycle_state: None,
            names_family: false,
        }
    }
}
