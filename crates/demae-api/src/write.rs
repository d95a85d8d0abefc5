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
//! another body is refused. Two requests with the same key at the same time: the second waits for the first one to end, in
//! this process without a connection (see [`turns`](crate::turns)), between processes in the database. Only successes are
//! stored: a refusal changed nothing and may be asked again. Stored answers are sealed, and hold no secret that is shown
//! once: a repetition gets the answer without it.

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
use tokio::sync::oneshot;
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
        let place = self.writes().enter(caller.actor().organization_id)?;
        let request = operation.request(self, &caller);
        let state = self.clone();
        let (mut answer, answered) = oneshot::channel();
        let change = async move {
            let turn = tokio::select! {
                biased;
                // The client left before its turn came: nothing began.
                () = answer.closed() => return,
                turn = place.turn(request.map(|request| request.key_digest)) => turn,
            };
            let outcome = match turn {
                Ok(_turn) => {
                    let outcome = tokio::time::timeout(TIMEOUT, write(&state, &caller, request, work)).await;
                    finally();
                    outcome.unwrap_or_else(|elapsed| Err(Problem::unavailable(&elapsed)))
                }
                Err(refused) => Err(refused),
            };
            // The client may have left.
            let _ = answer.send(outcome);
        };
        tokio::spawn(change.instrument(tracing::Span::current()));
        answered
            .await
            .unwrap_or_else(|_| Err(Problem::internal(&Panicked)))
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

/// The panic's own message is in the log.
#[derive(Debug, thiserror::Error)]
#[error("the change panicked")]
struct Panicked;

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
    use std::sync::{Arc, Mutex};

    use demae_control_plane::{
        Actor,
        customers::{self, CreateCustomer},
    };
    use demae_event::OrganizationId;
    use futures::{FutureExt, future::join_all};
    use tokio::{sync::Semaphore, task::JoinHandle};

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

    /// Changes that hold their transaction until they are let go, and how they ended.
    struct Changes<'a> {
        api: &'a TestApi,
        gate: Arc<Semaphore>,
        begun: Arc<Semaphore>,
        /// By organization, in their order.
        ended: Arc<Mutex<Vec<OrganizationId>>>,
    }

    impl<'a> Changes<'a> {
        fn new(api: &'a TestApi) -> Self {
            Self {
                api,
                gate: Arc::new(Semaphore::new(0)),
                begun: Arc::new(Semaphore::new(0)),
                ended: Arc::default(),
            }
        }

        /// One that waits at the gate.
        fn held(&self, organization: OrganizationId, key: Option<&str>) -> JoinHandle<Outcome> {
            self.start(organization, key, self.gate.clone())
        }

        /// One that ends by itself.
        fn quick(&self, organization: OrganizationId) -> JoinHandle<Outcome> {
            self.start(organization, None, Arc::new(Semaphore::new(1)))
        }

        fn start(
            &self,
            organization: OrganizationId,
            key: Option<&str>,
            gate: Arc<Semaphore>,
        ) -> JoinHandle<Outcome> {
            let (state, begun, ended) = (self.api.state(), self.begun.clone(), self.ended.clone());
            let operation = Operation {
                key: key.map(str::to_owned),
                ..operation()
            };
            let caller = Caller::somebody(Actor::operator(organization), START);
            tokio::spawn(async move {
                let change = state.write(caller, &operation, move |_, _| {
                    async move {
                        begun.add_permits(1);
                        gate.acquire().await.unwrap().forget();
                        ended.lock().unwrap().push(organization);
                        Ok(Answer::no_content())
                    }
                    .boxed()
                });
                change.await
            })
        }

        /// Waits until so many changes of the organization have a place, and have gone as far as they can.
        async fn have_places(&self, organization: OrganizationId, count: usize) {
            while self.api.state().writes().places_of(organization) < count {
                tokio::task::yield_now().await;
            }
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }

        async fn has_begun(&self) {
            self.begun.acquire().await.unwrap().forget();
        }
    }

    fn another() -> OrganizationId {
        OrganizationId(uuid::Uuid::from_u128(7))
    }

    #[tokio::test]
    async fn changes_with_one_key_wait_without_a_connection() {
        let api = TestApi::start(
            TestStore::Postgres { connections: Some(4) },
            Limits::default(),
            Vec::new(),
        )
        .await;
        let changes = Changes::new(&api);
        let first = changes.held(api.organization(), Some("key"));
        changes.has_begun().await;
        let same: Vec<_> = (0..8)
            .map(|_| changes.held(api.organization(), Some("key")))
            .collect();
        changes.have_places(api.organization(), 9).await;
        // Of the same organization, which may use two connections.
        changes.quick(api.organization()).await.unwrap().unwrap();
        changes.gate.add_permits(1);
        assert!(!first.await.unwrap().unwrap().replayed);
        for repetition in join_all(same).await {
            assert!(repetition.unwrap().unwrap().replayed);
        }
    }

    #[tokio::test]
    async fn an_organization_leaves_connections_to_the_changes_of_another() {
        let api = TestApi::start(
            TestStore::Postgres { connections: Some(4) },
            Limits::default(),
            Vec::new(),
        )
        .await;
        let changes = Changes::new(&api);
        let slow: Vec<_> = (0..20).map(|_| changes.held(api.organization(), None)).collect();
        changes.has_begun().await;
        changes.has_begun().await;
        changes.have_places(api.organization(), 20).await;
        changes.quick(another()).await.unwrap().unwrap();
        assert_eq!(*changes.ended.lock().unwrap(), [another()]);
        changes.gate.add_permits(20);
        for change in join_all(slow).await {
            change.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn on_one_connection_the_change_of_another_organization_is_the_next() {
        let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
        let changes = Changes::new(&api);
        let mut slow: Vec<_> = (0..20).map(|_| changes.held(api.organization(), None)).collect();
        changes.has_begun().await;
        changes.have_places(api.organization(), 20).await;
        slow.push(changes.quick(another()));
        changes.have_places(another(), 1).await;
        changes.gate.add_permits(20);
        for change in join_all(slow).await {
            change.unwrap().unwrap();
        }
        let ended = changes.ended.lock().unwrap();
        assert_eq!(ended.iter().position(|ended| *ended == another()), Some(1));
    }

    #[tokio::test]
    async fn a_client_that_leaves_before_its_turn_changes_nothing() {
        let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
        let changes = Changes::new(&api);
        let first = changes.held(api.organization(), None);
        changes.has_begun().await;
        let second = changes.quick(api.organization());
        changes.have_places(api.organization(), 2).await;
        second.abort();
        while api.state().writes().places_of(api.organization()) == 2 {
            tokio::task::yield_now().await;
        }
        changes.gate.add_permits(1);
        first.await.unwrap().unwrap();
        assert_eq!(changes.ended.lock().unwrap().len(), 1);
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
                    Err(Problem::new(ProblemKind::Conflict, "Test.Refused", "On purpose."))
                }
                .boxed()
            });
            let expected = if panics {
                ProblemKind::Internal
            } else {
                ProblemKind::Conflict
            };
            assert_eq!(outcome.await.unwrap_err().kind(), expected);
            assert!(customers::get(&api.store, &actor, "ghost").await.is_err());
            assert!(api.store.engine().read_outbox(10).await.unwrap().is_empty());
        }
    }
}
