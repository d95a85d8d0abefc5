//! The Kaiten surface (kaiten.md, section 3), one module per resource.

mod common;
mod components;
mod customers;
mod deployment_zones;
mod event_types;
mod events;
mod health;
mod history;
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
        .merge(components::routes())
        .merge(releases::routes())
        .merge(deployment_zones::routes())
        .merge(service_accounts::routes())
        .merge(tokens::routes())
        .merge(health::routes())
}
