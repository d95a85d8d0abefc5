//! `/api/customers` (kaiten.md, sections 2.1 and 3.2).

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    revision::{IfMatch, IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::customers::{self, CreateCustomer, Customer, ReplaceCustomer};
use futures::FutureExt;
use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    auth::{Allowed, ReadCustomers, WriteCustomers},
    input::{JsonBody, reads_as_declared},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
}

reads_as_declared!(CreateCustomer, ReplaceCustomer);

/// List customers
///
/// Oldest first.
#[utoipa::path(get, path = "/api/customers", operation_id = "list_customers", tag = "Customers",
    security(("token" = ["read:customers"])), params(PageParameters),
    responses((status = 200, description = "A page of customers.", body = PageBody<Customer>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadCustomers>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<Customer>>, Problem> {
    let listing = customers::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, |customer| customer)))
}

/// Create a customer
///
/// Emits `CUSTOMER_CREATION`.
#[utoipa::path(post, path = "/api/customers", operation_id = "create_customer", tag = "Customers",
    security(("token" = ["write:customers"])), request_body = CreateCustomer,
    responses(
        (status = 201, description = "The customer.", body = Customer,
            links(
                ("get_customer" = (operation_id = "get_customer", parameters(("slug" = "$response.body#/slug")))),
                ("create_customer_integration" = (operation_id = "create_customer_integration",
                    parameters(("slug" = "$response.body#/slug")))),
            )),
        (status = 409, description = "The slug is taken."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteCustomers>,
    operation: Operation,
    body: JsonBody<CreateCustomer>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let customer = customers::create(&mut caller.change(transaction), input).await?;
                Answer::json(StatusCode::CREATED, &customer)
            }
            .boxed()
        })
        .await
}

/// Get a customer
#[utoipa::path(get, path = "/api/customers/{slug}", operation_id = "get_customer", tag = "Customers",
    security(("token" = ["read:customers"])),
    params(("slug" = String, Path, description = "The customer's slug."), IfNoneMatch),
    responses((status = 200, description = "The customer.", body = Customer)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadCustomers>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<Customer>, Problem> {
    let customer = customers::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, customer, |customer| customer))
}

/// Replace a customer
///
/// Emits `CUSTOMER_UPDATE`, whether or not anything changed.
#[utoipa::path(put, path = "/api/customers/{slug}", operation_id = "replace_customer", tag = "Customers",
    security(("token" = ["write:customers"])),
    params(("slug" = String, Path, description = "The customer's slug."), IfMatch),
    request_body = ReplaceCustomer, responses((status = 204, description = "Replaced.")))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteCustomers>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<ReplaceCustomer>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                customers::replace(&mut caller.change(transaction), &slug, input).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Delete a customer
///
/// Emits `CUSTOMER_DELETION`. Instances must be deleted first.
#[utoipa::path(delete, path = "/api/customers/{slug}", operation_id = "delete_customer", tag = "Customers",
    security(("token" = ["write:customers"])),
    params(("slug" = String, Path, description = "The customer's slug."), IfMatch),
    responses(
        (status = 204, description = "Deleted."),
        (status = 409, description = "There are instances for the customer."),
    ))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteCustomers>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                customers::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
