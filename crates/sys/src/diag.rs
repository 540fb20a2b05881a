//! The kernel's own view of TCP sockets, over a `sock_diag` netlink socket.
//!
//! What lives here: asking for the connections and listeners on some local ports, and reading one answer. What does not:
//! what to do with a busy connection. Unlike `/proc/net/tcp` this carries queues and ages, and costs no text. Needs no
//! privilege; answers for this process's network namespace. Invariant: answers are read with checked offsets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with, sockopt,
};

use crate::tcp::state::{CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LISTEN, NEW_SYN_RECV, SYN_RECV};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const INET_DIAG_INFO: u16 = 2;
/// `struct nlmsghdr`, `struct inet_diag_msg`.
const NETLINK_HEADER: usize = 16;
const DIAG_MESSAGE: usize = 72;

/// Established, or closed by one side only.
const CONNECTED: u32 = 1 << ESTABLISHED | 1 << FIN_WAIT1 | 1 << FIN_WAIT2 | 1 << CLOSE_WAIT;

/// Sockets kept from one question; a hostile number of connections costs time, not memory without end.
const MAX_ANSWERS: usize = 1 << 20;

/// One TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its inode, as in `/proc/PID/fd`; 0 when no process holds it any more.
    pub inode: u64,
    /// Our side. An IPv4 connection of a dual-stack socket has an IPv4 address here.
    pub local: SocketAddr,
    /// The client's side.
    pub remote: SocketAddr,
    /// 1 established, 4 and 5 we closed, 8 the client closed.
    pub state: u8,
    /// Bytes received and not read by the worker.
    pub receive_queue: u32,
    /// Bytes written and not acknowledged by the client.
    pub send_queue: u32,
    /// Of these, bytes that were not sent yet; what cannot be known counts as unsent.
    pub unsent: u32,
    /// Milliseconds since data was last sent, in steps of the kernel's tick (1 to 10 ms); `None`: never.
    pub since_last_sent_ms: Option<u32>,
    /// Milliseconds since data was last received; `None`: never.
    pub since_last_received_ms: Option<u32>,
    /// Segments with data that came.
    pub segments_received: u32,
    /// Segments that were sent without data, most of them to acknowledge some that came. What is answered soon
    /// (40 ms) has its acknowledgement with the answer.
    pub bare_segments_sent: u32,
}

/// The accept queue of one listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenQueue {
    /// Its inode, as in `/proc/PID/fd`.
    pub inode: u64,
    /// Where it listens.
    pub local: SocketAddr,
    /// Finished connections waiting for an accept.
    pub waiting: u32,
    /// How many may wait.
    pub limit: u32,
}

