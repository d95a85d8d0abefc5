//! Ports for servers that tests start and restart.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};
use uuid::Uuid;

/// Below the range that Linux gives to outgoing connections (from 32768): a server that is down for
/// a restart must find its port still free.
const FIRST: u16 = 15_000;
const COUNT: u16 = 16_000;
const ATTEMPTS: usize = 100;

/// A loopback port that nothing listens on, drawn at random so that test processes seldom draw the
/// same. It is not reserved: whoever binds it must bear losing it.
pub fn free_port() -> Result<u16> {
    for _ in 0..ATTEMPTS {
        let port = FIRST + (Uuid::new_v4().as_u128() % u128::from(COUNT)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port among {ATTEMPTS} drawn")
}
