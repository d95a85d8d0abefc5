//! Which addresses a delivery may connect to.
//!
//! An endpoint's URL is somebody else's input, and the server that calls it stands inside a private network. This
//! module promises that an address is let through only when it is ordinary public unicast, or when the operator
//! allow-listed it. It is pure: it knows no names, no sockets and no URLs, so that the connector can ask it about
//! every address it is about to connect to, after resolution, however the address was written or found.
//!
//! Three rules, in this order:
//!
//! 1. Addresses of cloud metadata services are refused unless an allow-list entry names exactly that one address.
//!    Allow-listing a whole network must not hand out the machine's credentials by accident.
//! 2. IPv6 forms that carry an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo, ISATAP) are refused or, when the
//!    operator allow-listed the form, judged by the IPv4 address within: a translator or tunnel would deliver there.
//! 3. Everything in the tables below is refused unless allow-listed. For IPv6 the default is refusal as well: only
//!    `2000::/3` is assigned for global unicast (IANA IPv6 address space registry), and the tables cut holes in it.
//!
//! The tables follow the IANA special-purpose address registries (RFC 6890 and its updates); each row names its source.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Decides whether an address may be connected to. Cheap to ask: a scan of two short tables.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// Why an address may not be connected to.
///
/// The text leaves the address out: it is shown to whoever owns the endpoint, and what an internal name resolves to
/// is not theirs to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address is refused: {range} ({source_document})")]
pub struct AddressRefused {
    /// The address as it was asked about.
    pub address: IpAddr,
    /// The name of the refused range, e.g. `private use` or `cloud metadata service`.
    pub range: &'static str,
    /// The document that sets the range aside, e.g. `RFC 1918`.
    pub source_document: &'static str,
}

impl AddressPolicy {
    /// A policy that lets public addresses through and, beyond those, the networks in `allowed`.
    pub fn new(allowed: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            allowed: allowed.into_iter().collect(),
        }
    }

    /// Whether `address` may be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let verdict = match address {
            IpAddr::V4(v4) => self.check_v4(v4),
            IpAddr::V6(v6) => self.check_v6(v6),
        };
        verdict.map_err(|special| AddressRefused {
            address,
            range: special.range,
            source_document: special.source_document,
        })
    }

    fn check_v4(&self, address: Ipv4Addr) -> Result<(), Special> {
        self.check_metadata(IpAddr::V4(address))?;
        let refused = REFUSED_V4.iter().find(|(network, _)| network.contains(&address));
        match refused {
            Some((_, special)) if !self.allows(IpAddr::V4(address)) => Err(*special),
            _ => Ok(()),
        }
    }

    fn check_v6(&self, address: Ipv6Addr) -> Result<(), Special> {
        self.check_metadata(IpAddr::V6(address))?;
        if let Some(embedded) = embedded_v4(address) {
            // First the address within: allow-listing a form opens the form, never what it leads to.
            self.check_v4(embedded)?;
        }
        let refused = REFUSED_V6.iter().find(|(network, _)| network.contains(&address));
        let special = match refused {
            Some((_, special)) => *special,
            None if GLOBAL_UNICAST_V6.contains(&address) => return Ok(()),
            None => NOT_GLOBAL_UNICAST,
        };
        if self.allows(IpAddr::V6(address)) {
            Ok(())
        } else {
            Err(special)
        }
    }

    fn check_metadata(&self, address: IpAddr) -> Result<(), Special> {
        let named = self
            .allowed
            .iter()
            .any(|net| net.prefix_len() == net.max_prefix_len() && net.addr() == address);
        if METADATA.contains(&address) && !named {
            Err(METADATA_SERVICE)
        } else {
            Ok(())
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(&address))
    }
}

/// What a special-purpose range is called and which document sets it aside.
#[derive(Debug, Clone, Copy)]
struct Special {
    range: &'static str,
    source_document: &'static str,
}

const fn special(range: &'static str, source_document: &'static str) -> Special {
    Special {
        range,
        source_document,
    }
}

const METADATA_SERVICE: Special = special("cloud metadata service", "the cloud provider's documentation");
const NOT_GLOBAL_UNICAST: Special = special("not global unicast", "IANA IPv6 address space registry");

