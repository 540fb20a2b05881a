//! Which worker holds how many connections: the kernel's list of sockets on the app's ports, joined with the descriptors of
//! each process.

use oneport_sys::diag::connection_inodes;
use oneport_sys::proc::{OpenFiles, Relative, open_sockets};

/// Connections counted at most. Each is a link to read in `/proc` (3 us) and 1 us of the kernel's list, so that more would keep
/// the list waiting.
const MOST_CONNECTIONS: usize = 10_000;
/// Descriptors looked at, in all.
const MOST_DESCRIPTORS: u32 = 12_000;

/// For each family. `None`: there is no port, the kernel does not tell, the worker is not ours to look at, or there are too many.
pub(super) fn count(families: &[Vec<Relative>], ports: &[u16]) -> Vec<Option<u64>> {
    let nothing = || vec![None; families.len()];
    let workers = families.iter().any(|family| !family.is_empty());
    if ports.is_empty() || !workers {
        return nothing();
    }
    let Ok(Some(mut inodes)) = connection_inodes(ports, MOST_CONNECTIONS) else { return nothing() };
    if inodes.is_empty() {
        return families.iter().map(|family| (!family.is_empty()).then_some(0)).collect();
    }
    inodes.sort_unstable();
    let mut left = MOST_DESCRIPTORS;
    let counts: Option<Vec<_>> =
        families.iter().map(|family| of_family(family, &inodes, &mut left)).collect();
    counts.unwrap_or_else(nothing)
}

/// The outer `None`: there are too many descriptors.
pub(super) fn of_family(family: &[Relative], inodes: &[u64], left: &mut u32) -> Option<Option<u64>> {
    let mut held = Vec::new();
    for (place, member) in family.iter().enumerate() {
        let open = OpenFiles::of(member.pid).map(|files| files.count());
        match open {
            Ok(Some(count)) => *left = left.checked_sub(count)?,
            // Gone meanwhile, or a child that runs as somebody else.
            Ok(None) | Err(_) if place > 0 => continue,
            Ok(None) | Err(_) => return Some(None),
        }
        held.extend(open_sockets(member.pid).into_iter().filter(|inode| inodes.binary_search(inode).is_ok()));
    }
    // Several processes of a family may hold the same.
    held.sort_unstable();
    held.dedup();
    Some((!family.is_empty()).then_some(u64::try_from(held.len()).unwrap_or(u64::MAX)))
}
