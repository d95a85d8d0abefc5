//! Which odd rows were written.

use std::collections::VecDeque;

/// So many rows are remembered, for a judgement at the end: a campaign may be of any length.
const REMEMBERED: usize = 500;

/// The rows so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    /// The next one's number.
    pub(super) next: u64,
    /// The last ones whose commit was acknowledged: their numbers, and what is odd of them.
    pub(super) last: VecDeque<(u64, &'static str)>,
}

impl Written {
    /// The number of a row that is about to be written.
    pub(super) fn next_number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// A row was committed.
    pub(super) fn note(&mut self, number: u64, what: &'static str) {
        self.last.push_back((number, what));
        if self.last.len() > REMEMBERED {
            self.last.pop_front();
        }
    }
}
