//! Where a call comes from, where proxies of the operator's stand in front: what they say is believed, and nothing that callers say.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::uri::Authority;
use ledger::Source;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";
/// The longest name that DNS has, with a port.
const HOST_MAX_BYTES: usize = 260;

/// The caller's address. Each of `proxies` adds the address of whom it heard to `X-Forwarded-For`, so the last of that many entries is
/// believed; entries further left are the caller's own words. An entry that is no address ends the walk.
pub(crate) fn address(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> IpAddr {
    if proxies == 0 {
        return peer.to_canonical();
    }
    let hops = from_the_right(headers, FORWARDED_FOR).take(proxies).map_while(hop);
    hops.last().unwrap_or(peer).to_canonical()
}

/// An address as limits and caps count it: whoever has an IPv6 address has its /64.
pub(crate) fn source(address: IpAddr) -> Source {
    match address.to_canonical() {
        IpAddr::V4(v4) => Source(v4.to_ipv6_mapped().octets()),
        IpAddr::V6(v6) => Source((u128::from(v6) & (u128::MAX << 64)).to_be_bytes()),
    }
}

/// Whether callers came by https, as the proxies say. `None` where none of them says it, and where there are none.
pub(crate) fn is_https(headers: &HeaderMap, proxies: usize) -> Option<bool> {
    let said = outermost(headers, FORWARDED_PROTO, proxies)?;
    if said.eq_ignore_ascii_case(b"https") {
        return Some(true);
    }
    said.eq_ignore_ascii_case(b"http").then_some(false)
}

/// The host that callers asked for, as the proxies say; as above.
pub(crate) fn host(headers: &HeaderMap, proxies: usize) -> Option<Authority> {
    let said = outermost(headers, FORWARDED_HOST, proxies).filter(|said| said.len() <= HOST_MAX_BYTES)?;
    let host = Authority::try_from(said).ok()?;
    // Authority takes names and passwords as well.
    (!host.host().is_empty() && !said.contains(&b'@')).then_some(host)
}

/// What the outermost of the proxies said. Some add to a list and some put their word in the place of others, so with fewer entries than
/// proxies it is the first one.
fn outermost<'h>(headers: &'h HeaderMap, name: &'static str, proxies: usize) -> Option<&'h [u8]> {
    if proxies == 0 {
        return None;
    }
    from_the_right(headers, name).take(proxies).last()
}

/// The entries of all lines of a header, the last one first.
fn from_the_right<'h>(headers: &'h HeaderMap, name: &'static str) -> impl Iterator<Item = &'h [u8]> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
    lines.into_iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii))
}

