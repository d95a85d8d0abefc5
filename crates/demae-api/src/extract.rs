//! What handlers take from a request: a body, a path, an idempotency key. Each failure is a [`Problem`].

use std::{marker::PhantomData, time::Duration};

use axum::{
    RequestExt,
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
};
use bytes::Bytes;
use demae_event::OrganizationId;
use http::{Extensions, HeaderMap, Method, header, request::Parts};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    ApiState,
    json::{
        self,
        fields::{self, ReadBody},
    },
    problem::{Problem, ProblemKind},
    shares::Share,
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
        let owner = BodyOwner::of(request.extensions());
        let body = request.with_limited_body().into_body();
        let room = room_for(owner, body.size_hint().exact(), state).await?;
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

/// An extension of a request that may have a large body: whose it is. Where nobody was authenticated, it is the nil
/// organization's, which all such requests share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyOwner(OrganizationId);

impl BodyOwner {
    /// To be called once the request is authenticated, before its body is read.
    pub(crate) fn tell(parts: &mut Parts, organization: OrganizationId) {
        let declared = parts.headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if parts.method != Method::GET && !is_small(declared) {
            parts.extensions.insert(Self(organization));
        }
    }

    fn of(extensions: &Extensions) -> OrganizationId {
        extensions
            .get::<Self>()
            .map_or(OrganizationId(Uuid::nil()), |owner| owner.0)
    }
}

fn is_small(declared: Option<u64>) -> bool {
    declared.is_some_and(|size| size <= SMALL_BODY)
}

/// Room among the bodies in memory for one of `declared` bytes, taken before it is read. `None` for a small one.
async fn room_for(
    owner: OrganizationId,
    declared: Option<u64>,
    state: &ApiState,
) -> Result<Option<Share>, Problem> {
    if is_small(declared) {
        return Ok(None);
    }
    let limit = state.limits().body_bytes as u64;
    // Who does not declare a length may send as much as anybody.
    let size = declared.map_or(limit, |size| size.min(limit));
    let room = state.bodies().take_many(owner, size);
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
    _room: Share,
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
        state::BODY_ROOM,
        testing::{TestApi, TestStore, request},
    };

    fn organization(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn a_large_body_is_read_once_there_is_room_for_it() {
        let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
        let state = api.state();
        let (large, half) = (Some(100_000), BODY_ROOM as u64 / 2);
        let room = |of, declared| room_for(organization(of), declared, &state).now_or_never();
        let held = state.bodies().try_take(organization(1), half).unwrap();
        // Who does not declare a length may send as much as anybody.
        assert!(room(1, None).is_none());
        assert!(room(1, large).is_none());
        assert!(matches!(room(1, Some(SMALL_BODY)), Some(Ok(None))));
        assert!(
            matches!(room(2, large), Some(Ok(Some(_)))),
            "another organization has its part"
        );
        drop(held);
        let Some(Ok(Some(room))) = room(1, large) else {
            panic!("there is room for it");
        };
        assert_eq!(state.bodies().free(), BODY_ROOM - 100_000);
        // Given back with the body, wherever that is then.
        let body = Bytes::from_owner(InRoom {
            bytes: Bytes::from_static(b"x"),
            _room: room,
        });
        let handle = body.clone();
        drop(body);
        assert_eq!(state.bodies().free(), BODY_ROOM - 100_000);
        drop(handle);
        assert_eq!(state.bodies().free(), BODY_ROOM);
    }

    #[tokio::test]
    async fn a_large_body_waits_for_bodies_of_its_own_organization_only() {
        let api = TestApi::start(TestStore::Sqlite, Limits::default(), Vec::new()).await;
        let state = api.state();
        let _held = state.bodies().try_take(organization(1), BODY_ROOM as u64);
        for declared in [Some(SMALL_BODY + 1), None] {
            let room = |number| {
                let mut request = request(Method::POST, "/", "token");
                if let Some(declared) = declared {
                    request = request.header(header::CONTENT_LENGTH, declared);
                }
                let (mut parts, ()) = request.body(()).unwrap().into_parts();
                BodyOwner::tell(&mut parts, organization(number));
                room_for(BodyOwner::of(&parts.extensions), declared, &state).now_or_never()
            };
            assert!(room(1).is_none());
            assert!(matches!(room(2), Some(Ok(Some(_)))));
        }
    }
}
