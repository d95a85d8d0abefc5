//! The HTTP surfaces.
//!
//! [`router`] serves them over an [`ApiState`]; [`openapi()`] describes them without a server. So far there is one surface,
//! [`kaiten`], under `/api`.
//!
//! What always holds here:
//! - Whoever asks is an `Actor` (see [`auth`]); every call into another crate takes it, and with it the organization. A
//!   handler has no other way to name one, so it cannot reach another tenant's rows.
//! - A change is one transaction, in a task that its client cannot interrupt (see `write`).
//! - Everything that is not a success is a [`problem::Problem`], and every fault of a request is told at once.
//! - Bodies, nesting, pages, queues and waiting are bounded (see [`Limits`]).
//! - A computation that a user's schema or rule causes runs in [`compute`], before the transaction begins.
//!
//! This crate must not know SQL, nor how events are delivered. There is no CORS: a browser's page on another site has no
//! business with these tokens.

mod answers;
pub mod auth;
pub mod compute;
mod docs;
mod edge;
mod extract;
pub mod ingest;
mod json;
pub mod kaiten;
mod openapi;
mod page;
pub mod problem;
mod query;
mod revision;
mod shares;
mod state;
mod tokens;
mod trace;
mod unread;
mod write;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use axum::{Router, middleware};

pub use edge::REQUEST_ID;
pub use extract::MAX_IDEMPOTENCY_KEY;
pub use ingest::{EventSink, GroupCommit, GroupCommitOptions};
pub use json::MAX_DEPTH;
pub use openapi::openapi;
pub use state::{ApiState, Limits};

/// Everything this crate serves, with an answer for every other path.
///
/// Routes that are merged into it afterwards do not pass through its layer: they are the binary's own.
pub fn router(state: ApiState) -> Router {
    let (surface, _) = kaiten::routes().split_for_parts();
    surface
        .merge(docs::routes())
        .fallback(edge::not_found)
        .method_not_allowed_fallback(edge::method_not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), answers::handle))
        .layer(middleware::from_fn(edge::handle))
        .with_state(state)
}
