//! A worker's wish for a listening socket: the fields of `queryServer`, and again of `listening` with the real port.
//! Absent and null are different things to Node's own primary (both end up in its key), so which of the two a
//! missing value is written as follows from the kind of query.

use std::borrow::Cow;

use super::reader::{Reader, json_if, truthy};
use super::write::Object;
use super::{AddressType, Json};
use crate::Violation;

/// What a worker asks its primary to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'a> {
    /// An IP address, or the absolute path of a Unix socket; `None` without a host and for descriptors.
    pub address: Option<Cow<'a, str>>,
    /// 0 to 65535, or -1 for a Unix socket. `None` for a descriptor, and for UDP bound without a port.
    pub port: Option<i32>,
    /// What kind of socket.
    pub address_type: AddressType,
    /// A descriptor number *of the primary* to listen on. UDP without one says -1.
    pub fd: Option<i32>,
    /// libuv's: 1 for IPv6 only, 4 for UDP `reuseAddr`. Given without a host by Node 22 and later only.
    pub flags: Option<u32>,
    /// Length of the accept queue, 0 for the default (511). UDP has none, and neither has `listen(port, host)`,
    /// where every Node from 18 to 26 says `false`.
    pub backlog: Option<i32>,
    /// Whether any user may read from the Unix socket.
    pub readable_all: bool,
    /// Whether any user may write to the Unix socket.
    pub writable_all: bool,
    /// Which of this worker's servers on this same address, from 0.
    pub index: u32,
    /// What a TLS worker wants to share with its siblings (session ticket keys).
    pub data: Option<Json<'a>>,
    /// The newest version, from 1, of the [hand-off stream](crate::handoff) that the worker speaks. Workers that use this
    /// library say so in `queryServer`; Node's never do.
    pub handoff: Option<u32>,
}

impl<'a> Query<'a> {
    pub(super) fn decode(reader: &Reader<'a>) -> Result<Self, Violation> {
        let fields = &reader.fields;
        let address_type = match fields.address_type {
            None => return Err(reader.wrong("`addressType` is missing")),
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|_| reader.not("addressType", "one of 4, 6, -1, udp4, udp6, null"))?,
        };
        Ok(Self {
            address: reader.text_if("address", fields.address)?,
            port: reader.ranged_if("port", fields.port)?,
            address_type,
            fd: reader.ranged_if("fd", fields.fd)?,
            flags: reader.ranged_if("flags", fields.flags)?,
            backlog: reader.loose_if("backlog", fields.backlog)?.map(clamped),
            readable_all: truthy(fields.readable_all),
            writable_all: truthy(fields.writable_all),
            index: reader.ranged_if("index", fields.index)?.unwrap_or(0),
            data: json_if(fields.data),
            handoff: reader.handoff(),
        })
    }

    pub(super) fn encode(&self, object: &mut Object<'_>) {
        object.int("index", self.index);
        match &self.data {
            Some(data) => object.json("data", data),
            None => object.null("data"),
        };
        match &self.address {
            Some(address) => object.text("address", address),
            None => object.null("address"),
        };
        match self.port {
            Some(port) => object.int("port", port),
            None if self.names_descriptor() => object.null("port"),
            None => object,
        };
        object.nested("addressType", |out| out.extend_from_slice(self.address_type.as_json().as_bytes()));
        object.int_if("fd", self.fd);
        match self.flags {
            Some(flags) => object.int("flags", flags),
            None if self.names_descriptor() && self.address_type.is_udp() => object.null("flags"),
            None => object,
        };
        object.int_if("backlog", self.backlog);
        if self.readable_all {
            object.bool("readableAll", true);
        }
        if self.writable_all {
            object.bool("writableAll", true);
        }
        object.int_if("handoff", self.handoff);
    }

    /// Whether a descriptor of the primary is asked for, not an address.
    #[must_use]
    pub fn names_descriptor(&self) -> bool {
        self.fd.is_some_and(|fd| fd >= 0)
    }

    /// The same, without the line it was read from.
    #[must_use]
    pub fn into_owned(self) -> Query<'static> {
        Query {
            address: self.address.map(|address| Cow::Owned(address.into_owned())),
            data: self.data.map(Json::into_owned),
            port: self.port,
            address_type: self.address_type,
            fd: self.fd,
            flags: self.flags,
            backlog: self.backlog,
            readable_all: self.readable_all,
            writable_all: self.writable_all,
            index: self.index,
            handoff: self.handoff,
        }
    }
}

/// A queue length as far as the kernel takes one: it cuts at `net.core.somaxconn` anyway.
fn clamped(backlog: i64) -> i32 {
    i32::try_from(backlog).unwrap_or(if backlog < 0 { i32::MIN } else { i32::MAX })
}
