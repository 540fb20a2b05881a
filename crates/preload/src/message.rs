//! The words between the shim and the primary: one request and one answer per connection, each a packet of fixed size.
//!
//! What lives here: numbers and their places; the file is compiled into both sides, so it takes nothing but `core`. What does
//! not: sending, and what an answer should be. Invariant: reading takes any bytes and answers `None` to what is not a word;
//! nothing here can panic.

/// Begins every packet. Whoever reads another one treats the packet as no word: the sides were built apart.
const VERSION: u8 = 1;

/// The variable that tells a program about its primary: `NAME:TOKEN`, an abstract Unix name without its leading NUL, and who
/// the primary takes the program for. It stays in the environment: wrappers pass it on to the program that listens.
pub(crate) const VARIABLE: &str = "ONEPORT_PRELOAD";

/// What the primary tells its workers apart by. Letters and digits; means nothing to the shim.
pub(crate) type Token = [u8; 32];

/// A Unix path is shorter than this (`sun_path`); it ends at its first NUL, or fills it.
pub(crate) const PATH_ROOM: usize = 108;

/// Bytes of a request.
pub(crate) const REQUEST_LENGTH: usize = 160;

/// Bytes of an answer.
pub(crate) const ANSWER_LENGTH: usize = 8;

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `bind`, to the address of the request.
    Bind,
    /// `listen`; the socket is bound to the address of the request.
    Listen {
        /// As the program passed it; negative means as much as the kernel allows.
        backlog: i32,
    },
    /// `shutdown` of a listening socket, never with `SHUT_WR`.
    Shutdown {
        /// `SHUT_RD` (0), `SHUT_RDWR` (2), or nonsense.
        how: i32,
    },
}

/// What travels over the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A stream.
    Stream,
    /// Datagrams.
    Datagram,
}

/// Whether something about the socket is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    /// It is.
    So,
    /// It is not.
    NotSo,
}

/// An address, with numbers in the host's order and bytes in the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address {
    /// IPv4 and its port.
    V4([u8; 4], u16),
    /// IPv6, its port and its scope.
    V6([u8; 16], u16, u32),
    /// A Unix path, ended by NUL if there is room.
    Unix([u8; PATH_ROOM]),
}

/// What the shim asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Which worker it is.
    pub(crate) token: Token,
    /// What was called.
    pub(crate) call: Call,
    /// The program's descriptor.
    pub(crate) fd: i32,
    /// Its kind.
    pub(crate) transport: Transport,
    /// It serves IPv6 alone (`IPV6_V6ONLY`).
    pub(crate) only_v6: Is,
    /// The program itself set `SO_REUSEPORT`.
    pub(crate) reuses_port: Is,
    /// It listens already.
    pub(crate) listens: Is,
    /// Where it is bound, or shall be.
    pub(crate) address: Address,
}

/// What the primary answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The call is none of its business: it happens as without a shim.
    Pass,
    /// The call returns 0 and the kernel does nothing for it.
    Done,
    /// The call fails with this number, above zero.
    Fail(i32),
    /// The descriptor that comes along takes the place of the program's, and the call returns 0.
    Take,
}

impl Request {
    /// The packet.
    pub(crate) fn encode(&self) -> [u8; REQUEST_LENGTH] {
        let (call, number) = match self.call {
            Call::Bind => (1, 0),
            Call::Listen { backlog } => (2, backlog),
            Call::Shutdown { how } => (3, how),
        };
        let transport = match self.transport {
            Transport::Stream => 1,
            Transport::Datagram => 2,
        };
        let flags = self.only_v6.bit(1) | self.reuses_port.bit(2) | self.listens.bit(4);
        let mut bytes = [0; REQUEST_LENGTH];
        let room = put(&mut bytes, &[VERSION, call, transport, flags]);
        let room = put(room, &self.fd.to_le_bytes());
        let room = put(room, &number.to_le_bytes());
        let (family, port, scope): (u16, u16, u32) = match self.address {
            Address::V4(_, port) => (4, port, 0),
            Address::V6(_, port, scope) => (6, port, scope),
            Address::Unix(_) => (1, 0, 0),
        };
        let room = put(room, &family.to_le_bytes());
        let room = put(room, &port.to_le_bytes());
        let room = put(room, &scope.to_le_bytes());
        let room = put(room, &self.token);
        match &self.address {
            Address::V4(ip, _) => put(room, ip),
            Address::V6(ip, ..) => put(room, ip),
            Address::Unix(path) => put(room, path),
        };
        bytes
    }

