//! Every change goes through here.
//!
//! A change runs in a task of its own, apart from the connection that asked for it. A handler's future is dropped the
//! moment its client disconnects, at whatever `await` it happens to be; nothing would be half written then, since a
//! dropped transaction rolls back, but whether a change happened would depend on how patient its client was, and a
//! commit that is already on its way could no longer be told from one that never began. Detached, a change that began
//! ends: committed with its event and its stored answer, or not at all.
//!
//! # Repetition
//!
//! With an `Idempotency-Key`, the answer is stored in the change's own transaction, so there is an answer if and only if
//! there is a change. The key belongs to the token and its present rights, the method and the path; the same key with
//! another body is refused. Two requests with the same key at the same time: the second waits for the first one's
//! transaction to end. Only successes are stored: a refusal changed nothing and may be asked again. Stored answers are
//! sealed, and hold no secret that is shown once: a repetition gets the answer without it.

use std::time::Duration;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use demae_store::{
    Transaction,
    repository::idempotency::{self, Request, Reservation},
};
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::Instrument;

use crate::{
    ApiState,
    caller::Caller,
    extract::IdempotencyKey,
    problem::{Problem, ProblemKind},
};

/// A change that takes longer is given up and rolled back.
const TIMEOUT: Duration = Duration::from_secs(30);

static REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A success, in a form that can be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    /// JSON text, or empty.
    body: String,
    /// What is stored instead.
    kept: Option<String>,
    replayed: bool,
}

impl Answer {
    /// `body` as JSON.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_string(body).map_err(|error| Problem::internal(&error))?;
        Ok(Self {
            status,
            body,
            kept: None,
            replayed: false,
        })
    }

    /// `body` as JSON, whose `secret` is shown this once: the stored answer is without it.
    pub fn with_secret(
        status: StatusCode,
        body: &impl Serialize,
        secret: &'static str,
    ) -> Result<Self, Problem> {
        let mut kept = serde_json::to_value(body).map_err(|error| Problem::internal(&error))?;
        if let Some(members) = kept.as_object_mut() {
            members.remove(secret);
        }
        Ok(Self {
            kept: Some(kept.to_string()),
            ..Self::json(status, body)?
        })
    }

    /// The answer to a repetition.
    #[must_use]
    pub fn replayed(self) -> Self {
        Self {
            replayed: true,
            ..self
        }
    }

    /// 204.
    pub fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: String::new(),
            kept: None,
            replayed: false,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = if self.body.is_empty() {
            self.status.into_response()
        } else {
            let json = HeaderValue::from_static("application/json");
            (self.status, [(header::CONTENT_TYPE, json)], self.body).into_response()
        };
        if self.replayed {
            response
                .headers_mut()
                .insert(&REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// Which request this is, for recognising its repetition.
#[derive(Debug, Clone)]
pub struct Operation {
    key: Option<String>,
    method_and_path: String,
    body_digest: [u8; 32],
}

impl<S: Sync> FromRequestParts<S> for Operation {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let IdempotencyKey(key) = IdempotencyKey::from_request_parts(parts, state).await?;
        let method_and_path = format!("{} {}", parts.method, parts.uri.path());
        Ok(Self {
            key,
            method_and_path,
            body_digest: Sha256::digest([]).into(),
        })
    }
}

impl Operation {
    /// With a body.
    #[must_use]
    pub fn of_body(self, digest: [u8; 32]) -> Self {
        Self {
            body_digest: digest,
            ..self
        }
    }

    /// The digest of what makes two requests the same one, if the sender asked for it: the key, the token and what it may
    /// do at present, the method and the path.
    pub fn key_digest(&self, caller: &Caller) -> Option<[u8; 32]> {
        let key = self.key.as_ref()?;
        let rights: Vec<String> = caller
            .actor()
            .scopes
            .iter()
            .map(|scope| scope.to_string())
            .collect();
        let (token, rights) = (caller.credential().to_string(), rights.join(" "));
        let mut digest = Sha256::new();
        // The parts cannot be shifted into each other: none of them holds a zero byte.
        for part in [&token, &rights, &self.method_and_path, key] {
            digest.update(part);
            digest.update([0]);
        }
        Some(digest.finalize().into())
    }

    fn request(&self, state: &ApiState, caller: &Caller) -> Option<Request> {
        Some(Request {
            organization_id: caller.actor().organization_id,
            key_digest: self.key_digest(caller)?,
            request_digest: self.body_digest,
            expires_at: caller.now() + state.limits().idempotency_kept,
        })
    }
}

/// What a change comes to: an answer to commit with, or a reason to roll back.
pub type Outcome = Result<Answer, Problem>;

impl ApiState {
    /// Makes a change and commits it. See the module's documentation.
    pub async fn write<W>(&self, caller: Caller, operation: &Operation, work: W) -> Outcome
    where
        W: for<'t> FnOnce(&'t mut Transaction, &'t Caller) -> BoxFuture<'t, Outcome> + Send + 'static,
    {
        self.write_then(caller, operation, work, || {}).await
    }

    /// The same, and then `finally`: it too runs whether or not the client is still there, and after an error as well,
    /// because a commit that reports one may have happened.
    pub async fn write_then<W, T>(
        &self,
        caller: Caller,
        operation: &Operation,
        work: W,
        finally: T,
    ) -> Outcome
    where
        W: for<'t> FnOnce(&'t mut Transaction, &'t Caller) -> BoxFuture<'t, Outcome> + Send + 'static,
        T: FnOnce() + Send + 'static,
    {
        let permit = self.writes().clone().try_acquire_owned().map_err(|_| busy())?;
        let request = operation.request(self, &caller);
        let state = self.clone();
        let change = async move {
            let _permit = permit;
            let outcome = tokio::time::timeout(TIMEOUT, write(&state, &caller, request, work)).await;
            finally();
            outcome.unwrap_or_else(|elapsed| Err(Problem::unavailable(&elapsed)))
        };
        tokio::spawn(change.instrument(tracing::Span::current()))
            .await
            .unwrap_or_else(|panic| Err(Problem::internal(&panic)))
    }
}

async fn write<W>(state: &ApiState, caller: &Caller, request: Option<Request>, work: W) -> Outcome
where
    W: for<'t> FnOnce(&'t mut Transaction, &'t Caller) -> BoxFuture<'t, Outcome>,
{
    let mut transaction = state.store().begin().await?;
    if let Some(request) = &request {
        match idempotency::reserve(&mut transaction, request, caller.now()).await? {
            Reservation::New => {}
            Reservation::Answered { status, body } => return stored(state, request, status, &body),
            Reservation::Mismatch => return Err(key_reused()),
        }
    }
    // Returning early drops the transaction, which rolls it back.
    let answer = work(&mut transaction, caller).await?;
    if let Some(request) = &request {
        let sealed = state.store().vault().seal(
            &owner(request),
            answer.kept.as_ref().unwrap_or(&answer.body).as_bytes(),
        );
        let body = STANDARD.encode(sealed);
        idempotency::complete(&mut transaction, request, answer.status.as_u16(), &body).await?;
    }
    transaction.commit().await?;
    Ok(answer)
}

fn stored(state: &ApiState, request: &Request, status: u16, body: &str) -> Outcome {
    let sealed = STANDARD.decode(body).map_err(|error| Problem::internal(&error))?;
    let body = state.store().vault().open(&owner(request), &sealed)?;
    Ok(Answer {
        status: StatusCode::from_u16(status).map_err(|error| Problem::internal(&error))?,
        body: String::from_utf8(body.to_vec()).map_err(|error| Problem::internal(&error.utf8_error()))?,
        kept: None,
        replayed: true,
    })
}

/// What a sealed answer belongs to.
fn owner(request: &Request) -> Vec<u8> {
    idempotency::owner(request.organization_id, &request.key_digest)
}

fn busy() -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        "Busy",
        "Too many changes are under way; try again.",
    )
}

