//! How customers and instances are known to other systems (kaiten.md, sections 2.1 and 3.2): as a part of them, and each
//! alone.

mod of_customers;
mod of_instances;
mod operations;

use demae_api::ApiState;
use demae_control_plane::integrations::NewIntegration;
use utoipa_axum::router::OpenApiRouter;

use crate::input::reads_as_declared;

reads_as_declared!(NewIntegration);

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(of_customers::routes())
        .merge(of_instances::routes())
}
