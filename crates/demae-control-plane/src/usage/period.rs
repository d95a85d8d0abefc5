//! When a counter begins at zero again.
//!
//! Periods are hours, days, weeks, months or years in UTC, counted from an origin: that of the calendar, or the start of
//! the instance's license. Which period a moment is in follows from the two alone, so that all processes agree and
//! nothing has to run when one ends.

use demae_event::Timestamp;
use time::{Date, OffsetDateTime, macros::datetime};

use crate::entitlements::ResetPeriod;

/// A Monday on which a year began: counted from here, every hour, day, week, month and year begins where the calendar's
/// does (weeks as ISO 8601 has them).
const CALENDAR: OffsetDateTime = datetime!(2001-01-01 00:00 UTC);

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// From its first moment until just before its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment of the next one.
    pub end: Timestamp,
}

impl Period {
    /// The period that `now` is in, counted from `origin`, or as the calendar counts. `None` beyond the calendar's range
    /// (years after 9999).
    pub fn at(length: ResetPeriod, origin: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        let origin = origin.unwrap_or_else(|| CALENDAR.into());
        match length {
            ResetPeriod::Hour => Self::of_length(HOUR, origin, now),
            ResetPeriod::Day => Self::of_length(DAY, origin, now),
            ResetPeriod::Week => Self::of_length(WEEK, origin, now),
            ResetPeriod::Month => Self::of_months(1, origin, now),
            ResetPeriod::Year => Self::of_months(12, origin, now),
        }
    }

    fn of_length(length: i64, origin: Timestamp, now: Timestamp) -> Option<Self> {
        let passed = now.as_micros().checked_sub(origin.as_micros())?;
        let start = now.as_micros().checked_sub(passed.rem_euclid(length))?;
        Some(Self {
            start: Timestamp::from_micros(start),
            end: Timestamp::from_micros(start.checked_add(length)?),
        })
    }

    fn of_months(length: i32, origin: Timestamp, now: Timestamp) -> Option<Self> {
        let (origin, now) = (calendar(origin)?, calendar(now)?);
        let month = |moment: OffsetDateTime| moment.year() * 12 + i32::from(u8::from(moment.month()));
        let mut passed = month(now) - month(origin);
        if months_after(origin, passed)? > now {
            passed -= 1;
        }
        let first = passed.div_euclid(length) * length;
        Some(Self {
            start: months_after(origin, first)?.into(),
            end: months_after(origin, first + length)?.into(),
        })
    }
}

/// The same day and time so many months later, or the month's last day where it is shorter.
fn months_after(origin: OffsetDateTime, months: i32) -> Option<OffsetDateTime> {
    let zero_based = i32::from(u8::from(origin.month())) - 1 + months;
    let year = origin.year() + zero_based.div_euclid(12);
    let month = time::Month::try_from(u8::try_from(zero_based.rem_euclid(12) + 1).ok()?).ok()?;
    let day = origin.day().min(month.length(year));
    let date = Date::from_calendar_date(year, month, day).ok()?;
    Some(origin.replace_date(date))
}

/// One year after `start`; `None` beyond the calendar's range.
pub(crate) fn year_after(start: Timestamp) -> Option<Timestamp> {
    Some(months_after(calendar(start)?, 12)?.into())
}

