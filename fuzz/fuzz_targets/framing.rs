//! `LineBuffer`: whatever the reads and however lazy the reader, the lines are those of splitting all bytes at once, up to
//! the first that is too long; and memory stays within the promise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oneport_fuzz::Plan;
use oneport_wire::Violation;
use oneport_wire::node::LineBuffer;
use oneport_wire::node::frame::ROOM;

/// Takes a line only when there is no more room to read into.
const LAZY: u8 = 0;

/// What taking one line did.
enum Step {
    Line,
    NoLine,
    TooLong,
}

fuzz_target!(|input: &[u8]| {
    let Some(mut plan) = Plan::read(input) else { return };
    let limit = plan.limit();
    let mut expected = plan.body.split(|byte| *byte == b'\n');
    // What follows the last newline is no line yet.
    let mut lines_left = plan.body.iter().filter(|byte| **byte == b'\n').count();
    let mut take = |buffer: &mut LineBuffer| match buffer.next_line() {
        Ok(Some(line)) => {
            assert!(lines_left > 0, "more lines than newlines");
            lines_left -= 1;
            assert_eq!(Some(line), expected.next());
            assert!(line.len() <= limit);
            Step::Line
        }
        Ok(None) => Step::NoLine,
        Err(violation) => {
            assert_eq!(violation, Violation::LineTooLong { limit });
            assert!(expected.next().is_some_and(|line| line.len() > limit), "the line is not too long");
            Step::TooLong
        }
    };

    let mut buffer = LineBuffer::new(limit);
    let mut rest = plan.body;
    while !rest.is_empty() {
        let space = buffer.space();
        let n = space.len().min(rest.len()).min(plan.size());
        space[..n].copy_from_slice(&rest[..n]);
        buffer.commit(n);
        rest = &rest[n..];
        assert!(buffer.capacity() <= (limit + 1).max(ROOM));
        if n > 0 && plan.chosen(LAZY) {
            continue;
        }
        loop {
            match take(&mut buffer) {
                Step::Line if n == 0 => break,
                Step::Line => {}
                Step::NoLine => {
                    assert!(n > 0, "no room and no line");
                    break;
                }
                Step::TooLong => return keeps_refusing(&mut buffer, limit),
            }
        }
    }
    loop {
        match take(&mut buffer) {
            Step::Line => {}
            Step::NoLine => break,
            Step::TooLong => return keeps_refusing(&mut buffer, limit),
        }
    }
    assert_eq!(lines_left, 0, "lines were lost");
    assert_eq!(buffer.is_empty(), plan.body.last().is_none_or(|byte| *byte == b'\n'));
    assert_eq!(buffer.is_whole(), buffer.is_empty());
    assert!(expected.next().is_none_or(|tail| tail.len() <= limit), "the beginning of a line is too long");
});

fn keeps_refusing(buffer: &mut LineBuffer, limit: usize) {
    buffer.commit(1);
    assert_eq!(buffer.next_line(), Err(Violation::LineTooLong { limit }));
    assert!(buffer.capacity() <= (limit + 1).max(ROOM));
}
