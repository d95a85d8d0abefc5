//! `/api/webhooks/history`: every attempt, and asking for another one.

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::PathOf,
    page::{PageBody, PageParameters, read_page},
    problem::Problem,
    query::{Query, QueryFields, ReadQuery},
    write::{Answer, Operation, Outcome},
};
use demae_delivery::management::history::{AttemptDetail, AttemptState, HistoryFilter, PlannedRetry};
use demae_event::{AttemptId, EndpointId, EventId, Timestamp, subscription::check_name};
use demae_store::{
    StoreError,
    repository::{
        Page,
        history::{HistoryEntry, Outcome as Exchange},
    },
};
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::auth::{Allowed, ReadWebhooks, WriteWebhooks};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(retry))
}

/// One attempt to deliver an event to a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
struct AttemptBody {
    /// Its identity.
    #[schema(examples("atmpt_2bZ8Q0iZkzJ2yq1cZ5mWc0J1x7T"))]
    id: String,
    /// The event.
    event_id: String,
    /// The value of its `webhook-id` header; absent once the event is no longer kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message_id: Option<String>,
    /// The event's name.
    #[schema(examples("CUSTOMER_CREATION"))]
    event_name: String,
    /// The event's type; absent once the event is no longer kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_type: Option<String>,
    /// The webhook.
    webhook_id: String,
    /// The URL it went to.
    webhook_url: String,
    /// `sending`, `success`, `failing` (another attempt is planned), `failed` or `canceled`.
    #[schema(examples("success"))]
    status: &'static str,
    /// 1 for the first attempt of a delivery.
    attempt: u32,
    /// `scheduled`, or `manual` if a person asked for it.
    #[schema(examples("scheduled"))]
    trigger: &'static str,
    /// When the exchange began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When the next attempt is due, if one is planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime, required = false)]
    next_attempt_at: Option<Timestamp>,
    /// What came of it; absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    outcome: Option<ExchangeBody>,
}

/// What came of an attempt.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptOutcome)]
struct ExchangeBody {
    /// The HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    http_status: Option<u16>,
    /// The kind of error, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("timeout"))]
    error_kind: Option<String>,
    /// The error for a person to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_detail: Option<String>,
    /// Milliseconds from the start of the exchange to its end.
    duration_ms: u32,
    /// The headers that came back.
    #[schema(value_type = Object)]
    response_headers: Box<RawValue>,
    /// The beginning of the body that came back.
    response_body: String,
}

/// An attempt with what was sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptDetail)]
struct AttemptDetailBody {
    /// The attempt.
    #[serde(flatten)]
    attempt: AttemptBody,
    /// The headers that were sent, credentials masked; absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Object, required = false)]
    request_headers: Option<Box<RawValue>>,
    /// The body that was sent; absent once the event is no longer kept, or if it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_body: Option<String>,
}

fn attempt_body(entry: HistoryEntry) -> Result<(AttemptBody, Option<Box<RawValue>>), StoreError> {
    let (outcome, request_headers) = match entry.outcome {
        None => (None, None),
        Some(exchange) => {
            let (outcome, request_headers) = exchange_body(exchange)?;
            (Some(outcome), Some(request_headers))
        }
    };
    let message_id = entry
        .event_created_at
        .map(|created_at| entry.event_id.message_id(created_at));
    let attempt = AttemptBody {
        id: entry.id.to_string(),
        event_id: entry.event_id.to_string(),
        message_id,
        event_name: entry.event_name,
        event_type: entry.event_type,
        webhook_id: entry.endpoint_id.to_string(),
        webhook_url: entry.url,
        status: AttemptState::from(entry.status).as_str(),
        attempt: entry.number,
        trigger: if entry.manual { "manual" } else { "scheduled" },
        started_at: entry.started_at,
        next_attempt_at: entry.next_attempt_at,
        outcome,
    };
    Ok((attempt, request_headers))
}

fn exchange_body(exchange: Exchange) -> Result<(ExchangeBody, Box<RawValue>), StoreError> {
    let headers =
        |text| RawValue::from_string(text).map_err(|_| StoreError::Unreadable("an attempt's headers"));
    let body = ExchangeBody {
        http_status: exchange.http_status,
        error_kind: exchange.error_kind,
        error_detail: exchange.error_detail,
        duration_ms: exchange.duration_ms,
        response_headers: headers(exchange.response_headers)?,
        response_body: exchange.response_body,
    };
    Ok((body, headers(exchange.request_headers)?))
}

/// Which attempts are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the parameters; HistoryQuery is read")]
struct HistoryParameters {
    /// In one of these states: `sending`, `success`, `failing`, `failed`, `canceled`; separated by commas.
    #[param(required = false, nullable = false)]
    status: Option<String>,
    /// Of events with one of these names (either form) or types; separated by commas.
    #[param(required = false, nullable = false)]
    event_name: Option<String>,
    /// Of this event: its id or its message's id.
    #[param(required = false, nullable = false)]
    event_id: Option<String>,
    /// To this webhook.
    #[param(required = false, nullable = false)]
    webhook_id: Option<String>,
    /// Begun then or later.
    #[param(value_type = String, format = DateTime, required = false, nullable = false)]
    since: Option<Timestamp>,
    /// Begun before.
    #[param(value_type = String, format = DateTime, required = false, nullable = false)]
    until: Option<Timestamp>,
}

