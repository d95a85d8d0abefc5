//! A point in time, to the microsecond.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::format_description};

/// Microseconds since 1970-01-01T00:00:00Z.
///
/// The engine's tables hold times as this number on both databases: SQLite has no time type, and text of varying
/// precision does not compare. On the wire it is RFC 3339 in UTC with milliseconds (kaiten.md, section 2.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the Unix epoch; saturates.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time that has passed since `earlier`, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, step: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(step.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, step: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(step.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(moment: OffsetDateTime) -> Self {
        // Down, not towards zero, so that order is kept before 1970, too.
        Self(moment.unix_timestamp_nanos().div_euclid(1_000) as i64)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format =
            format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .ok()
            .and_then(|moment| moment.format(&format).ok());
        match text {
            Some(text) => f.write_str(&text),
            // Beyond the calendar's range (year 9999); still say something that can be read back by a person.
            None => write!(f, "{}us", self.0),
        }
    }
}

/// The text is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time")]
pub struct ParseTimestampError;

impl FromStr for Timestamp {
    type Err = ParseTimestampError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            // The offset can lead out of the years 0 to 9999, for which RFC 3339 has no text.
            .and_then(|moment| moment.checked_to_offset(UtcOffset::UTC))
            .filter(|moment| moment.year() >= 0)
            .map(Self::from)
            .ok_or(ParseTimestampError)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_milliseconds_in_utc_and_reads_any_offset() {
        let moment: Timestamp = "2026-02-03T14:00:00.123456+02:00".parse().unwrap();
        assert_eq!(moment.to_string(), "2026-02-03T12:00:00.123Z");
        assert_eq!(moment.as_micros() % 1_000_000, 123_456);
        assert_eq!("tomorrow".parse::<Timestamp>(), Err(ParseTimestampError));
    }

    #[test]
    fn refuses_times_that_have_no_text_in_utc() {
        for text in ["9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"] {
            assert_eq!(text.parse::<Timestamp>(), Err(ParseTimestampError), "{text}");
        }
        assert!("9999-12-31T23:59:59.999Z".parse::<Timestamp>().is_ok());
    }

    #[test]
    fn seconds_are_rounded_down_on_both_sides_of_1970() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00.9999999Z", 0),
            ("1969-12-31T23:59:59.9999999Z", -1),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().as_secs(), seconds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_to_the_millisecond(micros in -62_167_219_200_000_000..253_402_300_800_000_000_i64) {
            let moment = Timestamp::from_micros(micros);
            let read: Timestamp = moment.to_string().parse().unwrap();
            prop_assert_eq!(read.as_micros(), micros - micros.rem_euclid(1_000));
        }

        #[test]
        fn reading_never_panics(text in "\\PC*|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,12})?([Zz]|[+-][0-9]{2}:[0-9]{2})") {
            if let Ok(moment) = text.parse::<Timestamp>() {
                prop_assert!(moment.to_string().parse::<Timestamp>().is_ok(), "{}", text);
            }
        }

        #[test]
        fn every_number_can_be_shown(micros in any::<i64>()) {
            prop_assert!(!Timestamp::from_micros(micros).to_string().is_empty());
        }
    }
}