    /// What the packet says; `None` if it is no request of this version.
    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        let packet: &[u8; REQUEST_LENGTH] = packet.try_into().ok()?;
        let (&[version, call, transport, flags], rest) = packet.split_first_chunk()?;
        let (fd, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (family, rest) = rest.split_first_chunk()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (scope, rest) = rest.split_first_chunk()?;
        let (token, rest) = rest.split_first_chunk()?;
        if version != VERSION {
            return None;
        }
        let number = i32::from_le_bytes(*number);
        let call = match call {
            1 => Call::Bind,
            2 => Call::Listen { backlog: number },
            3 => Call::Shutdown { how: number },
            _ => return None,
        };
        let transport = match transport {
            1 => Transport::Stream,
            2 => Transport::Datagram,
            _ => return None,
        };
        let port = u16::from_le_bytes(*port);
        let address = match u16::from_le_bytes(*family) {
            4 => Address::V4(*rest.first_chunk()?, port),
            6 => Address::V6(*rest.first_chunk()?, port, u32::from_le_bytes(*scope)),
            1 => Address::Unix(*rest.first_chunk()?),
            _ => return None,
        };
        Some(Self {
            token: *token,
            call,
            fd: i32::from_le_bytes(*fd),
            transport,
            only_v6: Is::of(flags & 1 != 0),
            reuses_port: Is::of(flags & 2 != 0),
            listens: Is::of(flags & 4 != 0),
            address,
        })
    }
}

impl Answer {
    /// The packet.
    pub(crate) fn encode(self) -> [u8; ANSWER_LENGTH] {
        let (verdict, errno) = match self {
            Self::Pass => (1, 0),
            Self::Done => (2, 0),
            Self::Fail(errno) => (3, errno),
            Self::Take => (4, 0),
        };
        let mut bytes = [0; ANSWER_LENGTH];
        let room = put(&mut bytes, &[VERSION, verdict, 0, 0]);
        put(room, &errno.to_le_bytes());
        bytes
    }

    /// What the packet says; `None` if it is no answer of this version.
    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        let packet: &[u8; ANSWER_LENGTH] = packet.try_into().ok()?;
        let (&[version, verdict, _, _], rest) = packet.split_first_chunk()?;
        if version != VERSION {
            return None;
        }
        let errno = i32::from_le_bytes(*rest.first_chunk()?);
        match verdict {
            1 => Some(Self::Pass),
            2 => Some(Self::Done),
            3 if errno > 0 => Some(Self::Fail(errno)),
            4 => Some(Self::Take),
            _ => None,
        }
    }
}

impl Is {
    /// From a truth value.
    pub(crate) fn of(so: bool) -> Self {
        if so { Self::So } else { Self::NotSo }
    }

    fn bit(self, bit: u8) -> u8 {
        match self {
            Self::So => bit,
            Self::NotSo => 0,
        }
    }
}

/// Writes as much as there is room for; answers the room behind it.
fn put<'a>(room: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let length = bytes.len().min(room.len());
    let (here, behind) = room.split_at_mut(length);
    for (place, byte) in here.iter_mut().zip(bytes) {
        *place = *byte;
    }
    behind
}

#[cfg(test)]
mod tests {
    use super::{Address, Answer, Call, Is, Request, Transport};

    fn request(call: Call, address: Address) -> Request {
        Request {
            token: *b"0123456789abcdef0123456789abcdef",
            call,
            fd: -7,
            transport: Transport::Stream,
            only_v6: Is::NotSo,
            reuses_port: Is::So,
            listens: Is::NotSo,
            address,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let calls = [Call::Bind, Call::Listen { backlog: -1 }, Call::Shutdown { how: 2 }];
        let addresses = [
            Address::V4([127, 0, 0, 1], 8080),
            Address::V6([9; 16], 65_535, 7),
            Address::Unix([b'x'; super::PATH_ROOM]),
        ];
        for (call, address) in calls.into_iter().zip(addresses) {
            let written = request(call, address);
            let changed = Request {
                transport: Transport::Datagram,
                only_v6: Is::So,
                reuses_port: Is::NotSo,
                listens: Is::So,
                ..written
            };
            assert_eq!(Request::decode(&written.encode()), Some(written));
            assert_eq!(Request::decode(&changed.encode()), Some(changed));
        }
        for written in [Answer::Pass, Answer::Done, Answer::Fail(98), Answer::Take] {
            assert_eq!(Answer::decode(&written.encode()), Some(written));
        }
    }

    #[test]
    fn another_version_another_length_and_nonsense_are_no_words() {
        let good = request(Call::Bind, Address::V4([0; 4], 1)).encode();
        for (place, byte) in [(0, 2), (1, 0), (1, 4), (2, 0), (2, 3), (12, 2), (13, 1)] {
            let mut bad = good;
            bad[place] = byte;
            assert_eq!(Request::decode(&bad), None, "{byte} at {place}");
        }
        for length in 0..good.len() {
            assert_eq!(Request::decode(&good[..length]), None, "{length} bytes");
        }
        assert_eq!(Request::decode(&[&good[..], &[0]].concat()), None);
        let fail = Answer::Fail(1).encode();
        for (place, byte) in [(0, 0), (1, 0), (1, 5), (4, 0), (7, 0x80)] {
            let mut bad = fail;
            bad[place] = byte;
            assert_eq!(Answer::decode(&bad), None, "{byte} at {place}");
        }
        assert_eq!(Answer::decode(&fail[..7]), None);
    }
}