struct HistoryQuery {
    filter: HistoryFilter,
    page: Page<AttemptId>,
}

impl ReadQuery for HistoryQuery {
    fn read(query: &mut QueryFields<'_>) -> Option<Self> {
        let states = query.list("status", |text| {
            text.parse().map_err(|error: ParseError| error.to_string())
        });
        let events = read_event_names(query, "eventName");
        let event_id = query.parsed::<AnyEventId>("eventId", "an event's id");
        let endpoint_id = query.parsed::<EndpointId>("webhookId", "a webhook's id");
        let since = query.timestamp("since");
        let until = query.timestamp("until");
        let page = read_page(query);
        let filter = HistoryFilter {
            states: states?,
            events: events?,
            event_id: event_id?.map(|AnyEventId(id)| id),
            endpoint_id: endpoint_id?,
            since: since?,
            until: until?,
        };
        Some(Self { filter, page: page? })
    }
}

type ParseError = <AttemptState as std::str::FromStr>::Err;

/// Names or types of events in a query.
pub(super) fn read_event_names(query: &mut QueryFields<'_>, name: &'static str) -> Option<Vec<String>> {
    query.list(name, |text| match check_name(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

/// An event's id in either form: a UUID, or `msg_…`.
pub(super) struct AnyEventId(pub(super) EventId);

impl std::str::FromStr for AnyEventId {
    type Err = demae_event::id::ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EventId::from_any(text).map(Self)
    }
}

/// List attempts
///
/// Newest first, beginning with those under way. A filtered page may be short, or even empty, and still have a next one.
#[utoipa::path(get, path = "/api/webhooks/history", operation_id = "list_webhook_history", tag = "History",
    security(("token" = ["read:webhooks"])), params(PageParameters, HistoryParameters),
    responses((status = 200, description = "A page of attempts.", body = PageBody<AttemptBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadWebhooks>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<PageBody<AttemptBody>>, Problem> {
    let scope = caller.scope();
    let listing = state
        .management()
        .history(scope, &query.filter, query.page)
        .await?;
    // The headers are JSON: the store sees to that.
    let listing = listing.try_map(attempt_body)?;
    Ok(Json(PageBody::from_listing(listing, |(attempt, _)| attempt)))
}

/// Get an attempt
///
/// With the headers and the payload that were sent.
#[utoipa::path(get, path = "/api/webhooks/history/{id}", operation_id = "get_webhook_attempt", tag = "History",
    security(("token" = ["read:webhooks"])), params(("id" = String, Path, description = "The attempt's id.")),
    responses((status = 200, description = "The attempt.", body = AttemptDetailBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadWebhooks>,
    PathOf(id): PathOf<AttemptId>,
) -> Result<Json<AttemptDetailBody>, Problem> {
    let AttemptDetail {
        entry, request_body, ..
    } = state.management().attempt(caller.scope(), id).await?;
    let (attempt, request_headers) = attempt_body(entry)?;
    let request_body = request_body.map(|body| String::from_utf8_lossy(&body).into_owned());
    Ok(Json(AttemptDetailBody {
        attempt,
        request_headers,
        request_body,
    }))
}

/// A planned attempt.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PlannedRetry)]
struct PlannedRetryBody {
    /// The event.
    event_id: String,
    /// The webhook.
    webhook_id: String,
    /// When it is due.
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
}

impl From<PlannedRetry> for PlannedRetryBody {
    fn from(retry: PlannedRetry) -> Self {
        Self {
            event_id: retry.event_id.to_string(),
            webhook_id: retry.endpoint_id.to_string(),
            due_at: retry.due_at,
        }
    }
}

/// Try again
///
/// Plans another attempt, for now. Attempts that were planned stay planned, should this one fail.
#[utoipa::path(post, path = "/api/webhooks/history/{id}/retry", operation_id = "retry_webhook_attempt",
    tag = "History", security(("token" = ["write:webhooks"])),
    params(("id" = String, Path, description = "The attempt's id.")),
    responses(
        (status = 202, description = "The attempt is planned.", body = PlannedRetryBody),
        (status = 409, description = "The webhook is disabled or deleted, an attempt is under way, or the event is no \
            longer kept."),
    ))]
async fn retry(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    PathOf(id): PathOf<AttemptId>,
    operation: Operation,
) -> Outcome {
    let management = state.management().clone();
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let scope = caller.scope();
                let retry = management
                    .retry_attempt(transaction, scope, id, caller.now())
                    .await?;
                Answer::json(StatusCode::ACCEPTED, &PlannedRetryBody::from(retry))
            }
            .boxed()
        })
        .await
}
