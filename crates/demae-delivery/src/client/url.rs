//! The URL of an endpoint, read once.
//!
//! `EndpointUrl::parse` is the check at registration and the preparation for every exchange: whatever it returns can
//! be handed to the HTTP client as it is. It follows the WHATWG URL standard (the `url` crate), which turns the odd
//! spellings of an IPv4 address (octal, hexadecimal, one decimal number, fewer than four parts, full-width digits)
//! into the one dotted form, so that no spelling can reach the connector as a "name".
//!
//! It does not decide whether the host may be connected to: that is the address policy's, asked at connect time for
//! literal addresses and names alike, because what a name leads to is known only then.

use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use url::{Host, Url};

/// The longest URL accepted, in bytes, before and after normalisation.
pub const URL_LENGTH_LIMIT: usize = 2048;

/// The longest host name the DNS can carry, in bytes, without a trailing dot (RFC 1035 section 2.3.4).
const HOST_LENGTH_LIMIT: usize = 253;

/// A checked endpoint URL: `http` or `https`, with a host, without a fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    uri: Uri,
    authority_hash: u64,
    literal: Option<IpAddr>,
    authorization: Option<HeaderValue>,
}

/// Why a text is not a usable endpoint URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// Longer than [`URL_LENGTH_LIMIT`].
    #[error("the URL is longer than {URL_LENGTH_LIMIT} bytes")]
    TooLong,
    /// Contains white space or a control character, which the URL standard would silently drop.
    #[error("the URL contains white space or a control character")]
    ForbiddenCharacter,
    /// Not a URL.
    #[error("the URL cannot be read: {0}")]
    Malformed(#[from] url::ParseError),
    /// A scheme other than `http` and `https`.
    #[error("the URL's scheme must be http or https")]
    Scheme,
    /// `http` where only `https` is accepted.
    #[error("the URL's scheme must be https")]
    NotHttps,
    /// No host, or a host no name service could carry.
    #[error("the URL has no usable host")]
    Host,
    /// Port 0, to which nothing can listen.
    #[error("the URL's port must not be 0")]
    Port,
    /// Readable as a URL, but not expressible in an HTTP request.
    #[error("the URL cannot be used in an HTTP request")]
    NotRequestable,
}

impl EndpointUrl {
    /// Reads and checks `text`; with `https_only`, `http` is refused.
    ///
    /// A fragment is dropped, since it never travels (RFC 9110 section 4.2.5). User name and password leave the URL
    /// and become a `Basic` authorization (RFC 7617), percent-decoded.
    pub fn parse(text: &str, https_only: bool) -> Result<Self, UrlFault> {
        if text.len() > URL_LENGTH_LIMIT {
            return Err(UrlFault::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlFault::ForbiddenCharacter);
        }
        let mut url = Url::parse(text)?;
        match url.scheme() {
            "http" if https_only => return Err(UrlFault::NotHttps),
            "http" | "https" => {}
            _ => return Err(UrlFault::Scheme),
        }
        if url.port() == Some(0) {
            return Err(UrlFault::Port);
        }
        let literal = literal_address(&url)?;
        let authorization = take_authorization(&mut url)?;
        url.set_fragment(None);
        if url.as_str().len() > URL_LENGTH_LIMIT {
            return Err(UrlFault::TooLong);
        }
        let uri = Uri::try_from(String::from(url)).map_err(|_| UrlFault::NotRequestable)?;
        Ok(Self {
            authority_hash: BuildHasherDefault::<DefaultHasher>::default().hash_one(uri.authority()),
            uri,
            literal,
            authorization,
        })
    }

    /// The request target: normalised, without user name, password and fragment. Safe to show.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// A number that URLs of one host and port share; computed once and not for each delivery.
    pub(super) fn authority_hash(&self) -> u64 {
        self.authority_hash
    }

    /// The address, if the host is written as one. Lets registration refuse early what connecting would refuse.
    pub fn literal_address(&self) -> Option<IpAddr> {
        self.literal
    }

    /// The `Authorization` header made from the URL's user name and password; marked sensitive.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

/// Without the password: an endpoint URL may be logged.
impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointUrl")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

fn literal_address(url: &Url) -> Result<Option<IpAddr>, UrlFault> {
    match url.host() {
        Some(Host::Ipv4(address)) => Ok(Some(address.into())),
        Some(Host::Ipv6(address)) => Ok(Some(address.into())),
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            let usable = name.len() <= HOST_LENGTH_LIMIT
                && name.split('.').all(|label| (1..=63).contains(&label.len()));
            if usable { Ok(None) } else { Err(UrlFault::Host) }
        }
        None => Err(UrlFault::Host),
    }
}

