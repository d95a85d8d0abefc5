//! Typed identifiers.
//!
//! Each is a UUID: that is what the database holds and what domain payloads carry. Those of the engine (applications,
//! endpoints, messages, attempts) are shown with a prefix and as a KSUID, the form that Svix clients expect; both forms are
//! read.

use std::{
    fmt,
    str::FromStr,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::{Timestamp, ksuid};

/// The text is not an identifier of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed identifier")]
pub struct ParseIdError;

/// A new time-ordered UUID (RFC 9562, version 7) for something that began at `now`.
///
/// Ids of one process sort by their `now`, to the microsecond, and those of one `now` in the order in which they were
/// made, whichever threads made them: a task that goes on in another thread between two ids changes nothing. The time
/// inside is `now` itself and never that of a later id, so whoever looks for a time finds it (RFC 9562, section 6.2,
/// methods 3 and 1, over a random rest).
pub fn new_uuid(now: Timestamp) -> Uuid {
    let micros = now.as_micros().max(0) as u64;
    // RFC 9562, section 5.7: 48 bits of milliseconds, 12 of their fraction, and 62 that we divide into 32 that count and
    // 30 that cannot be guessed.
    let fraction = (micros % 1_000) * 4_096 / 1_000;
    let rest = (u64::from(next_count()) << 30) | u64::from(rand::random::<u32>() >> 2);
    let mut below_milliseconds = [0; 10];
    below_milliseconds[..2].copy_from_slice(&(fraction as u16).to_be_bytes());
    below_milliseconds[2..].copy_from_slice(&rest.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(micros / 1_000, &below_milliseconds).into_uuid()
}

/// Counts the ids of this process. It begins at random, so that processes of one microsecond do not count alike; when it
/// starts over, after 2³¹ ids or more, that shows in the order of ids of one microsecond only.
fn next_count() -> u32 {
    static COUNT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random::<u32>() >> 1));
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// The Unix seconds inside a version 7 UUID; zero for other versions, which carry no time.
fn unix_seconds(id: Uuid) -> i64 {
    id.get_timestamp().map_or(0, |time| time.to_unix().0 as i64)
}

macro_rules! plain_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError)
            }
        }
    };
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier for something that begins at `now`.
            pub fn new(now: Timestamp) -> Self {
                Self(new_uuid(now))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, ksuid::encode(unix_seconds(self.0), self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text.strip_prefix($prefix) {
                    Some(rest) => ksuid::decode(rest).map(Self).ok_or(ParseIdError),
                    None => Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

plain_id!(
    /// A tenant. Every row has one.
    OrganizationId
);
prefixed_id!(
    /// An application of an organization, shown as `app_…`. The default one has the organization's UUID.
    ApplicationId,
    "app_"
);
plain_id!(
    /// An event's identity from the outbox row to the receiver.
    EventId
);
prefixed_id!(
    /// A webhook endpoint, shown as `ep_…`.
    EndpointId,
    "ep_"
);
prefixed_id!(
    /// One attempt to deliver a message, shown as `atmpt_…`. It is also the lease under which the attempt is made.
    AttemptId,
    "atmpt_"
);
prefixed_id!(
    /// A job whose progress can be asked, shown as `job_…`.
    JobId,
    "job_"
);

impl OrganizationId {
    /// A new organization's identifier.
    pub fn new(now: Timestamp) -> Self {
        Self(new_uuid(now))
    }
}

impl ApplicationId {
    /// The default application of an organization.
    pub const fn default_of(organization: OrganizationId) -> Self {
        Self(organization.0)
    }
}

impl EventId {
    /// A new event's identifier.
    pub fn new(now: Timestamp) -> Self {
        Self(new_uuid(now))
    }

    /// The identity of the message that carries this event to endpoints: `msg_…`, the value of the `webhook-id`
    /// header. `created_at` is the event's own time, needed because not every event id holds one.
    pub fn message_id(self, created_at: Timestamp) -> String {
        format!("msg_{}", ksuid::encode(created_at.as_secs(), self.0))
    }

    /// Reads an event's identity from `msg_…` or from a plain UUID.
    pub fn from_any(text: &str) -> Result<Self, ParseIdError> {
        match text.strip_prefix("msg_") {
            Some(rest) => ksuid::decode(rest).map(Self).ok_or(ParseIdError),
            None => text.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixed_ids_are_read_back_in_both_forms() {
        let id = EndpointId::new(Timestamp::from_secs(1_790_000_000));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.0.to_string().parse(), Ok(id));
        assert_eq!("atmpt_123".parse::<EndpointId>(), Err(ParseIdError));
    }

    #[test]
    fn ids_of_one_moment_sort_in_the_order_they_were_made_whichever_thread_makes_them() {
        let now = Timestamp::from_micros(1_790_000_000_123_456);
        let mut made = Vec::new();
        for _ in 0..200 {
            let other = std::thread::spawn(move || [new_uuid(now), new_uuid(now)]);
            made.extend(other.join().unwrap());
            made.push(new_uuid(now));
        }
        assert!(made.is_sorted(), "{made:?}");
        assert!(new_uuid(Timestamp::from_micros(now.as_micros() - 1)) < made[0]);
        assert!(new_uuid(Timestamp::from_micros(now.as_micros() + 1)) > made[made.len() - 1]);
    }

    #[test]
    fn an_id_holds_its_own_time_also_when_a_later_one_was_made_before() {
        let now = Timestamp::from_micros(1_790_000_000_123_456);
        new_uuid(now + std::time::Duration::from_hours(1));
        let id = new_uuid(now);
        assert_eq!(
            (id.get_version_num(), id.get_variant()),
            (7, uuid::Variant::RFC4122)
        );
        assert_eq!(
            id.get_timestamp().unwrap().to_unix(),
            (1_790_000_000, 123_000_000)
        );
    }

    #[test]
    fn message_ids_lead_back_to_the_event() {
        let event = EventId(Uuid::from_u128(17));
        let text = event.message_id(Timestamp::from_secs(1_790_000_000));
        assert_eq!(EventId::from_any(&text), Ok(event));
        assert_eq!(text.len(), "msg_".len() + 27);
    }

    proptest! {
        #[test]
        fn identifiers_are_read_back(bytes in any::<[u8; 16]>(), seconds in any::<i64>()) {
            let id = Uuid::from_bytes(bytes);
            prop_assert_eq!(EndpointId(id).to_string().parse(), Ok(EndpointId(id)));
            let message = EventId(id).message_id(Timestamp::from_secs(seconds));
            prop_assert_eq!(EventId::from_any(&message), Ok(EventId(id)));
        }

        #[test]
        fn reading_never_panics(text in "(ep_|msg_|)([0-9A-Za-z]{27}|\\PC{0,40})") {
            let _ = text.parse::<EndpointId>();
            let _ = EventId::from_any(&text);
        }
    }
}
