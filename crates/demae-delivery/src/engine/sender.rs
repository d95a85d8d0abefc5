//! One attempt: look the endpoint up, encode, sign, exchange, and say what follows.

use std::{net::IpAddr, sync::Arc, time::Duration};

use demae_event::{Clock, EndpointId, Timestamp};
use demae_store::{
    StoreError,
    engine::{AttemptRecord, AttemptStatus, DeliveryState, Disposition, LeasedDelivery},
};
use http::header;

use crate::{
    client::{
        DeliveryClient, ErrorKind, ExchangeError, ExchangeOutcome, OutgoingRequest, RESPONSE_BODY_LIMIT,
        body_text,
    },
    directory::Directory,
    endpoint::EndpointConfig,
    own_headers,
    policy::{self, Decision, Ending, Place, RetrySchedule, Verdict},
};

/// The timeout assumed of an endpoint that is not in the directory (any more).
const UNKNOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// An attempt that was made, and what follows beyond its record.
#[derive(Debug)]
pub(super) struct Attempted {
    pub(super) record: AttemptRecord,
    /// How it ended; none if it was not made because the endpoint is disabled or deleted.
    pub(super) ending: Option<Ending>,
    /// The endpoint's server seems to be away or overloaded.
    pub(super) trouble: bool,
    /// From due to begun.
    pub(super) queued: Duration,
    /// The endpoint as it was used.
    pub(super) endpoint: Option<Arc<EndpointConfig>>,
}

/// Why nothing is known about an attempt: it was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotMade {
    /// The endpoint could not be looked up.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its secrets cannot be opened; the directory logged it.
    #[error("the endpoint's secrets cannot be opened")]
    Closed,
}

impl Attempted {
    /// How long the receiver took; none if nothing was sent.
    pub(super) fn took(&self) -> Option<Duration> {
        self.ending?;
        Some(Duration::from_millis(u64::from(self.record.duration_ms)))
    }
}

pub(super) struct Sender {
    pub(super) client: DeliveryClient,
    pub(super) directory: Arc<Directory>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) schedule: RetrySchedule,
    pub(super) https_only: bool,
}

impl Sender {
    /// How long an exchange with the endpoint may take.
    pub(super) fn timeout_of(&self, endpoint: EndpointId) -> Duration {
        self.directory
            .snapshot()
            .get(endpoint)
            .map_or(UNKNOWN_TIMEOUT, |endpoint| endpoint.timeout)
    }

    /// Makes the attempt: whatever goes wrong with the endpoint is its outcome. Fails if nobody knows whether there is
    /// such an endpoint; then nothing was sent.
    pub(super) async fn attempt(&self, delivery: &LeasedDelivery) -> Result<Attempted, NotMade> {
        Ok(match self.endpoint(delivery.endpoint_id).await? {
            Some(endpoint) if endpoint.enabled && !endpoint.opened => return Err(NotMade::Closed),
            Some(endpoint) if endpoint.enabled => self.exchange(delivery, endpoint).await,
            endpoint => self.cancel(delivery, endpoint),
        })
    }

    async fn endpoint(&self, id: EndpointId) -> Result<Option<Arc<EndpointConfig>>, StoreError> {
        if let Some(endpoint) = self.directory.snapshot().get(id) {
            return Ok(Some(endpoint.clone()));
        }
        // Perhaps it is newer than what is known.
        Ok(self.directory.refresh().await?.get(id).cloned())
    }

    async fn exchange(&self, delivery: &LeasedDelivery, endpoint: Arc<EndpointConfig>) -> Attempted {
        let started_at = self.clock.now();
        let message = &delivery.message;
        let body = endpoint.dialect.body(message, &delivery.delivered_name);
        let headers = endpoint.dialect.headers(
            &endpoint.headers,
            endpoint.signing_keys(started_at),
            message,
            &body,
            started_at,
        );
        let sent = own_headers::masked(&headers, &endpoint.headers, &endpoint.public_headers);
        let request_headers = json_object(sent);
        let request = OutgoingRequest {
            url: &endpoint.url,
            headers,
            body,
            timeout: endpoint.timeout,
            response_limit: RESPONSE_BODY_LIMIT,
        };
        let answer = if self.https_only && endpoint.url.uri().scheme() == Some(&http::uri::Scheme::HTTP) {
            Err(plain_http_refused())
        } else {
            let answer = self.client.exchange(request).await;
            answer.map_err(|error| conceal_name(error, &endpoint))
        };
        let ended_at = self.clock.now();
        let (ending, retry_after) = ending_of(&answer, ended_at);
        let place = Place {
            step: delivery.step,
            manual: delivery.manual,
            resume: delivery.resume,
        };
        let schedule = endpoint.schedule.as_ref().unwrap_or(&self.schedule);
        let decision = policy::decide(ending, place, schedule, ended_at, retry_after, rand::random());
        let mut record = self.record(delivery, Some(&endpoint), started_at, decision);
        record.request_headers = request_headers;
        record.error_kind = ending.error_kind();
        describe(&mut record, answer);
        Attempted {
            record,
            ending: Some(ending),
            trouble: ending.is_trouble(),
            queued: started_at.since(delivery.due_at),
            endpoint: Some(endpoint),
        }
    }

