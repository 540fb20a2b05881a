//! Pieces of a selector that look at the packet: whether it is from one address, and a number out of where it is from.
//!
//! Invariant: a piece never leaves by the end but behind its last instruction, and expects nothing of accumulator and X.
//!
//! A selector sees the packet from behind its TCP or UDP header on (Linux 4.6 to 6.18). What lies before is reached from
//! the IP header on, by offsets from `SKF_NET_OFF`. A dual-stack socket gets packets of both families.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use libc::sock_filter;

use crate::listen::bpf::{
    IT_FROM_X, JUMP, JUMP_IF_EQUAL, LOAD, LOAD_BYTE, LOAD_HALF, LOAD_HALF_AT_X, MULTIPLY, SHIFT_RIGHT,
    X_FROM_IT, X_FROM_K, X_FROM_LENGTH, XOR_X, instruction,
};

/// Where the IP header begins: its version in the upper half of the first byte, an IPv4 header's length in the lower.
const IP: u32 = libc::SKF_NET_OFF.cast_unsigned();
const V4_SOURCE: u32 = IP + 12;
const V6_NEXT_HEADER: u32 = IP + 6;
const V6_SOURCE: u32 = IP + 8;
/// The source port comes first in both transport headers.
const V6_PORT: u32 = IP + 40;

/// Odd numbers that spread bits well: the golden ratio's, and those of MurmurHash3's last steps.
const SPREADING: u32 = 0x9E37_79B1;
const MIXING: [u32; 2] = [0x85EB_CA6B, 0xC2B2_AE35];

/// Which protocol's header follows the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    fn number(self) -> u32 {
        match self {
            Self::Tcp => libc::IPPROTO_TCP.cast_unsigned(),
            Self::Udp => libc::IPPROTO_UDP.cast_unsigned(),
        }
    }
}

/// What of a source counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Address,
    AddressAndPort,
}

/// Goes into `then` with packets from exactly that address and port, and passes over it with all others.
pub(super) fn if_from(from: SocketAddr, transport: Transport, then: &[sock_filter]) -> Vec<sock_filter> {
    let port = u32::from(from.port());
    let conditions = match from.ip().to_canonical() {
        IpAddr::V4(ip) => {
            vec![(version(), 4), (vec![instruction(LOAD, V4_SOURCE, 0, 0)], ip.to_bits()), (v4_port(), port)]
        }
        IpAddr::V6(ip) => {
            let mut conditions = vec![
                (version(), 6),
                // Behind an extension header the port is somewhere else.
                (vec![instruction(LOAD_BYTE, V6_NEXT_HEADER, 0, 0)], transport.number()),
                (vec![instruction(LOAD_HALF, V6_PORT, 0, 0)], port),
            ];
            let words = words_with_places(ip);
            conditions.extend(words.map(|(place, word)| (vec![instruction(LOAD, place, 0, 0)], word)));
            conditions
        }
    };
    // From the last to the first, because each passes over all that follow.
    let mut listing = then.to_vec();
    for (load, wanted) in conditions.into_iter().rev() {
        let rest = u8::try_from(listing.len()).unwrap_or(u8::MAX);
        listing.splice(..0, load.into_iter().chain([instruction(JUMP_IF_EQUAL, wanted, 0, rest)]));
    }
    listing
}

/// Leaves a number in the accumulator that depends on source address and port alone; on the address alone if only that
/// counts, or where an IPv6 extension header hides the port.
pub(super) fn number_of_source(transport: Transport, part: Part) -> Vec<sock_filter> {
    let mut v4 = match part {
        Part::Address => vec![instruction(X_FROM_K, 0, 0, 0)],
        Part::AddressAndPort => {
            let mut port = v4_port();
            port.push(instruction(X_FROM_IT, 0, 0, 0));
            port
        }
    };
    v4.extend([
        instruction(LOAD, V4_SOURCE, 0, 0),
        instruction(MULTIPLY, SPREADING, 0, 0),
        instruction(XOR_X, 0, 0, 0),
    ]);
    let mut v6 = vec![instruction(X_FROM_K, 0, 0, 0)];
    for (place, _) in words_with_places(Ipv6Addr::UNSPECIFIED) {
        v6.extend([
            instruction(LOAD, place, 0, 0),
            instruction(XOR_X, 0, 0, 0), // what there is of the words before it
            instruction(MULTIPLY, SPREADING, 0, 0),
            instruction(X_FROM_IT, 0, 0, 0),
        ]);
    }
    match part {
        Part::Address => v6.push(instruction(IT_FROM_X, 0, 0, 0)),
        Part::AddressAndPort => v6.extend([
            instruction(LOAD_BYTE, V6_NEXT_HEADER, 0, 0),
            instruction(JUMP_IF_EQUAL, transport.number(), 0, 3), // not where we look: to the last
            instruction(LOAD_HALF, V6_PORT, 0, 0),
            instruction(XOR_X, 0, 0, 0),
            instruction(JUMP, 1, 0, 0), // past the last
            instruction(IT_FROM_X, 0, 0, 0),
        ]),
    }
    v4.push(instruction(JUMP, v6.len() as u32, 0, 0));
    let mut listing = version();
    listing.push(instruction(JUMP_IF_EQUAL, 6, v4.len() as u8, 0));
    listing.extend(v4);
    listing.extend(v6);
    for (shift, multiplier) in [16, 13].into_iter().zip(MIXING) {
        listing.extend(fold(shift));
        listing.push(instruction(MULTIPLY, multiplier, 0, 0));
    }
    listing.extend(fold(16));
    listing
}

/// The upper bits of the accumulator go into the lower ones.
fn fold(shift: u32) -> [sock_filter; 3] {
    [instruction(X_FROM_IT, 0, 0, 0), instruction(SHIFT_RIGHT, shift, 0, 0), instruction(XOR_X, 0, 0, 0)]
}

fn version() -> Vec<sock_filter> {
    vec![instruction(LOAD_BYTE, IP, 0, 0), instruction(SHIFT_RIGHT, 4, 0, 0)]
}

fn v4_port() -> Vec<sock_filter> {
    vec![instruction(X_FROM_LENGTH, IP, 0, 0), instruction(LOAD_HALF_AT_X, IP, 0, 0)]
}

/// The four words of a source address and where each lies.
fn words_with_places(ip: Ipv6Addr) -> impl Iterator<Item = (u32, u32)> {
    let bits = ip.to_bits();
    let words = [(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32];
    (0..).map(|index| V6_SOURCE + 4 * index).zip(words)
}
