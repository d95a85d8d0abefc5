//! Licenses as they are shown, and what they are made of.

use demae_event::Faults;
use demae_fields::{
    Input, Kind, Node, RefOrSchema, Shown,
    utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Stamps,
    choice::choices,
    fields::{AnyText, Description, NAME, Slug, Text},
};

/// Longest name of a version, in characters.
pub const MAX_VERSION_NAME: usize = 100;
/// The highest version that a caller may send; the lowest is 1.
pub const MAX_VERSION: i64 = 2_147_483_647;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
pub struct License {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    #[shown(example = "Enterprise")]
    pub name: String,
    /// Name in URLs; never changes.
    #[shown(example = "enterprise")]
    pub slug: String,
    /// What it offers; may be empty.
    pub description: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: LicenseType,
    /// The version's number, as text.
    #[shown(example = "3")]
    pub version: String,
    /// The version's display name.
    #[shown(example = "Version - 3")]
    pub version_name: String,
    /// Whether it is put forward; at most one of an organization is.
    pub is_default: bool,
    /// Whether it is published.
    pub is_active: bool,
    /// Whether it can be given to instances.
    pub lifecycle_state: LifecycleState,
    /// Who created it, and who changed it last, and when.
    #[serde(flatten)]
    pub stamps: Stamps,
}

/// What a license is made of, or replaced with. In a replacement, what is left out is cleared, but for slug, version and
/// state, which stay; they may be given if they are the same.
#[derive(Debug, Clone, Input)]
#[input(example = json!({
    "name": "Enterprise", "description": "Everything, with support.", "type": "PAID", "isDefault": false,
}))]
pub struct LicenseInput {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// Name in URLs; derived from the name if left out.
    #[input(kind = Slug)]
    pub slug: Option<String>,
    /// What it offers; empty if left out.
    #[input(kind = Description, default)]
    pub description: String,
    /// What it is for.
    #[input(rename = "type")]
    pub kind: LicenseType,
    /// The version, as a number or as its digits; one more than the highest of the licenses of this name if left out.
    #[input(kind = Version)]
    pub version: Option<i64>,
    /// The version's display name; `Version - <version>` if left out.
    #[input(kind = Text(MAX_VERSION_NAME))]
    pub version_name: Option<String>,
    /// Whether it is put forward, which takes that from the license that is now; false if left out.
    #[input(default)]
    pub is_default: bool,
    /// The older form of `lifecycleState`: true publishes. False leaves a new license a draft and archives a published one.
    pub is_active: Option<bool>,
    /// DRAFT or PUBLISHED on creation; PUBLISHED if left out.
    pub lifecycle_state: Option<LifecycleState>,
    /// There are no license families here: 404 on creation, and refused in a replacement.
    #[input(kind = AnyText(255))]
    pub family_id: Option<String>,
    /// As `familyId`.
    #[input(kind = AnyText(255))]
    pub family_slug: Option<String>,
}

/// A version: a number, or its digits.
struct Version;

impl Kind<i64> for Version {
    fn read(&self, node: Node<'_>) -> Option<i64> {
        node.integer_or_digits(1..=MAX_VERSION)
    }

    fn schema(&self) -> RefOrSchema {
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MAX_VERSION));
        let digits = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[1-9][0-9]{0,8}$"));
        OneOfBuilder::new().item(digits).item(number).into()
    }

    fn check(&self, value: &i64, at: &str, faults: &mut Faults) {
        if !(1..=MAX_VERSION).contains(value) {
            faults.push(at, format!("must be from 1 to {MAX_VERSION}"));
        }
    }
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
            family_id: None,
            family_slug: None,
        }
    }

    /// Whether a license family was named, of which there are none here.
    pub(super) fn names_family(&self) -> bool {
        self.family_id.is_some() || self.family_slug.is_some()
    }
}