/// An entry of `X-Forwarded-For`: an address, with a port or without, and an IPv6 one with brackets or without.
fn hop(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(v6) = bare {
        return v6.parse().ok().map(IpAddr::V6);
    }
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    #[test]
    fn the_entries_of_trusted_proxies_are_believed() {
        let peer = "10.0.0.1";
        let rows: &[(&[&str], usize, &str)] = &[
            (&[], 0, peer),
            (&[], 2, peer),
            (&["1.1.1.1"], 0, peer),
            (&["1.1.1.1"], 1, "1.1.1.1"),
            (&["9.9.9.9, 1.1.1.1"], 1, "1.1.1.1"),
            (&["9.9.9.9,1.1.1.1 ,\t2.2.2.2"], 2, "1.1.1.1"),
            (&["9.9.9.9", "1.1.1.1", "2.2.2.2"], 2, "1.1.1.1"),
            (&["9.9.9.9, 1.1.1.1", "2.2.2.2"], 2, "1.1.1.1"),
            (&["1.1.1.1"], 3, "1.1.1.1"),
            (&["1.1.1.1"], usize::MAX, "1.1.1.1"),
            // Ports and brackets.
            (&["1.1.1.1:80"], 1, "1.1.1.1"),
            (&["[2001:db8::1]:80"], 1, "2001:db8::1"),
            (&["[2001:db8::1]"], 1, "2001:db8::1"),
            (&["2001:db8::1"], 1, "2001:db8::1"),
            (&["::ffff:1.1.1.1"], 1, "1.1.1.1"),
            (&["[::ffff:1.1.1.1]:80"], 1, "1.1.1.1"),
            // What is no address ends the walk at the last good hop.
            (&["1.1.1.1, unknown"], 2, peer),
            (&["1.1.1.1, unknown, 2.2.2.2"], 3, "2.2.2.2"),
            (&["1.1.1.1,, 2.2.2.2"], 3, "2.2.2.2"),
            (&["1.1.1.1,"], 1, peer),
            (&[",,,,"], 9, peer),
            (&[""], 1, peer),
            (&["1.1.1.1", ""], 2, peer),
            (&["1.1.1"], 1, peer),
            (&["1.1.1.256"], 1, peer),
            (&["01.1.1.1"], 1, peer),
            (&["1.1.1.1:"], 1, peer),
            (&["1.1.1.1:99999"], 1, peer),
            (&["[1.1.1.1]"], 1, peer),
            (&["[::1"], 1, peer),
            (&["[::1]x"], 1, peer),
            (&["[[::1]]"], 1, peer),
            (&["fe80::1%eth0"], 1, peer),
            (&["for=1.1.1.1"], 1, peer),
            (&["\"1.1.1.1\""], 1, peer),
            (&["1.1.1.1 2.2.2.2"], 1, peer),
            (&["localhost"], 1, peer),
        ];
        for (lines, proxies, expected) in rows {
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            let found = address(peer.parse().unwrap(), &headers(FORWARDED_FOR, &lines), *proxies);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{lines:?} {proxies}");
        }
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(address(mapped, &HeaderMap::new(), 0).to_string(), peer);
    }

    #[test]
    fn hostile_headers_are_no_harm() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let commas = ",".repeat(10_000);
        let addresses = "6.6.6.6,".repeat(1_250) + "1.1.1.1";
        let letters = "a".repeat(10_000);
        let rows: &[(&[u8], usize, &str)] = &[
            (commas.as_bytes(), 10_000, "10.0.0.1"),
            (addresses.as_bytes(), 1, "1.1.1.1"),
            (letters.as_bytes(), 5, "10.0.0.1"),
            (b"\xff\xfe\xfd, 1.1.1.1", 2, "1.1.1.1"),
            (b"1.1.1.1, \xff", 2, "10.0.0.1"),
            (b"1.1.1.1\t\t", 1, "1.1.1.1"),
        ];
        for (line, proxies, expected) in rows {
            assert_eq!(address(peer, &headers(FORWARDED_FOR, &[line]), *proxies).to_string(), *expected);
        }
    }

    #[test]
    fn sources_are_one_for_each_v4_address_and_each_v6_subnet() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("1.2.3.4"), of("::ffff:1.2.3.4"));
        assert_ne!(of("1.2.3.4"), of("1.2.3.5"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    }

    #[test]
    fn scheme_and_host_are_the_outermost_proxys_word() {
        let proto = |line: &str, proxies| is_https(&headers(FORWARDED_PROTO, &[line.as_bytes()]), proxies);
        for (line, proxies, expected) in [
            ("https", 0, None),
            ("https", 1, Some(true)),
            ("HTTP", 1, Some(false)),
            ("http, https", 1, Some(true)),
            ("https, http", 2, Some(true)),
            ("https", 3, Some(true)),
            ("ftp", 1, None),
            ("", 1, None),
            ("https;", 1, None),
        ] {
            assert_eq!(proto(line, proxies), expected, "{line} {proxies}");
        }
        let named =
            |line: &[u8], proxies| host(&headers(FORWARDED_HOST, &[line]), proxies).map(|host| host.to_string());
        let long = "a".repeat(10_000);
        let rows: &[(&[u8], usize, Option<&str>)] = &[
            (b"api.example", 0, None),
            (b"api.example", 1, Some("api.example")),
            (b"api.example:8443", 1, Some("api.example:8443")),
            (b"[::1]:80", 1, Some("[::1]:80")),
            (b"evil.example, api.example", 1, Some("api.example")),
            (b"api.example, inner", 2, Some("api.example")),
            (b"me:pw@api.example", 1, None),
            (b"api.example/path", 1, None),
            (b"api example", 1, None),
            (b":80", 1, None),
            (b"", 1, None),
            (b"\xff", 1, None),
            (long.as_bytes(), 1, None),
        ];
        for (line, proxies, expected) in rows {
            assert_eq!(named(line, *proxies).as_deref(), *expected, "{proxies}");
        }
    }
}
