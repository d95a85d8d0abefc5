//! The connection under HTTP: a TCP stream, in clear or in TLS.
//!
//! # Design
//! A receiver may answer before it has read the request, and then close the connection: `413` is the usual case.
//! Writing then fails while the answer waits to be read, and the HTTP client reports the failed write. Therefore a write
//! to a connection that the other side has closed pretends to succeed, and reading decides: it yields the answer, or the
//! end of the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::link::Link;
use super::tls::ALPN_H2;

/// A connected stream with the record of what happened on it.
pub(crate) struct Stream {
    io: Io,
    link: Arc<Link>,
    /// The other side takes no more bytes; what is written is dropped.
    write_closed: bool,
}

/// TLS is boxed, as its state is over a kilobyte and most of the stream is moved around.
enum Io {
    /// `http`.
    Clear(TcpStream),
    /// `https`, after the handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// `http`.
    pub(super) fn clear(stream: TcpStream) -> Self {
        Self::over(Io::Clear(stream), false)
    }

    /// `https`, after the handshake.
    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
        Self::over(Io::Tls(Box::new(stream)), http2)
    }

    fn over(io: Io, http2: bool) -> Self {
        Self {
            io,
            link: Arc::new(Link::new(http2)),
            write_closed: false,
        }
    }

    fn negotiated_h2(&self) -> bool {
        matches!(&self.io, Io::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN_H2))
    }

    /// The outcome of writing `length` bytes: all of them, if the other side has closed the connection.
    fn written(&mut self, outcome: io::Result<usize>, length: usize) -> io::Result<usize> {
        match outcome {
            Err(error) if is_closed_by_peer(&error) => {
                self.write_closed = true;
                Ok(length)
            }
            outcome => outcome,
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(Arc::clone(&self.link));
        if self.negotiated_h2() {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.link.poll_closing(cx.waker()) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(match &mut self.io {
            Io::Clear(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        })?;
        if buf.filled().len() > before {
            self.link.note_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.write_closed {
            return Poll::Ready(Ok(buf.len()));
        }
        self.link.note_write();
        let outcome = ready!(match &mut self.io {
            Io::Clear(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        });
        Poll::Ready(self.written(outcome, buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_closed {
            return Poll::Ready(Ok(()));
        }
        let outcome = ready!(match &mut self.io {
            Io::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        });
        Poll::Ready(self.written(outcome.map(|()| 0), 0).map(|_| ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.write_closed {
            return Poll::Ready(Ok(length));
        }
        self.link.note_write();
        let outcome = ready!(match &mut self.io {
            Io::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        });
        Poll::Ready(self.written(outcome, length))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Clear(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

/// Whether a failed write says that the connection was closed. Errors of TLS come as other kinds.
fn is_closed_by_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_although_the_other_side_takes_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"answer").await.unwrap();
        server.set_zero_linger().unwrap();
        drop(server);
        let mut stream = Stream::clear(client);
        // More than the sockets hold, so that writing meets the reset.
        stream.write_all(&vec![0; 16 << 20]).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }
}
