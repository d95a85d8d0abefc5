//! Stops reading a connection while its consumer holds as many bytes as it may.
//!
//! `basic.qos` limits what a consumer holds by number only: RabbitMQ implements no limit by size, and quorum queues
//! refuse one for the whole channel. A limit by number that is right for messages of 1 KB is a thousand times too high
//! for messages of 1 MB, and the client library keeps in memory whatever arrives. So the bytes stay where they are:
//! [`Gated`] does not read while the [`Gate`] is closed, and TCP's flow control holds the broker back. Nothing is given
//! back or delivered again, so no message comes closer to the redelivery limit.
//!
//! - *Bounded*: at most [`HELD_BYTES`], one message, and the library's receive buffer.
//! - *Never stuck*: a message that is larger than the budget comes in when nothing else is held.
//! - *Alive*: while the gate is closed, [`Gate::trickle`] lets a few bytes through now and then, because the library takes a
//!   connection from which it reads nothing for dead.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use futures::{
    io::{AsyncRead, AsyncWrite},
    task::AtomicWaker,
};

use crate::seam::HELD_BYTES;

/// Bytes of the protocol around a message, roughly. An error is set right whenever nothing waits.
const FRAMING: usize = 256;

/// How much one connection's consumer holds.
#[derive(Debug)]
pub(super) struct Gate {
    limit: usize,
    /// Bytes that were read and of which the consumer has not taken the messages yet.
    waiting: AtomicUsize,
    /// Bytes of the messages that the consumer took and did not settle.
    held: AtomicUsize,
    /// A few bytes may come in although the gate is closed.
    trickles: AtomicBool,
    trickle: usize,
    reader: AtomicWaker,
    consumer: AtomicWaker,
}

impl Gate {
    /// For a connection that consumes. Encrypted bytes come in records, of which a part is as good as nothing.
    pub(super) fn of_consumer(is_encrypted: bool) -> Arc<Self> {
        /// The largest record of TLS 1.3 (RFC 8446, section 5.2) with its header, or a heartbeat and a little more.
        const RECORD: usize = 5 + 16_384 + 256;
        Self::new(HELD_BYTES, if is_encrypted { RECORD } else { 64 })
    }

    /// For a connection to which the broker sends nothing but answers.
    pub(super) fn unlimited() -> Arc<Self> {
        Self::new(usize::MAX, 0)
    }

    fn new(limit: usize, trickle: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            waiting: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            trickles: AtomicBool::new(false),
            trickle,
            reader: AtomicWaker::new(),
            consumer: AtomicWaker::new(),
        })
    }

    /// The consumer took a message with a body of so many bytes.
    pub(super) fn took(&self, bytes: usize) {
        subtract(&self.waiting, bytes + FRAMING);
        self.held.fetch_add(bytes + FRAMING, Ordering::AcqRel);
    }

    /// Messages with so many bytes in so many bodies were settled.
    pub(super) fn settled(&self, messages: usize, bytes: usize) {
        subtract(&self.held, bytes + messages * FRAMING);
        self.reader.wake();
    }

    /// The consumer waits and finds nothing: what was read so far is the beginning of a message.
    pub(super) fn emptied(&self, consumer: &Waker) {
        self.consumer.register(consumer);
        let was_open = self.is_open();
        self.waiting.store(0, Ordering::Release);
        if !was_open && self.is_open() {
            self.reader.wake();
        }
    }

    /// Lets a few bytes in although the gate may be closed.
    pub(super) fn trickle(&self) {
        self.trickles.store(true, Ordering::Release);
        self.reader.wake();
    }

    fn is_open(&self) -> bool {
        let waiting = self.waiting.load(Ordering::Acquire);
        waiting.saturating_add(self.held.load(Ordering::Acquire)) < self.limit
    }

    /// How much of `wanted` bytes may be read now; 0 while the gate is closed.
    fn admit(&self, reader: &Waker, wanted: usize) -> usize {
        self.reader.register(reader);
        if self.is_open() {
            return wanted;
        }
        // The rest of a large message may be all that is missing: the consumer then says that it waits for nothing else.
        self.consumer.wake();
        if self.trickles.swap(false, Ordering::AcqRel) {
            wanted.min(self.trickle)
        } else {
            0
        }
    }
}

fn subtract(from: &AtomicUsize, bytes: usize) {
    // The closure always answers, so this cannot fail.
    let _ = from.fetch_update(Ordering::AcqRel, Ordering::Acquire, |value| {
        Some(value.saturating_sub(bytes))
    });
}

/// A connection that is read only while its gate is open.
#[derive(Debug)]
pub(super) struct Gated<S> {
    stream: S,
    gate: Arc<Gate>,
}

impl<S> Gated<S> {
    pub(super) fn new(stream: S, gate: Arc<Gate>) -> Self {
        Self { stream, gate }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let admitted = this.gate.admit(context.waker(), buffer.len());
        if admitted == 0 && !buffer.is_empty() {
            return Poll::Pending;
        }
        let read = Pin::new(&mut this.stream).poll_read(context, &mut buffer[..admitted]);
        if let Poll::Ready(Ok(bytes)) = &read {
            this.gate.waiting.fetch_add(*bytes, Ordering::AcqRel);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::{io::Cursor, task::noop_waker};

    use super::*;

    fn read(gated: &mut Gated<Cursor<Vec<u8>>>) -> Option<usize> {
        let waker = noop_waker();
        let mut buffer = [0; 40];
        match Pin::new(gated).poll_read(&mut Context::from_waker(&waker), &mut buffer) {
            Poll::Ready(read) => Some(read.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn reading_pauses_at_the_limit_and_goes_on_when_messages_are_settled() {
        let gate = Gate::new(400, 3);
        let mut gated = Gated::new(Cursor::new(vec![0; 4_000]), gate.clone());
        while read(&mut gated).is_some() {}
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 400);
        // Taken, but not settled: still in memory.
        gate.took(400);
        assert_eq!(read(&mut gated), None);
        gate.trickle();
        assert_eq!(read(&mut gated), Some(3));
        assert_eq!(read(&mut gated), None);
        gate.settled(1, 400);
        assert_eq!(read(&mut gated), Some(40));
    }

    #[test]
    fn a_message_larger_than_the_limit_comes_in_when_nothing_else_is_held() {
        let gate = Gate::new(400, 3);
        let mut gated = Gated::new(Cursor::new(vec![0; 2_000]), gate.clone());
        let mut arrived = 0;
        for _ in 0..10 {
            while let Some(bytes @ 1..) = read(&mut gated) {
                arrived += bytes;
            }
            gate.emptied(&noop_waker());
        }
        assert_eq!(arrived, 2_000);
    }
}
