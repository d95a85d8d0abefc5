//! Decides which of an endpoint's own headers are shown: one rule for the API's answers, the history and stored attempts.
//!
//! An own header is a secret unless its owner declared it public. No list of names can know what a receiver takes for a
//! credential.

use http::HeaderMap;

/// Shown in the place of a secret value.
pub const MASK: &str = "…";

/// Whether `public`, the names that an owner declared public, has this header.
pub fn is_public(public: &[String], name: &str) -> bool {
    public.iter().any(|public| public.eq_ignore_ascii_case(name))
}

/// The headers that were sent, as they are kept: name and value, or [`MASK`]. `own` are the endpoint's own headers.
pub(crate) fn masked<'h>(
    sent: &'h HeaderMap,
    own: &'h HeaderMap,
    public: &'h [String],
) -> impl Iterator<Item = (&'h str, &'h str)> {
    sent.iter().map(move |(name, value)| {
        let is_secret = own.contains_key(name) && !is_public(public, name.as_str());
        let value = if is_secret {
            MASK
        } else {
            value.to_str().unwrap_or(MASK)
        };
        (name.as_str(), value)
    })
}
