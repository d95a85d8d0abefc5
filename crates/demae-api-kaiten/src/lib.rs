//! The Kaiten surface, under `/api` (kaiten.md, section 3): one module per resource.
//!
//! [`surface`] is what the program serves, [`document`] its OpenAPI document, which needs no server. Refusals are RFC 9457
//! problem documents. A request authenticates with a `ksh_…` token of a service account; the module `auth` makes the
//! neutral requester of it.
//!
//! This crate must not know SQL, nor another surface.

mod audit;
mod auth;
mod common;
mod components;
mod customers;
mod deployment_zones;
mod document;
mod entitlement_value;
mod entitlements;
mod event_types;
mod events;
mod feature_flags;
mod health;
mod history;
mod input;
mod instances;
mod integrations;
mod license_entitlements;
mod licenses;
mod openfeature;
mod places;
mod releases;
mod service_accounts;
mod tokens;
mod webhooks;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::Extension;
use demae_api::{
    ApiState, Surface,
    openapi::{Document, viewer},
};
use utoipa_axum::router::OpenApiRouter;

/// The surface as the program serves it.
pub fn surface() -> Surface {
    let (served, _) = health::document_routes().split_for_parts();
    let (routes, _) = routes().split_for_parts();
    Surface {
        name: "kaiten",
        prefixes: &["/api"],
        reading_prefixes: &[document::OFREP],
        routes: routes
            .merge(served.layer(Extension(document())))
            .merge(viewer::routes("/api/docs", health::DOCUMENT_PATH)),
        document: document(),
        render: places::render,
        challenge: document::CHALLENGE,
    }
}

/// The OpenAPI document. Made once; needs no server.
pub fn document() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
        let declared = routes().merge(health::document_routes()).into_openapi();
        Document::new(document::build(declared))
    });
    &DOCUMENT
}

/// Every route but those of the document, with its declaration.
fn routes() -> OpenApiRouter<ApiState> {
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
