//! Declares the tables of what organizations own: a table's file states only the columns that it alone has.
//!
//! Guarantees:
//! - Every such table has an id, an organization, and who created the row when; a changeable one also who changed it last;
//!   one that is found by name a slug. These columns are stated here, as the migration states them in one place.
//! - An update writes every column that can change, so that none is forgotten ([`Owned::FIXED`] lists those that cannot).

use sea_orm::EntityTrait;
use uuid::Uuid;

/// A table of things that an organization owns.
pub trait Owned: EntityTrait<ActiveModel: Send> {
    /// Whose it is.
    const ORGANIZATION: Self::Column;
    /// Its identity.
    const ID: Self::Column;
    /// What no update writes.
    const FIXED: &'static [Self::Column];

    /// The identity of a row, and whose it is.
    fn key(row: &Self::Model) -> (Uuid, Uuid);

    /// The row with every column set.
    fn whole(row: Self::Model) -> Self::ActiveModel;
}

/// One whose rows are found by their names in URLs.
pub trait Named: Owned {
    /// Its name in URLs.
    const SLUG: Self::Column;

    /// Gives a row its name.
    fn name(row: &mut Self::Model, slug: String);
}

/// A row that says who created it, and when.
pub trait Created: Default {
    /// Whose it is, who created it, and when.
    fn create(&mut self, id: Uuid, organization: Uuid, by: &Stamp);

    /// Who created it, and when.
    fn created(&self) -> Stamp;
}

/// A row that says besides who changed it last, and when.
pub trait Changeable: Created {
    /// Who changed it, and when.
    fn change(&mut self, by: Stamp);

    /// Who changed it last, and when.
    fn changed(&self) -> Stamp;
}

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds since the Unix epoch.
    pub at: i64,
    /// The service account's id.
    pub id: Uuid,
    /// Its name at that time.
    pub name: Option<String>,
}

/// The table of a resource: found by slug, and changeable unless it says otherwise. `fixed` are own columns that never
/// change.
macro_rules! resource_table {
    ($table:literal, $($rest:tt)+) => {
        $crate::entity::resource::table! { $table, [slug: String, updated_at: i64, updated_by_id: Uuid, updated_by_name: Option<String>,] $($rest)+ }
        $crate::entity::resource::named! {}
        $crate::entity::resource::changeable! {}
    };
}

/// The table of a resource that never changes.
macro_rules! unchanging_table {
    ($table:literal, $($rest:tt)+) => {
        $crate::entity::resource::table! { $table, [slug: String,] $($rest)+ }
        $crate::entity::resource::named! {}
    };
}

/// A table of what belongs to two resources, and has no name of its own.
macro_rules! link_table {
    ($table:literal, $($rest:tt)+) => {
        $crate::entity::resource::table! { $table, [updated_at: i64, updated_by_id: Uuid, updated_by_name: Option<String>,] $($rest)+ }
        $crate::entity::resource::changeable! {}
    };
}

macro_rules! table {
    (
        $table:literal,
        [$($shared:ident: $shared_type:ident $(<$shared_inner:ident>)?,)*]
        fixed [$($fixed:ident),*],
        $($(#[$meta:meta])* $field:ident: $type:ident $(<$inner:ident>)?,)*
    ) => {
        use sea_orm::entity::prelude::*;

        #[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel)]
        #[sea_orm(table_name = $table)]
        pub struct Model {
            #[sea_orm(primary_key, auto_increment = false)]
            pub id: Uuid,
            pub organization_id: Uuid,
            $($(#[$meta])* pub $field: $type $(<$inner>)?,)*
            $(pub $shared: $shared_type $(<$shared_inner>)?,)*
            pub created_at: i64,
            pub created_by_id: Uuid,
            pub created_by_name: Option<String>,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}

        impl $crate::entity::resource::Owned for Entity {
            const ORGANIZATION: Column = Column::OrganizationId;
            const ID: Column = Column::Id;
            const FIXED: &'static [Column] = &[
                Column::Id,
                Column::OrganizationId,
                Column::CreatedAt,
                Column::CreatedById,
                Column::CreatedByName,
                $(Column::$fixed,)*
            ];

            fn key(row: &Model) -> (Uuid, Uuid) {
                (row.organization_id, row.id)
            }

            fn whole(row: Model) -> ActiveModel {
                sea_orm::ActiveModelTrait::reset_all(ActiveModel::from(row))
            }
        }

        impl $crate::entity::resource::Created for Model {
            fn create(&mut self, id: Uuid, organization: Uuid, by: &$crate::entity::resource::Stamp) {
                self.id = id;
                self.organization_id = organization;
                self.created_at = by.at;
                self.created_by_id = by.id;
                self.created_by_name.clone_from(&by.name);
            }

            fn created(&self) -> $crate::entity::resource::Stamp {
                $crate::entity::resource::Stamp {
                    at: self.created_at,
                    id: self.created_by_id,
                    name: self.created_by_name.clone(),
                }
            }
        }
    };
}

macro_rules! named {
    () => {
        impl $crate::entity::resource::Named for Entity {
            const SLUG: Column = Column::Slug;

            fn name(row: &mut Model, slug: String) {
                row.slug = slug;
            }
        }
    };
}

macro_rules! changeable {
    () => {
        impl $crate::entity::resource::Changeable for Model {
            fn change(&mut self, by: $crate::entity::resource::Stamp) {
                self.updated_at = by.at;
                self.updated_by_id = by.id;
                self.updated_by_name = by.name;
            }

            fn changed(&self) -> $crate::entity::resource::Stamp {
                $crate::entity::resource::Stamp {
                    at: self.updated_at,
                    id: self.updated_by_id,
                    name: self.updated_by_name.clone(),
                }
            }
        }
    };
}

pub(super) use {changeable, link_table, named, resource_table, table, unchanging_table};
