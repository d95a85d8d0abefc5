//! Admits connections: a number of them in all, and a share of it for one address.
//!
//! An IPv6 client usually has a whole /64 network, so such a network counts as one address. Trusted proxies speak for many
//! clients and may use every place.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::{IpNet, Ipv6Net};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// IPv6 addresses that share so many bits count as one.
const IPV6_PREFIX: u8 = 64;

/// How many connections may be open.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits {
    /// In all; more wait in the kernel's queue.
    pub(crate) connections: usize,
    /// From one address; more are closed at once.
    pub(crate) per_address: usize,
    /// Addresses without a limit of their own.
    pub(crate) trusted: Vec<IpNet>,
}

impl Default for ConnectionLimits {
    /// For a server on a developer's machine.
    fn default() -> Self {
        Self {
            connections: 1_000,
            per_address: 1_000,
            trusted: Vec::new(),
        }
    }
}

/// The places of a server. Clones share them.
#[derive(Clone)]
pub(super) struct Admission(Arc<Inner>);

struct Inner {
    places: Arc<Semaphore>,
    per_address: usize,
    trusted: Vec<IpNet>,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place, given back when it is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    /// Whose share it counts towards.
    counted: Option<(Admission, IpAddr)>,
}

impl Admission {
    pub(super) fn new(limits: &ConnectionLimits) -> Self {
        Self(Arc::new(Inner {
            places: Arc::new(Semaphore::new(limits.connections)),
            per_address: limits.per_address,
            trusted: limits.trusted.clone(),
            counts: Mutex::default(),
        }))
    }

    /// Waits until there is room for one more connection, from wherever it comes.
    pub(super) async fn room(&self) -> std::io::Result<OwnedSemaphorePermit> {
        let permit = self.0.places.clone().acquire_owned().await;
        permit.map_err(std::io::Error::other)
    }

    /// A place for a connection from `address`; none if that address has its share already.
    pub(super) fn admit(&self, permit: OwnedSemaphorePermit, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        if self.0.trusted.iter().any(|network| network.contains(&address)) {
            return Some(Place {
                _permit: permit,
                counted: None,
            });
        }
        let address = client_of(address);
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= self.0.per_address {
            return None;
        }
        *count += 1;
        Some(Place {
            _permit: permit,
            counted: Some((self.clone(), address)),
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((admission, address)) = self.counted.take() else {
            return;
        };
        let mut counts = admission.counts();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// The address under which a client is counted.
fn client_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Net::new_assert(v6, IPV6_PREFIX).network().into(),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn admission(connections: usize, per_address: usize) -> Admission {
        Admission::new(&ConnectionLimits {
            connections,
            per_address,
            trusted: vec!["10.1.0.0/16".parse().unwrap()],
        })
    }

    fn place(admission: &Admission, address: &str) -> Option<Place> {
        let permit = admission.room().now_or_never()?.ok()?;
        admission.admit(permit, address.parse().unwrap())
    }

    #[test]
    fn an_address_gets_its_share_and_gets_it_back() {
        let admission = admission(100, 2);
        let mut held = vec![
            place(&admission, "192.0.2.1").unwrap(),
            place(&admission, "::ffff:192.0.2.1").unwrap(),
        ];
        assert!(place(&admission, "192.0.2.1").is_none());
        assert!(place(&admission, "192.0.2.2").is_some());
        held.pop();
        assert!(place(&admission, "192.0.2.1").is_some());
        held.clear();
        assert!(admission.counts().is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let admission = admission(100, 1);
        let _held = place(&admission, "2001:db8::1").unwrap();
        assert!(place(&admission, "2001:db8::ffff:1").is_none());
        assert!(place(&admission, "2001:db8:0:1::1").is_some());
    }

    #[test]
    fn a_trusted_proxy_may_use_every_place_and_no_more() {
        let admission = admission(3, 1);
        let held: Vec<_> = (0..3).map(|_| place(&admission, "10.1.2.3").unwrap()).collect();
        assert!(place(&admission, "10.1.2.3").is_none());
        drop(held);
        assert!(place(&admission, "10.1.2.3").is_some());
    }
}
