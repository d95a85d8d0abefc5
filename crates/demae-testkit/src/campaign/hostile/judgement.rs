//! What a campaign judges of the bystander's traffic, and the bounds.

use anyhow::{Result, ensure};

use super::{
    super::{books::Books, pace::Pace},
    options::Judged,
};

/// One request in so many may be refused.
const REFUSED_ONE_IN: u64 = 100;
/// So many attempts for others the program may make between the commit of 99 in 100 events and their arrival. An event that
/// stands behind the hostile tenant's backlog waits for tens of thousands.
const OVERTAKEN_AT_MOST: u64 = 2_000;
/// So many places half of the events may arrive after their turn. A lane makes 48 attempts at a time, which may end in any
/// order.
const LATE_AT_MOST: u64 = 48;
/// The same of 99 in 100 events, where the time is judged: the places of a few depend on it.
const MOST_LATE_AT_MOST: u64 = 100;
/// The median from request to receipt may be so many times that of the calm before. The actors share the processor with the
/// program, so this is no small number; a program that they stop is slower by far.
const SLOWER_AT_MOST: u64 = 20;
/// A calm median below this counts as this: on a quick machine a small multiple of it is no harm.
const CALM_MEDIAN_MS: u64 = 100;
/// Bytes of memory that the program may have at most.
const MEMORY_AT_MOST: u64 = 512 * 1_048_576;

/// Judges the bystander's traffic among the actors, `storm`, by what it was before them, `calm`.
pub(super) fn judge(judged: Judged, books: &Books, calm: &Pace, storm: &Pace) -> Result<()> {
    // Probes are judged as they fail: three in a row are a fault.
    let (refused, begun) = (books.refused("/api/"), books.begun() as u64);
    ensure!(
        refused * REFUSED_ONE_IN <= begun.max(REFUSED_ONE_IN),
        "the bystander was refused {refused} times with {begun} events"
    );
    match judged {
        Judged::Arrival => Ok(()),
        Judged::Order => judge_order(storm),
        Judged::OrderAndPace => judge_order(storm).and_then(|()| judge_pace(calm, storm)),
    }
}

fn judge_order(storm: &Pace) -> Result<()> {
    ensure!(
        storm.overtaken.most <= OVERTAKEN_AT_MOST,
        "the bystander's events stood behind those of others: {storm}"
    );
    ensure!(
        storm.late.half <= LATE_AT_MOST,
        "the bystander's events arrived out of their turn: {storm}"
    );
    Ok(())
}

fn judge_pace(calm: &Pace, storm: &Pace) -> Result<()> {
    ensure!(
        storm.slower_than(calm, CALM_MEDIAN_MS) <= SLOWER_AT_MOST,
        "the bystander was slowed down: {storm}; before: {calm}"
    );
    ensure!(
        storm.late.most <= MOST_LATE_AT_MOST,
        "some of the bystander's events arrived long after their turn: {storm}"
    );
    Ok(())
}

/// Judges the most memory that the program had.
pub(super) fn judge_memory(bytes: u64) -> Result<()> {
    ensure!(
        bytes <= MEMORY_AT_MOST,
        "the program took {} MiB of memory",
        bytes / 1_048_576
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Count = fn(&mut Pace) -> &mut u64;

    #[test]
    fn each_count_has_a_bound() {
        let counts: [(Count, u64); 2] = [
            (|pace| &mut pace.overtaken.most, OVERTAKEN_AT_MOST),
            (|pace| &mut pace.late.half, LATE_AT_MOST),
        ];
        for (count, bound) in counts {
            let mut storm = Pace::default();
            *count(&mut storm) = bound;
            judge_order(&storm).unwrap();
            *count(&mut storm) += 1;
            judge_order(&storm).unwrap_err();
        }
    }

    #[test]
    fn a_pace_is_judged_by_that_of_the_calm() {
        let mut calm = Pace::default();
        let mut storm = Pace::default();
        storm.receipt.half = CALM_MEDIAN_MS * (SLOWER_AT_MOST + 1);
        judge_order(&storm).unwrap();
        judge_pace(&calm, &storm).unwrap_err();
        calm.receipt.half = 2 * CALM_MEDIAN_MS;
        judge_pace(&calm, &storm).unwrap();
    }

    #[test]
    fn memory_has_a_bound() {
        judge_memory(MEMORY_AT_MOST).unwrap();
        judge_memory(MEMORY_AT_MOST + 1).unwrap_err();
    }
}
