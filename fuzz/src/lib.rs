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

/// Gives each line of the input to a message type: no line does more than be refused, what is no JSON is refused as that
/// and nothing else is, and what is understood is written as one line that is understood alike.
#[macro_export]
macro_rules! each_line {
    ($message:ident, $input:expr) => {
        // A channel never shows a decoder a newline.
        for line in $input.split(|byte| *byte == b'\n') {
            let is_json = std::str::from_utf8(line)
                .is_ok_and(|text| oneport_wire::node::message::Json::parse(text).is_ok());
            let message = match oneport_wire::node::message::$message::decode(line) {
                Ok(message) => message,
                Err(violation) => {
                    assert_eq!(violation == oneport_wire::Violation::NotJson, !is_json);
                    assert!(violation.to_string().starts_with("cannot read "));
                    continue;
                }
            };
            assert!(is_json, "what is not JSON is understood");
            let mut written = Vec::new();
            message.encode(&mut written);
            assert_eq!(written.pop(), Some(b'\n'));
            assert!(!written.contains(&b'\n'), "more than one line");
            assert_eq!(oneport_wire::node::message::$message::decode(&written).as_ref(), Ok(&message));
        }
    };
}
