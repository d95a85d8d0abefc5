//! Time that two processes of one machine agree on.
//!
//! The driver writes into a payload when it meant to send it, the receiver subtracts that from when it arrived. The
//! monotonic clock of Linux is the same in every process and is never set, unlike the wall clock.

use rustix::{
    io::Errno,
    thread::clock_nanosleep_absolute,
    time::{ClockId, Timespec, clock_gettime},
};

/// Microseconds since the machine started.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Blocks the thread until then; returns at once for the past.
///
/// A timer of the asynchronous runtime would be up to a millisecond late, which is half of what is to be measured.
pub(crate) fn block_until(micros: u64) {
    let until = Timespec {
        tv_sec: (micros / 1_000_000) as _,
        tv_nsec: (micros % 1_000_000 * 1_000) as _,
    };
    while clock_nanosleep_absolute(ClockId::Monotonic, &until) == Err(Errno::INTR) {}
}
