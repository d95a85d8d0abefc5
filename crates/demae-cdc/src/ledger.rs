//! Which part of the log is done with. Pure.
//!
//! The server keeps its log from the confirmed position on and, after a crash, sends every transaction again whose commit
//! lies behind it. So a position may be confirmed only when every change before it has been acknowledged, and
//! transactions are confirmed whole, in the order of their commits: whatever order the acknowledgements come in.

use std::collections::VecDeque;

/// Names a transaction, or another stretch of the log, for [`Ledger::acknowledge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch(u64);

#[derive(Debug)]
struct Entry {
    /// Where it ends; `None` while it is being read.
    end: Option<u64>,
    /// Changes that were taken and not acknowledged.
    open: usize,
}

/// The stretches that are not confirmed yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: VecDeque<Entry>,
    /// The number of the oldest entry.
    first: u64,
    confirmed: u64,
}

impl Ledger {
    /// A stretch begins. Those before it have ended.
    pub(crate) fn begin(&mut self) -> Stretch {
        self.entries.push_back(Entry { end: None, open: 0 });
        Stretch(self.first + self.entries.len() as u64 - 1)
    }

    /// A change of it was taken.
    pub(crate) fn take(&mut self, stretch: Stretch) {
        if let Some(entry) = self.entry(stretch) {
            entry.open += 1;
        }
    }

    /// A change of it was acknowledged.
    pub(crate) fn acknowledge(&mut self, stretch: Stretch) {
        if let Some(entry) = self.entry(stretch) {
            entry.open = entry.open.saturating_sub(1);
        }
        self.advance();
    }

    /// It ended at this position of the log.
    pub(crate) fn end(&mut self, stretch: Stretch, position: u64) {
        if let Some(entry) = self.entry(stretch) {
            entry.end = Some(position);
        }
        self.advance();
    }

    /// There is nothing of interest up to this position, behind everything that was begun.
    pub(crate) fn idle(&mut self, position: u64) {
        match self.entries.back_mut() {
            // Between two transactions: the last one may as well end here.
            Some(Entry { end: Some(end), .. }) => *end = (*end).max(position),
            Some(_) => {}
            None => self.confirmed = self.confirmed.max(position),
        }
    }

    /// Everything before this position is done with; 0 if nothing is known.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Whether this stretch has ended and all its changes, and all before it, are acknowledged.
    pub(crate) fn is_done(&self, stretch: Stretch) -> bool {
        stretch.0 < self.first
    }

    fn entry(&mut self, Stretch(number): Stretch) -> Option<&mut Entry> {
        let index = number.checked_sub(self.first)?;
        self.entries.get_mut(usize::try_from(index).ok()?)
    }

    fn advance(&mut self) {
        while let Some(Entry {
            end: Some(end),
            open: 0,
        }) = self.entries.front()
        {
            self.confirmed = self.confirmed.max(*end);
            self.entries.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_transaction_is_confirmed_when_all_its_changes_are() {
        let mut ledger = Ledger::default();
        let first = ledger.begin();
        ledger.take(first);
        ledger.take(first);
        ledger.acknowledge(first);
        ledger.end(first, 100);
        assert_eq!(ledger.confirmed(), 0);
        ledger.acknowledge(first);
        assert_eq!(ledger.confirmed(), 100);
        assert!(ledger.is_done(first));
    }

    #[test]
    fn a_part_that_is_acknowledged_before_the_transaction_has_ended_confirms_nothing() {
        let mut ledger = Ledger::default();
        let large = ledger.begin();
        ledger.take(large);
        ledger.acknowledge(large);
        ledger.idle(90);
        assert_eq!(ledger.confirmed(), 0);
        ledger.end(large, 100);
        assert_eq!(ledger.confirmed(), 100);
    }

    #[test]
    fn an_idle_position_counts_only_behind_what_is_acknowledged() {
        let mut ledger = Ledger::default();
        ledger.idle(10);
        assert_eq!(ledger.confirmed(), 10);
        let transaction = ledger.begin();
        ledger.take(transaction);
        ledger.end(transaction, 20);
        ledger.idle(30);
        assert_eq!(ledger.confirmed(), 10);
        ledger.acknowledge(transaction);
        assert_eq!(ledger.confirmed(), 30);
    }

    proptest! {
        /// Against the definition: the end of the longest run of finished stretches from the first on.
        #[test]
        fn acknowledgements_in_any_order_confirm_only_whole_prefixes(
            sizes in proptest::collection::vec(0_usize..4, 1..12),
            seed in proptest::collection::vec(any::<u16>(), 0..48),
        ) {
            let mut ledger = Ledger::default();
            let mut open: Vec<(usize, Stretch)> = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                let stretch = ledger.begin();
                for _ in 0..*size {
                    ledger.take(stretch);
                    open.push((index, stretch));
                }
                ledger.end(stretch, (index as u64 + 1) * 10);
            }
            for pick in seed {
                if open.is_empty() {
                    break;
                }
                let (_, stretch) = open.remove(usize::from(pick) % open.len());
                ledger.acknowledge(stretch);
                let done = open.iter().map(|(index, _)| *index).min().unwrap_or(sizes.len());
                prop_assert_eq!(ledger.confirmed(), done as u64 * 10);
            }
        }
    }
}
