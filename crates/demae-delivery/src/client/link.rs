//! Knows what happened on one connection, so that a failed exchange can tell a dead connection from a dead receiver.
//!
//! A [`Link`] is shared by the stream, which sees bytes, and by the exchanges made on it, which see answers. The HTTP
//! client hands it over with every response and with every error of a connection.
//!
//! # Limits
//! HTTP/2 carries many exchanges at once, so for HTTP/2 the bytes say nothing about one of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures::task::AtomicWaker;

/// The record of one connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    http2: bool,
    /// An answer came on this connection before.
    answered: AtomicBool,
    /// Bytes came since the last request was written.
    heard: AtomicBool,
    /// The connection must not carry another exchange.
    closing: AtomicBool,
    reader: AtomicWaker,
}

impl Link {
    /// The record of a new connection.
    pub(super) fn new(http2: bool) -> Self {
        Self {
            http2,
            ..Self::default()
        }
    }

    /// Notes that the head of an answer came.
    pub(super) fn note_answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Notes that bytes were read.
    pub(super) fn note_read(&self) {
        if !self.heard.load(Ordering::Relaxed) {
            self.heard.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that bytes are written: the next bytes read answer them.
    pub(super) fn note_write(&self) {
        if self.heard.load(Ordering::Relaxed) {
            self.heard.store(false, Ordering::Relaxed);
        }
    }

    /// Ends an HTTP/1 connection after the answer that has come; whoever reads from it finds its end.
    ///
    /// HTTP/2 frames its streams itself, so one odd answer is no reason to end the others.
    pub(super) fn close(&self) {
        if !self.http2 {
            self.closing.store(true, Ordering::Release);
            self.reader.wake();
        }
    }

    /// Whether [`close`](Self::close) was called; otherwise `waker` is woken when it is.
    pub(super) fn poll_closing(&self, waker: &Waker) -> bool {
        if self.http2 {
            return false;
        }
        self.reader.register(waker);
        self.closing.load(Ordering::Acquire)
    }

    /// Whether an earlier exchange was answered on this connection.
    pub(super) fn is_reused(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether [`close`](Self::close) was called.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Whether an exchange that failed before its head came may be repeated: the connection carried an answer before,
    /// and either nothing came since the request was written, or what came belonged to an earlier answer.
    pub(super) fn died_between_exchanges(&self) -> bool {
        self.is_reused() && (self.http2 || !self.heard.load(Ordering::Relaxed) || self.is_closing())
    }
}
