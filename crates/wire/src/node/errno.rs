//! Error numbers as replies carry them. libuv's codes are negated Linux errnos, so a positive errno of the
//! kernel becomes a reply's `errno` by its sign alone; zero and positive numbers never mean failure.

/// A failure as it stands in a reply: always negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// The address is taken (98).
    pub const EADDRINUSE: Self = Self(-98);
    /// The address is not of this machine (99).
    pub const EADDRNOTAVAIL: Self = Self(-99);
    /// Not allowed (13). libuv also reports ENOENT of a Unix socket's bind as this.
    pub const EACCES: Self = Self(-13);
    /// Not a descriptor (9).
    pub const EBADF: Self = Self(-9);
    /// Already there (17): Node's answer to `listen({fd})` of a descriptor it uses itself.
    pub const EEXIST: Self = Self(-17);
    /// Not understood (22).
    pub const EINVAL: Self = Self(-22);

    /// From the kernel's errno, either sign. Zero, and the one number without a negative, become EINVAL.
    #[must_use]
    pub const fn from_os(errno: i32) -> Self {
        match errno {
            0 | i32::MIN => Self::EINVAL,
            errno if errno > 0 => Self(-errno),
            errno => Self(errno),
        }
    }

    /// The number in a reply, negative.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0
    }

    /// The kernel's number, positive.
    #[must_use]
    pub const fn to_os(self) -> i32 {
        -self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn either_sign_becomes_one_negative_code() {
        assert_eq!(Errno::from_os(98), Errno::EADDRINUSE);
        assert_eq!(Errno::from_os(-98), Errno::EADDRINUSE);
        assert_eq!(Errno::EADDRINUSE.code(), -98);
        assert_eq!(Errno::EADDRINUSE.to_os(), 98);
    }

    #[test]
    fn no_number_reads_as_success_or_overflows() {
        for errno in [0, i32::MIN, i32::MAX] {
            assert!(Errno::from_os(errno).code() < 0);
            assert!(Errno::from_os(errno).to_os() > 0);
        }
    }
}
