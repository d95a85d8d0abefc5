//! What reports add up to: the arithmetic of the six aggregation methods (kaiten.md, sections 2.5 and 2.6), and nothing
//! else. It knows neither limits nor periods nor databases.
//!
//! `append` folds a report in; `set` makes the value what it says, as if it had been the only report. So a count that
//! was set to 7 goes on with 8, an average that was set weighs as one report, and a maximum that was set can only rise
//! from there.

use crate::{Amount, entitlements::AggregationMethod};

/// What some reports came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// The reports folded by their method.
    pub value: Amount,
    /// For an average the sum of the reports, from which it stays exact; otherwise the value.
    pub total: Amount,
    /// How many reports it is made of.
    pub event_count: i64,
}

impl Tally {
    /// Before the first report.
    pub const EMPTY: Self = Self {
        value: Amount::ZERO,
        total: Amount::ZERO,
        event_count: 0,
    };

    /// With one more report; `None` if the result is larger than can be kept, which is far beyond [`Amount::MAX`].
    pub fn append(self, method: AggregationMethod, reported: Amount) -> Option<Self> {
        let event_count = self.event_count.checked_add(1)?;
        let first = self.event_count == 0;
        if method == AggregationMethod::Average {
            let total = sum(self.total, reported)?;
            return Some(Self {
                value: mean(total, event_count)?,
                total,
                event_count,
            });
        }
        let value = match method {
            AggregationMethod::Sum => sum(self.value, reported)?,
            AggregationMethod::Count => sum(self.value, Amount::from(1))?,
            AggregationMethod::Max if !first => self.value.max(reported),
            AggregationMethod::Min if !first => self.value.min(reported),
            AggregationMethod::Max
            | AggregationMethod::Min
            | AggregationMethod::Latest
            | AggregationMethod::Average => reported,
        };
        Some(Self {
            value,
            total: value,
            event_count,
        })
    }

    /// With this report alone.
    pub fn set(reported: Amount) -> Self {
        Self {
            value: reported,
            total: reported,
            event_count: 1,
        }
    }
}

fn sum(left: Amount, right: Amount) -> Option<Amount> {
    left.billionths()
        .checked_add(right.billionths())
        .map(Amount::from_billionths)
}

