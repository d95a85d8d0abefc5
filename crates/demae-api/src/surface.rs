//! Defines what a surface is to the rest of the program: one value.
//!
//! A surface is a management API with its own paths, authentication, shapes, errors and OpenAPI document. Its crate makes a
//! [`Surface`]; [`router`](crate::router) serves any number of them. Adding one changes nothing in this crate.
//!
//! # Guarantees
//! Every refusal of a request whose path is under one of a surface's prefixes has the form of that surface: also that of an
//! unknown path, a wrong method, a panic, and a request that took too long. Where two surfaces share the beginning of their
//! paths, the longest prefix decides. A path of no surface is answered with a problem document.
//!
//! # Limits
//! A method and path belong to one surface: [`router`](crate::router) panics at start if two surfaces claim it.

use axum::Router;

use crate::{ApiState, openapi::Document, problem::Render};

/// A management API.
pub struct Surface {
    /// Its name in logs and on the command line, in lower case.
    pub name: &'static str,
    /// Each of its paths is one of these, or continues one of these after a `/`.
    pub prefixes: &'static [&'static str],
    /// Beginnings of the paths at which requests of other methods than GET only read, too.
    pub reading_prefixes: &'static [&'static str],
    /// Its paths, that of its OpenAPI document among them.
    pub routes: Router<ApiState>,
    /// Its OpenAPI document.
    pub document: &'static Document,
    /// Writes a refusal in the form of the surface.
    pub render: Render,
    /// How a request authenticates, for those that did not: `WWW-Authenticate` of a 401 (RFC 9110, section 11.6.1).
    pub challenge: &'static str,
}
