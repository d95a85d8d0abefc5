//! Kaiten's domains beside customers: what is sold (entitlements, licenses), to whom it runs (instances with their usage),
//! where (zones, releases, components), how (feature flags), and who changed what (the audit trail).
//!
//! What may not be deleted while something uses it is restricted here as well as in the rules; what belongs to something
//! goes with it.

#![expect(
    elided_lifetimes_in_paths,
    reason = "the signature of `MigrationTrait`, through `async_trait`"
)]

use sea_orm_migration::{
    MigrationTrait, async_trait,
    prelude::{DeriveMigrationName, ForeignKey, ForeignKeyAction, SchemaManager},
    sea_orm::DbErr,
    sea_query::{
        Alias, ConditionalStatement, Expr, ForeignKeyCreateStatement, IndexCreateStatement,
        TableCreateStatement,
    },
};

use super::table::{big, boolean, index, integer, micros, optional, primary_key, table, text, unique, uuid};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, indices) in [
            components(),
            releases(),
            release_components(),
            deployment_zones(),
            deployments(),
            entitlements(),
            licenses(),
            license_entitlements(),
            instances(),
            entitlement_usages(),
            feature_flags(),
            audit_entries(),
        ] {
            manager.create_table(table).await?;
            for index in indices {
                manager.create_index(index).await?;
            }
        }
        Ok(())
    }
}

type TableWithIndices = (TableCreateStatement, Vec<IndexCreateStatement>);

fn refers(column: &str, parent: &str, on_delete: ForeignKeyAction) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(Alias::new(column))
        .to(Alias::new(parent), Alias::new("id"))
        .on_delete(on_delete)
        .to_owned()
}

/// A table of things that an organization owns and names by slug.
fn resource(name: &str) -> TableCreateStatement {
    owned(name).col(text("slug")).to_owned()
}

/// A table of things that an organization owns, with who made them when.
fn owned(name: &str) -> TableCreateStatement {
    table(name)
        .col(uuid("id").primary_key())
        .col(uuid("organization_id"))
        .col(micros("created_at"))
        .col(uuid("created_by_id"))
        .col(optional(text("created_by_name")))
        .foreign_key(&mut refers(
            "organization_id",
            "organizations",
            ForeignKeyAction::Cascade,
        ))
        .to_owned()
}

/// Who changed it last, and when: strictly later with every change.
fn changeable(mut table: TableCreateStatement) -> TableCreateStatement {
    table
        .col(micros("updated_at"))
        .col(uuid("updated_by_id"))
        .col(optional(text("updated_by_name")))
        .to_owned()
}

/// Found by slug, listed by id, both within the organization.
fn resource_indices(name: &str) -> Vec<IndexCreateStatement> {
    vec![
        unique(&format!("{name}_slug"), name, &["organization_id", "slug"]),
        index(&format!("{name}_page"), name, &["organization_id", "id"]),
    ]
}

fn with(mut indices: Vec<IndexCreateStatement>, more: IndexCreateStatement) -> Vec<IndexCreateStatement> {
    indices.push(more);
    indices
}

fn components() -> TableWithIndices {
    let table = changeable(resource("components"))
        .col(text("name"))
        .col(text("version"))
        .col(optional(text("description")))
        .col(optional(uuid("previous_component_id")))
        .foreign_key(&mut refers(
            "previous_component_id",
            "components",
            ForeignKeyAction::SetNull,
        ))
        .to_owned();
    let indices = with(
        resource_indices("components"),
        unique(
            "components_version",
            "components",
            &["organization_id", "name", "version"],
        ),
    );
    let previous = index("components_previous", "components", &["previous_component_id"]);
    (table, with(indices, previous))
}

fn releases() -> TableWithIndices {
    let table = resource("releases")
        .col(text("version"))
        .col(optional(text("description")))
        .to_owned();
    let version = unique("releases_version", "releases", &["organization_id", "version"]);
    (table, with(resource_indices("releases"), version))
}

fn release_components() -> TableWithIndices {
    let table = table("release_components")
        .col(uuid("release_id"))
        .col(uuid("component_id"))
        .col(uuid("organization_id"))
        // The order in which the request named them.
        .col(integer("position"))
        .primary_key(&mut primary_key(&["release_id", "component_id"]))
        .foreign_key(&mut refers("release_id", "releases", ForeignKeyAction::Cascade))
        .foreign_key(&mut refers(
            "component_id",
            "components",
            ForeignKeyAction::Restrict,
        ))
        .to_owned();
    let used_by = index(
        "release_components_component",
        "release_components",
        &["component_id", "release_id"],
    );
    (table, vec![used_by])
}

