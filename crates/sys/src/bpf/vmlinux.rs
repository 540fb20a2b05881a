//! The number of a type in the kernel's own type information (BTF): how a tracepoint is named.
//!
//! Invariant: what lies in the file is read with checked offsets.

use std::io;

const MAGIC: u16 = 0xeb9f;
const TYPEDEF: u32 = 8;

/// The number of the typedef with this name. `NotFound`: there is none, or the kernel tells no types.
pub(super) fn typedef(name: &str) -> io::Result<u32> {
    let types = std::fs::read("/sys/kernel/btf/vmlinux")?;
    find(&types, name).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn find(file: &[u8], name: &str) -> Option<u32> {
    let half = |at: usize| Some(u16::from_ne_bytes(file.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_ne_bytes(file.get(at..at + 4)?.try_into().ok()?));
    if half(0)? != MAGIC {
        return None;
    }
    let header = word(4)? as usize;
    let place = |offset| header.checked_add(word(offset)? as usize);
    let (mut at, strings) = (place(8)?, place(16)?);
    let end = at.checked_add(word(12)? as usize)?;
    for number in 1.. {
        if at >= end {
            return None;
        }
        let info = word(at + 4)?;
        let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        if kind == TYPEDEF {
            let start = strings.checked_add(word(at)? as usize)?;
            let text = file.get(start..)?;
            if text.get(..name.len()) == Some(name.as_bytes()) && text.get(name.len()) == Some(&0) {
                return Some(number);
            }
        }
        at += 12 + rest_of(kind, members)?;
    }
    None
}

/// How much follows the three words of a type. `None`: a kind that is not known yet.
fn rest_of(kind: u32, members: usize) -> Option<usize> {
    match kind {
        // Integers, variables, tags of declarations.
        1 | 14 | 17 => Some(4),
        // Pointers, forward declarations, typedefs, qualifiers, functions, floats, tags of types.
        2 | 7..=12 | 16 | 18 => Some(0),
        // Arrays.
        3 => Some(12),
        // Structures, unions, sections, enumerations of 64 bits.
        4 | 5 | 15 | 19 => Some(12 * members),
        // Enumerations, prototypes of functions.
        6 | 13 => Some(8 * members),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{find, typedef};

    #[test]
    fn the_tracepoint_has_a_number_where_the_kernel_tells_its_types() {
        if std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
            assert!(typedef("btf_trace_inet_sock_set_state").unwrap() > 0);
            assert!(typedef("no_such_type").is_err());
        }
    }

    #[test]
    fn nonsense_has_no_types() {
        for file in [&b""[..], b"\x9f\xeb", &[0x9f, 0xeb, 1, 0, 255, 255, 255, 255], &[0xff; 64]] {
            assert_eq!(find(file, "x"), None);
        }
    }
}
