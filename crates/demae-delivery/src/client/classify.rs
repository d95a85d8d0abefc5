//! From an error of the HTTP stack to the kind of failure that history and metrics show.
//!
//! Only types decide: the chain of sources is walked from the outside in, and the first error that is decisive names
//! the kind. Texts are for people and change between releases of the libraries.

use std::error::Error;
use std::fmt;
use std::io;

use super::connect_error::ConnectError;

/// What went wrong in an exchange that did not end with a complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The host's addresses are refused by the address policy.
    AddressRefused,
    /// The host name has no address, or the name service failed.
    Dns,
    /// Nothing listens at the address.
    ConnectRefused,
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// No connection for another reason, e.g. no route to the host.
    ConnectFailed,
    /// The TLS handshake failed, e.g. for an untrusted certificate.
    Tls,
    /// The deadline passed before the response's headers came.
    Timeout,
    /// The connection was closed or reset before the response's headers came.
    ConnectionReset,
    /// What came back is not HTTP, or its headers are too large.
    Protocol,
    /// The response's body broke off.
    BodyBroken,
    /// The deadline passed while the response's body was coming.
    BodyTimeout,
}

impl ErrorKind {
    /// Every kind, for metrics that start at zero and for documentation.
    pub const ALL: [Self; 11] = [
        Self::AddressRefused,
        Self::Dns,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::Tls,
        Self::Timeout,
        Self::ConnectionReset,
        Self::Protocol,
        Self::BodyBroken,
        Self::BodyTimeout,
    ];

    /// The name in history, metrics and the API; stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AddressRefused => "address_refused",
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectFailed => "connect_failed",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::ConnectionReset => "connection_reset",
            Self::Protocol => "protocol",
            Self::BodyBroken => "body_broken",
            Self::BodyTimeout => "body_timeout",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The longest description kept of a failure, in bytes.
const DETAIL_LIMIT: usize = 300;

/// The kind of a failure that came before the response's headers, if a typed source settles it.
pub(super) fn kind_before_headers(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    chain(error).find_map(decisive)
}

/// The chain of errors in words, bounded. Neither headers nor bodies nor URLs occur in these errors.
pub(super) fn detail(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in chain(error) {
        let cause = cause.to_string();
        // Wrappers commonly repeat the text of what they wrap.
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        if text.len() > DETAIL_LIMIT {
            text.truncate(text.floor_char_boundary(DETAIL_LIMIT));
            break;
        }
    }
    text
}

pub(super) type Cause = dyn Error + 'static;

/// The error and its sources.
pub(super) fn chain(outermost: &Cause) -> impl Iterator<Item = &Cause> {
    std::iter::successors(Some(outermost), |error| source_of(*error))
}

/// An `io::Error` made of another error skips that one in `source()`, so it is asked for it.
fn source_of(error: &Cause) -> Option<&Cause> {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &Cause),
        None => error.source(),
    }
}

/// The kind that `error` alone settles, or `None` if its source has to be asked.
fn decisive(error: &Cause) -> Option<ErrorKind> {
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        Some(of_connect(error))
    } else if error.is::<rustls::Error>() {
        // After the handshake as well: in TLS 1.3 a refused client learns of it with the first data.
        Some(ErrorKind::Tls)
    } else if let Some(error) = error.downcast_ref::<hyper::Error>() {
        of_http(error)
    } else if let Some(error) = error.downcast_ref::<h2::Error>() {
        Some(of_http2(error))
    } else if let Some(error) = error.downcast_ref::<io::Error>() {
        // An end of the connection without TLS's notice comes as this kind, with a text inside.
        let ended = error.kind() == io::ErrorKind::UnexpectedEof;
        (ended || error.get_ref().is_none()).then_some(ErrorKind::ConnectionReset)
    } else {
        None
    }
}

fn of_connect(error: &ConnectError) -> ErrorKind {
    match error {
        ConnectError::Refused(_) => ErrorKind::AddressRefused,
        ConnectError::Resolve(_) | ConnectError::NoHost => ErrorKind::Dns,
        ConnectError::Timeout { .. } => ErrorKind::ConnectTimeout,
        ConnectError::Tls(_) | ConnectError::ServerName => ErrorKind::Tls,
        ConnectError::Tcp { source, .. } => match source.kind() {
            io::ErrorKind::ConnectionRefused => ErrorKind::ConnectRefused,
            io::ErrorKind::TimedOut => ErrorKind::ConnectTimeout,
            _ => ErrorKind::ConnectFailed,
        },
    }
}

fn of_http(error: &hyper::Error) -> Option<ErrorKind> {
    let closed = error.is_canceled() || error.is_closed();
    if error.is_parse() {
        Some(ErrorKind::Protocol)
    } else if error.is_incomplete_message() || (closed && error.source().is_none()) {
        Some(ErrorKind::ConnectionReset)
    } else {
        None
    }
}

fn of_http2(error: &h2::Error) -> ErrorKind {
    // A remote reset or go-away: the other side gave up on the stream or the connection; nothing says that it spoke
    // wrongly.
    let given_up = error.is_remote() && (error.is_reset() || error.is_go_away());
    if error.is_io() || given_up {
        ErrorKind::ConnectionReset
    } else {
        ErrorKind::Protocol
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_an_io_error_is_found() {
        let tls = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!(kind_before_headers(&io::Error::other(tls)), Some(ErrorKind::Tls));
        let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "no close_notify");
        assert_eq!(kind_before_headers(&ended), Some(ErrorKind::ConnectionReset));
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(kind_before_headers(&reset), Some(ErrorKind::ConnectionReset));
    }

    #[test]
    fn a_detail_is_bounded() {
        let long = io::Error::other("é".repeat(DETAIL_LIMIT));
        let text = detail(&long);
        assert!(text.len() <= DETAIL_LIMIT && text.len() > DETAIL_LIMIT - 4);
    }

    #[test]
    fn every_kind_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }
}
