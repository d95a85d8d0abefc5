//! What an endpoint may be.
//!
//! Every check notes its fault and goes on, so that a caller hears of all of them. Bounds are those of the design and of
//! svix.md, section 1.6.

use std::collections::{BTreeMap, HashSet};

use demae_event::{Faults, Subscription, SubscriptionSet, fault::keyed};
use demae_signature::standard::SigningKey;
use http::{HeaderName, HeaderValue};
use url::Url;

use crate::{
    client::EndpointUrl,
    dialect::Dialect,
    own_headers,
    policy::{MAX_STEPS, MAX_WAIT, RetrySchedule},
};

/// Longest name, in characters.
pub const MAX_NAME: usize = 100;
/// Longest description, in characters.
pub const MAX_DESCRIPTION: usize = 500;
/// Own headers of an endpoint.
pub const MAX_HEADERS: usize = 20;
/// Longest value of an own header, in bytes.
pub const MAX_HEADER_VALUE: usize = 4_096;
/// Longest name of an own header, in bytes.
pub const MAX_HEADER_NAME: usize = 256;
/// Largest metadata, in bytes of JSON.
pub const MAX_METADATA: usize = 4_096;
/// Deliveries per second that may be asked for.
pub const RATE_LIMITS: std::ops::RangeInclusive<i64> = 1..=10_000;
/// Seconds that an exchange may be given.
pub const TIMEOUTS: std::ops::RangeInclusive<i64> = 1..=30;
/// Seconds that an exchange is given unless the endpoint says otherwise.
pub const DEFAULT_TIMEOUT: u32 = 30;

/// Headers that belong to the request, its body or the connection, and are never an endpoint's own.
const REFUSED_HEADERS: &[&str] = &[
    "accept",
    "age",
    "cache-control",
    "clear-site-data",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-type",
    "expect",
    "expires",
    "host",
    "keep-alive",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "warning",
];

/// Prefixes of headers by which receivers trust a sender or its network.
const REFUSED_PREFIXES: &[&str] = &[
    "svix-", "webhook-", "x-amz-", "x-amzn-", "x-azure-", "x-fd-", "x-gfe", "x-goog-", "x-google", "x-svix-",
];

/// Headers that are never public, whoever declares it: they hold nothing but credentials.
const NEVER_PUBLIC: &[&str] = &["authorization", "cookie"];

/// A checked URL and the header that its user name and password become.
pub(super) struct Target {
    pub(super) url: String,
    pub(super) authorization: Option<String>,
}

pub(super) fn check_url(faults: &mut Faults, url: &str, https_only: bool) -> Option<Target> {
    let parsed = faults.take("url", EndpointUrl::parse(url, https_only))?;
    // Base64 after a word: always text.
    let authorization = parsed
        .authorization()
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    Some(Target {
        url: parsed.to_string(),
        authorization,
    })
}

/// Reads the subscriptions; what is well-formed but in no catalogue is left to the caller.
pub(super) fn check_event_names(faults: &mut Faults, names: &[String]) -> Vec<Subscription> {
    let mut read = Vec::with_capacity(names.len());
    let mut broken = false;
    for (place, name) in names.iter().enumerate() {
        match name.parse::<Subscription>() {
            Ok(subscription) => read.push(subscription),
            Err(error) => {
                broken = true;
                faults.push_value(format!("event_names[{place}]"), error.to_string(), name.as_str());
            }
        }
    }
    if !broken && let Err(error) = SubscriptionSet::new(read.iter().cloned()) {
        faults.push("event_names", error.to_string());
    }
    read
}

pub(super) fn check_text(faults: &mut Faults, location: &str, text: &str, max: usize) {
    if text.chars().count() > max {
        faults.push(location, format!("must not be longer than {max} characters"));
    }
    if text
        .chars()
        .any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t'))
    {
        faults.push(location, "must not contain control characters");
    }
}

pub(super) fn check_headers(faults: &mut Faults, headers: &BTreeMap<String, String>) {
    if headers.len() > MAX_HEADERS {
        faults.push(
            "headers",
            format!("must not have more than {MAX_HEADERS} entries"),
        );
        return;
    }
    let mut seen = HashSet::new();
    for (name, value) in headers {
        let shown: String = name.chars().take(MAX_HEADER_NAME).collect();
        let location = keyed("headers", &shown);
        if let Err(message) = check_header_name(name) {
            faults.push(&*location, message);
        } else if !seen.insert(name.to_ascii_lowercase()) {
            faults.push(&*location, "is given twice, in different case");
        }
        if value.len() > MAX_HEADER_VALUE {
            faults.push(
                &*location,
                format!("must not be longer than {MAX_HEADER_VALUE} bytes"),
            );
        } else if HeaderValue::from_str(value).is_err() {
            faults.push(&*location, "must consist of visible ASCII characters and spaces");
        }
    }
}

