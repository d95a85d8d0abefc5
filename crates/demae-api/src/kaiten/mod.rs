//! The Kaiten surface (kaiten.md, section 3), one module per resource.

mod audit;
mod common;
mod components;
mod customers;
mod deployment_zones;
mod entitlement_value;
mod entitlements;
mod event_types;
mod events;
mod feature_flags;
mod health;
mod history;
mod instances;
mod integrations;
mod license_entitlements;
mod licenses;
mod openfeature;
mod releases;
mod service_accounts;
mod tokens;
mod webhooks;

use utoipa_axum::router::OpenApiRouter;

use crate::ApiState;

/// Every route, with its declaration.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(webhooks::routes())
        .merge(history::routes())
        .merge(events::routes())
        .merge(event_types::routes())
        .merge(customers::routes())
        .merge(instances::routes())
        .merge(integrations::routes())
        .merge(components::routes())
        .merge(releases::routes())
        .merge(deployment_zones::routes())
        .merge(feature_flags::routes())
        .merge(openfeature::routes())
        .merge(audit::routes())
        .merge(entitlements::routes())
        .merge(licenses::routes())
        .merge(license_entitlements::routes())
        .merge(service_accounts::routes())
        .merge(tokens::routes())
        .merge(health::routes())
}
