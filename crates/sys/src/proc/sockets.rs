//! Which process holds which listening socket.
//!
//! `/proc/net/*` lists sockets with their inode numbers, `/proc/PID/fd` lists a process's inodes; this file joins the
//! two. Only listening sockets are in the TCP tables: one that is bound and does not listen is invisible here.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Dir, Mode, OFlags, readlinkat_raw};
use rustix::io::Errno;

use super::{all_pids, read_bounded};
use crate::process::Pid;

/// State number of a listening TCP socket.
const TCP_LISTEN: &str = "0A";
/// `__SO_ACCEPTCON` in the flags of `/proc/net/unix`.
const UNIX_LISTENS: u32 = 0x10000;
/// Bytes read of a table at most: some 50,000 listeners.
const MAX_TABLE: u64 = 8 * 1024 * 1024;
/// Longest command line shown, in characters.
const MAX_COMMAND: usize = 80;

/// The family of a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListeningKind {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// A Unix stream or sequenced-packet socket.
    Unix,
}

/// A listening socket of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// `127.0.0.1:8000`, `[::]:8000`, a Unix path, or `@name` for an abstract one.
    pub address: String,
    /// Its family.
    pub kind: ListeningKind,
    /// Its inode; the same number in every process that holds the same socket.
    pub inode: u64,
    /// The port, for TCP.
    pub port: Option<u16>,
}

/// Inodes of the sockets a process holds, each once, in rising order; empty when the process is gone or not ours to
/// look at.
pub fn open_sockets(pid: Pid) -> Vec<u64> {
    read_sockets(pid).unwrap_or_default()
}

