//! One HTTP exchange with somebody else's server, made safely.
//!
//! Promises:
//!
//! - **No connection leads inward.** Every connection is opened by [`connector`], which resolves the host, asks the
//!   [`AddressPolicy`] about each address and connects to a checked address, never to a name. A name that answers
//!   differently at the second look-up is checked again at the second connect; a pooled connection was checked when
//!   it was opened. Redirects are not followed, and no proxy is taken from the environment.
//! - **Every exchange ends.** One deadline covers connecting, sending, headers and body.
//! - **Every exchange is small.** What the other side may make us keep is bounded: response headers, body, redirects
//!   (none), addresses tried, idle connections.
//! - **Every failure has a kind** ([`ErrorKind`]), found from error types and never from message texts.
//!
//! It knows nothing of messages, signatures, retries or storage: it gets bytes and headers and says what came back.

mod address;
mod answer;
mod classify;
mod connect_error;
mod connector;
mod exchange;
mod link;
mod pool;
mod race;
mod resend;
mod resolver;
mod settings;
mod stream;
mod tls;
mod url;

pub use self::address::{AddressPolicy, AddressRefused};
pub use self::answer::{RESPONSE_HEADER_BYTES_LIMIT, RESPONSE_HEADER_COUNT_LIMIT, body_text};
pub use self::classify::ErrorKind;
pub use self::exchange::{
    ClientFault, DeliveryClient, ExchangeError, ExchangeOutcome, OutgoingRequest, RESPONSE_BODY_LIMIT,
};
pub use self::resolver::{Lookup, Resolve, ResolveError, SystemResolver};
pub use self::settings::ClientSettings;
pub use self::url::{EndpointUrl, URL_LENGTH_LIMIT, UrlFault};
