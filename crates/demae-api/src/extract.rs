//! What handlers take from a request: a body, a path, an idempotency key. Each failure is a [`Problem`].

use std::{marker::PhantomData, time::Duration};

use axum::{
    RequestExt,
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
};
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    ApiState,
    json::{
        self,
        fields::{self, ReadBody},
    },
    problem::{Problem, ProblemKind},
    state::BODY_ROOM,
};

/// A JSON body, as the surface `S` reads it.
pub struct JsonBody<S, T> {
    /// What it says.
    pub value: T,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    surface: PhantomData<fn() -> S>,
}

impl<S, T: ReadBody<S>> JsonBody<S, T> {
    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        Ok(Self {
            value: fields::read(&json::parse(bytes)?)?,
            digest: Sha256::digest(bytes).into(),
            surface: PhantomData,
        })
    }
}

impl<S, T: ReadBody<S>> FromRequest<ApiState> for JsonBody<S, T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        Self::read(&RawBody::from_request(request, state).await?.0)
    }
}

/// A JSON body that may be left out, which means the same as `{}`.
pub struct OptionalBody<S, T> {
    /// The body.
    pub body: JsonBody<S, T>,
}

impl<S, T: ReadBody<S>> FromRequest<ApiState> for OptionalBody<S, T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let bytes = RawBody::from_request(request, state).await?.0;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let body = JsonBody::read(bytes)?;
        Ok(Self { body })
    }
}

/// The bytes of a body that says it is JSON.
///
/// A body without `Content-Type` is taken for JSON too: nothing else can be meant. Another type is refused, with a hint,
/// even if the bytes happen to be JSON: guessing would hide a mistake (`curl -d` alone sends a form) until the day the
/// bytes are none.
pub struct RawBody(pub Bytes);

impl FromRequest<ApiState> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let limits = state.limits();
        let says_json = is_json(request.headers());
        let body = request.with_limited_body().into_body();
        let room = room_for(body.size_hint().exact(), state).await?;
        let bytes = tokio::time::timeout(limits.body_timeout, read(body, limits.body_bytes))
            .await
            .map_err(|_| {
                Problem::new(
                    ProblemKind::Malformed,
                    "Request.BodyTimeout",
                    "The body did not arrive in time.",
                )
            })??;
        if says_json || bytes.is_empty() {
            Ok(Self(match room {
                None => bytes,
                Some(room) => Bytes::from_owner(InRoom { bytes, _room: room }),
            }))
        } else {
            Err(unsupported_media())
        }
    }
}

/// A body that is no larger is not counted: bodies of this size are as many as connections.
const SMALL_BODY: u64 = 64 * 1024;
/// How long a large body waits for room before it is refused.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);

/// Room among the bodies in memory for one of `declared` bytes, taken before it is read. `None` for a small one.
async fn room_for(declared: Option<u64>, state: &ApiState) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    if declared.is_some_and(|size| size <= SMALL_BODY) {
        return Ok(None);
    }
    let limit = state.limits().body_bytes.min(BODY_ROOM);
    // Who does not declare a length may send as much as anybody.
    let size = declared
        .and_then(|size| usize::try_from(size).ok())
        .map_or(limit, |size| size.min(limit));
    let room = state.bodies().clone().acquire_many_owned(size as u32);
    match tokio::time::timeout(ROOM_PATIENCE, room).await {
        Ok(Ok(room)) => Ok(Some(room)),
        _ => Err(Problem::unavailable(&NoRoom)),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("too many large bodies at once")]
struct NoRoom;

/// A body and the room it takes, which is given back with the last of its handles.
struct InRoom {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for InRoom {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::new(
            ProblemKind::TooLarge,
            "Request.TooLarge",
            format!("The body is longer than {limit} bytes."),
        )),
        Err(_) => Err(Problem::new(
            ProblemKind::Malformed,
            "Request.Malformed",
            "The body did not arrive whole.",
        )),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let essence = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let (kind, subtype) = essence.split_once('/').unwrap_or_default();
    kind.eq_ignore_ascii_case("application")
        && (subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json"))
}

fn unsupported_media() -> Problem {
    Problem::new(
        ProblemKind::UnsupportedMedia,
        "Request.UnsupportedMediaType",
        "The body must be JSON, sent as Content-Type: application/json.",
    )
}

/// What is in the path. Something that cannot be an identifier names nothing: 404, as for one that is unknown.
pub struct PathOf<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<ApiState> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(_) => Err(Problem::new(
                ProblemKind::NotFound,
                "Request.NotFound",
                "There is no such thing.",
            )),
        }
    }
}

/// A slug or a name in a path: any text that a database can hold.
#[derive(Debug, Clone)]
pub struct Segment(pub String);

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Longer than any slug or name.
        const LONGEST: usize = 256;
        let text = String::deserialize(deserializer)?;
        if text.len() > LONGEST || text.contains('\0') {
            return Err(serde::de::Error::custom("no name"));
        }
        Ok(Self(text))
    }
}

/// `Idempotency-Key`: how a sender says that two requests are the same one.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(pub Option<String>);

/// Longest key, in bytes.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self(None));
        };
        match value.to_str() {
            Ok(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::invalid_at(
                "header.Idempotency-Key",
                format!("must have 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::{
        Limits,
        testing::{TestApi, TestStore},
    };

    #[tokio::test]
    async fn a_large_body_is_read_once_there_is_room_for_it() {
        let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
        let state = api.state();
        let large = Some(100_000);
        let all = state
            .bodies()
            .clone()
            .acquire_many_owned(BODY_ROOM as u32)
            .await
            .unwrap();
        // Who does not declare a length may send as much as anybody.
        assert!(room_for(None, &state).now_or_never().is_none());
        assert!(room_for(large, &state).now_or_never().is_none());
        let small = room_for(Some(SMALL_BODY), &state).now_or_never();
        assert!(matches!(small, Some(Ok(None))));
        drop(all);
        let Some(Ok(Some(room))) = room_for(large, &state).now_or_never() else {
            panic!("there is room for it");
        };
        assert_eq!(state.bodies().available_permits(), BODY_ROOM - 100_000);
        // Given back with the body, wherever that is then.
        let body = Bytes::from_owner(InRoom {
            bytes: Bytes::from_static(b"x"),
            _room: room,
        });
        let handle = body.clone();
        drop(body);
        assert_eq!(state.bodies().available_permits(), BODY_ROOM - 100_000);
        drop(handle);
        assert_eq!(state.bodies().available_permits(), BODY_ROOM);
    }
}
