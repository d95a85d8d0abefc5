//! The way in of strangers, and what they have in common.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use rand::{Rng as _, rngs::SmallRng};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
};

/// The last numbers of strangers' addresses, 127.0.0.x.
pub(super) const ADDRESSES: std::ops::RangeInclusive<u8> = 2..=250;

/// The way in: the address that the campaign's own program listens on, and no other.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Door {
    pub(in super::super) server: SocketAddr,
}

impl Door {
    pub(super) async fn connect(self, random: &mut SmallRng) -> io::Result<TcpStream> {
        Self::socket(random)?.connect(self.server).await
    }

    /// With so small a buffer that the server soon cannot write what is not read.
    pub(super) async fn connect_narrowly(self, random: &mut SmallRng) -> io::Result<TcpStream> {
        let socket = Self::socket(random)?;
        socket.set_recv_buffer_size(1_024)?;
        socket.connect(self.server).await
    }

    fn socket(random: &mut SmallRng) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        let local = Ipv4Addr::new(127, 0, 0, random.random_range(ADDRESSES));
        socket.bind((local, 0).into())?;
        Ok(socket)
    }
}

/// A token that nobody has.
pub(super) fn unknown_token(random: &mut SmallRng) -> String {
    let letters = (0..40).map(|_| char::from(random.sample(rand::distr::Alphanumeric)));
    format!("ksh_{}", letters.collect::<String>())
}

/// Reads until the server closes: the status of its answer, if there was one.
pub(super) async fn answer(stream: &mut TcpStream) -> String {
    let mut head = [0; 16];
    let mut length = 0;
    while length < head.len() {
        match stream.read(&mut head[length..]).await {
            Ok(0) | Err(_) => return "closed".to_owned(),
            Ok(read) => length += read,
        }
    }
    // "HTTP/1.1 401 …"
    String::from_utf8_lossy(&head[9..12]).into_owned()
}

/// Reads on and throws away, until the server closes.
pub(super) async fn drain(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut piece = [0; 8_192];
    while stream.read(&mut piece).await.is_ok_and(|read| read > 0) {}
}

/// What becomes of a connection that could not be made or used.
pub(super) fn refused(error: &io::Error) -> String {
    error.kind().to_string()
}
