//! The `addressType` of a query. Node mixes numbers, strings and null in one field; here it is one enum with the same
//! spelling through serde.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// What kind of socket a worker asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressType {
    /// TCP over IPv4, or TCP with no address given (`4`).
    Tcp4,
    /// TCP over IPv6 (`6`).
    Tcp6,
    /// A Unix stream socket (`-1`).
    Pipe,
    /// UDP over IPv4 (`"udp4"`).
    Udp4,
    /// UDP over IPv6 (`"udp6"`).
    Udp6,
    /// Whatever stream socket the descriptor is (`null`).
    Fd,
}

impl AddressType {
    /// Whether this is UDP.
    #[must_use]
    pub const fn is_udp(self) -> bool {
        match self {
            Self::Udp4 | Self::Udp6 => true,
            Self::Tcp4 | Self::Tcp6 | Self::Pipe | Self::Fd => false,
        }
    }

    /// As JSON.
    pub(super) const fn as_json(self) -> &'static str {
        match self {
            Self::Tcp4 => "4",
            Self::Tcp6 => "6",
            Self::Pipe => "-1",
            Self::Udp4 => "\"udp4\"",
            Self::Udp6 => "\"udp6\"",
            Self::Fd => "null",
        }
    }
}

impl Serialize for AddressType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tcp4 => serializer.serialize_i64(4),
            Self::Tcp6 => serializer.serialize_i64(6),
            Self::Pipe => serializer.serialize_i64(-1),
            Self::Udp4 => serializer.serialize_str("udp4"),
            Self::Udp6 => serializer.serialize_str("udp6"),
            Self::Fd => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for AddressType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddressTypeVisitor)
    }
}

struct AddressTypeVisitor;

impl Visitor<'_> for AddressTypeVisitor {
    type Value = AddressType;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("4, 6, -1, \"udp4\", \"udp6\" or null")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<AddressType, E> {
        match value {
            4 => Ok(AddressType::Tcp4),
            6 => Ok(AddressType::Tcp6),
            _ => Err(E::custom("no such address type")),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<AddressType, E> {
        match value {
            -1 => Ok(AddressType::Pipe),
            other => u64::try_from(other)
                .map_err(|_| E::custom("no such address type"))
                .and_then(|value| self.visit_u64(value)),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<AddressType, E> {
        match value {
            "udp4" => Ok(AddressType::Udp4),
            "udp6" => Ok(AddressType::Udp6),
            _ => Err(E::custom("no such address type")),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<AddressType, E> {
        Ok(AddressType::Fd)
    }
}
