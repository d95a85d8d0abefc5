//! Connects to the first of several addresses that answers (Happy Eyeballs, RFC 8305).
//!
//! Families alternate, a new address is tried [`ATTEMPT_DELAY`] after the one before or as soon as that one fails, and the
//! first connection wins. Addresses of the second family may come while the first ones are being tried. So neither a dead
//! address nor a silent name server uses up the time of a delivery.
//!
//! Guarantees: every address is checked by the policy before it is tried, whenever it comes.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::OptionFuture;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};

use super::address::{AddressPolicy, AddressRefused};
use super::connect_error::ConnectError;
use super::resolver::{Lookup, ResolveError};

/// Addresses of one host that are tried before giving up; a name may answer with hundreds.
pub(super) const ADDRESSES_TRIED: usize = 6;

/// Between the starts of two connection attempts (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to one of the addresses of `lookup` that `policy` lets through, until `deadline`.
pub(super) async fn connect(
    lookup: Lookup,
    policy: &AddressPolicy,
    port: u16,
    deadline: Instant,
) -> Result<TcpStream, ConnectError> {
    let mut line = Line::new(policy);
    line.join(&lookup.addresses);
    let mut rest = OptionFuture::from(lookup.rest);
    let mut rest_is_open = true;
    let mut attempts = FuturesUnordered::new();
    let mut next_start = Instant::now();
    let mut last = None;
    loop {
        let waits = line.is_waiting();
        tokio::select! {
            biased;
            more = &mut rest, if rest_is_open => {
                rest_is_open = false;
                line.join(&more.unwrap_or_default());
            }
            Some((address, outcome)) = attempts.next() => match outcome {
                Ok(stream) => return Ok(stream),
                Err(source) => {
                    last = Some(ConnectError::Tcp { address, source });
                    next_start = Instant::now();
                }
            },
            () = sleep_until(next_start), if waits => {
                if let Some(address) = line.next() {
                    attempts.push(try_one(SocketAddr::new(address, port)));
                    next_start = Instant::now() + ATTEMPT_DELAY;
                }
            }
            () = sleep_until(deadline) => return Err(ConnectError::Timeout { step: "TCP" }),
        }
        if attempts.is_empty() && !rest_is_open && !line.is_waiting() {
            return Err(last.unwrap_or_else(|| line.nothing_to_try()));
        }
    }
}

/// The addresses that wait to be tried, in turn of their families.
struct Line<'a> {
    policy: &'a AddressPolicy,
    v4: VecDeque<IpAddr>,
    v6: VecDeque<IpAddr>,
    v6_is_next: Option<bool>,
    started: usize,
    refused: Option<AddressRefused>,
}

impl<'a> Line<'a> {
    fn new(policy: &'a AddressPolicy) -> Self {
        Self {
            policy,
            v4: VecDeque::new(),
            v6: VecDeque::new(),
            v6_is_next: None,
            started: 0,
            refused: None,
        }
    }

    /// Takes up those addresses that may be connected to; the family of the very first begins.
    fn join(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            match self.policy.check(*address) {
                Ok(()) => {
                    self.v6_is_next.get_or_insert(address.is_ipv6());
                    let family = if address.is_ipv6() {
                        &mut self.v6
                    } else {
                        &mut self.v4
                    };
                    if family.len() < ADDRESSES_TRIED {
                        family.push_back(*address);
                    }
                }
                Err(refusal) => {
                    self.refused.get_or_insert(refusal);
                }
            }
        }
    }

    fn is_waiting(&self) -> bool {
        self.started < ADDRESSES_TRIED && !(self.v4.is_empty() && self.v6.is_empty())
    }

    fn next(&mut self) -> Option<IpAddr> {
        if !self.is_waiting() {
            return None;
        }
        let v6 = self.v6_is_next.unwrap_or_default();
        let (first, second) = if v6 {
            (&mut self.v6, &mut self.v4)
        } else {
            (&mut self.v4, &mut self.v6)
        };
        let address = first.pop_front().or_else(|| second.pop_front())?;
        self.v6_is_next = Some(!address.is_ipv6());
        self.started += 1;
        Some(address)
    }

    /// Why there was no address to try.
    fn nothing_to_try(&self) -> ConnectError {
        match self.refused {
            Some(refusal) => refusal.into(),
            None => ResolveError::NotFound.into(),
        }
    }
}

async fn try_one(address: SocketAddr) -> (SocketAddr, io::Result<TcpStream>) {
    (address, connect_tcp(address).await)
}

async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A request is written in one piece and answered before the next: waiting to fill packets only adds latency.
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn tried(policy: &AddressPolicy, parts: &[&[&str]]) -> Vec<String> {
        let mut line = Line::new(policy);
        for part in parts {
            line.join(&addresses(part));
        }
        std::iter::from_fn(|| line.next())
            .map(|address| address.to_string())
            .collect()
    }

    #[test]
    fn families_take_turns_and_the_first_begins() {
        let policy = AddressPolicy::default();
        assert_eq!(
            tried(
                &policy,
                &[&["2600::1", "2600::2", "2600::3"], &["9.0.0.1", "9.0.0.2"]]
            ),
            ["2600::1", "9.0.0.1", "2600::2", "9.0.0.2", "2600::3"]
        );
        assert_eq!(
            tried(&policy, &[&["9.0.0.1"], &["2600::1", "2600::2"]]),
            ["9.0.0.1", "2600::1", "2600::2"]
        );
    }

    #[test]
    fn every_address_is_checked_and_few_are_tried() {
        let policy = AddressPolicy::default();
        let many: Vec<String> = (1..=20).map(|n| format!("9.0.0.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(
            tried(&policy, &[&["10.0.0.1", "::1"], &many, &["fe80::1", "2600::1"]]),
            ["9.0.0.1", "2600::1", "9.0.0.2", "9.0.0.3", "9.0.0.4", "9.0.0.5"]
        );
        let mut line = Line::new(&policy);
        line.join(&addresses(&["10.0.0.1"]));
        assert!(matches!(line.nothing_to_try(), ConnectError::Refused(_)));
    }
}
