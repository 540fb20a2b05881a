//! What a primary without any privilege is given by somebody who has it: everything loaded already, as descriptors.
//!
//! Putting sockets in, opening lanes and attaching take no privilege to who has the descriptors (Linux 5.19). Invariant: the
//! numbers passed on are looked for only among those that were open at exec.

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::FdFlags;

use super::group::{self, Parts};
use super::table::Table;
use super::{BLOCKS, Counting, Loaded, Refused, Tier, raised};
use crate::startup::dup_inherited;

/// The variable that names the descriptors: the table, the storage, the link, and two for each address.
pub const VARIABLE: &str = "ONEPORT_GRANT";

/// Lanes of each address: the programs are made in advance.
const LANES: usize = 63;
const FIXED: usize = 3;

/// Everything for some addresses.
#[derive(Debug)]
pub struct Grant {
    descriptors: Vec<OwnedFd>,
}

impl Grant {
    /// Loads it, for at most [`BLOCKS`] addresses with 63 lanes each.
    pub fn load(addresses: usize) -> Result<Grant, Refused> {
        let Loaded { table, counting, .. } = Loaded::load(Tier::A)?;
        let refused = |what| Refused::new(Tier::A, what);
        let _raised = raised();
        let Some(Counting { storage, link, .. }) = counting else {
            let error = io::ErrorKind::Unsupported.into();
            return Err(Refused { tier: Tier::A, what: "count connections", error });
        };
        let own = |shared: &OwnedFd| shared.try_clone();
        let mut descriptors = vec![
            table.descriptor().map_err(refused("pass the table on"))?,
            own(&storage).map_err(refused("pass the storage of sockets on"))?,
            link,
        ];
        for block in 0..addresses.min(BLOCKS) {
            let Parts { sockets, program, .. } =
                group::load(&table, block, LANES).map_err(refused("load the selector"))?;
            descriptors.extend([sockets, program]);
        }
        Ok(Grant { descriptors })
    }

    /// Leaves the descriptors open for the program that this process executes next; the value of [`VARIABLE`] for it.
    pub fn leave_open(self) -> io::Result<String> {
        let numbers = self.descriptors.into_iter().map(|fd| {
            rustix::io::fcntl_setfd(&fd, FdFlags::empty())?;
            Ok(fd.into_raw_fd().to_string())
        });
        Ok(numbers.collect::<io::Result<Vec<_>>>()?.join(","))
    }
}

/// What this process was given, if anything. `EBADF`: a number that was not open at exec; `EINVAL`: too few.
pub fn inherited() -> Option<io::Result<Loaded>> {
    let text = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty())?;
    let numbers: Option<Vec<RawFd>> = text.split(',').map(|number| number.parse().ok()).collect();
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    Some(numbers.ok_or_else(invalid).and_then(|numbers| {
        let mut given = numbers.into_iter().map(dup_inherited).collect::<io::Result<Vec<_>>>()?;
        if given.len() < FIXED {
            return Err(invalid());
        }
        let mut selectors = given.split_off(FIXED).into_iter();
        let [map, storage, link]: [OwnedFd; FIXED] = given.try_into().map_err(|_| invalid())?;
        let mut granted = Vec::new();
        while let (Some(sockets), Some(program)) = (selectors.next(), selectors.next()) {
            granted.push(Parts { sockets, program, lanes: LANES });
        }
        granted.reverse();
        let blocks = [false; BLOCKS];
        let counting = Some(Counting { storage: Arc::new(storage), link, counter: super::Counter::Cgroup });
        Ok(Loaded { table: Arc::new(Table::over(map)?), counting, blocks, granted: Some(granted) })
    }))
}

impl Table {
    fn descriptor(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::Grant;

    #[test]
    fn descriptors_are_left_open_and_named_in_order() {
        let files: Vec<_> = (0..5).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
        let numbers: Vec<String> =
            files.iter().map(|file: &std::os::fd::OwnedFd| file.as_raw_fd().to_string()).collect();
        assert_eq!(Grant { descriptors: files }.leave_open().unwrap(), numbers.join(","));
    }
}