fn check_header_name(name: &str) -> Result<(), &'static str> {
    if name.len() > MAX_HEADER_NAME || HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err("is not the name of a header");
    }
    let name = name.to_ascii_lowercase();
    let refused = REFUSED_HEADERS.contains(&name.as_str())
        || REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if refused {
        Err("is set by the sender and cannot be chosen")
    } else {
        Ok(())
    }
}

/// Checks the names that are to be public. `already` are those that are; any other must come with its value (`given`): a
/// value that was given as a secret is not shown to those who do not have it.
pub(super) fn check_public_headers(
    faults: &mut Faults,
    names: &[String],
    given: Option<&BTreeMap<String, String>>,
    already: &[String],
) {
    if names.len() > MAX_HEADERS {
        let message = format!("must not have more than {MAX_HEADERS} entries");
        return faults.push("public_headers", message);
    }
    let is_given =
        |name: &str| given.is_some_and(|given| given.keys().any(|key| key.eq_ignore_ascii_case(name)));
    for (place, name) in names.iter().enumerate() {
        let location = format!("public_headers[{place}]");
        if NEVER_PUBLIC
            .iter()
            .any(|secret| name.eq_ignore_ascii_case(secret))
        {
            faults.push_value(location, "holds credentials and is always secret", name.as_str());
        } else if !is_given(name) && (given.is_some() || !own_headers::is_public(already, name)) {
            faults.push_value(
                location,
                "must be one of the headers in this request",
                name.as_str(),
            );
        }
    }
}

/// Whether credentials for one of the URLs may be sent to the other: same scheme, host and port (RFC 6454).
pub(super) fn is_same_origin(one: &str, other: &str) -> bool {
    match (Url::parse(one), Url::parse(other)) {
        (Ok(one), Ok(other)) => one.origin() == other.origin(),
        _ => false,
    }
}

pub(super) fn check_range(
    faults: &mut Faults,
    location: &str,
    value: Option<i64>,
    range: &std::ops::RangeInclusive<i64>,
) -> Option<u32> {
    let value = value?;
    if range.contains(&value) {
        u32::try_from(value).ok()
    } else {
        faults.push_value(
            location,
            format!("must be {} to {}", range.start(), range.end()),
            value,
        );
        None
    }
}

pub(super) fn check_schedule(faults: &mut Faults, seconds: Option<&[i64]>) -> Option<Vec<u32>> {
    let seconds = seconds?;
    if seconds.len() > MAX_STEPS {
        faults.push(
            "retry_schedule",
            format!("must not have more than {MAX_STEPS} steps"),
        );
        return None;
    }
    let range = 0..=MAX_WAIT.as_secs() as i64;
    let place = |place| format!("retry_schedule[{place}]");
    let steps = seconds.iter().enumerate();
    let steps = steps.map(|(n, step)| check_range(faults, &place(n), Some(*step), &range));
    let steps: Vec<Option<u32>> = steps.collect();
    let steps: Vec<u32> = steps.into_iter().collect::<Option<_>>()?;
    debug_assert!(
        RetrySchedule::from_seconds(&steps.iter().copied().map(u64::from).collect::<Vec<_>>()).is_ok()
    );
    Some(steps)
}

pub(super) fn check_metadata(faults: &mut Faults, metadata: &BTreeMap<String, String>) {
    // As JSON: two quotes, a colon and a comma per entry, and the braces.
    let length: usize = metadata
        .iter()
        .map(|(key, value)| key.len() + value.len() + 6)
        .sum::<usize>()
        + 2;
    if length > MAX_METADATA {
        faults.push(
            "metadata",
            format!("must not be longer than {MAX_METADATA} bytes as JSON"),
        );
    }
}

pub(super) fn check_dialect(faults: &mut Faults, dialect: Option<&str>) -> Dialect {
    let Some(name) = dialect else {
        return Dialect::Standard;
    };
    Dialect::from_name(name).unwrap_or_else(|| {
        faults.push_value("dialect", "must be one of: standard", name);
        Dialect::Standard
    })
}

