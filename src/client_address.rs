//! Whose address a request came from, where proxies stand between (2.1, `TRUSTED_PROXIES`).
//!
//! Deciding by it is `admission`. Invariant: what an address outside of the trusted ranges claims is never believed, since
//! anybody can send `X-Forwarded-For`; where that leaves no answer there is none, and an allow list then says no.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

/// The peer, if it is no trusted proxy; else the right-most forwarded address that is none; where all are, the left-most.
/// `None`: a trusted proxy passed on something that is no address.
pub fn client_ip<'a>(
    peer: IpAddr,
    forwarded_for: impl Iterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let mut client = peer.to_canonical();
    // Each proxy appends the address that it was spoken to from, so the right end is the nearest.
    let values: Vec<&[u8]> = forwarded_for.collect();
    let entries = values
        .iter()
        .rev()
        .flat_map(|value| value.rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty());
    for entry in entries {
        if !contains(trusted, client) {
            break;
        }
        client = address(entry)?;
    }
    Some(client)
}

/// Whether an address is in one of the ranges, IPv4 in IPv6's clothes being IPv4 on both sides.
pub fn contains(ranges: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    ranges
        .iter()
        .any(|range| unmapped(*range).contains(&address))
}

/// One entry: an address, with or without port and brackets, or in the words of `Forwarded` (`for="[::1]:80"`).
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let text = match text.split_at_checked(4) {
        Some((name, value)) if name.eq_ignore_ascii_case("for=") => {
            value.split(';').next().unwrap_or(value)
        }
        _ => text,
    };
    let text = text.trim().trim_matches('"');
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(v6) => IpAddr::V6(v6.parse().ok()?),
        None => match text.parse() {
            Ok(address) => address,
            Err(_) => text.parse::<SocketAddr>().ok()?.ip(),
        },
    };
    Some(address.to_canonical())
}

fn unmapped(range: IpNet) -> IpNet {
    let IpNet::V6(v6) = range else { return range };
    let v4 = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96));
    v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
        .map_or(range, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(peer: &str, headers: &[&str], expected: Option<&str>) {
        let trusted = ["10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.0/120"]
            .map(|range| range.parse().unwrap());
        let found = client_ip(
            peer.parse().unwrap(),
            headers.iter().map(|header| header.as_bytes()),
            &trusted,
        );
        let expected = expected.map(|address| address.parse().unwrap());
        assert_eq!(found, expected, "{peer} {headers:?}");
    }

    #[test]
    fn the_walk_ends_at_the_first_that_is_not_trusted() {
        check("203.0.113.1", &[], Some("203.0.113.1"));
        check("203.0.113.1", &["198.51.100.7"], Some("203.0.113.1"));
        check("203.0.113.1", &["junk"], Some("203.0.113.1"));
        check("10.0.0.1", &[], Some("10.0.0.1"));
        check("10.0.0.1", &["198.51.100.7"], Some("198.51.100.7"));
        check("10.0.0.1", &["1.1.1.1, 198.51.100.7"], Some("198.51.100.7"));
        check(
            "10.0.0.1",
            &["1.1.1.1,198.51.100.7,10.2.3.4"],
            Some("198.51.100.7"),
        );
        check(
            "10.0.0.1",
            &["1.1.1.1", "198.51.100.7", "10.2.3.4"],
            Some("198.51.100.7"),
        );
        check("10.0.0.1", &["junk, 198.51.100.7"], Some("198.51.100.7"));
        check("10.0.0.1", &["10.9.9.9, 10.2.3.4"], Some("10.9.9.9"));
        check(
            "10.0.0.1",
            &["", " , ,198.51.100.7, "],
            Some("198.51.100.7"),
        );
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        for junk in [
            "unknown",
            "_hidden",
            "for=",
            "1.2.3",
            "1.2.3.4:port",
            "1.2.3.4:99999",
            "[1.2.3.4]",
            "[::1",
            "999.1.1.1",
            "1.2.3.4 5.6.7.8",
            "\u{e9}",
        ] {
            check("10.0.0.1", &[junk], None);
            check("10.0.0.1", &["198.51.100.7", junk, "10.1.1.1"], None);
        }
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_read() {
        for (entry, expected) in [
            ("198.51.100.7:4711", "198.51.100.7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("[::ffff:198.51.100.7]:80", "198.51.100.7"),
            ("2a00::1", "2a00::1"),
            ("[2a00::1]", "2a00::1"),
            ("[2a00::1]:443", "2a00::1"),
            ("\"[2a00::1]:443\"", "2a00::1"),
            ("for=198.51.100.7", "198.51.100.7"),
            ("For=\"[2a00::1]:443\";proto=https;by=10.0.0.1", "2a00::1"),
        ] {
            check("::ffff:10.0.0.1", &[entry], Some(expected));
            check("2001:db8::9", &[entry], Some(expected));
            check("192.0.2.200", &[entry], Some(expected));
        }
        check("::ffff:203.0.113.1", &[], Some("203.0.113.1"));
    }

    proptest! {
        #[test]
        fn nothing_panics(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4), peer: IpAddr) {
            let everyone = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
            client_ip(peer, values.iter().map(Vec::as_slice), &everyone);
            let untrusted = client_ip(peer, values.iter().map(Vec::as_slice), &[]);
            prop_assert_eq!(untrusted, Some(peer.to_canonical()));
        }
    }
}