    fn cancel(&self, delivery: &LeasedDelivery, endpoint: Option<Arc<EndpointConfig>>) -> Attempted {
        let now = self.clock.now();
        let mut record = self.record(delivery, endpoint.as_ref(), now, canceled(delivery));
        record.status = AttemptStatus::Canceled;
        record.error_kind = Some("endpoint_disabled");
        record.error_detail =
            Some("the endpoint was disabled or deleted before the attempt was made".to_owned());
        Attempted {
            record,
            ending: None,
            trouble: false,
            queued: now.since(delivery.due_at),
            endpoint,
        }
    }

    /// A record that says what follows, and nothing yet of request and response.
    fn record(
        &self,
        delivery: &LeasedDelivery,
        endpoint: Option<&Arc<EndpointConfig>>,
        started_at: Timestamp,
        decision: Decision,
    ) -> AttemptRecord {
        let (status, disposition) = match decision {
            Decision::Delivered => (
                AttemptStatus::Success,
                Disposition::Finish(DeliveryState::Succeeded),
            ),
            Decision::Exhausted | Decision::Gone => {
                (AttemptStatus::Failed, Disposition::Finish(DeliveryState::Failed))
            }
            Decision::Retry { at } => (AttemptStatus::Failing, Disposition::Retry(at)),
            Decision::Unchanged(state) => (AttemptStatus::Failed, Disposition::Finish(state)),
        };
        AttemptRecord {
            id: delivery.lease,
            scope: delivery.message.scope,
            endpoint_id: delivery.endpoint_id,
            event_id: delivery.message.event_id,
            event_name: delivery.message.event_name.clone(),
            number: delivery.attempts + 1,
            manual: delivery.manual,
            status,
            disposition,
            step: delivery.step + u32::from(!delivery.manual),
            url: endpoint
                .map(|endpoint| endpoint.url_text.clone())
                .unwrap_or_default(),
            http_status: None,
            error_kind: None,
            error_detail: None,
            request_headers: "{}".to_owned(),
            response_headers: "{}".to_owned(),
            response_body: String::new(),
            duration_ms: self.clock.now().since(started_at).as_millis() as u32,
            started_at,
        }
    }
}

/// What becomes of a delivery whose attempt is not made. One that was finished before a person asked for another attempt
/// stays what it was: above all, what has arrived.
fn canceled(delivery: &LeasedDelivery) -> Decision {
    match delivery.resume {
        Some((state, _)) if delivery.manual && state.is_finished() => Decision::Unchanged(state),
        _ => Decision::Unchanged(DeliveryState::Canceled),
    }
}

/// What an exchange over plain http comes to where only https is allowed.
fn plain_http_refused() -> ExchangeError {
    ExchangeError::unanswered(
        ErrorKind::AddressRefused,
        "this server delivers to https URLs only (https_only)".to_owned(),
        Duration::ZERO,
    )
}

/// What a name server says of a host's name is not for the endpoint's owner to learn: that a name leads to a private
/// address shows that there is such a name inside. So a name without an address and a name whose addresses are refused are
/// one failure, with one text and one schedule. The log has the difference. An owner who wrote an address knows it already.
fn conceal_name(error: ExchangeError, endpoint: &EndpointConfig) -> ExchangeError {
    let is_about_name = matches!(error.kind, ErrorKind::Dns | ErrorKind::AddressRefused);
    let host = endpoint.url.uri().host().unwrap_or_default();
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    if !is_about_name || is_address {
        return error;
    }
    tracing::info!(
        endpoint = %endpoint.id, kind = error.kind.as_str(), detail = %error.detail,
        "the host's name leads to no address that may be used"
    );
    ExchangeError {
        kind: ErrorKind::Dns,
        detail: "the host's name leads to no address that may be used".to_owned(),
        ..error
    }
}

type Answer = Result<ExchangeOutcome, ExchangeError>;

fn ending_of(answer: &Answer, now: Timestamp) -> (Ending, Option<Duration>) {
    let (ending, headers) = match answer {
        Ok(outcome) => (Ending::Status(outcome.status), &outcome.headers),
        Err(error) => (failure(error), &error.headers),
    };
    let asked = headers
        .iter()
        .find(|(name, _)| name == header::RETRY_AFTER.as_str());
    (
        ending,
        asked.and_then(|(_, value)| policy::parse_retry_after(value, now)),
    )
}

/// A status by which the receiver wants nothing any more says so by itself, whatever became of the body behind it.
fn failure(error: &ExchangeError) -> Ending {
    let status = error.status.map(Ending::Status);
    status
        .filter(|status| status.verdict() == Verdict::Gone)
        .unwrap_or(Ending::Error(error.kind))
}

