//! Ports for servers that tests start and restart.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, bail};
use uuid::Uuid;

/// Below the range that Linux gives to outgoing connections (from 32768): a server that is down for
/// a restart must find its port still free.
const FIRST: u16 = 15_000;
const COUNT: u16 = 16_000;
const ATTEMPTS: usize = 100;

/// A loopback port that nothing listens on, and that no other call of this function gives out before
/// this process ends, in whichever process it is made: also while the server that is meant for it has
/// not started, or is down for a restart.
pub fn free_port() -> Result<u16> {
    // The same number of the other protocol, which none of these servers uses, is the reservation. The
    // kernel ends it with the process.
    static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    for _ in 0..ATTEMPTS {
        let port = FIRST + (Uuid::new_v4().as_u128() % u128::from(COUNT)) as u16;
        let address = (Ipv4Addr::LOCALHOST, port);
        let Ok(reservation) = UdpSocket::bind(address) else {
            continue;
        };
        if TcpListener::bind(address).is_ok() {
            let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
            reserved.push(reservation);
            return Ok(port);
        }
    }
    bail!("no free port among {ATTEMPTS} drawn")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_given_out_twice() {
        let ports: HashSet<u16> = (0..400).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 400);
    }
}
