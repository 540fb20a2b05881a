//! The key that names a handle on the channel. A worker never parses it, so one spelling serves every major:
//! that of Node 22 and later, where the index belongs to the key for port 0 only. (Up to 20 it always did; one
//! failed `listen` then put a worker's count out of step with its siblings'.)

use std::fmt::Write;

use super::message::AddressType;

/// Spells `address:port:addressType:fd`, and `:index` where one is given, as JavaScript prints the parts.
#[must_use]
pub fn spell_key(
    address: Option<&str>,
    port: Option<i32>,
    address_type: AddressType,
    fd: Option<i32>,
    index: Option<u32>,
) -> String {
    let mut key = String::with_capacity(48);
    key.push_str(address.unwrap_or("null"));
    match port {
        Some(port) => _ = write!(key, ":{port}"),
        // A descriptor is asked for with a port of null, UDP without a port with none at all.
        None if fd.is_some_and(|fd| fd >= 0) => key.push_str(":null"),
        None => key.push_str(":undefined"),
    }
    let kind = match address_type {
        AddressType::Tcp4 => "4",
        AddressType::Tcp6 => "6",
        AddressType::Pipe => "-1",
        AddressType::Udp4 => "udp4",
        AddressType::Udp6 => "udp6",
        AddressType::Fd => "null",
    };
    _ = write!(key, ":{kind}");
    match fd {
        Some(fd) => _ = write!(key, ":{fd}"),
        None => key.push_str(":undefined"),
    }
    if let Some(index) = index {
        _ = write!(key, ":{index}");
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_as_those_of_node_22() {
        assert_eq!(spell_key(None, Some(18081), AddressType::Tcp4, None, None), "null:18081:4:undefined");
        assert_eq!(spell_key(None, Some(0), AddressType::Tcp4, None, Some(1)), "null:0:4:undefined:1");
        assert_eq!(spell_key(None, None, AddressType::Fd, Some(9), None), "null:null:null:9");
        assert_eq!(spell_key(Some("/x"), Some(-1), AddressType::Pipe, None, None), "/x:-1:-1:undefined");
        let nowhere = spell_key(None, None, AddressType::Udp4, Some(-1), None);
        assert_eq!(nowhere, "null:undefined:udp4:-1");
    }
}
