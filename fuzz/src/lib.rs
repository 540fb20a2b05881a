//! What the targets share: the head of an input, which says how its body arrives. Plain bytes and no derived
//! structures, so that a recorded conversation behind any eight bytes is a seed.

/// Bytes at the head of an input that [`Plan`] reads: the mode, the limit, six sizes of reads.
pub const HEAD: usize = 8;

/// How the body of an input arrives.
#[derive(Debug)]
pub struct Plan<'a> {
    mode: u8,
    limit: u8,
    sizes: [u8; HEAD - 2],
    taken: usize,
    /// What arrives.
    pub body: &'a [u8],
}

impl<'a> Plan<'a> {
    /// Splits an input; `None` where it is too short for a head.
    #[must_use]
    pub fn read(input: &'a [u8]) -> Option<Self> {
        let ([mode, limit, sizes @ ..], body) = input.split_first_chunk::<HEAD>()?;
        Some(Self { mode: *mode, limit: *limit, sizes: *sizes, taken: 0, body })
    }

    /// One of eight choices of the target.
    #[must_use]
    pub fn chosen(&self, bit: u8) -> bool {
        self.mode >> (bit & 7) & 1 == 1
    }

    /// The longest line accepted: often short enough to be reached, sometimes beyond any input.
    #[must_use]
    pub fn limit(&self) -> usize {
        match self.limit {
            0..100 => usize::from(self.limit),
            100..200 => usize::from(self.limit) * 32,
            200.. => 1 << 20,
        }
    }

    /// How many bytes the next read brings at most, from 1: small ones, whole messages, and a few that take all.
    pub fn size(&mut self) -> usize {
        let size = self.sizes[self.taken % self.sizes.len()];
        self.taken += 1;
        match size {
            0..200 => usize::from(size) + 1,
            200.. => usize::from(size - 199) * 1024,
        }
    }
}
