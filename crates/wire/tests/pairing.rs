//! Descriptors and lines as the kernel delivers them: each line gets its own handle, and what cannot be told apart
//! is refused with nothing kept.

use std::rc::Rc;

use oneport_wire::Violation;
use oneport_wire::node::Inbox;
use oneport_wire::node::message::{FromPrimary, FromWorker};
use proptest::prelude::*;

fn feed<H>(inbox: &mut Inbox<H>, bytes: &[u8], handle: Option<H>) -> Result<(), Violation> {
    inbox.space()[..bytes.len()].copy_from_slice(bytes);
    inbox.received(bytes.len(), handle)
}

/// The next message in short, and its handle.
fn next<H>(inbox: &mut Inbox<H>) -> Result<Option<(String, Option<H>)>, Violation> {
    Ok(inbox.next_from_worker()?.map(|(message, handle)| {
        let short = if let FromWorker::Handle(envelope) = &message {
            format!("handle {}", envelope.message.get())
        } else if let FromWorker::User(json) = &message {
            json.get().to_owned()
        } else {
            format!("{message:?}")
        };
        (short, handle)
    }))
}

fn envelope(n: usize) -> String {
    format!("{{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":{n}}}\n")
}

/// What one `sendmsg` left in the socket: a piece of a line, and the handle that came with it.
type Piece = (Vec<u8>, Option<usize>);

/// One read of at most `size` bytes, as unix(7) stream sockets do it: pieces are merged up to and including the first
/// that carries a handle, and a piece read in part gives its handle at once.
fn read(queue: &mut Vec<Piece>, size: usize) -> Piece {
    let mut data = Vec::new();
    while data.len() < size && !queue.is_empty() {
        let (piece, handle) = &mut queue[0];
        let n = piece.len().min(size - data.len());
        data.extend(piece.drain(..n));
        let handle = handle.take();
        if piece.is_empty() {
            queue.remove(0);
        }
        if handle.is_some() {
            return (data, handle);
        }
    }
    (data, None)
}

proptest! {
    #[test]
    fn every_handle_finds_its_line_however_the_kernel_merges_and_cuts(
        kinds in proptest::collection::vec((any::<bool>(), 1..80_usize), 1..40),
        sizes in proptest::collection::vec(1..200_usize, 1..40),
    ) {
        let mut queue: Vec<Piece> = Vec::new();
        let mut expected = Vec::new();
        for (n, (carries, cut)) in kinds.iter().enumerate() {
            if *carries {
                // A long line may leave in two calls; the handle goes with the first.
                let line = envelope(n).into_bytes();
                let (head, tail) = line.split_at(line.len().min(*cut));
                queue.push((head.to_vec(), Some(n)));
                if !tail.is_empty() {
                    queue.push((tail.to_vec(), None));
                }
                expected.push((format!("handle {n}"), Some(n)));
            } else {
                queue.push((format!("{n}\n").into_bytes(), None));
                expected.push((n.to_string(), None));
            }
        }
        let mut inbox = Inbox::new(1000);
        let mut got = Vec::new();
        let mut sizes = sizes.into_iter().cycle();
        while !queue.is_empty() {
            let (data, handle) = read(&mut queue, sizes.next().unwrap_or(1));
            prop_assert_eq!(feed(&mut inbox, &data, handle), Ok(()));
            while let Some(message) = next(&mut inbox).expect("lawful") {
                got.push(message);
            }
        }
        prop_assert_eq!(got, expected);
        prop_assert!(inbox.is_empty());
    }
}

#[test]
fn plain_lines_before_and_after_get_no_handle() {
    let mut inbox = Inbox::new(1000);
    feed(&mut inbox, format!("1\n{}2\n", envelope(7)).as_bytes(), Some('a')).expect("lawful");
    assert_eq!(next(&mut inbox), Ok(Some(("1".into(), None))));
    assert_eq!(next(&mut inbox), Ok(Some(("handle 7".into(), Some('a')))));
    assert_eq!(next(&mut inbox), Ok(Some(("2".into(), None))));
    assert_eq!(next(&mut inbox), Ok(None));
}

