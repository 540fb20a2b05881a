//! Lines out of bytes: the same however the bytes arrive, and never more memory than promised.

use oneport_wire::Violation;
use oneport_wire::node::frame::ROOM;
use oneport_wire::node::{LineBuffer, MAX_LINE};
use proptest::prelude::*;

/// Feeds `bytes` in reads of the given sizes (the last one repeats) and collects every line.
fn lines(limit: usize, bytes: &[u8], sizes: &[usize]) -> Result<Vec<Vec<u8>>, Violation> {
    let mut buffer = LineBuffer::new(limit);
    let mut lines = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().copied();
    let mut size = ROOM;
    while !rest.is_empty() {
        size = sizes.next().unwrap_or(size);
        let space = buffer.space();
        let n = space.len().min(rest.len()).min(size);
        assert!(n > 0, "no room and no line");
        space[..n].copy_from_slice(&rest[..n]);
        buffer.commit(n);
        rest = &rest[n..];
        while let Some(line) = buffer.next_line()? {
            lines.push(line.to_vec());
        }
        assert!(buffer.capacity() <= (limit + 1).max(ROOM));
    }
    Ok(lines)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_lines(
        text in proptest::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'\n')], 0..2000),
        sizes in proptest::collection::vec(1..300_usize, 1..50),
    ) {
        let mut expected: Vec<_> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        expected.pop();
        prop_assert_eq!(lines(4096, &text, &sizes), Ok(expected));
    }

    #[test]
    fn the_limit_holds_however_a_line_arrives(
        length in 0..200_usize,
        limit in 0..100_usize,
        before in 0..50_usize,
        sizes in proptest::collection::vec(1..64_usize, 1..20),
    ) {
        let before = before.min(limit);
        let text = [vec![b'a'; before], vec![b'\n'], vec![b'b'; length], vec![b'\n']].concat();
        let expected = if length > limit {
            Err(Violation::LineTooLong { limit })
        } else {
            Ok(vec![vec![b'a'; before], vec![b'b'; length]])
        };
        prop_assert_eq!(lines(limit, &text, &sizes), expected);
    }
}

#[test]
fn the_longest_line_passes_and_one_byte_more_does_not() {
    let mut text = vec![b'x'; MAX_LINE];
    text.push(b'\n');
    let passed = lines(MAX_LINE, &text, &[ROOM]).expect("within the limit");
    assert_eq!(passed.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_LINE]);
    text.insert(0, b'x');
    let refused = lines(MAX_LINE, &text, &[ROOM]).expect_err("beyond the limit");
    assert_eq!(refused.to_string(), "cannot read message: line longer than 16777216 bytes");
}

#[test]
fn a_full_buffer_keeps_saying_so() {
    let mut buffer = LineBuffer::new(10);
    assert_eq!(buffer.space().len(), 11);
    buffer.commit(usize::MAX);
    for _ in 0..3 {
        assert_eq!(buffer.next_line(), Err(Violation::LineTooLong { limit: 10 }));
        assert!(buffer.space().is_empty());
        buffer.commit(1);
    }
}

#[test]
fn room_is_a_whole_read_until_the_limit_is_near() {
    let mut buffer = LineBuffer::new(MAX_LINE);
    let mut held = 0;
    while held <= MAX_LINE {
        let room = buffer.space().len();
        assert!(room >= ROOM.min(MAX_LINE + 1 - held), "{room} at {held}");
        let n = room.min(50_000);
        buffer.space()[..n].fill(b'y');
        buffer.commit(n);
        held += n;
        assert_eq!(buffer.next_line().is_err(), held > MAX_LINE);
    }
}

#[test]
fn memory_taken_by_a_burst_is_given_back() {
    let mut buffer = LineBuffer::new(MAX_LINE);
    let mut left = 1_000_000;
    while left > 0 {
        let n = buffer.space().len().min(left);
        buffer.space()[..n].fill(b'z');
        left -= n;
        if left == 0 {
            buffer.space()[n - 1] = b'\n';
        }
        buffer.commit(n);
        if left > 0 {
            assert_eq!(buffer.next_line(), Ok(None));
        }
    }
    assert!(buffer.capacity() >= 1_000_000);
    assert_eq!(buffer.next_line().expect("a line").expect("a line").len(), 999_999);
    assert_eq!(buffer.next_line(), Ok(None));
    assert!(buffer.capacity() <= ROOM);
    assert_eq!(buffer.space().len(), ROOM);
}