fn deployment_zones() -> TableWithIndices {
    let table = changeable(resource("deployment_zones"))
        .col(text("name"))
        .col(text("type"))
        .col(text("description"))
        // JSON object.
        .col(text("metadata"))
        // What runs there now.
        .col(optional(uuid("release_id")))
        .foreign_key(&mut refers("release_id", "releases", ForeignKeyAction::Restrict))
        .to_owned();
    let release = index(
        "deployment_zones_release",
        "deployment_zones",
        &["release_id", "id"],
    );
    (table, with(resource_indices("deployment_zones"), release))
}

/// Append-only: the newest of a zone is what runs there, unless nothing does.
fn deployments() -> TableWithIndices {
    let table = owned("deployments")
        .col(uuid("deployment_zone_id"))
        .col(uuid("release_id"))
        .foreign_key(&mut refers(
            "deployment_zone_id",
            "deployment_zones",
            ForeignKeyAction::Cascade,
        ))
        .foreign_key(&mut refers("release_id", "releases", ForeignKeyAction::Restrict))
        .to_owned();
    let indices = vec![
        index("deployments_zone", "deployments", &["deployment_zone_id", "id"]),
        index(
            "deployments_release",
            "deployments",
            &["release_id", "deployment_zone_id"],
        ),
    ];
    (table, indices)
}

fn entitlements() -> TableWithIndices {
    let table = changeable(resource("entitlements"))
        .col(text("name"))
        .col(optional(text("description")))
        // BOOLEAN, NUMBER, CONFIG; NULL until it is set.
        .col(optional(text("type")))
        .col(optional(text("aggregation_method")))
        .col(optional(text("meter_type")))
        .col(optional(text("reset_period")))
        .col(optional(text("reset_anchor")))
        .col(integer("warning_threshold_percent"))
        .col(optional(text("unit_singular")))
        .col(optional(text("unit_plural")))
        .col(optional(text("sale_unit_singular")))
        .col(optional(text("sale_unit_plural")))
        // Decimal text.
        .col(optional(text("sale_unit_factor")))
        .col(boolean("user_facing"))
        .col(integer("display_order"))
        .col(optional(text("icon")))
        .to_owned();
    (table, resource_indices("entitlements"))
}

fn licenses() -> TableWithIndices {
    let table = changeable(resource("licenses"))
        .col(text("name"))
        .col(text("description"))
        // DEVELOPMENT, TRIAL, PAID, COMMUNITY.
        .col(text("type"))
        .col(big("version"))
        .col(optional(text("version_name")))
        .col(boolean("is_default"))
        // DRAFT, PUBLISHED, ARCHIVED.
        .col(text("lifecycle_state"))
        .to_owned();
    let version = unique(
        "licenses_version",
        "licenses",
        &["organization_id", "name", "version"],
    );
    // At most one default in an organization.
    let default = unique("licenses_default", "licenses", &["organization_id"])
        .and_where(Expr::col(Alias::new("is_default")))
        .to_owned();
    (table, with(with(resource_indices("licenses"), version), default))
}

/// What a license grants of an entitlement. The id is the place in lists; it is not shown.
fn license_entitlements() -> TableWithIndices {
    let table = changeable(owned("license_entitlements"))
        .col(uuid("license_id"))
        .col(uuid("entitlement_id"))
        // JSON object `{type, value}`.
        .col(text("value"))
        .col(optional(integer("limit_cap_exceeded_overage_percent")))
        .foreign_key(&mut refers("license_id", "licenses", ForeignKeyAction::Restrict))
        .foreign_key(&mut refers(
            "entitlement_id",
            "entitlements",
            ForeignKeyAction::Restrict,
        ))
        .to_owned();
    let indices = vec![
        unique(
            "license_entitlements_pair",
            "license_entitlements",
            &["license_id", "entitlement_id"],
        ),
        index(
            "license_entitlements_page",
            "license_entitlements",
            &["license_id", "id"],
        ),
        index(
            "license_entitlements_entitlement",
            "license_entitlements",
            &["entitlement_id", "license_id"],
        ),
    ];
    (table, indices)
}

