//! What the tables of things that belong to an application have in common.
//!
//! Each of them names the organization and the application in its rows, and every query for such rows names both: see
//! [`Scope`]. Deliveries do not name the application, because they are found by their endpoint, whose row does.

use demae_event::{ApplicationId, EndpointId, OrganizationId, Scope};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait as _, Func, SelectStatement},
};
use uuid::Uuid;

use crate::entity::{attempt, delivery, endpoint, job, message};

/// Such a table.
pub(super) trait Scoped: EntityTrait {
    /// Whose it is.
    const ORGANIZATION: Self::Column;
    /// The application within the organization.
    const APPLICATION: Self::Column;
}

macro_rules! scoped {
    ($($table:ident),+) => {$(
        impl Scoped for $table::Entity {
            const ORGANIZATION: Self::Column = $table::Column::OrganizationId;
            const APPLICATION: Self::Column = $table::Column::ApplicationId;
        }
    )+};
}

scoped!(attempt, endpoint, job, message);

/// The rows of a scope.
pub(super) fn in_scope<S: Scoped>(scope: Scope) -> Condition {
    Condition::all()
        .add(S::ORGANIZATION.eq(scope.organization.0))
        .add(S::APPLICATION.eq(scope.application.0))
}

/// The ids of the endpoints of a scope, deleted ones included.
pub(super) fn endpoints_of(scope: Scope) -> SelectStatement {
    endpoint::Entity::find()
        .select_only()
        .column(endpoint::Column::Id)
        .filter(in_scope::<endpoint::Entity>(scope))
        .into_query()
}

/// Whether an endpoint, deleted or not, is one of the scope. Asked once in a statement, not once a row.
pub(super) fn has_endpoint(scope: Scope, endpoint: EndpointId) -> Expr {
    let mut query = endpoints_of(scope);
    query.and_where(endpoint::Column::Id.eq(endpoint.0));
    Expr::exists(query)
}

/// Whether the endpoint of a delivery is one of the scope. In a form in which a delivery is never searched by its endpoint:
/// whoever asks this has few deliveries in hand, and an endpoint may have a million others.
pub(super) fn is_delivery_of(scope: Scope) -> Expr {
    let column = || Expr::col((delivery::Entity, delivery::Column::EndpointId));
    let mut query = endpoints_of(scope);
    query.and_where(
        Expr::col((endpoint::Entity, endpoint::Column::Id)).eq(Func::coalesce([column(), column()])),
    );
    Expr::exists(query)
}

/// The scope that the columns of a row name.
pub(super) fn scope_of(organization_id: Uuid, application_id: Uuid) -> Scope {
    Scope {
        organization: OrganizationId(organization_id),
        application: ApplicationId(application_id),
    }
}
