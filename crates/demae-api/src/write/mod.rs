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
//! there is a change. The key belongs to the credential and its present rights, the method, the path and the query; the same
//! key with another body is refused. Two requests with the same key at the same time: the second waits for the first one to end, in
//! this process without a connection (see [`turns`](crate::turns)), between processes in the database. Only successes are
//! stored: a refusal changed nothing and may be asked again. An answer is stored with its status, headers and body (see
//! [`Answer`]). Stored answers are sealed, and hold no secret that is shown once: a repetition gets the answer without it.

mod answer;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::extract::FromRequestParts;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use demae_store::{
    Transaction,
    repository::idempotency::{self, Request, Reservation},
};
use futures::future::BoxFuture;
use http::{StatusCode, request::Parts, uri::PathAndQuery};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tracing::Instrument;

pub use self::answer::Answer;
use crate::{
    ApiState,
    caller::Caller,
    extract::IdempotencyKey,
    problem::{Problem, ProblemKind},
};

/// A change that takes longer is given up and rolled back.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which request this is, for recognising its repetition.
#[derive(Debug, Clone)]
pub struct Operation {
    key: Option<String>,
    method_and_target: String,
    body_digest: [u8; 32],
}

impl<S: Sync> FromRequestParts<S> for Operation {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let IdempotencyKey(key) = IdempotencyKey::from_request_parts(parts, state).await?;
        let target = parts
            .uri
            .path_and_query()
            .map_or(parts.uri.path(), PathAndQuery::as_str);
        let method_and_target = format!("{} {target}", parts.method);
        Ok(Self {
            key,
            method_and_target,
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

    /// The digest of what makes two requests the same one, if the sender asked for it: the key, the credential and what it
    /// may do at present, the method, the path and the query.
    pub fn key_digest(&self, caller: &Caller) -> Option<[u8; 32]> {
        let key = self.key.as_ref()?;
        let rights: Vec<String> = caller
            .actor()
            .scopes
            .iter()
            .map(|scope| scope.to_string())
            .collect();
        let (credential, rights) = (caller.credential().to_string(), rights.join(" "));
        let mut digest = Sha256::new();
        // The parts cannot be shifted into each other: none of them holds a zero byte.
        for part in [&credential, &rights, &self.method_and_target, key] {
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
            Reservation::Answered { status, answer } => return stored(state, request, status, &answer),
            Reservation::Mismatch => return Err(key_reused()),
        }
    }
    // Returning early drops the transaction, which rolls it back.
    let answer = work(&mut transaction, caller).await?;
    if let Some(request) = &request {
        let sealed = state.store().vault().seal(&owner(request), &answer.to_stored()?);
        let sealed = STANDARD.encode(sealed);
        idempotency::complete(&mut transaction, request, answer.status().as_u16(), &sealed).await?;
    }
    transaction.commit().await?;
    Ok(answer)
}

fn stored(state: &ApiState, request: &Request, status: u16, answer: &str) -> Outcome {
    let sealed = STANDARD
        .decode(answer)
        .map_err(|error| Problem::internal(&error))?;
    let stored = state.store().vault().open(&owner(request), &sealed)?;
    let status = StatusCode::from_u16(status).map_err(|error| Problem::internal(&error))?;
    Ok(Answer::from_stored(status, &stored)?.replayed())
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
