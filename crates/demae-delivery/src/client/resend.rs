//! Decides whether a request that got no answer is sent again at once, as the same attempt.
//!
//! # Design
//! Two kinds of failure are part of normal operation and say nothing about the receiver:
//!
//! - A server closes an idle connection just when a request is written to it (RFC 9112 section 9.3.1). The request is
//!   sent again if the connection had carried an answer before and no byte of a new answer came. Nothing proves that the
//!   server did not process the request; the receiver recognises a repetition by its ID.
//! - An HTTP/2 server says that it did not process the request (`REFUSED_STREAM`, or `GOAWAY` with a lower last stream,
//!   RFC 9113 section 8.7), or that it wants HTTP/1.1 (`HTTP_1_1_REQUIRED`, RFC 9113 section 7).
//!
//! # Limits
//! A request is sent again once. On a new connection a lost answer is a failure, and the retry schedule decides.

use std::sync::Arc;

use http::header::CONNECTION;
use http::{Extensions, HeaderMap, Response, StatusCode};
use hyper_util::client::legacy;

use super::classify::{Cause, ErrorKind, chain, kind_before_headers};
use super::link::Link;

/// How a request is sent again; always over a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resend {
    /// As before.
    NewConnection,
    /// Without offering HTTP/2.
    Http1,
}

/// How a request that failed before its answer's head came is sent again, if it is.
pub(super) fn after_error(error: &legacy::Error) -> Option<Resend> {
    if let Some(way) = chain(error).find_map(not_processed) {
        return Some(way);
    }
    let link = link_of(error)?;
    let dead = kind_before_headers(error) == Some(ErrorKind::ConnectionReset);
    let poisoned = link.is_closing();
    (link.died_between_exchanges() && (dead || poisoned)).then_some(Resend::NewConnection)
}

/// Whether `response` does not answer the request: a server that closes an idle connection may say so with `408`, which
/// then meets a request that was on its way (RFC 9110 section 15.5.9).
pub(super) fn answers_silence<B>(response: &Response<B>) -> bool {
    let link = response.extensions().get::<Arc<Link>>();
    response.status() == StatusCode::REQUEST_TIMEOUT
        && says_close(response.headers())
        && link.is_some_and(|link| link.is_reused())
}

fn says_close(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("close"))
}

/// What an HTTP/2 error says of a request that the server has not processed.
fn not_processed(error: &Cause) -> Option<Resend> {
    let error = error.downcast_ref::<h2::Error>()?;
    if !error.is_remote() {
        return None;
    }
    match error.reason() {
        Some(h2::Reason::HTTP_1_1_REQUIRED) => Some(Resend::Http1),
        Some(h2::Reason::REFUSED_STREAM) => Some(Resend::NewConnection),
        // Streams up to the last one named by a GOAWAY go on, and fail with the connection if it is closed before.
        _ if error.is_go_away() => Some(Resend::NewConnection),
        _ => None,
    }
}

fn link_of(error: &legacy::Error) -> Option<Arc<Link>> {
    let mut extras = Extensions::new();
    error.connect_info()?.get_extras(&mut extras);
    extras.remove()
}
