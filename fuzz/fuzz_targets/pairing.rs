//! `Inbox` with numbered handles. What a lawful peer sends through any merging and cutting of the kernel arrives with its
//! own handle; what any other peer sends may be refused, but each handle is given out once, in order, or dropped.
#![no_main]

use std::cell::Cell;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use oneport_fuzz::Plan;
use oneport_wire::Violation;
use oneport_wire::node::Inbox;
use oneport_wire::node::message::{FromPrimary, FromWorker};

/// The peer is a primary.
const FROM_PRIMARY: u8 = 0;
/// The peer keeps to the rules, and the kernel to its own.
const LAWFUL: u8 = 1;
/// The reader leaves lines in the inbox between two reads.
const LAZY: u8 = 2;

/// Stands for a descriptor, and counts itself.
struct Handle {
    number: u32,
    alive: Rc<Cell<u32>>,
}

impl Handle {
    fn new(number: u32, alive: &Rc<Cell<u32>>) -> Self {
        alive.set(alive.get() + 1);
        Self { number, alive: Rc::clone(alive) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

/// Does the message claim a handle, and which did it get?
type Claim = (bool, Option<u32>);

fn next(inbox: &mut Inbox<Handle>, primary: bool) -> Result<Option<Claim>, Violation> {
    Ok(if primary {
        inbox.next_from_primary()?.map(|(message, handle)| (message.carries_handle(), number(handle)))
    } else {
        inbox.next_from_worker()?.map(|(message, handle)| (message.carries_handle(), number(handle)))
    })
}

fn number(handle: Option<Handle>) -> Option<u32> {
    handle.map(|handle| handle.number)
}

fn carries(line: &[u8], primary: bool) -> Option<bool> {
    if primary {
        FromPrimary::decode(line).ok().map(|message| message.carries_handle())
    } else {
        FromWorker::decode(line).ok().map(|message| message.carries_handle())
    }
}

fuzz_target!(|input: &[u8]| {
    let Some(plan) = Plan::read(input) else { return };
    let alive = Rc::new(Cell::new(0));
    if plan.chosen(LAWFUL) {
        lawful(plan, &alive)
    } else {
        hostile(plan, &alive)
    }
    assert_eq!(alive.get(), 0, "a handle outlived its inbox");
});

fn hostile(mut plan: Plan<'_>, alive: &Rc<Cell<u32>>) {
    let primary = plan.chosen(FROM_PRIMARY);
    let mut inbox = Inbox::new(plan.limit());
    let (mut given, mut last, mut broken) = (0, 0, false);
    let mut rest = plan.body;
    while !rest.is_empty() {
        let space = inbox.space();
        let n = space.len().min(rest.len()).min(plan.size());
        space[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        let waiting = alive.get();
        let handle = plan.size().is_multiple_of(3).then(|| {
            given += 1;
            Handle::new(given, alive)
        });
        let brought = u32::from(handle.is_some());
        match inbox.received(n, handle) {
            Ok(()) => assert_eq!(alive.get(), waiting + brought, "a handle was lost"),
            Err(violation) => {
                assert_eq!((violation, alive.get()), (Violation::TwoHandles, waiting));
                broken = true;
            }
        }
        let most = if plan.chosen(LAZY) && n > 0 { 1 } else { usize::MAX };
        let mut progress = n > 0;
        for _ in 0..most {
            let waiting = alive.get();
            match next(&mut inbox, primary) {
                Ok(Some((carries, handle))) => {
                    progress = true;
                    if let Some(number) = handle {
                        assert!(carries, "a handle for a message that has none");
                        assert!(number > last, "a handle out of order, or twice");
                        last = number;
                    }
                    assert_eq!(alive.get() + u32::from(handle.is_some()), waiting, "a handle was lost");
                }
                Ok(None) => {
                    assert!(!inbox.is_empty() || alive.get() == 0);
                    break;
                }
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        assert!(alive.get() <= 2, "more handles wait than there may");
        if !progress {
            assert!(broken, "neither room nor a line");
            return;
        }
    }
}

fn lawful(mut plan: Plan<'_>, alive: &Rc<Cell<u32>>) {
    let primary = plan.chosen(FROM_PRIMARY);
    // Each `sendmsg`: a line, or one of its two halves, and what goes with its first byte.
    let mut queue = Vec::new();
    let mut expected = Vec::new();
    for (line, at) in plan.body.split_inclusive(|byte| *byte == b'\n').zip(0_u32..256) {
        let Some(text) = line.strip_suffix(b"\n") else { continue };
        let Some(carries) = carries(text, primary) else { continue };
        let handle = carries.then_some(at);
        expected.push((carries, handle));
        let (head, tail) = line.split_at(plan.size().min(line.len()));
        queue.push((head, handle));
        if !tail.is_empty() {
            queue.push((tail, None));
        }
    }
    let mut inbox = Inbox::new(usize::MAX);
    let mut got = Vec::with_capacity(expected.len());
    let mut queue = queue.into_iter().peekable();
    while queue.peek().is_some() {
        let (mut room, mut filled, mut handle) = (plan.size(), 0, None);
        let space = inbox.space();
        room = room.min(space.len());
        // As Linux reads a stream of Unix sockets: pieces are merged up to and with the first that has a descriptor, and
        // one that is read in part gives its descriptor at once.
        while filled < room && handle.is_none() {
            let Some((piece, with)) = queue.peek_mut() else { break };
            let n = piece.len().min(room - filled);
            space[filled..filled + n].copy_from_slice(&piece[..n]);
            filled += n;
            *piece = &piece[n..];
            handle = with.take();
            if piece.is_empty() {
                queue.next();
            }
        }
        let received = inbox.received(filled, handle.map(|number| Handle::new(number, alive)));
        assert_eq!(received, Ok(()));
        loop {
            match next(&mut inbox, primary) {
                Ok(Some(claim)) => got.push(claim),
                Ok(None) => break,
                Err(violation) => panic!("a lawful peer is refused: {violation}"),
            }
        }
    }
    assert_eq!(got, expected);
    assert!(inbox.is_empty());
}
