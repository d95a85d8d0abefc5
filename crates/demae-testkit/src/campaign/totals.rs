//! What became of all events of a campaign, in numbers.

use std::{collections::BTreeMap, fmt};

use super::way::PATHS;

/// What a campaign came to at the receiver.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) committed: usize,
    pub(super) rolled_back: usize,
    pub(super) unknown: usize,
    pub(super) unknown_arrived: usize,
    pub(super) arrivals: u64,
    pub(super) duplicates: u64,
    pub(super) most_of_one: u32,
    pub(super) refusals: BTreeMap<String, u64>,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            committed,
            rolled_back,
            unknown,
            unknown_arrived,
            arrivals,
            duplicates,
            most_of_one,
            refusals,
        } = self;
        writeln!(
            f,
            "{committed} events committed, 0 lost; {rolled_back} rolled back, 0 arrived; {unknown} whose writer got no answer, \
             {unknown_arrived} of them arrived"
        )?;
        writeln!(
            f,
            "{arrivals} accepted deliveries to {} endpoints, {duplicates} of them duplicates (at most {most_of_one} of one \
             event at one endpoint)",
            PATHS.len()
        )?;
        write!(f, "writers were refused or left without an answer: {refusals:?}")
    }
}
