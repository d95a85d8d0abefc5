//! Strangers: clients without a token, each from a loopback address of its own draw, so that the program can tell them
//! from the bystander.

mod frames;
mod hang_ups;
mod http2;
mod silence;
mod slow_readers;
pub(super) mod slow_requests;
mod unknown_tokens;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use rand::{Rng as _, rngs::SmallRng};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
};

use super::actor::Cast;

/// The last numbers of strangers' addresses, 127.0.0.x.
const ADDRESSES: std::ops::RangeInclusive<u8> = 2..=250;

/// Lets all strangers begin.
pub(super) fn enter(cast: &mut Cast, server: SocketAddr) {
    let door = Door { server };
    cast.add(&unknown_tokens::UnknownTokens(door));
    cast.add(&hang_ups::HangUps(door));
    cast.add(&slow_requests::SlowHeads(door));
    cast.add(&slow_requests::SlowBodies(door));
    cast.add(&silence::Silence(door));
    cast.add(&slow_readers::SlowReaders(door));
    cast.add(&http2::Http2Floods(door));
}

/// The way in: the address that the campaign's own program listens on, and no other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door {
    pub(super) server: SocketAddr,
}

impl Door {
    async fn connect(self, random: &mut SmallRng) -> io::Result<TcpStream> {
        Self::socket(random)?.connect(self.server).await
    }

    /// With so small a buffer that the server soon cannot write what is not read.
    async fn connect_narrowly(self, random: &mut SmallRng) -> io::Result<TcpStream> {
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
fn unknown_token(random: &mut SmallRng) -> String {
    let letters = (0..40).map(|_| char::from(random.sample(rand::distr::Alphanumeric)));
    format!("ksh_{}", letters.collect::<String>())
}

/// Reads until the server closes: the status of its answer, if there was one.
async fn answer(stream: &mut TcpStream) -> String {
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
async fn drain(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut piece = [0; 8_192];
    while stream.read(&mut piece).await.is_ok_and(|read| read > 0) {}
}

/// What becomes of a connection that could not be made or used.
fn refused(error: &io::Error) -> String {
    error.kind().to_string()
}
