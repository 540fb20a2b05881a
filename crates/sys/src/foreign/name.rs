//! A socket address as a program passed it to `bind`.
//!
//! Invariant: what the kernel refuses by form alone is refused here with the same number, so that a parsed name can be bound
//! in the program's stead.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Longest address of any family (`sockaddr_storage`); `bind` refuses more with `EINVAL`.
pub const MAX_NAME: usize = 128;

/// `sockaddr_in` with its padding, `sockaddr_in6` without the scope (RFC 2133; the kernel still takes it), `sockaddr_un`.
const V4_LENGTH: usize = 16;
const V6_SHORT_LENGTH: usize = 24;
const UNIX_LENGTH: usize = 110;

/// Where a program wants to bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// IPv4 or IPv6; port 0 asks for any.
    Ip(SocketAddr),
    /// A path in the program's own view of the file system, from its own directory if relative.
    UnixPath(PathBuf),
    /// An abstract Unix name, without its leading NUL.
    UnixAbstract(Vec<u8>),
    /// A Unix socket that asks for any abstract name.
    Unnamed,
    /// Another family, by its number. `AF_UNSPEC` (0) is among them, which IPv4 sockets take for 0.0.0.0 if the
    /// address is all zero.
    Other(u16),
}

impl Name {
    /// Reads the bytes of a `sockaddr`; `EINVAL` when they are too short or too long for their family.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let parsed = bytes.split_first_chunk().and_then(|(family, body)| {
            let family = u16::from_ne_bytes(*family);
            match i32::from(family) {
                libc::AF_INET => parse_v4(bytes),
                libc::AF_INET6 => parse_v6(bytes),
                libc::AF_UNIX => parse_unix(body),
                _ => Some(Self::Other(family)),
            }
        });
        parsed.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
    }
}

/// Port at 2, address at 4, both in network order.
fn parse_v4(bytes: &[u8]) -> Option<Name> {
    let bytes: &[u8; V4_LENGTH] = bytes.first_chunk()?;
    let ip: [u8; 4] = chunk(bytes, 4)?;
    Some(Name::Ip(SocketAddrV4::new(Ipv4Addr::from(ip), port(bytes)?).into()))
}

/// Port at 2, flow at 4, address at 8, scope at 24 in the host's order. The flow means nothing to `bind`.
fn parse_v6(bytes: &[u8]) -> Option<Name> {
    if bytes.len() < V6_SHORT_LENGTH {
        return None;
    }
    let ip: [u8; 16] = chunk(bytes, 8)?;
    let scope = chunk(bytes, 24).map_or(0, u32::from_ne_bytes);
    Some(Name::Ip(SocketAddrV6::new(Ipv6Addr::from(ip), port(bytes)?, 0, scope).into()))
}

fn parse_unix(name: &[u8]) -> Option<Name> {
    if name.len() + 2 > UNIX_LENGTH {
        return None;
    }
    Some(match name {
        [] => Name::Unnamed,
        // All bytes count, NULs included.
        [0, name @ ..] => Name::UnixAbstract(name.to_vec()),
        path => {
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            let path = path.get(..end).unwrap_or(path).to_vec();
            Name::UnixPath(PathBuf::from(OsString::from_vec(path)))
        }
    })
}

fn port(bytes: &[u8]) -> Option<u16> {
    chunk(bytes, 2).map(u16::from_be_bytes)
}

fn chunk<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::Name;

    fn errno(bytes: &[u8]) -> Option<i32> {
        Name::parse(bytes).err().and_then(|error| error.raw_os_error())
    }

    fn v4() -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        bytes[2..8].copy_from_slice(&[0x1f, 0x90, 127, 0, 0, 1]);
        bytes
    }

    fn v6() -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        bytes[2..8].copy_from_slice(&[0x1f, 0x90, 1, 2, 3, 4]);
        bytes[8..10].copy_from_slice(&[0xfe, 0x80]);
        bytes[23] = 1;
        bytes[24..].copy_from_slice(&7u32.to_ne_bytes());
        bytes
    }

    fn unix(name: &[u8]) -> Vec<u8> {
        [&(libc::AF_UNIX as u16).to_ne_bytes(), name].concat()
    }

    #[test]
    fn ipv4_is_read_from_sixteen_bytes_and_refused_below() {
        let expected = Name::Ip("127.0.0.1:8080".parse().unwrap());
        assert_eq!(Name::parse(&v4()).unwrap(), expected);
        assert_eq!(Name::parse(&[&v4()[..], &[9; 112]].concat()).unwrap(), expected);
        assert_eq!(errno(&v4()[..15]), Some(libc::EINVAL));
    }

    #[test]
    fn ipv6_has_a_scope_only_if_it_is_long_enough() {
        assert_eq!(Name::parse(&v6()).unwrap(), Name::Ip("[fe80::1%7]:8080".parse().unwrap()));
        assert_eq!(Name::parse(&v6()[..24]).unwrap(), Name::Ip("[fe80::1]:8080".parse().unwrap()));
        assert_eq!(Name::parse(&v6()[..27]).unwrap(), Name::Ip("[fe80::1]:8080".parse().unwrap()));
        assert_eq!(errno(&v6()[..23]), Some(libc::EINVAL));
    }

    #[test]
    fn unix_names_end_where_the_kernel_ends_them() {
        assert_eq!(Name::parse(&unix(b"/run/a\0junk")).unwrap(), Name::UnixPath("/run/a".into()));
        assert_eq!(Name::parse(&unix(&[b'a'; 108])).unwrap(), Name::UnixPath("a".repeat(108).into()));
        assert_eq!(errno(&unix(&[b'a'; 109])), Some(libc::EINVAL));
        assert_eq!(Name::parse(&unix(b"\0x\0y")).unwrap(), Name::UnixAbstract(b"x\0y".to_vec()));
        assert_eq!(Name::parse(&unix(b"\0")).unwrap(), Name::UnixAbstract(Vec::new()));
        assert_eq!(Name::parse(&unix(b"")).unwrap(), Name::Unnamed);
    }

    #[test]
    fn other_families_are_named_and_less_than_a_family_is_refused() {
        assert_eq!(Name::parse(&16u16.to_ne_bytes()).unwrap(), Name::Other(16));
        assert_eq!(Name::parse(&[0; 128]).unwrap(), Name::Other(0));
        assert_eq!(errno(&[]), Some(libc::EINVAL));
        assert_eq!(errno(&[1]), Some(libc::EINVAL));
    }
}