/// Reads a key that the caller brings, or makes one.
pub(super) fn check_secret(faults: &mut Faults, location: &str, secret: Option<&str>) -> Option<SigningKey> {
    match secret {
        None => Some(SigningKey::generate_hmac()),
        Some(text) => faults.take(location, SigningKey::parse(text)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages(check: impl FnOnce(&mut Faults)) -> Vec<String> {
        let mut faults = Faults::new();
        check(&mut faults);
        faults
            .into_vec()
            .into_iter()
            .map(|fault| fault.location)
            .collect()
    }

    fn map(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn refuses_headers_that_are_not_the_endpoints_own() {
        for name in REFUSED_HEADERS.iter().chain(&[
            "Svix-Id",
            "webhook-signature",
            "X-Goog-Anything",
            "x-gfe-z",
            "",
            "a b",
        ]) {
            let places = messages(|faults| check_headers(faults, &map(name, "x")));
            assert_eq!(places, [keyed("headers", name)]);
        }
        for (name, value) in [
            ("X-Api-Key", "s3cret"),
            ("Authorization", "Bearer x"),
            ("x-tenant", ""),
        ] {
            assert_eq!(
                messages(|faults| check_headers(faults, &map(name, value))),
                [""; 0],
                "{name}"
            );
        }
        let twice = BTreeMap::from(["X-A", "x-a"].map(|name| (name.to_owned(), "1".to_owned())));
        assert_eq!(
            messages(|faults| check_headers(faults, &twice)),
            ["headers[\"x-a\"]"]
        );
    }

    #[test]
    fn bounds_headers() {
        let value = |length: usize| map("x-a", &"v".repeat(length));
        assert_eq!(
            messages(|faults| check_headers(faults, &value(MAX_HEADER_VALUE))),
            [""; 0]
        );
        assert_eq!(
            messages(|faults| check_headers(faults, &value(MAX_HEADER_VALUE + 1))),
            ["headers[\"x-a\"]"]
        );
        assert_eq!(
            messages(|faults| check_headers(faults, &map("x-a", "a\r\nb: c"))),
            ["headers[\"x-a\"]"]
        );
        let many = |count: usize| {
            (0..count)
                .map(|n| (format!("x-{n}"), String::new()))
                .collect::<BTreeMap<_, _>>()
        };
        assert_eq!(
            messages(|faults| check_headers(faults, &many(MAX_HEADERS))),
            [""; 0]
        );
        assert_eq!(
            messages(|faults| check_headers(faults, &many(MAX_HEADERS + 1))),
            ["headers"]
        );
    }

    #[test]
    fn bounds_schedules() {
        let check = |steps: &[i64]| {
            let mut faults = Faults::new();
            (check_schedule(&mut faults, Some(steps)), faults.into_vec().len())
        };
        assert_eq!(check(&[]), (Some(vec![]), 0));
        assert_eq!(check(&[0, 604_800]), (Some(vec![0, 604_800]), 0));
        assert_eq!(check(&[-1, 604_801]), (None, 2));
        assert_eq!(check(&[1; 20]).1, 0);
        assert_eq!(check(&[1; 21]), (None, 1));
    }

    #[test]
    fn a_password_in_the_url_becomes_a_header() {
        let mut faults = Faults::new();
        let target = check_url(&mut faults, "https://u:p@Example.com/hook", true).unwrap();
        assert_eq!(target.url, "https://example.com/hook");
        assert_eq!(target.authorization.as_deref(), Some("Basic dTpw"));
        assert!(check_url(&mut faults, "http://example.com", true).is_none());
        assert_eq!(faults.into_vec()[0].location, "url");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (one, other, same) in [
            ("https://a.test/x", "https://a.test:443/y?z", true),
            ("https://A.test/", "https://a.test/", true),
            ("https://a.test/", "https://a.test:444/", false),
            ("https://a.test/", "http://a.test/", false),
            ("http://a.test:443/", "https://a.test/", false),
            ("https://a.test/", "https://b.a.test/", false),
            ("https://a.test./", "https://a.test/", false),
            ("https://[::1]/", "https://127.0.0.1/", false),
            ("", "", false),
        ] {
            assert_eq!(is_same_origin(one, other), same, "{one} {other}");
        }
    }

    #[test]
    fn every_broken_name_has_its_place() {
        let names = ["CUSTOMER_CREATION", "a b", "*", "x*y"].map(str::to_owned);
        assert_eq!(
            messages(|faults| drop(check_event_names(faults, &names))),
            ["event_names[1]", "event_names[3]"]
        );
        assert_eq!(
            messages(|faults| drop(check_event_names(faults, &[]))),
            ["event_names"]
        );
    }

    proptest! {
        #[test]
        fn accepted_headers_can_be_sent(name in "\\PC{0,20}", value in "\\PC{0,20}") {
            let headers = map(&name, &value);
            if messages(|faults| check_headers(faults, &headers)).is_empty() {
                prop_assert!(HeaderName::try_from(&name).is_ok());
                prop_assert!(HeaderValue::try_from(&value).is_ok());
            }
        }

        #[test]
        fn metadata_is_bounded_as_json(key in "[a-z]{0,20}", length in 4_000..4_200_usize) {
            let metadata = map(&key, &"v".repeat(length));
            let json = serde_json::to_string(&metadata).unwrap();
            let accepted = messages(|faults| check_metadata(faults, &metadata)).is_empty();
            prop_assert!(!accepted || json.len() <= MAX_METADATA);
        }
    }
}
