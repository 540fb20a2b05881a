//! Which binds are ours, as a table.

use std::net::SocketAddr;

use oneport_core::{Caller, Claim, Claims, Errno, LowPorts, PortRange, Published, Transport};

const NOBODY: Caller = Caller { may_bind_low: false, lowest_free: 1024 };
const ROOT: Caller = Caller { may_bind_low: true, lowest_free: 1024 };

fn ranges(texts: &[&str]) -> Vec<PortRange> {
    texts.iter().map(|text| text.parse().expect("ports of a test")).collect()
}

fn claims(ports: &[&str], excluded: &[&str], published: &[&str]) -> Claims {
    Claims {
        ports: (!ports.is_empty()).then(|| ranges(ports)),
        excluded: ranges(excluded),
        published: published.iter().map(|text| text.parse().expect("a pair")).collect(),
        ..Claims::default()
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address of a test")
}

/// What becomes of a bind: an address, or `-` passes, `listen` is decided then, `13` is refused.
#[track_caller]
fn check(claims: &Claims, caller: Caller, table: &[(&str, &str)]) {
    for (asked, wanted) in table {
        let (transport, text) = match asked.split_once(' ') {
            Some(("udp", text)) => (Transport::Udp, text),
            Some(_) | None => (Transport::Tcp, *asked),
        };
        let got = match claims.of_ip(transport, address(text), caller) {
            Claim::Ours(ours) => ours.to_string(),
            Claim::AtListen => "listen".to_owned(),
            Claim::Passes => "-".to_owned(),
            Claim::Refused(Errno(errno)) => errno.to_string(),
        };
        assert_eq!(got, *wanted, "{asked} under {claims:?}");
    }
}

#[test]
fn unless_told_otherwise_every_tcp_port_asked_for_by_number_is_ours() {
    check(
        &claims(&[], &[], &[]),
        NOBODY,
        &[
            ("0.0.0.0:8000", "0.0.0.0:8000"),
            ("127.0.0.1:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::]:8000"),
            ("[::1]:8000", "[::1]:8000"),
            ("[::ffff:127.0.0.1]:8000", "[::ffff:127.0.0.1]:8000"),
            ("[fe80::1%3]:8000", "[fe80::1%3]:8000"),
            ("udp 0.0.0.0:8000", "-"),
            ("udp 0.0.0.0:0", "-"),
            ("udp 224.0.0.251:5353", "-"),
        ],
    );
}

#[test]
fn a_port_that_the_kernel_chooses_is_ours_unless_only_this_machine_can_reach_it() {
    check(
        &claims(&[], &[], &[]),
        NOBODY,
        &[
            ("0.0.0.0:0", "listen"),
            ("[::]:0", "listen"),
            ("192.0.2.1:0", "listen"),
            ("127.0.0.1:0", "-"),
            ("127.9.9.9:0", "-"),
            ("[::1]:0", "-"),
            ("[::ffff:127.0.0.1]:0", "-"),
        ],
    );
}

#[test]
fn with_a_list_only_what_is_on_it_is_ours() {
    check(
        &claims(&["8000", "9000-9010", "53/udp", "7000/tcp"], &[], &[]),
        ROOT,
        &[
            ("0.0.0.0:8000", "0.0.0.0:8000"),
            ("udp 0.0.0.0:8000", "0.0.0.0:8000"),
            ("0.0.0.0:8999", "-"),
            ("0.0.0.0:9000", "0.0.0.0:9000"),
            ("0.0.0.0:9010", "0.0.0.0:9010"),
            ("0.0.0.0:9011", "-"),
            ("udp 0.0.0.0:53", "0.0.0.0:53"),
            ("0.0.0.0:53", "-"),
            ("0.0.0.0:7000", "0.0.0.0:7000"),
            ("udp 0.0.0.0:7000", "-"),
            ("0.0.0.0:0", "-"),
            ("127.0.0.1:0", "-"),
        ],
    );
}

#[test]
fn port_0_on_the_list_means_loopback_too_and_never_datagrams() {
    check(
        &claims(&["0"], &[], &[]),
        NOBODY,
        &[("0.0.0.0:0", "listen"), ("127.0.0.1:0", "listen"), ("udp 0.0.0.0:0", "-"), ("0.0.0.0:8000", "-")],
    );
}

#[test]
fn what_is_excluded_passes_whatever_else_is_said() {
    check(
        &claims(&["8000-8010", "0"], &["8005", "0", "8007/udp", "3000"], &["80:3000"]),
        ROOT,
        &[
            ("0.0.0.0:8005", "-"),
            ("udp 0.0.0.0:8005", "-"),
            ("0.0.0.0:8007", "0.0.0.0:8007"),
            ("udp 0.0.0.0:8007", "-"),
            ("0.0.0.0:0", "-"),
            ("0.0.0.0:3000", "-"),
        ],
    );
    check(&claims(&[], &["9229"], &[]), NOBODY, &[("127.0.0.1:9229", "-"), ("0.0.0.0:80", "13")]);
}

#[test]
fn a_published_port_is_rewritten_on_the_same_address() {
    let published = claims(&["8000"], &[], &["80:3000", "9000:4000"]);
    check(
        &published,
        ROOT,
        &[
            ("0.0.0.0:3000", "0.0.0.0:80"),
            ("127.0.0.1:3000", "127.0.0.1:80"),
            ("[::]:4000", "[::]:9000"),
            ("[fe80::1%3]:4000", "[fe80::1%3]:9000"),
            ("0.0.0.0:8000", "0.0.0.0:8000"),
            ("0.0.0.0:80", "-"),
            ("udp 0.0.0.0:3000", "-"),
        ],
    );
    check(
        &claims(&[], &[], &["80:3000"]),
        ROOT,
        &[("0.0.0.0:3000", "0.0.0.0:80"), ("0.0.0.0:1", "0.0.0.0:1")],
    );
    check(&claims(&["4433/udp"], &[], &["443:4433"]), ROOT, &[("udp 0.0.0.0:4433", "0.0.0.0:443")]);
}

#[test]
fn datagrams_to_a_group_pass_even_when_listed() {
    check(
        &claims(&["5353"], &[], &[]),
        NOBODY,
        &[
            ("udp 224.0.0.251:5353", "-"),
            ("udp 239.255.255.250:5353", "-"),
            ("udp [ff02::fb]:5353", "-"),
            ("udp [::ffff:224.0.0.251]:5353", "-"),
            ("udp 0.0.0.0:5353", "0.0.0.0:5353"),
        ],
    );
}

#[test]
fn a_low_port_is_for_those_who_could_have_it_without_us() {
    let plain = claims(&[], &[], &["80:3000", "8080:81"]);
    check(
        &plain,
        NOBODY,
        &[
            ("0.0.0.0:443", "13"),
            ("0.0.0.0:1023", "13"),
            ("0.0.0.0:1024", "0.0.0.0:1024"),
            ("0.0.0.0:3000", "13"),
            ("0.0.0.0:81", "0.0.0.0:8080"),
            ("0.0.0.0:0", "listen"),
        ],
    );
    check(&plain, ROOT, &[("0.0.0.0:443", "0.0.0.0:443"), ("0.0.0.0:3000", "0.0.0.0:80")]);
    let open = Caller { lowest_free: 80, ..NOBODY };
    check(&plain, open, &[("0.0.0.0:79", "13"), ("0.0.0.0:80", "0.0.0.0:80")]);
    let granted = Claims { low_ports: LowPorts::Granted, ..plain };
    check(&granted, NOBODY, &[("0.0.0.0:443", "0.0.0.0:443"), ("0.0.0.0:3000", "0.0.0.0:80")]);
}

#[test]
fn a_low_port_that_is_not_ours_is_left_to_the_kernel() {
    check(&claims(&["8000"], &[], &[]), NOBODY, &[("0.0.0.0:80", "-")]);
}

#[test]
fn whether_a_chosen_port_is_ours_is_decided_when_it_listens() {
    let any = |claims: &Claims, ip: &str| claims.at_listen(ip.parse().expect("an address"));
    let ours = |text: &str| Claim::Ours(address(text));
    let all = claims(&[], &[], &[]);
    assert_eq!(any(&all, "0.0.0.0"), ours("0.0.0.0:0"));
    assert_eq!(any(&all, "::"), ours("[::]:0"));
    assert_eq!(any(&all, "127.0.0.1"), Claim::Passes);
    assert_eq!(any(&all, "::ffff:127.0.0.1"), Claim::Passes);
    assert_eq!(any(&claims(&["0"], &[], &[]), "::1"), ours("[::1]:0"));
    assert_eq!(any(&claims(&["8000"], &[], &[]), "0.0.0.0"), Claim::Passes);
    assert_eq!(any(&claims(&[], &["0"], &[]), "0.0.0.0"), Claim::Passes);
    assert_eq!(any(&claims(&["0/udp"], &[], &[]), "0.0.0.0"), Claim::Passes);
}

#[test]
fn only_paths_on_the_list_are_ours() {
    let claims = Claims { paths: vec!["/run/app.sock".into()], ..Claims::default() };
    assert!(claims.of_path("/run/app.sock"));
    assert!(!claims.of_path("/run/app.sock.ctl"));
    assert!(!Claims::default().of_path("/run/app.sock"));
}

#[test]
fn ports_are_read_as_people_write_them() {
    let range = |first, last, transport| Ok(PortRange { first, last, transport });
    assert_eq!("8000".parse(), range(8000, 8000, None));
    assert_eq!("8000-8010".parse(), range(8000, 8010, None));
    assert_eq!("53/udp".parse(), range(53, 53, Some(Transport::Udp)));
    assert_eq!("1-65535/tcp".parse(), range(1, 65535, Some(Transport::Tcp)));
    assert_eq!("0".parse(), range(0, 0, None));
    assert_eq!("80:3000".parse(), Ok(Published { outside: 80, inside: 3000 }));
}

#[test]
fn what_cannot_be_read_is_named_with_its_cause() {
    for (text, cause) in [
        ("", "a port is a number from 0 to 65535"),
        ("http", "a port is a number from 0 to 65535"),
        ("+80", "a port is a number from 0 to 65535"),
        ("65536", "a port is a number from 0 to 65535"),
        ("80-", "a port is a number from 0 to 65535"),
        ("80-90-100", "a port is a number from 0 to 65535"),
        ("90-80", "the first is above the last"),
        ("0-80", "port 0 is no part of a range"),
        ("80/sctp", "after the slash comes tcp or udp"),
    ] {
        let error = text.parse::<PortRange>().expect_err(text);
        assert_eq!(error.to_string(), format!("cannot read ports `{text}`: {cause}"));
    }
    for text in ["80", "80:", ":80", "0:80", "80:0", "80:90:100", "80:x"] {
        assert!(text.parse::<Published>().is_err(), "{text}");
    }
}