/// Addresses at which cloud machines read their own credentials.
///
/// One of them (Azure's) lies in public address space, so the tables of special ranges alone would let it through.
const METADATA: &[IpAddr] = &[
    // AWS, Google Cloud, Azure, OpenStack, DigitalOcean, Oracle and most others.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // AWS container credentials (ECS, and EKS pod identity).
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    // Scaleway.
    IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42)),
    // Azure's wire server.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Oracle Cloud's classic service.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // AWS over IPv6: machines, then pods.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // Google Cloud over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// The leading three groups decide every IPv6 range below; the remaining groups are zero.
const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// Special-purpose IPv4 ranges; where two overlap, the narrower comes first so that the reason is the precise one.
const REFUSED_V4: &[(Ipv4Net, Special)] = &[
    (
        v4(0, 0, 0, 0, 32),
        special("unspecified", "RFC 1122 section 3.2.1.3"),
    ),
    (v4(0, 0, 0, 0, 8), special("this network", "RFC 791 section 3.2")),
    (v4(10, 0, 0, 0, 8), special("private use", "RFC 1918")),
    (v4(100, 64, 0, 0, 10), special("shared address space", "RFC 6598")),
    (
        v4(127, 0, 0, 0, 8),
        special("loopback", "RFC 1122 section 3.2.1.3"),
    ),
    (v4(169, 254, 0, 0, 16), special("link-local", "RFC 3927")),
    (v4(172, 16, 0, 0, 12), special("private use", "RFC 1918")),
    (
        v4(192, 0, 0, 0, 24),
        special("IETF protocol assignments", "RFC 6890 section 2.1"),
    ),
    (v4(192, 0, 2, 0, 24), special("documentation", "RFC 5737")),
    (v4(192, 88, 99, 0, 24), special("6to4 relay anycast", "RFC 7526")),
    (v4(192, 168, 0, 0, 16), special("private use", "RFC 1918")),
    (v4(198, 18, 0, 0, 15), special("benchmarking", "RFC 2544")),
    (v4(198, 51, 100, 0, 24), special("documentation", "RFC 5737")),
    (v4(203, 0, 113, 0, 24), special("documentation", "RFC 5737")),
    (v4(224, 0, 0, 0, 4), special("multicast", "RFC 5771")),
    (
        v4(255, 255, 255, 255, 32),
        special("limited broadcast", "RFC 919"),
    ),
    (v4(240, 0, 0, 0, 4), special("reserved", "RFC 1112 section 4")),
];

/// The only IPv6 space assigned for global unicast (RFC 4291 section 2.4, IANA IPv6 address space registry).
const GLOBAL_UNICAST_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

/// Special-purpose IPv6 ranges; the narrower first.
const REFUSED_V6: &[(Ipv6Net, Special)] = &[
    (
        Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128),
        special("unspecified", "RFC 4291 section 2.5.2"),
    ),
    (
        Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
        special("loopback", "RFC 4291 section 2.5.3"),
    ),
    (
        Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
        special("IPv4-mapped", "RFC 4291 section 2.5.5.2"),
    ),
    (
        Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96),
        special("IPv4-translated", "RFC 2765 section 2.1"),
    ),
    (
        v6(0, 0, 0, 96),
        special("IPv4-compatible", "RFC 4291 section 2.5.5.1"),
    ),
    (v6(0x64, 0xff9b, 0, 96), special("NAT64", "RFC 6052")),
    (v6(0x64, 0xff9b, 1, 48), special("local-use NAT64", "RFC 8215")),
    (v6(0x100, 0, 0, 64), special("discard-only", "RFC 6666")),
    (v6(0x2001, 0, 0, 32), special("Teredo", "RFC 4380")),
    (v6(0x2001, 2, 0, 48), special("benchmarking", "RFC 5180")),
    (v6(0x2001, 0x10, 0, 28), special("ORCHID", "RFC 4843")),
    (v6(0x2001, 0x20, 0, 28), special("ORCHIDv2", "RFC 7343")),
    (
        v6(0x2001, 0, 0, 23),
        special("IETF protocol assignments", "RFC 2928"),
    ),
    (v6(0x2001, 0xdb8, 0, 32), special("documentation", "RFC 3849")),
    (v6(0x2002, 0, 0, 16), special("6to4", "RFC 3056")),
    (v6(0x3ffe, 0, 0, 16), special("former 6bone", "RFC 3701")),
    (v6(0x3fff, 0, 0, 20), special("documentation", "RFC 9637")),
    (
        v6(0x5f00, 0, 0, 16),
        special("segment routing identifiers", "RFC 9602"),
    ),
    (v6(0xfc00, 0, 0, 7), special("unique local", "RFC 4193")),
    (
        v6(0xfe80, 0, 0, 10),
        special("link-local", "RFC 4291 section 2.5.6"),
    ),
    (v6(0xfec0, 0, 0, 10), special("site-local", "RFC 3879")),
    (v6(0xff00, 0, 0, 8), special("multicast", "RFC 4291 section 2.7")),
];

