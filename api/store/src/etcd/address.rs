//! The addresses of etcd's members, as they are configured: trimmed, and wholly checked before any connection.

use std::net::Ipv6Addr;

const FORM: &str = "write http://HOST:PORT, as http://127.0.0.1:2379";

/// The members at these addresses, as `http://HOST:PORT`. An empty address, as behind a comma at the end, is none.
///
/// # Errors
/// Every fault, with its address.
pub fn etcd_addresses<'a>(given: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, Vec<String>> {
    let (mut addresses, mut faults) = (Vec::new(), Vec::new());
    for text in given.into_iter().map(str::trim).filter(|text| !text.is_empty()) {
        match address(text) {
            Ok(address) => addresses.push(address),
            Err(why) => faults.push(format!("etcd address `{text}` {why}; {FORM}")),
        }
    }
    if addresses.is_empty() && faults.is_empty() {
        faults.push(format!("no address of etcd is given; {FORM}"));
    }
    if faults.is_empty() { Ok(addresses) } else { Err(faults) }
}

fn address(text: &str) -> Result<String, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("does not begin with http://")?;
    if scheme.eq_ignore_ascii_case("https") {
        return Err("uses https, but Berth does not support TLS to etcd");
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err("does not begin with http://");
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err("names a user, which Berth does not send to etcd");
    }
    if rest.contains(['/', '?', '#']) {
        return Err("has more than a host and a port");
    }
    let whole_host = rest.starts_with('[') && rest.ends_with(']');
    let (host, port) = rest.rsplit_once(':').filter(|_| !whole_host).ok_or("has no port")?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err("has a bad port, which must be a number from 1 to 65535");
    }
    if !is_host(host) {
        return Err("has an invalid host: use a name, an IPv4 address, or an IPv6 address in brackets");
    }
    Ok(format!("http://{host}:{port}"))
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(word)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_trimmed_and_taken_in_every_usual_form() {
        for (given, taken) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            (" http://127.0.0.1:2379\n", "http://127.0.0.1:2379"),
            ("HTTP://etcd-1.example:2379/", "http://etcd-1.example:2379"),
            ("http://[::1]:2379", "http://[::1]:2379"),
        ] {
            assert_eq!(etcd_addresses([given]), Ok(vec![taken.to_owned()]), "{given}");
        }
        let three = "http://a:1, http://b:2 ,\nhttp://c:3,";
        assert_eq!(etcd_addresses(three.split(',')).unwrap().join(" "), "http://a:1 http://b:2 http://c:3");
    }

    #[test]
    fn every_fault_of_every_address_is_told_before_a_connection() {
        let given = "a:2379, ftp://a:1,https://a:2379,http://a,http://[::1],http://a:,http://a:0,http://a:99999,\
            http://a:23 79,http://a:+1,http://:2379,http://a b:2379,http://::1:2379,http://[a]:1,http://a:1/v3,\
            http://a:1//,http://a:1?x=y,http://a:1#z,http://me:secret@a:1,http://good:1";
        let faults = etcd_addresses(given.split(',')).unwrap_err().join("\n");
        expect_test::expect![[r#"
            etcd address `a:2379` does not begin with http://; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `ftp://a:1` does not begin with http://; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `https://a:2379` uses https, but Berth does not support TLS to etcd; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a` has no port; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://[::1]` has no port; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a:` has a bad port, which must be a number from 1 to 65535; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a:0` has a bad port, which must be a number from 1 to 65535; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a:99999` has a bad port, which must be a number from 1 to 65535; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a:23 79` has a bad port, which must be a number from 1 to 65535; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a:+1` has a bad port, which must be a number from 1 to 65535; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://:2379` has an invalid host: use a name, an IPv4 address, or an IPv6 address in brackets; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a b:2379` has an invalid host: use a name, an IPv4 address, or an IPv6 address in brackets; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://::1:2379` has an invalid host: use a name, an IPv4 address, or an IPv6 address in brackets; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://[a]:1` has an invalid host: use a name, an IPv4 address, or an IPv6 address in brackets; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a:1/v3` has more than a host and a port; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a:1//` has more than a host and a port; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a:1?x=y` has more than a host and a port; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://a:1#z` has more than a host and a port; write http://HOST:PORT, as http://127.0.0.1:2379
            etcd address `http://me:secret@a:1` names a user, which Berth does not send to etcd; write http://HOST:PORT, as http://127.0.0.1:2379"#]]
        .assert_eq(&faults);
        assert!(etcd_addresses([" ", ""]).unwrap_err()[0].starts_with("no address of etcd is given"));
    }
}