#[test]
fn an_envelope_whose_handle_got_lost_says_so() {
    let mut inbox = Inbox::<char>::new(1000);
    feed(&mut inbox, envelope(7).as_bytes(), None).expect("lawful");
    assert_eq!(next(&mut inbox), Ok(Some(("handle 7".into(), None))));
}

#[test]
fn a_handle_that_no_line_claims_is_a_breach() {
    let mut inbox = Inbox::new(1000);
    feed(&mut inbox, b"1\n", Some('a')).expect("lawful so far");
    assert_eq!(next(&mut inbox), Ok(Some(("1".into(), None))));
    assert_eq!(next(&mut inbox), Err(Violation::StrayHandle));
}

#[test]
fn a_handle_may_wait_for_the_rest_of_its_line() {
    let mut inbox = Inbox::new(1000);
    let line = envelope(7);
    feed(&mut inbox, &line.as_bytes()[..9], Some('a')).expect("lawful");
    assert_eq!(next(&mut inbox), Ok(None));
    assert!(!inbox.is_empty());
    feed(&mut inbox, &line.as_bytes()[9..], None).expect("lawful");
    assert_eq!(next(&mut inbox), Ok(Some(("handle 7".into(), Some('a')))));
}

#[test]
fn two_handles_for_one_unfinished_line_are_a_breach() {
    let mut inbox = Inbox::new(1000);
    feed(&mut inbox, b"[", Some('a')).expect("lawful");
    assert_eq!(next(&mut inbox), Ok(None));
    feed(&mut inbox, b"1,", Some('b')).expect("its own line may end in this read");
    assert_eq!(next(&mut inbox), Err(Violation::TwoHandles));
    assert_eq!(feed(&mut inbox, b"2", Some('c')), Err(Violation::TwoHandles));
}

#[test]
fn a_handle_beside_one_that_waits_for_nothing_is_a_breach() {
    let mut inbox = Inbox::new(1000);
    feed(&mut inbox, b"", Some('a')).expect("lawful so far");
    assert_eq!(feed(&mut inbox, envelope(1).as_bytes(), Some('b')), Err(Violation::TwoHandles));
}

#[test]
fn no_handle_outlives_its_inbox_or_a_refusal() {
    let handle = Rc::new(());
    let mut inbox = Inbox::new(1000);
    for _ in 0..3 {
        feed(&mut inbox, b"[", Some(Rc::clone(&handle))).ok();
    }
    assert_eq!(Rc::strong_count(&handle), 3, "two wait, the third was refused");
    drop(inbox);
    assert_eq!(Rc::strong_count(&handle), 1);
}

#[test]
fn primaries_lines_are_paired_alike() {
    let mut inbox = Inbox::new(1000);
    let mut bytes = Vec::new();
    FromPrimary::Disconnect { seq: None }.encode(&mut bytes);
    FromPrimary::NewConn { key: "k".into(), seq: 1 }.encode(&mut bytes);
    feed(&mut inbox, &bytes, Some('a')).expect("lawful");
    let first = inbox.next_from_primary().expect("lawful");
    assert_eq!(first, Some((FromPrimary::Disconnect { seq: None }, None)));
    let second = inbox.next_from_primary().expect("lawful");
    assert_eq!(second, Some((FromPrimary::NewConn { key: "k".into(), seq: 1 }, Some('a'))));
    assert_eq!(inbox.next_from_primary(), Ok(None));
}

#[test]
fn a_breach_of_framing_reaches_the_reader() {
    let mut inbox = Inbox::<char>::new(4);
    feed(&mut inbox, b"12345", None).expect("room for it");
    assert_eq!(next(&mut inbox), Err(Violation::LineTooLong { limit: 4 }));
}
