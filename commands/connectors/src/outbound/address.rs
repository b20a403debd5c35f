//! Which addresses a tenant's URL may lead to: the public ones, and what the operator lets through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What the operator lets through besides public addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    networks: Vec<IpNet>,
    hosts: Vec<String>,
}

impl Allowed {
    /// Reads networks (`10.1.0.0/16`), single addresses and host names.
    pub(crate) fn parse(entries: &[String]) -> Self {
        let mut allowed = Self::default();
        for entry in entries {
            let entry = entry.trim().trim_matches(['[', ']']);
            if let Ok(network) = entry.parse::<IpNet>() {
                allowed.networks.push(network);
            } else if let Ok(address) = entry.parse::<IpAddr>() {
                allowed.networks.push(address.into());
            } else {
                allowed.hosts.push(entry.to_ascii_lowercase());
            }
        }
        allowed
    }

    /// Lets one more host name through, wherever it leads.
    pub(crate) fn host(&mut self, name: &str) {
        self.hosts.push(name.to_ascii_lowercase());
    }

    /// Whether a name is let through wherever it leads.
    pub(crate) fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.hosts.contains(&host)
    }

    /// Why an address is not let through.
    pub(crate) fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        if self.networks.iter().any(|net| net.contains(&address)) {
            return None;
        }
        match address {
            IpAddr::V4(address) => special_v4(address),
            IpAddr::V6(address) => special_v6(address),
        }
    }
}

/// Why an IPv4 address is no public one (the IANA special-purpose registry).
fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0, ..) => Some("unspecified"),
        (127, ..) => Some("loopback"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("private"),
        (100, 64..=127, _) => Some("shared between carriers"),
        (169, 254, _) => Some("link-local"),
        (192, 0, 0) | (192, 31, 196) | (192, 52, 193) | (192, 88, 99) | (192, 175, 48) => {
            Some("reserved for protocols")
        }
        // Azure answers metadata and DNS here, inside a public block.
        (168, 63, 129) if address.octets()[3] == 16 => Some("metadata"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) | (198, 18..=19, _) => Some("for tests"),
        (224..=239, ..) => Some("multicast"),
        (240..=255, ..) => Some("reserved"),
        _ => None,
    }
}

/// Why an IPv6 address is no public one. Addresses that carry an IPv4 address are judged by it and refused besides: no vendor needs
/// them, and a translator decides where they lead.
fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        // `::a.b.c.d`, `::ffff:a.b.c.d`, `::ffff:0:a.b.c.d`
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => {
            Some("an IPv4 address in disguise")
        }
        // NAT64 (RFC 6052, RFC 8215)
        [0x64, 0xff9b, ..] => Some("translated to IPv4"),
        // 6to4 and Teredo
        [0x2002, ..] | [0x2001, 0, ..] => Some("tunnelled over IPv4"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("for documentation"),
        [0x2001, 0x0002, 0, ..] | [0x0100, 0, 0, 0, ..] => Some("for tests"),
        [0xfc00..=0xfdff, ..] => Some("private"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("site-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        // Only 2000::/3 is given out.
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::Allowed;

    fn refused(address: &str) -> bool {
        let address = address.parse().expect("an address");
        Allowed::default().refusal(address).is_some()
    }

    #[test]
    fn only_public_addresses_are_let_through() {
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.192",
            "168.63.129.16",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "100::1",
        ] {
            assert!(refused(address), "{address}");
        }
        for address in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "169.253.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(!refused(address), "{address}");
        }
    }

    #[test]
    fn the_operator_lets_networks_and_hosts_through() {
        let allowed =
            Allowed::parse(&["10.1.0.0/16".into(), "[::1]".into(), "CRM.internal".into()]);
        let refusal = |address: &str| allowed.refusal(address.parse().expect("an address"));
        assert_eq!(refusal("10.1.2.3"), None);
        assert_eq!(refusal("::1"), None);
        assert_eq!(refusal("10.2.0.1"), Some("private"));
        assert!(allowed.names("crm.internal.") && !allowed.names("internal"));
    }
}