/// The refusal of a key that came with another body before.
pub fn key_reused() -> Problem {
    Problem::new(
        ProblemKind::Invalid,
        "Idempotency.KeyReused",
        "This Idempotency-Key was used for a request with another body.",
    )
}

#[cfg(test)]
mod tests {
    use demae_control_plane::{
        Actor,
        customers::{self, CreateCustomer},
    };
    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        Limits,
        testing::{START, TestApi, TestStore},
    };

    fn operation() -> Operation {
        Operation {
            key: None,
            method_and_path: "POST /test".to_owned(),
            body_digest: [0; 32],
        }
    }

    #[tokio::test]
    async fn a_change_that_began_ends_though_its_client_is_gone() {
        let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
        let actor = Actor::operator(api.organization());
        let (begun, has_begun) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (ended, has_ended) = oneshot::channel();
        let (state, caller) = (api.state(), Caller::somebody(actor.clone(), START));
        let client = tokio::spawn(async move {
            state
                .write_then(
                    caller,
                    &operation(),
                    move |transaction, caller| {
                        async move {
                            begun.send(()).unwrap();
                            may_go_on.await.unwrap();
                            let input = CreateCustomer {
                                name: "Survivor".to_owned(),
                                ..CreateCustomer::default()
                            };
                            customers::create(&mut caller.change(transaction), input).await?;
                            Ok(Answer::no_content())
                        }
                        .boxed()
                    },
                    move || ended.send(()).unwrap(),
                )
                .await
        });
        has_begun.await.unwrap();
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        go_on.send(()).unwrap();
        has_ended.await.unwrap();
        assert_eq!(
            customers::get(&api.store, &actor, "survivor").await.unwrap().name,
            "Survivor"
        );
    }

    #[tokio::test]
    async fn a_change_that_fails_or_panics_leaves_nothing() {
        let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
        let actor = Actor::operator(api.organization());
        for panics in [false, true] {
            let caller = Caller::somebody(actor.clone(), START);
            let (state, operation) = (api.state(), operation());
            let outcome = state.write(caller, &operation, move |transaction, caller| {
                async move {
                    let input = CreateCustomer {
                        name: "Ghost".to_owned(),
                        ..CreateCustomer::default()
                    };
                    customers::create(&mut caller.change(transaction), input).await?;
                    assert!(!panics, "on purpose");
                    Err(busy())
                }
                .boxed()
            });
            let expected = if panics {
                ProblemKind::Internal
            } else {
                ProblemKind::Unavailable
            };
            assert_eq!(outcome.await.unwrap_err().kind(), expected);
            assert!(customers::get(&api.store, &actor, "ghost").await.is_err());
            assert!(api.store.engine().read_outbox(10).await.unwrap().is_empty());
        }
    }
}