/// Rounds half away from zero.
fn mean(total: Amount, count: i64) -> Option<Amount> {
    let (total, count) = (total.billionths(), i128::from(count));
    let half = total.signum() * (count / 2);
    total
        .checked_add(half)?
        .checked_div(count)
        .map(Amount::from_billionths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{AggregationMethod as Method, *};

    #[derive(Debug, Clone, Copy)]
    enum Report {
        Append(i64),
        Set(i64),
    }

    fn reports() -> impl Strategy<Value = Vec<Report>> {
        let number = -1_000_000..1_000_000_i64;
        let report = prop_oneof![
            5 => number.clone().prop_map(Report::Append),
            1 => number.prop_map(Report::Set),
        ];
        proptest::collection::vec(report, 0..30)
    }

    fn every_method() -> impl Iterator<Item = Method> {
        Method::WORDS.iter().map(|word| Method::find(word).unwrap())
    }

    /// Reports are hundredths.
    fn hundredths(number: i64) -> Amount {
        format!("{number}e-2").parse().unwrap()
    }

    fn folded(method: Method, reports: &[Report]) -> Tally {
        reports.iter().fold(Tally::EMPTY, |tally, report| match *report {
            Report::Append(number) => tally.append(method, hundredths(number)).unwrap(),
            Report::Set(number) => Tally::set(hundredths(number)),
        })
    }

    /// The same from the definition: what counts is the last `set`, as a first report, and what was appended after it.
    fn naive(method: Method, reports: &[Report]) -> (Amount, i64) {
        let begin = reports
            .iter()
            .rposition(|report| matches!(report, Report::Set(_)))
            .unwrap_or(0);
        let counted: Vec<i64> = reports[begin..]
            .iter()
            .map(|report| match *report {
                Report::Append(number) | Report::Set(number) => number,
            })
            .collect();
        let count = counted.len() as i64;
        let (Some(&first), Some(&last)) = (counted.first(), counted.last()) else {
            return (Amount::ZERO, 0);
        };
        let was_set = matches!(reports[begin], Report::Set(_));
        let sum: i64 = counted.iter().sum();
        let value = match method {
            Method::Sum => hundredths(sum),
            Method::Count if was_set => hundredths(first + 100 * (count - 1)),
            Method::Count => Amount::from(count),
            // A double has more digits than the rounding leaves of numbers as small as these.
            Method::Average => format!("{:.9}", sum as f64 / 100.0 / count as f64)
                .parse()
                .unwrap(),
            Method::Max => hundredths(*counted.iter().max().unwrap()),
            Method::Min => hundredths(*counted.iter().min().unwrap()),
            Method::Latest => hundredths(last),
        };
        (value, count)
    }

    proptest! {
        #[test]
        fn folding_is_what_the_whole_list_says(reports in reports()) {
            for method in every_method() {
                let tally = folded(method, &reports);
                let (value, count) = naive(method, &reports);
                let apart = (tally.value.billionths() - value.billionths()).abs();
                // The naive mean may stand on the other side of a half.
                prop_assert!(apart <= i128::from(method == Method::Average), "{:?} {:?} {:?}", method, tally, value);
                prop_assert_eq!(tally.event_count, count);
            }
        }
    }

    #[test]
    fn each_method_by_hand() {
        use Report::{Append, Set};
        for (method, value) in [
            (Method::Sum, "4"),
            (Method::Count, "3"),
            (Method::Average, "1.333333333"),
            (Method::Max, "5"),
            (Method::Min, "-3"),
            (Method::Latest, "2"),
        ] {
            let tally = folded(method, &[Append(500), Append(-300), Append(200)]);
            assert_eq!(
                (tally.value.to_string().as_str(), tally.event_count),
                (value, 3),
                "{method:?}"
            );
        }
        for (method, value) in [
            (Method::Sum, "9"),
            (Method::Count, "8"),
            (Method::Average, "4.5"),
            (Method::Max, "7"),
            (Method::Min, "2"),
            (Method::Latest, "2"),
        ] {
            let tally = folded(method, &[Append(99_900), Set(700), Append(200)]);
            assert_eq!(
                (tally.value.to_string().as_str(), tally.event_count),
                (value, 2),
                "{method:?}"
            );
        }
    }

    #[test]
    fn an_average_is_rounded_but_never_drifts() {
        let thirds = (0..300).fold(Tally::EMPTY, |tally, number| {
            let reported = Amount::from(i64::from(number % 3 == 0));
            tally.append(Method::Average, reported).unwrap()
        });
        assert_eq!(thirds.value.to_string(), "0.333333333");
        assert_eq!(thirds.total, Amount::from(100));
        let negative = folded(
            Method::Average,
            &[Report::Append(-100), Report::Append(-100), Report::Append(0)],
        );
        assert_eq!(negative.value.to_string(), "-0.666666667");
    }

    #[test]
    fn the_first_report_counts_even_below_zero() {
        assert_eq!(
            folded(Method::Max, &[Report::Append(-200)]).value,
            Amount::from(-2)
        );
        assert_eq!(folded(Method::Min, &[Report::Append(200)]).value, Amount::from(2));
    }

    #[test]
    fn what_cannot_be_kept_is_none() {
        let tally = Tally::set(Amount::from_billionths(i128::MAX));
        for method in [Method::Sum, Method::Count, Method::Average] {
            assert_eq!(tally.append(method, Amount::from(1)), None, "{method:?}");
        }
        assert!(tally.append(Method::Latest, Amount::from(1)).is_some());
    }
}
