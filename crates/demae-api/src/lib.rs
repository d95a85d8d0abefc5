//! What every surface is made of.
//!
//! A *surface* is a management API with its own paths, authentication, shapes, errors and OpenAPI document. Each has a crate
//! of its own, which makes one [`Surface`] of it; [`router`] serves any number of them. This crate is their common kit.
//!
//! What the kit promises:
//! - **The edge layer**: every request has an id, a deadline and a count; a panic is an answer; answers that wait for
//!   slow clients are bounded (`edge`, `answers`). A refusal is written in the form of the surface whose path it is.
//! - **The requester**: a surface's extractor authenticates in its own way and makes a [`caller::Caller`]. Every call into
//!   another crate takes its `Actor`, and with it the organization. A handler has no other way to name one, so it cannot
//!   reach another tenant's rows.
//! - **Change and answer** ([`mod@write`]): a change is one transaction, in a task that its client cannot interrupt; a
//!   repetition with the same `Idempotency-Key` gets the stored answer.
//! - **Reading** ([`extract`], [`json`], [`query`]): every fault of a request is reported at once, at its location.
//! - **Pages** ([`page`]) and **entity tags** ([`revision`]).
//! - **Refusals** ([`problem`]): one error type, and RFC 9457 problem documents for surfaces that want them.
//! - **OpenAPI** ([`openapi`]): building blocks of a surface's document, and how it is served.
//! - **Group commit** of events that come with no other change ([`ingest`]).
//! - Bodies, nesting, pages, queues and waiting are bounded (see [`Limits`]). A computation that a user's schema or rule
//!   causes runs in [`compute`], before the transaction begins.
//!
//! The kit must not know any surface, nor SQL, nor how events are delivered. A surface must not know SQL, nor another
//! surface. There is no CORS: a browser's page on another site has no business with these tokens.

mod answers;
pub mod caller;
pub mod compute;
mod edge;
pub mod extract;
pub mod ingest;
pub mod json;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod query;
pub mod revision;
mod shares;
mod state;
mod surface;
mod surfaces;
pub mod tokens;
mod trace;
mod turns;
mod unread;
pub mod write;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{Router, middleware};

pub use edge::REQUEST_ID;
pub use extract::MAX_IDEMPOTENCY_KEY;
pub use ingest::{EventSink, GroupCommit, GroupCommitOptions};
pub use json::MAX_DEPTH;
pub use state::{ApiState, Limits};
pub use surface::Surface;

use surfaces::{Refusals, Surfaces};

/// Everything that the surfaces serve, with an answer for every other path.
///
/// Routes that are merged into it afterwards do not pass through its layers: they are the binary's own.
pub fn router(state: ApiState, surfaces: Vec<Surface>) -> Router {
    let mut known = Surfaces::default();
    for surface in &surfaces {
        let refusals = Refusals {
            render: surface.render,
            challenge: surface.challenge,
        };
        known.add(surface.prefixes, refusals, surface.reading_prefixes);
    }
    let known = Arc::new(known);
    let routes = surfaces.into_iter().map(|surface| surface.routes);
    let reading = (state.answers().clone(), known.clone());
    routes
        .fold(Router::new(), Router::merge)
        .fallback(edge::not_found)
        .method_not_allowed_fallback(edge::method_not_allowed)
        .layer(middleware::from_fn_with_state(reading, answers::handle))
        .layer(middleware::from_fn_with_state(known, edge::handle))
        .with_state(state)
}
