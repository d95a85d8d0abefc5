//! Takes the ports, early: before anything is opened that a clash would leave half started.

use std::{io::ErrorKind, net::SocketAddr};

use anyhow::bail;
use tokio::net::TcpListener;

/// Binds all of `addresses`, or says what stands in the way of each that could not be bound.
pub(crate) async fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    let mut faults = Vec::new();
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => faults.push(explain(*address, &error)),
        }
    }
    if faults.is_empty() {
        return Ok(listeners);
    }
    bail!(
        "{}\nname other addresses with --listen or DEMAE_LISTEN, e.g. DEMAE_LISTEN=127.0.0.1:7070",
        faults.join("\n")
    )
}

/// Why `address` cannot be listened on, in a line.
pub(crate) fn explain(address: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("{address} is taken by another program; is Demae running already?")
        }
        ErrorKind::PermissionDenied => {
            format!("{address}: this user may not listen on a port below 1024")
        }
        ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine"),
        _ => format!("cannot listen on {address}: {error}"),
    }
}