/// Whether a process has a descriptor of the socket. Of one that is not ours to look at it is not known, and the answer is
/// yes; of one that is gone it is no.
pub fn may_hold(pid: Pid, inode: u64) -> bool {
    match read_sockets(pid) {
        Ok(inodes) => inodes.binary_search(&inode).is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

/// The sockets that a process holds, by inode, with the number of a descriptor of each: some 3 us for each that is open.
/// Errors: it is gone, or not ours to look at.
pub fn socket_descriptors(pid: Pid) -> std::io::Result<Vec<(u64, RawFd)>> {
    let mut found = Vec::new();
    visit_sockets(pid, &mut |name, inode| {
        let number = str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        found.extend(number.map(|number| (inode, number)));
    })?;
    Ok(found)
}

fn read_sockets(pid: Pid) -> std::io::Result<Vec<u64>> {
    let mut inodes = Vec::new();
    visit_sockets(pid, &mut |_, inode| inodes.push(inode))?;
    inodes.sort_unstable();
    inodes.dedup();
    Ok(inodes)
}

/// A process may hold tens of thousands: the links are read below the opened directory and into one buffer, a quarter quicker
/// than by path (3 us each).
fn visit_sockets(pid: Pid, visit: &mut dyn FnMut(&[u8], u64)) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(format!("/proc/{pid}/fd"), flags, Mode::empty())?;
    let mut target = [0; 64];
    for entry in Dir::read_from(&directory)?.flatten() {
        let target = match readlinkat_raw(&directory, entry.file_name(), &mut target[..]) {
            Ok(filled) => target.get(..filled),
            // The directory may be readable where its links are not (Linux 6.18).
            Err(error @ (Errno::ACCESS | Errno::PERM)) => return Err(error.into()),
            Err(_) => continue,
        };
        let text = target.and_then(|target| str::from_utf8(target).ok());
        let socket = text.and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        if let Some(inode) = socket.and_then(|inode| inode.parse::<u64>().ok()) {
            visit(entry.file_name().to_bytes(), inode);
        }
    }
    Ok(())
}

/// The listening TCP and Unix sockets a process holds, each once, in its own network namespace.
pub fn listening_sockets(pid: Pid) -> Vec<Listening> {
    let held = open_sockets(pid);
    if held.is_empty() {
        return Vec::new();
    }
    let mut listening = listening_around(pid);
    listening.retain(|socket| held.binary_search(&socket.inode).is_ok());
    listening
}

/// The network namespace a process is in, as a number. Errors: it is gone, or not ours to look at.
pub fn network_of(pid: Pid) -> std::io::Result<u64> {
    Ok(fs::metadata(format!("/proc/{pid}/ns/net"))?.ino())
}

/// The listening TCP and Unix sockets in a process's network namespace, whoever holds them. For many processes of one
/// namespace ([`network_of`]) cheaper than [`listening_sockets`], which reads all of them each time.
pub fn listening_around(pid: Pid) -> Vec<Listening> {
    let base = format!("/proc/{pid}/net");
    let tcp = tcp_listeners(&base).into_iter().map(|(address, inode)| Listening {
        address: address.to_string(),
        kind: ListeningKind::Tcp,
        inode,
        port: Some(address.port()),
    });
    let unix = unix_sockets(&base).into_iter().filter(|socket| socket.listens).map(|socket| Listening {
        address: String::from_utf8_lossy(&socket.path).into_owned(),
        kind: ListeningKind::Unix,
        inode: socket.inode,
        port: None,
    });
    tcp.chain(unix).collect()
}

/// Who listens on a TCP port that conflicts with `addr`: the same port, and the same address or a wildcard on either
/// side. The oldest number among the holders, with its command line. `None` when nobody listens there, or the holder
/// cannot be looked at. An IPv6 wildcard counts for IPv4 too, though it may be IPv6-only.
pub fn holder_of(addr: SocketAddr) -> Option<(Pid, String)> {
    let wanted = addr.ip().to_canonical();
    let mut found: Vec<(SocketAddr, u64)> = tcp_listeners("/proc/self/net")
        .into_iter()
        .filter(|(listener, _)| listener.port() == addr.port() && conflicts(listener.ip(), wanted))
        .collect();
    found.sort_by_key(|(listener, _)| listener.ip().to_canonical() != wanted);
    found.into_iter().find_map(|(_, inode)| find_holder(inode))
}

/// Who holds the socket with this inode: the oldest number, and its command line. `None`: nobody, or nobody who can be looked at.
pub fn holder_of_inode(inode: u64) -> Option<(Pid, String)> {
    find_holder(inode)
}

/// Who holds a socket bound to the Unix path (as given, or made absolute); abstract names begin with NUL.
pub fn holder_of_unix(path: &Path) -> Option<(Pid, String)> {
    bound_to(path).into_iter().find_map(|socket| find_holder(socket.inode))
}

/// Whether any socket of this network namespace was bound to that path text.
pub(crate) fn is_unix_path_bound(path: &Path) -> bool {
    !bound_to(path).is_empty()
}

fn bound_to(path: &Path) -> Vec<UnixSocket> {
    let mut given = path.as_os_str().as_bytes().to_vec();
    if let Some(first @ 0) = given.first_mut() {
        *first = b'@';
    }
    let absolute = std::path::absolute(path).map(|path| path.into_os_string().into_encoded_bytes());
    // Accepted connections carry the listener's path as well; they keep state 3 and are no claim on the name.
    unix_sockets("/proc/self/net")
        .into_iter()
        .filter(|socket| !socket.connected)
        .filter(|socket| {
            socket.path == given || absolute.as_ref().is_ok_and(|absolute| socket.path == *absolute)
        })
        .collect()
}

fn conflicts(listener: IpAddr, wanted: IpAddr) -> bool {
    let listener = listener.to_canonical();
    if listener == wanted {
        return true;
    }
    match (listener, wanted) {
        (IpAddr::V4(listener), IpAddr::V4(wanted)) => listener.is_unspecified() || wanted.is_unspecified(),
        (IpAddr::V6(listener), IpAddr::V6(wanted)) => listener.is_unspecified() || wanted.is_unspecified(),
        (IpAddr::V6(listener), IpAddr::V4(_)) => listener.is_unspecified(),
        (IpAddr::V4(_), IpAddr::V6(wanted)) => wanted.is_unspecified(),
    }
}

fn find_holder(inode: u64) -> Option<(Pid, String)> {
    all_pids()
        .into_iter()
        .find(|pid| open_sockets(*pid).binary_search(&inode).is_ok())
        .map(|pid| (pid, describe_command(pid)))
}

/// The command line on one line: arguments joined by blanks, control characters shown as `?`, cut with `...`.
fn describe_command(pid: Pid) -> String {
    let bytes = read_bounded(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let bytes = match bytes.as_slice() {
        [] => read_bounded(&format!("/proc/{pid}/comm")).unwrap_or_default(),
        _ => bytes,
    };
    let text = String::from_utf8_lossy(&bytes);
    let clean: String = text
        .trim_end_matches(['\0', '\n', ' '])
        .chars()
        .map(|c| if c == '\0' { ' ' } else { c })
        .map(|c| if c.is_control() { '?' } else { c })
        .take(MAX_COMMAND + 1)
        .collect();
    if clean.chars().count() <= MAX_COMMAND {
        return clean;
    }
    let mut short: String = clean.chars().take(MAX_COMMAND - 3).collect();
    short.push_str("...");
    short
}

/// The kernel prints all listeners first (tcp_seq_start, every Linux), so reading stops at the first socket that is none.
/// With thousands of sockets in TIME_WAIT that come and go each further read walks the whole table again: 3 s for 3,000
/// of them and 10 s for 16,000 (Linux 6.18), where the first read takes 40 microseconds.
fn tcp_listeners(base: &str) -> Vec<(SocketAddr, u64)> {
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let Ok(file) = File::open(format!("{base}/{table}")) else { continue };
        let rows = BufReader::new(file.take(MAX_TABLE)).lines().skip(1);
        found.extend(rows.map_while(|row| parse_tcp(&row.ok()?)));
    }
    found
}

/// `sl local remote state queues timer retransmits uid timeout inode ...`
fn parse_tcp(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    if fields.nth(1)? != TCP_LISTEN {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    Some((SocketAddr::new(parse_ip(ip)?, u16::from_str_radix(port, 16).ok()?), inode))
}

/// 32-bit words of network-order memory, each printed as a number of this machine.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = hex.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

struct UnixSocket {
    inode: u64,
    listens: bool,
    connected: bool,
    path: Vec<u8>,
}

fn unix_sockets(base: &str) -> Vec<UnixSocket> {
    let bytes = read_bounded(&format!("{base}/unix")).unwrap_or_default();
    bytes.split(|byte| *byte == b'\n').filter_map(parse_unix).collect()
}

/// `address: references protocol flags type state inode path`, in fixed columns, the path up to the end of the line.
fn parse_unix(line: &[u8]) -> Option<UnixSocket> {
    let mut rest = line;
    let mut fields = [""; 7];
    for field in &mut fields {
        let start = rest.iter().position(|byte| *byte != b' ')?;
        let tail = rest.get(start..)?;
        let end = tail.iter().position(|byte| *byte == b' ').unwrap_or(tail.len());
        *field = std::str::from_utf8(tail.get(..end)?).ok()?;
        rest = tail.get(end..)?;
    }
    let [_, _, _, flags, _, state, inode] = fields;
    let path = rest.strip_prefix(b" ")?.to_vec();
    Some(UnixSocket {
        inode: inode.parse().ok()?,
        listens: u32::from_str_radix(flags, 16).ok()? & UNIX_LISTENS != 0,
        connected: state == "03",
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::{parse_tcp, parse_unix};

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_of_both_families_are_read() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 x";
        assert_eq!(parse_tcp(v4), Some(("127.0.0.1:8080".parse().unwrap(), 1234)));
        let v6 = "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A \
                  00000000:00000000 00:00000000 00000000     0        0 77 1 x";
        assert_eq!(parse_tcp(v6), Some(("[::1]:80".parse().unwrap(), 77)));
        assert_eq!(parse_tcp(&v4.replace(" 0A ", " 01 ")), None);
        assert_eq!(parse_tcp("nonsense"), None);
    }

    #[test]
    fn a_unix_path_keeps_its_blanks() {
        let line = b"0000000000000000: 00000002 00000000 00010000 0001 01 27155 /run/a b/c";
        let socket = parse_unix(line).unwrap();
        assert_eq!((socket.inode, socket.listens, socket.path.as_slice()), (27155, true, &b"/run/a b/c"[..]));
        assert!(parse_unix(b"0000000000000000: 00000002 00000000 00000000 0001 01 27155").is_none());
    }
}