/// The connections on these local ports: established, or closed by one side only. IPv4 and IPv6. Errors: `ENOENT` when
/// the kernel was built without `tcp_diag`, `EPERM` in some sandboxes.
pub fn tcp_connections(ports: &[u16]) -> io::Result<Vec<Connection>> {
    let mut found = Vec::new();
    dump_tcp(ports, CONNECTED, Detail::Ages, &mut |answer| {
        found.push(answer.to_connection());
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Only the inodes of those connections that a process holds, which costs half as much. `None`: there are more than `most`, and
/// the rest was not asked for. Errors as [`tcp_connections`].
pub fn connection_inodes(ports: &[u16], most: usize) -> io::Result<Option<Vec<u64>>> {
    let mut found = Vec::new();
    let mut seen = 0;
    dump_tcp(ports, CONNECTED, Detail::None, &mut |answer| {
        seen += 1;
        found.extend(Some(answer.inode).filter(|inode| *inode != 0));
        if seen > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok((seen <= most).then_some(found))
}

/// The accept queues of the sockets listening on these ports, IPv4 and IPv6. Errors as [`tcp_connections`].
pub fn listen_queue(ports: &[u16]) -> io::Result<Vec<ListenQueue>> {
    let mut found = Vec::new();
    dump_tcp(ports, 1 << LISTEN, Detail::Ages, &mut |answer| {
        found.push(ListenQueue {
            inode: answer.inode,
            local: answer.local,
            waiting: answer.receive_queue,
            limit: answer.send_queue,
        });
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// How many handshakes have begun on these ports and not completed. Which of several listeners on one port they belong to is
/// not to be known. Errors as [`tcp_connections`].
pub fn half_open(ports: &[u16]) -> io::Result<usize> {
    let mut count = 0;
    dump_tcp(ports, 1 << SYN_RECV | 1 << NEW_SYN_RECV, Detail::Ages, &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// Whether nothing is going on: nothing queued either way, and the last data was sent after the last was received (or
/// nothing was ever received). Two events in one kernel tick cannot be told apart and count as idle: a request answered at
/// once is by far the commoner case than one that came in the tick of the previous answer.
pub fn is_idle(connection: &Connection) -> bool {
    let quiet = connection.receive_queue == 0 && connection.send_queue == 0;
    quiet
        && match (connection.since_last_sent_ms, connection.since_last_received_ms) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(sent), Some(received)) => sent <= received,
        }
}

/// Whether its server has not begun with it: nothing was ever sent, and nothing received or not all of it read.
pub fn is_fresh(connection: &Connection) -> bool {
    let unread = connection.since_last_received_ms.is_none() || connection.receive_queue > 0;
    connection.since_last_sent_ms.is_none() && unread
}

struct Answer {
    inode: u64,
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    receive_queue: u32,
    send_queue: u32,
    info: Option<Info>,
}

/// From `struct tcp_info`.
struct Info {
    since_last_sent: u32,
    since_last_received: u32,
    segments_received: u32,
    segments_sent: u32,
    all_segments_sent: u32,
    unsent: u32,
}

impl Answer {
    /// The kernel starts both ages at the handshake, so an age means something only once data went that way.
    fn to_connection(&self) -> Connection {
        let info = self.info.as_ref();
        Connection {
            inode: self.inode,
            local: self.local,
            remote: self.remote,
            state: self.state,
            receive_queue: self.receive_queue,
            send_queue: self.send_queue,
            unsent: info.map_or(self.send_queue, |info| info.unsent),
            since_last_sent_ms: info.filter(|info| info.segments_sent > 0).map(|info| info.since_last_sent),
            since_last_received_ms: info
                .filter(|info| info.segments_received > 0)
                .map(|info| info.since_last_received),
            segments_received: info.map_or(0, |info| info.segments_received),
            bare_segments_sent: info
                .map_or(0, |info| info.all_segments_sent.saturating_sub(info.segments_sent)),
        }
    }
}

/// What is asked for beside addresses, queues and inode.
#[derive(Clone, Copy)]
enum Detail {
    /// Nothing.
    None,
    /// When data was last sent and received.
    Ages,
}

/// Ends early when `take` breaks off; the socket goes with what is unread.
fn dump_tcp(
    ports: &[u16],
    states: u32,
    detail: Detail,
    take: &mut dyn FnMut(&Answer) -> ControlFlow<()>,
) -> io::Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
    // The kernel answers at once; this only bounds the wait if it ever does not.
    let patience = std::time::Duration::from_secs(5);
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(patience))?;
    let mut room = MAX_ANSWERS;
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let request = spell_request(family, ports, states, detail);
        send(&socket, &request, SendFlags::empty())?;
        let read = read_dump(&socket, &mut |answer| {
            if !ports.contains(&answer.local.port()) || room == 0 {
                return ControlFlow::Continue(());
            }
            room -= 1;
            take(answer)
        })?;
        match read {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(()) => return Ok(()),
        }
    }
    Ok(())
}

/// `nlmsghdr` and `inet_diag_req_v2`. A single port is filtered by the kernel, several here: one walk over the kernel's
/// table costs more than the answers.
fn spell_request(family: AddressFamily, ports: &[u16], states: u32, detail: Detail) -> [u8; 72] {
    let mut request = [0; 72];
    let family = u8::try_from(family.as_raw()).unwrap_or(0);
    let port = if let [port] = ports { *port } else { 0 };
    let mut put = |offset: usize, bytes: &[u8]| {
        if let Some(place) = request.get_mut(offset..offset + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &72u32.to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST_DUMP.to_ne_bytes());
    // family, protocol TCP (6), extensions wanted as a bit set
    let extensions = match detail {
        Detail::None => 0,
        Detail::Ages => 1 << (INET_DIAG_INFO - 1),
    };
    put(16, &[family, 6, extensions, 0]);
    put(20, &states.to_ne_bytes());
    put(24, &port.to_be_bytes());
    request
}

fn read_dump(
    socket: &OwnedFd,
    take: &mut dyn FnMut(&Answer) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (filled, _) = rustix::io::retry_on_intr(|| recv(socket, &mut buffer[..], RecvFlags::empty()))?;
        if filled == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buffer.get(..filled).unwrap_or(&[]);
        while let Some(length) = u32_at(rest, 0).and_then(|length| usize::try_from(length).ok()) {
            let Some(message) = rest.get(..length).filter(|_| length >= NETLINK_HEADER) else { break };
            match u16_at(message, 4) {
                Some(NLMSG_DONE) => return Ok(ControlFlow::Continue(())),
                Some(NLMSG_ERROR) => {
                    let code = u32_at(message, NETLINK_HEADER).map_or(0, u32::cast_signed);
                    return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                }
                Some(SOCK_DIAG_BY_FAMILY) => {
                    let answer = message.get(NETLINK_HEADER..).and_then(parse_answer);
                    if answer.is_some_and(|answer| take(&answer).is_break()) {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Some(_) | None => {}
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
    }
}

/// `struct inet_diag_msg`: family 0, state 1, ports 4 and 6 (network order), addresses 8 and 24, rqueue 56, wqueue 60,
/// inode 68; then attributes.
fn parse_answer(bytes: &[u8]) -> Option<Answer> {
    let family = *bytes.first()?;
    let mut info = None;
    let mut rest = bytes.get(DIAG_MESSAGE..)?;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0).map(usize::from), u16_at(rest, 2)) {
        let Some(attribute) = rest.get(4..length) else { break };
        if kind == INET_DIAG_INFO {
            info = parse_info(attribute);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Some(Answer {
        inode: u64::from(u32_at(bytes, 68)?),
        local: SocketAddr::new(ip_at(bytes, 8, family)?, port_at(bytes, 4)?),
        remote: SocketAddr::new(ip_at(bytes, 24, family)?, port_at(bytes, 6)?),
        state: *bytes.get(1)?,
        receive_queue: u32_at(bytes, 56)?,
        send_queue: u32_at(bytes, 60)?,
        info,
    })
}

/// `struct tcp_info`: last_data_sent 44, last_data_recv 52, segs_out 136, notsent_bytes 144, data_segs_in 152, data_segs_out 156 (Linux 4.6).
fn parse_info(bytes: &[u8]) -> Option<Info> {
    Some(Info {
        since_last_sent: u32_at(bytes, 44)?,
        since_last_received: u32_at(bytes, 52)?,
        segments_received: u32_at(bytes, 152)?,
        segments_sent: u32_at(bytes, 156)?,
        all_segments_sent: u32_at(bytes, 136)?,
        unsent: u32_at(bytes, 144)?,
    })
}

fn ip_at(bytes: &[u8], offset: usize, family: u8) -> Option<IpAddr> {
    let raw: [u8; 16] = *bytes.get(offset..)?.first_chunk()?;
    if u16::from(family) == AddressFamily::INET.as_raw() {
        let v4: [u8; 4] = *raw.first_chunk()?;
        return Some(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    Some(IpAddr::V6(Ipv6Addr::from(raw)).to_canonical())
}

fn port_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}