fn instances() -> TableWithIndices {
    let table = changeable(resource("instances"))
        .col(text("name"))
        .col(text("description"))
        .col(uuid("customer_id"))
        .col(uuid("license_id"))
        .col(optional(uuid("deployment_zone_id")))
        .col(micros("start_license_date"))
        .col(micros("end_license_date"))
        // JSON object.
        .col(text("metadata"))
        // HEALTHY, DEGRADED, INCIDENT, MAINTENANCE.
        .col(text("status"))
        .col(optional(text("lifecycle_stage")))
        // JSON object: adapter name to integration.
        .col(text("integrations"))
        .foreign_key(&mut refers(
            "customer_id",
            "customers",
            ForeignKeyAction::Restrict,
        ))
        .foreign_key(&mut refers("license_id", "licenses", ForeignKeyAction::Restrict))
        .foreign_key(&mut refers(
            "deployment_zone_id",
            "deployment_zones",
            ForeignKeyAction::SetNull,
        ))
        .to_owned();
    let indices = ["customer", "license", "deployment_zone"].map(|parent| {
        index(
            &format!("instances_{parent}"),
            "instances",
            &[&format!("{parent}_id"), "id"],
        )
    });
    let mut all = resource_indices("instances");
    all.extend(indices);
    (table, all)
}

/// What an instance has used of an entitlement. Numbers are decimal text, so that sums are exact on both databases.
fn entitlement_usages() -> TableWithIndices {
    let table = table("entitlement_usages")
        .col(uuid("instance_id"))
        .col(uuid("entitlement_id"))
        .col(uuid("organization_id"))
        // What is shown: the reports folded by the aggregation method.
        .col(text("value"))
        // For an average the sum of the reports, from which it stays exact; otherwise the value.
        .col(text("total"))
        .col(big("event_count"))
        // Of the current period, if the entitlement resets.
        .col(optional(micros("period_start")))
        .col(optional(micros("period_end")))
        .col(micros("updated_at"))
        .primary_key(&mut primary_key(&["instance_id", "entitlement_id"]))
        .foreign_key(&mut refers(
            "organization_id",
            "organizations",
            ForeignKeyAction::Cascade,
        ))
        .foreign_key(&mut refers("instance_id", "instances", ForeignKeyAction::Cascade))
        .foreign_key(&mut refers(
            "entitlement_id",
            "entitlements",
            ForeignKeyAction::Restrict,
        ))
        .to_owned();
    let used_by = index(
        "entitlement_usages_entitlement",
        "entitlement_usages",
        &["entitlement_id", "instance_id"],
    );
    (table, vec![used_by])
}

fn feature_flags() -> TableWithIndices {
    let table = changeable(resource("feature_flags"))
        .col(text("name"))
        .col(optional(text("description")))
        // boolean, string, number, object.
        .col(text("type"))
        .col(boolean("enabled"))
        .col(text("event_name"))
        // JSON, as the caller wrote it.
        .col(text("metadata"))
        .col(optional(text("variants")))
        .col(text("default_variant"))
        .col(optional(text("targetings")))
        .to_owned();
    (table, resource_indices("feature_flags"))
}

/// Who did what to which resource when. Entries outlive what they are about, so they refer to it by value.
fn audit_entries() -> TableWithIndices {
    let table = owned("audit_entries")
        .col(text("event_name"))
        .col(text("event_type"))
        // `customer`, `license`, …
        .col(text("resource"))
        .col(uuid("resource_id"))
        .col(text("resource_slug"))
        .col(optional(uuid("instance_id")))
        .col(optional(text("instance_slug")))
        // JSON object: the resource as it was then.
        .col(text("payload"))
        .to_owned();
    let indices = vec![
        index("audit_entries_page", "audit_entries", &["organization_id", "id"]),
        index(
            "audit_entries_name",
            "audit_entries",
            &["organization_id", "event_name", "id"],
        ),
        index(
            "audit_entries_resource",
            "audit_entries",
            &["organization_id", "resource", "id"],
        ),
        index(
            "audit_entries_actor",
            "audit_entries",
            &["organization_id", "created_by_id", "id"],
        ),
        index("audit_entries_instance", "audit_entries", &["instance_id", "id"]),
        index(
            "audit_entries_instance_name",
            "audit_entries",
            &["instance_id", "event_name", "id"],
        ),
    ];
    (table, indices)
}