fn calendar(moment: Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(moment.as_micros()) * 1_000).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [ResetPeriod; 5] = [
        ResetPeriod::Hour,
        ResetPeriod::Day,
        ResetPeriod::Week,
        ResetPeriod::Month,
        ResetPeriod::Year,
    ];

    fn bounds(length: ResetPeriod, origin: Option<&str>, now: &str) -> (String, String) {
        let origin = origin.map(|text| text.parse().unwrap());
        let period = Period::at(length, origin, now.parse().unwrap()).unwrap();
        (period.start.to_string(), period.end.to_string())
    }

    #[test]
    fn the_calendar_s_periods() {
        let now = "2028-02-29T13:45:59.999Z";
        for (length, start, end) in [
            (ResetPeriod::Hour, "2028-02-29T13:00", "2028-02-29T14:00"),
            (ResetPeriod::Day, "2028-02-29T00:00", "2028-03-01T00:00"),
            // A Tuesday.
            (ResetPeriod::Week, "2028-02-28T00:00", "2028-03-06T00:00"),
            (ResetPeriod::Month, "2028-02-01T00:00", "2028-03-01T00:00"),
            (ResetPeriod::Year, "2028-01-01T00:00", "2029-01-01T00:00"),
        ] {
            let expected = (format!("{start}:00.000Z"), format!("{end}:00.000Z"));
            assert_eq!(bounds(length, None, now), expected, "{length:?}");
        }
        // Before the origin, too, and at both ends of a period.
        let expected = (
            "1999-12-27T00:00:00.000Z".to_owned(),
            "2000-01-03T00:00:00.000Z".to_owned(),
        );
        for now in ["1999-12-27T00:00:00Z", "2000-01-02T23:59:59.999999Z"] {
            assert_eq!(bounds(ResetPeriod::Week, None, now), expected);
        }
    }

    #[test]
    fn the_license_s_periods() {
        let origin = Some("2026-01-31T08:30:00Z");
        for (now, start, end) in [
            ("2026-01-31T08:30:00Z", "2026-01-31", "2026-02-28"),
            ("2026-02-28T08:29:59Z", "2026-01-31", "2026-02-28"),
            ("2026-02-28T08:30:00Z", "2026-02-28", "2026-03-31"),
            ("2026-04-30T09:00:00Z", "2026-04-30", "2026-05-31"),
            ("2025-12-31T08:29:59Z", "2025-11-30", "2025-12-31"),
        ] {
            let expected = (format!("{start}T08:30:00.000Z"), format!("{end}T08:30:00.000Z"));
            assert_eq!(bounds(ResetPeriod::Month, origin, now), expected, "{now}");
        }
        let leap = Some("2024-02-29T00:00:00Z");
        let expected = (
            "2025-02-28T00:00:00.000Z".to_owned(),
            "2026-02-28T00:00:00.000Z".to_owned(),
        );
        assert_eq!(bounds(ResetPeriod::Year, leap, "2025-06-01T00:00:00Z"), expected);
    }

    #[test]
    fn a_year_later() {
        for (start, end) in [
            ("2026-02-03T09:20:00.000Z", "2027-02-03T09:20:00.000Z"),
            ("2028-02-29T00:00:00.000Z", "2029-02-28T00:00:00.000Z"),
        ] {
            assert_eq!(year_after(start.parse().unwrap()).unwrap().to_string(), end);
        }
        assert_eq!(year_after("9999-06-01T00:00:00Z".parse().unwrap()), None);
    }

    proptest! {
        // Years 1600 to 2600.
        #[test]
        fn every_moment_is_in_one_period_and_the_next_begins_where_it_ends(
            origin in proptest::option::of(-11_000_000_000_000_000..19_000_000_000_000_000_i64),
            now in -11_000_000_000_000_000..19_000_000_000_000_000_i64,
        ) {
            let (origin, now) = (origin.map(Timestamp::from_micros), Timestamp::from_micros(now));
            for length in ALL {
                let period = Period::at(length, origin, now).unwrap();
                prop_assert!(period.start <= now && now < period.end, "{:?} {:?}", length, period);
                prop_assert_eq!(Period::at(length, origin, period.start), Some(period));
                let next = Period::at(length, origin, period.end).unwrap();
                prop_assert_eq!(next.start, period.end);
            }
        }

        #[test]
        fn nothing_panics(origin in any::<i64>(), now in any::<i64>()) {
            for length in ALL {
                let _ = Period::at(length, Some(Timestamp::from_micros(origin)), Timestamp::from_micros(now));
            }
        }
    }
}