/// Writes into the record what came back.
fn describe(record: &mut AttemptRecord, answer: Answer) {
    match answer {
        Ok(outcome) => {
            record.http_status = Some(outcome.status);
            record.duration_ms = outcome.duration.as_millis() as u32;
            record.error_detail = match outcome.status {
                200..=299 => None,
                300..=399 => Some(format!(
                    "answered {} (redirects are not followed)",
                    outcome.status
                )),
                status => Some(format!("answered {status}")),
            };
            describe_response(record, &outcome.headers, &outcome.body, outcome.truncated);
        }
        Err(error) => {
            record.http_status = error.status;
            record.duration_ms = error.duration.as_millis() as u32;
            record.error_detail = Some(error.detail.replace('\0', "\u{fffd}"));
            // What came before the failure: the status alone does not show that the receiver took the message.
            describe_response(record, &error.headers, &error.body, true);
        }
    }
}

fn describe_response(record: &mut AttemptRecord, headers: &[(String, String)], body: &[u8], cut: bool) {
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    record.response_headers = json_object(pairs);
    record.response_body = body_text(headers, body, cut);
}

/// A JSON object of headers. One that came several times is written once, as one list (RFC 9110, section 5.3).
fn json_object<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<(&str, &str)> = pairs.collect();
    let mut object = Vec::with_capacity(
        pairs
            .iter()
            .map(|(name, value)| name.len() + value.len() + 6)
            .sum(),
    );
    for (place, (name, value)) in pairs.iter().enumerate() {
        let same = |(other, _): &&(&str, &str)| other == name;
        if pairs[..place].iter().any(|pair| same(&pair)) {
            continue;
        }
        object.push(if object.is_empty() { b'{' } else { b',' });
        write_json(&mut object, name);
        object.push(b':');
        let mut more = pairs[place + 1..].iter().filter(same).peekable();
        if more.peek().is_none() {
            write_json(&mut object, value);
        } else {
            let list: Vec<&str> = std::iter::once(*value)
                .chain(more.map(|(_, value)| *value))
                .collect();
            write_json(&mut object, &list.join(", "));
        }
    }
    if object.is_empty() {
        object.push(b'{');
    }
    object.push(b'}');
    String::from_utf8(object).unwrap_or_default()
}

fn write_json(object: &mut Vec<u8>, text: &str) {
    // Writing to memory cannot fail, and every string is JSON.
    let _ = serde_json::to_writer(object, text);
}

#[cfg(test)]
mod tests {
    use demae_event::{AttemptId, EventId, OrganizationId, Scope, SystemClock};
    use demae_store::{Store, StoreOptions, Vault, engine::Message};
    use demae_testkit::sqlite::SqliteFile;
    use serde_json::value::RawValue;

    use super::*;
    use crate::client::{ClientSettings, SystemResolver};

    /// "It does not exist" would cancel the delivery, and nobody would make it.
    #[tokio::test]
    async fn an_endpoint_that_cannot_be_looked_up_is_not_one_that_was_deleted() {
        let file = SqliteFile::create().unwrap();
        let vault = Vault::from_text(&Vault::generate_text()).unwrap();
        let store = Store::connect(StoreOptions::new(file.url(), vault))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let resolver = Arc::new(SystemResolver::from_system().unwrap());
        let sender = Sender {
            client: DeliveryClient::new(&ClientSettings::default(), resolver).unwrap(),
            directory: Arc::new(Directory::new(store.clone())),
            clock: Arc::new(SystemClock),
            schedule: RetrySchedule::default(),
            https_only: false,
        };
        let delivery = delivery(SystemClock.now());
        let deleted = sender.attempt(&delivery).await.unwrap();
        assert_eq!(deleted.record.status, AttemptStatus::Canceled);
        store.close().await;
        assert!(sender.attempt(&delivery).await.is_err());
    }

    fn delivery(now: Timestamp) -> LeasedDelivery {
        LeasedDelivery {
            endpoint_id: EndpointId::new(now),
            lease: AttemptId::new(now),
            lease_until: now + Duration::from_mins(2),
            due_at: now,
            attempts: 0,
            step: 0,
            manual: false,
            resume: None,
            delivered_name: "A".to_owned(),
            message: Arc::new(Message {
                event_id: EventId::new(now),
                scope: Scope::default_of(OrganizationId(demae_event::id::new_uuid(now))),
                event_name: "A".to_owned(),
                event_type: "a".to_owned(),
                data: RawValue::NULL.to_owned(),
                headers: None,
                traceparent: None,
                created_at: now,
                expunged_at: None,
            }),
        }
    }

    #[test]
    fn headers_that_came_twice_are_one_list() {
        let pairs = [
            ("set-cookie", "a"),
            ("x", "quote \" and \u{1}"),
            ("set-cookie", "b"),
        ];
        assert_eq!(
            json_object(pairs.into_iter()),
            r#"{"set-cookie":"a, b","x":"quote \" and \u0001"}"#
        );
        assert_eq!(json_object(std::iter::empty()), "{}");
    }
}
