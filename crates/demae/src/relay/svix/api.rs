//! The two calls of Svix's API that are needed (svix.md, sections 1.2, 1.5 and 1.8).

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use demae_delivery::policy::parse_retry_after;
use demae_event::{ApplicationId, Clock, Event};
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{json, value::RawValue};
use url::Url;

use super::super::forwarder::NotTaken;
use crate::{config::SvixSettings, http_client::HttpClient};

/// For one exchange.
const TIMEOUT: Duration = Duration::from_secs(30);
/// So much of an answer goes into a reason, in bytes.
const QUOTED: usize = 500;

/// What Svix said to a message. Everything else is an error that may heal.
#[derive(Debug)]
pub(super) enum Answer {
    /// It has the message, now or since an earlier attempt.
    Taken,
    /// There is no such application yet.
    NoApplication,
    /// It will never take it.
    Refused(String),
}

pub(super) struct Api {
    client: HttpClient,
    base: Url,
    authorization: HeaderValue,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewMessage<'a> {
    event_type: &'a str,
    event_id: String,
    payload: &'a RawValue,
}

impl Api {
    pub(super) fn new(settings: &SvixSettings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", settings.token.expose()))
            .context("svix_token holds characters that no header can")?;
        authorization.set_sensitive(true);
        let mut base = settings.url.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self {
            client: HttpClient::trusting(settings.authorities.as_ref()),
            base,
            authorization,
            clock,
        })
    }

    /// `POST /api/v1/app/{uid}/msg/`.
    pub(super) async fn create_message(&self, event: &Event, payload: &[u8]) -> Result<Answer, NotTaken> {
        let message = NewMessage {
            event_type: &event.event_type,
            event_id: event.id.to_string(),
            payload: serde_json::from_slice(payload).context("the envelope is JSON")?,
        };
        let path = format!("api/v1/app/{}/msg/?with_content=false", event.scope.application.0);
        let response = self.post(&path, serde_json::to_vec(&message)?).await?;
        match response.status() {
            // The event id is taken: by this very message.
            status if status.is_success() || status == StatusCode::CONFLICT => Ok(Answer::Taken),
            StatusCode::NOT_FOUND => Ok(Answer::NoApplication),
            // A malformed token, or a limit of the account: nothing that this message is to blame for.
            StatusCode::BAD_REQUEST if is_of_the_account(&response) => Err(self.not_now(&response)),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Ok(Answer::Refused(describe(&response)))
            }
            _ => Err(self.not_now(&response)),
        }
    }

    /// `POST /api/v1/app/`; one that exists is fine.
    pub(super) async fn create_application(
        &self,
        application: ApplicationId,
        name: &str,
    ) -> Result<(), NotTaken> {
        // At least one character, none below 0x09.
        let name: String = name.chars().filter(|character| *character >= '\t').collect();
        let uid = application.0.to_string();
        let name = if name.is_empty() { &uid } else { &name };
        let application = json!({ "name": name, "uid": uid });
        let response = self
            .post(
                "api/v1/app/?get_if_exists=true",
                application.to_string().into_bytes(),
            )
            .await?;
        // A conflict: another process made it at the same time.
        if response.status().is_success() || response.status() == StatusCode::CONFLICT {
            return Ok(());
        }
        Err(self.not_now(&response))
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> anyhow::Result<Response<Bytes>> {
        let url = self.base.join(path).context("svix_url")?;
        let request = Request::post(url.as_str())
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("demae/", env!("CARGO_PKG_VERSION")))
            .body(Bytes::from(body))?;
        self.client.send(request, TIMEOUT).await
    }

    /// Overload, an outage, or something that a person has to set right (a wrong token): nothing is lost by waiting.
    fn not_now(&self, response: &Response<Bytes>) -> NotTaken {
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, self.clock.now()));
        NotTaken {
            cause: anyhow!(describe(response)),
            retry_after,
        }
    }
}

fn is_of_the_account(response: &Response<Bytes>) -> bool {
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
    body["code"]
        .as_str()
        .is_some_and(|code| ["bad token", "bad_token", "limit_reached"].contains(&code))
}

fn describe(response: &Response<Bytes>) -> String {
    let body = String::from_utf8_lossy(response.body());
    let quoted = &body[..body.floor_char_boundary(QUOTED)];
    format!("Svix answered {}: {quoted}", response.status())
}