/// The IPv4 address that a translator, tunnel or the kernel would really send to, if `address` carries one.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let groups = address.segments();
    let last = joined(groups[6], groups[7]);
    match groups[..6] {
        // `::` and `::1` share the prefix of the compatible form and are none (RFC 4291 section 2.5.5.1).
        [0, 0, 0, 0, 0, 0] if address.is_unspecified() || address.is_loopback() => None,
        // 6to4 (RFC 3056 section 2).
        [0x2002, high, low, ..] => Some(joined(high, low)),
        // Teredo carries the client's address with every bit flipped (RFC 4380 section 4).
        [0x2001, 0, ..] => Some(joined(!groups[6], !groups[7])),
        // IPv4-compatible and -mapped; IPv4-translated; NAT64; local-use NAT64, commonly cut into /96 translation
        // prefixes, which put the IPv4 address last; ISATAP's interface identifier under any prefix (RFC 5214
        // section 6.1).
        [0, 0, 0, 0, 0, 0 | 0xffff]
        | [0, 0, 0, 0, 0xffff, 0]
        | [0x64, 0xff9b, 0, 0, 0, 0]
        | [0x64, 0xff9b, 1, ..]
        | [.., 0 | 0x200, 0x5efe] => Some(last),
        _ => None,
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(policy: &AddressPolicy, address: &str) -> Option<&'static str> {
        policy
            .check(address.parse().unwrap())
            .err()
            .map(|refused| refused.range)
    }

    fn allowing(networks: &[&str]) -> AddressPolicy {
        AddressPolicy::new(networks.iter().map(|network| network.parse().unwrap()))
    }

    #[test]
    fn public_addresses_pass() {
        let policy = AddressPolicy::default();
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::200e",
            "2001:200::1",
            "2001:4860:4860::8888",
        ] {
            assert_eq!(refusal(&policy, address), None, "{address}");
        }
    }

    #[test]
    fn the_reason_is_the_precise_range() {
        let policy = AddressPolicy::default();
        for (address, range) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "this network"),
            ("10.1.2.3", "private use"),
            ("100.64.0.1", "shared address space"),
            ("127.8.8.8", "loopback"),
            ("169.254.1.1", "link-local"),
            ("169.254.169.254", "cloud metadata service"),
            ("168.63.129.16", "cloud metadata service"),
            ("192.88.99.1", "6to4 relay anycast"),
            ("224.0.0.251", "multicast"),
            ("255.255.255.255", "limited broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::7f00:1", "loopback"),
            ("::ffff:10.0.0.1", "private use"),
            ("::ffff:8.8.8.8", "IPv4-mapped"),
            ("::ffff:0:8.8.8.8", "IPv4-translated"),
            ("::8.8.8.8", "IPv4-compatible"),
            ("64:ff9b::a9fe:a9fe", "cloud metadata service"),
            ("64:ff9b::8.8.8.8", "NAT64"),
            ("64:ff9b:1::8.8.8.8", "local-use NAT64"),
            ("100::1", "discard-only"),
            ("2001::1", "reserved"),
            ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "Teredo"),
            ("2001:2::1", "benchmarking"),
            ("2001:1f::1", "ORCHID"),
            ("2001:2f::1", "ORCHIDv2"),
            ("2001:1::1", "IETF protocol assignments"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "loopback"),
            ("2002:808:808::1", "6to4"),
            ("2606:4700::5efe:192.168.0.1", "private use"),
            ("3fff:fff::1", "documentation"),
            ("4000::1", "not global unicast"),
            ("5f00::1", "segment routing identifiers"),
            ("fd00:ec2::254", "cloud metadata service"),
            ("fd12:3456::1", "unique local"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
        ] {
            assert_eq!(refusal(&policy, address), Some(range), "{address}");
        }
    }

    #[test]
    fn an_allow_listed_network_opens_only_itself() {
        let policy = allowing(&["127.0.0.0/8", "::1/128"]);
        assert_eq!(refusal(&policy, "127.0.0.1"), None);
        assert_eq!(refusal(&policy, "::1"), None);
        assert_eq!(refusal(&policy, "10.0.0.1"), Some("private use"));
        assert_eq!(refusal(&policy, "::ffff:127.0.0.1"), Some("IPv4-mapped"));
        assert_eq!(refusal(&policy, "::2"), Some("this network"));
    }

    #[test]
    fn an_allow_listed_form_does_not_open_what_it_leads_to() {
        let policy = allowing(&["64:ff9b::/96", "::ffff:0:0/96"]);
        assert_eq!(refusal(&policy, "64:ff9b::8.8.8.8"), None);
        assert_eq!(refusal(&policy, "::ffff:8.8.8.8"), None);
        assert_eq!(refusal(&policy, "64:ff9b::10.0.0.1"), Some("private use"));
        assert_eq!(refusal(&policy, "::ffff:127.0.0.1"), Some("loopback"));
    }

    #[test]
    fn a_metadata_address_must_be_named_to_be_allowed() {
        let wide = allowing(&["0.0.0.0/0", "::/0"]);
        assert_eq!(refusal(&wide, "10.0.0.1"), None);
        assert_eq!(refusal(&wide, "169.254.169.254"), Some("cloud metadata service"));
        assert_eq!(refusal(&wide, "fd00:ec2::254"), Some("cloud metadata service"));
        assert_eq!(
            refusal(&wide, "::ffff:169.254.169.254"),
            Some("cloud metadata service")
        );
        let exact = allowing(&["169.254.169.254/32"]);
        assert_eq!(refusal(&exact, "169.254.169.254"), None);
    }

    /// An IPv4 address in one of the refused ranges: a row of the table with random host bits.
    fn refused_v4() -> impl Strategy<Value = Ipv4Addr> {
        (0..REFUSED_V4.len(), any::<u32>()).prop_map(|(row, bits)| {
            let network = REFUSED_V4[row].0;
            Ipv4Addr::from(u32::from(network.network()) | (bits & u32::from(network.hostmask())))
        })
    }

    /// Every form of IPv6 address that leads to `inner`.
    fn forms_of(inner: Ipv4Addr, filler: u16) -> Vec<Ipv6Addr> {
        let bits = u32::from(inner);
        let (high, low) = ((bits >> 16) as u16, bits as u16);
        vec![
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, filler, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, filler, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, filler, filler, 0, filler, !high, !low),
            Ipv6Addr::new(0x2a00, filler, 1, 2, 0, 0x5efe, high, low),
            Ipv6Addr::new(0x2a00, filler, 1, 2, 0x200, 0x5efe, high, low),
        ]
    }

    proptest! {
        #[test]
        fn no_address_of_a_refused_ipv4_range_passes(address in refused_v4(), filler in any::<u16>()) {
            let policy = AddressPolicy::default();
            prop_assert!(policy.check(address.into()).is_err());
            // Not even when the operator opened IPv6 altogether.
            let v6_open = allowing(&["::/0"]);
            for form in forms_of(address, filler) {
                prop_assert!(policy.check(form.into()).is_err(), "{form}");
                let loopback_or_unspecified = form.is_loopback() || form.is_unspecified();
                prop_assert!(loopback_or_unspecified || v6_open.check(form.into()).is_err(), "{form}");
            }
        }

        #[test]
        fn no_address_of_a_refused_ipv6_range_passes(row in 0..REFUSED_V6.len(), bits in any::<u128>()) {
            let network = REFUSED_V6[row].0;
            let address = u128::from(network.network()) | (bits & u128::from(network.hostmask()));
            prop_assert!(AddressPolicy::default().check(Ipv6Addr::from(address).into()).is_err());
        }

        #[test]
        fn nothing_outside_global_unicast_passes(bits in any::<u128>()) {
            let address = Ipv6Addr::from(bits);
            let passes = AddressPolicy::default().check(address.into()).is_ok();
            prop_assert!(!passes || GLOBAL_UNICAST_V6.contains(&address));
        }

        #[test]
        fn what_the_standard_library_calls_special_is_refused(bits in any::<u32>()) {
            let address = Ipv4Addr::from(bits);
            let special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_multicast() || address.is_broadcast() || address.is_documentation()
                || address.is_unspecified();
            prop_assert!(!special || AddressPolicy::default().check(address.into()).is_err());
        }
    }
}
