//! `/api/customers` (kaiten.md, sections 2.1 and 3.2).

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    json::fields::{Fields, Node, ReadBody},
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    revision::{IfMatch, IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::customers::{
    self, CreateCustomer, Customer, MAX_DOMAIN, MAX_EXTERNAL_ID, ReplaceCustomer,
};
use demae_event::Timestamp;
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    common::{UserBody, read_name, read_slug, read_text},
    integrations::{self, IntegrationBody, NewIntegrationBody},
};
use crate::{
    auth::{Allowed, ReadCustomers, WriteCustomers},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
}

/// A customer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Customer)]
pub(crate) struct CustomerBody {
    /// Its identity.
    id: Uuid,
    /// Display name.
    #[schema(examples("Test Webhook Customer"))]
    name: String,
    /// Name in URLs; never changes.
    #[schema(examples("test-webhook-customer"))]
    slug: String,
    /// Its id in another system; not unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    external_customer_id: Option<String>,
    /// Its internet domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    domain: Option<String>,
    /// Where else it is known, by adapter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    integrations: BTreeMap<String, IntegrationBody>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// By whom.
    created_by: UserBody,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// By whom.
    updated_by: UserBody,
}

impl From<Customer> for CustomerBody {
    fn from(customer: Customer) -> Self {
        Self {
            id: customer.id,
            name: customer.name,
            slug: customer.slug,
            external_customer_id: customer.external_customer_id,
            domain: customer.domain,
            integrations: integrations::show(customer.integrations),
            created_at: customer.created_at,
            created_by: customer.created_by.into(),
            updated_at: customer.updated_at,
            updated_by: customer.updated_by.into(),
        }
    }
}

/// A new customer.
#[derive(Debug, ToSchema)]
#[schema(as = CreateCustomer, rename_all = "camelCase", example = json!({"name": "Test Webhook Customer"}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct CreateCustomerBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// Name in URLs; derived from the name if left out.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// Its id in another system; not unique.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    external_customer_id: Option<String>,
    /// Its internet domain.
    #[schema(min_length = 1, max_length = 253, pattern = r"\S")]
    domain: Option<String>,
    /// Where else it is known, by adapter; at most 50.
    integrations: Option<BTreeMap<String, NewIntegrationBody>>,
}

impl ReadBody<Kaiten> for CreateCustomer {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.field("name").required(read_name);
        let slug = fields.field("slug").nullable(read_slug);
        let external_customer_id = fields
            .field("externalCustomerId")
            .nullable(|node| read_text(node, MAX_EXTERNAL_ID));
        let domain = fields
            .field("domain")
            .nullable(|node| read_text(node, MAX_DOMAIN));
        let integrations = integrations::read(fields);
        Some(Self {
            name: name?,
            slug: slug?,
            external_customer_id: external_customer_id?,
            domain: domain?,
            integrations: integrations?,
        })
    }
}

/// What a customer is replaced with: what is left out is cleared, but for the slug and the integrations, which stay.
#[derive(Debug, ToSchema)]
#[schema(as = ReplaceCustomer, rename_all = "camelCase", example = json!({"name": "Test Webhook Customer"}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct ReplaceCustomerBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// May be given if it is the same; another one is refused.
    slug: Option<String>,
    /// Its id in another system; not unique.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    external_customer_id: Option<String>,
    /// Its internet domain.
    #[schema(min_length = 1, max_length = 253, pattern = r"\S")]
    domain: Option<String>,
    /// Cannot be set this way: anything but null is refused.
    #[schema(value_type = Option<Object>)]
    integrations: Option<Value>,
}

impl ReadBody<Kaiten> for ReplaceCustomer {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.field("name").required(read_name);
        let slug = fields.field("slug").nullable(|node| node.string(0..=255));
        let external_customer_id = fields
            .field("externalCustomerId")
            .nullable(|node| read_text(node, MAX_EXTERNAL_ID));
        let domain = fields
            .field("domain")
            .nullable(|node| read_text(node, MAX_DOMAIN));
        let integrations = fields.field("integrations").nullable(Node::any_object);
        Some(Self {
            name: name?,
            slug: slug?,
            external_customer_id: external_customer_id?,
            domain: domain?,
            has_integrations: integrations?.is_some(),
        })
    }
}

/// List customers
///
/// Oldest first.
#[utoipa::path(get, path = "/api/customers", operation_id = "list_customers", tag = "Customers",
    security(("token" = ["read:customers"])), params(PageParameters),
    responses((status = 200, description = "A page of customers.", body = PageBody<CustomerBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadCustomers>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<CustomerBody>>, Problem> {
    let listing = customers::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, CustomerBody::from)))
}

/// Create a customer
///
/// Emits `CUSTOMER_CREATION`.
#[utoipa::path(post, path = "/api/customers", operation_id = "create_customer", tag = "Customers",
    security(("token" = ["write:customers"])), request_body = CreateCustomerBody,
    responses(
        (status = 201, description = "The customer.", body = CustomerBody,
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
                Answer::json(StatusCode::CREATED, &CustomerBody::from(customer))
            }
            .boxed()
        })
        .await
}

/// Get a customer
#[utoipa::path(get, path = "/api/customers/{slug}", operation_id = "get_customer", tag = "Customers",
    security(("token" = ["read:customers"])),
    params(("slug" = String, Path, description = "The customer's slug."), IfNoneMatch),
    responses((status = 200, description = "The customer.", body = CustomerBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadCustomers>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<CustomerBody>, Problem> {
    let customer = customers::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, customer, CustomerBody::from))
}

/// Replace a customer
///
/// Emits `CUSTOMER_UPDATE`, whether or not anything changed.
#[utoipa::path(put, path = "/api/customers/{slug}", operation_id = "replace_customer", tag = "Customers",
    security(("token" = ["write:customers"])),
    params(("slug" = String, Path, description = "The customer's slug."), IfMatch),
    request_body = ReplaceCustomerBody, responses((status = 204, description = "Replaced.")))]
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