fn take_authorization(url: &mut Url) -> Result<Option<HeaderValue>, UrlFault> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let mut credentials = percent_decoded(url.username());
    credentials.push(b':');
    credentials.extend(percent_decoded(url.password().unwrap_or_default()));
    let mut header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credentials)))
        .map_err(|_| UrlFault::NotRequestable)?;
    header.set_sensitive(true);
    // Both setters refuse only URLs without a host, and the host was checked before.
    url.set_username("").map_err(|()| UrlFault::Host)?;
    url.set_password(None).map_err(|()| UrlFault::Host)?;
    Ok(Some(header))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<EndpointUrl, UrlFault> {
        EndpointUrl::parse(text, false)
    }

    #[test]
    fn odd_spellings_become_the_one_address() {
        for spelling in [
            "http://127.0.0.1/",
            "http://0177.0.0.1/",
            "http://0x7f.0.0.1/",
            "http://0x7F000001/",
            "http://2130706433/",
            "http://017700000001/",
            "http://127.1/",
            "http://127.0.1/",
            "http://127.0.0.1./",
            "http://１２７.０.０.１/",
            "http://①②⑦.⓪.⓪.①/",
            "http://127。0。0。1/",
            "http://%31%32%37.0.0.1/",
            "http:127.0.0.1",
            "http:\\\\127.0.0.1\\",
            "HTTP://user@127.0.0.1",
        ] {
            let url = parse(spelling).unwrap();
            assert_eq!(
                url.literal_address(),
                Some("127.0.0.1".parse().unwrap()),
                "{spelling}"
            );
            assert_eq!(url.uri().host(), Some("127.0.0.1"), "{spelling}");
        }
    }

    #[test]
    fn what_cannot_be_delivered_to_is_refused() {
        for (text, fault) in [
            ("ftp://example.com/", UrlFault::Scheme),
            ("file:///etc/passwd", UrlFault::Scheme),
            ("gopher://127.0.0.1:70/", UrlFault::Scheme),
            ("data:text/plain,hello", UrlFault::Scheme),
            ("javascript:alert(1)", UrlFault::Scheme),
            (
                "example.com/hook",
                UrlFault::Malformed(url::ParseError::RelativeUrlWithoutBase),
            ),
            ("http://", UrlFault::Malformed(url::ParseError::EmptyHost)),
            (
                "http://[::1",
                UrlFault::Malformed(url::ParseError::InvalidIpv6Address),
            ),
            (
                "http://[fe80::1%25eth0]/",
                UrlFault::Malformed(url::ParseError::InvalidIpv6Address),
            ),
            (
                "http://256.256.256.256/",
                UrlFault::Malformed(url::ParseError::InvalidIpv4Address),
            ),
            ("http://exa\tmple.com/", UrlFault::ForbiddenCharacter),
            (" http://example.com/", UrlFault::ForbiddenCharacter),
            ("http://example.com/\r\nHost:x", UrlFault::ForbiddenCharacter),
            ("http://example.com:0/", UrlFault::Port),
            ("http://a..b/", UrlFault::Host),
        ] {
            assert_eq!(parse(text), Err(fault), "{text}");
        }
        let long = format!("https://example.com/{}", "a".repeat(URL_LENGTH_LIMIT));
        assert_eq!(parse(&long), Err(UrlFault::TooLong));
        assert_eq!(
            EndpointUrl::parse("http://example.com/", true),
            Err(UrlFault::NotHttps)
        );
        assert!(EndpointUrl::parse("https://example.com/", true).is_ok());
    }

    #[test]
    fn the_password_becomes_a_header_and_is_never_shown() {
        let url = parse("https://jo:p%40ss@example.com/hook?a=1#part").unwrap();
        assert_eq!(url.to_string(), "https://example.com/hook?a=1");
        assert_eq!(url.authorization().unwrap(), "Basic am86cEBzcw==");
        assert!(url.authorization().unwrap().is_sensitive());
        assert!(!format!("{url:?}").contains("p@ss"));
        assert!(!format!("{url:?}").contains("am86"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}", https_only in any::<bool>()) {
            let _ = EndpointUrl::parse(&text, https_only);
        }

        #[test]
        fn whatever_is_accepted_can_be_requested(
            text in "(http|https)://([a-z:]{1,4}@)?[a-z0-9.\\[\\]:%]{1,20}[/?#]?[ -~\u{80}-\u{7ff}]{0,40}",
        ) {
            if let Ok(url) = parse(&text) {
                prop_assert!(matches!(url.uri().scheme_str(), Some("http" | "https")));
                prop_assert!(url.uri().host().is_some_and(|host| !host.is_empty()));
                prop_assert!(!url.uri().authority().is_some_and(|authority| authority.as_str().contains('@')));
                // Reading it again changes nothing: what is stored is what is requested.
                let again = parse(&url.to_string()).unwrap();
                prop_assert_eq!(again.uri(), url.uri());
            }
        }

        #[test]
        fn every_spelling_of_an_ipv4_address_is_seen_as_that_address(bits in any::<u32>(), style in 0..6u8) {
            let address = std::net::Ipv4Addr::from(bits);
            let [a, b, c, d] = address.octets();
            let host = match style {
                0 => format!("{bits}"),
                1 => format!("{bits:#x}"),
                2 => format!("0{bits:o}"),
                3 => format!("0{a:o}.{b:#x}.{c}.{d}"),
                4 => format!("{a}.{}", bits & 0x00ff_ffff),
                _ => format!("{a}.{b}.{:#X}", bits & 0xffff).replace("0X", "0x"),
            };
            let url = parse(&format!("http://{host}/")).unwrap();
            prop_assert_eq!(url.literal_address(), Some(IpAddr::V4(address)));
        }
    }
}
