//! How customers and instances are known to other systems (kaiten.md, sections 2.1 and 3.2): as a part of them, and each
//! alone.

mod body;
mod of_customers;
mod of_instances;
mod operations;

use demae_api::ApiState;
use utoipa_axum::router::OpenApiRouter;

pub(super) use self::body::{IntegrationBody, NewIntegrationBody, read, show};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(of_customers::routes())
        .merge(of_instances::routes())
}
