//! Networks as OpenBao compares them, whatever way they are written.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::collections::BTreeSet;

/// Where IPv4 addresses lie among those of IPv6, in bits.
const MAPPED: u32 = 96;

/// Each in one way of writing; what is no network stays as it is.
pub(super) fn set(texts: &BTreeSet<String>) -> BTreeSet<String> {
    let one_way = |text: &String| canonical(text).unwrap_or_else(|| text.trim().to_owned());
    texts.iter().map(one_way).collect()
}

/// One way of writing for each network: the first address in it, and its length. An address is the network of itself alone, and one with a
/// port keeps that. `None` for anything else.
pub(super) fn canonical(text: &str) -> Option<String> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        let host = address.ip().to_canonical();
        return Some(SocketAddr::new(host, address.port()).to_string());
    }
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let whole = match address {
        IpAddr::V4(_) => Ipv4Addr::BITS,
        IpAddr::V6(_) => Ipv6Addr::BITS,
    };
    let len = match len {
        None => whole,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
    };
    if len > whole {
        return None;
    }
    let mapped = match address {
        IpAddr::V6(address) => address.to_ipv4_mapped().zip(len.checked_sub(MAPPED)),
        IpAddr::V4(_) => None,
    };
    let (address, len) = mapped.map_or((address, len), |(address, len)| (address.into(), len));
    Some(format!("{}/{len}", first(address, len)))
}

/// The first address of the network of this length around `address`.
fn first(address: IpAddr, len: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let rest = u32::MAX.checked_shr(len).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & !rest).into()
        }
        IpAddr::V6(address) => {
            let rest = u128::MAX.checked_shr(len).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & !rest).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_network_is_the_same_however_it_is_written() {
        // On the right as OpenBao 2.6 and 2.7 show what they were given on the left.
        for (given, shown) in [
            ("10.0.0.1/32", "10.0.0.1"),
            ("::1/128", "::1"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:0db8:0:0::1", "2001:db8::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1/128", "10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            (" 10.0.0.1", "10.0.0.1"),
            ("10.1.2.3/8", "10.1.2.3/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(canonical(given), canonical(shown), "{given}");
            assert!(canonical(given).is_some(), "{given}");
        }
        for (one, other) in [
            ("10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/8", "10.0.0.0/9"),
            ("10.0.0.1", "10.0.0.1:80"),
            ("::/0", "0.0.0.0/0"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one}");
        }
    }

    proptest! {
        /// Whatever network it is: written anew, with bits of the host, or as IPv6, it is the same one, and one way of writing stays.
        #[test]
        fn one_way_of_writing_is_one_way(bits in any::<u32>(), host in any::<u32>(), len in 0u32..=32) {
            let rest = u32::MAX.checked_shr(len).unwrap_or(0);
            let network = Ipv4Addr::from_bits(bits & !rest);
            let inside = Ipv4Addr::from_bits(bits & !rest | host & rest);
            let one = canonical(&format!("{network}/{len}"));
            prop_assert_eq!(&canonical(one.as_ref().unwrap()), &one);
            prop_assert_eq!(&canonical(&format!("{inside}/{len}")), &one);
            let mapped = format!("{}/{}", inside.to_ipv6_mapped(), len + MAPPED);
            prop_assert_eq!(&canonical(&mapped), &one);
        }
    }

    #[test]
    fn what_is_no_network_has_no_canonical_form() {
        for text in [
            "",
            "unix",
            "/run/socket",
            "host.example",
            "010.0.0.1/8",
            "10.0.0.1/33",
            "::1/129",
            "10.0.0.1/+8",
            "10.0.0.1/",
            "10.0.0.1,10.0.0.2",
            "fe80::1%eth0",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
