//! A worker that asks for the hand-off stream as the library does, and then keeps none of its promises: that costs this
//! worker, and no client of the others. The worker itself is in `listening_stranger`.

use std::net::SocketAddr;

use oneport::EndCause;

use crate::harness::{PROGRAM, Test, programs};
use crate::listening_accept::CREDITS;
use crate::listening_apart::{run_apart, test_apart};
use crate::listening_ways::{Crowd, Way, open_port, until_seen};

programs! { counts_its_descriptors }

/// A stranger and a worker that serves on a port.
fn beside_a_stranger() -> (Test, SocketAddr) {
    let mut test = Test::new("ear", |_| {});
    test.fork_with(&[(PROGRAM, "stranger")]);
    test.fork();
    let address = open_port(&mut test, 2, "tcp a 127.0.0.1:0");
    (test, address)
}

/// Both on the same port.
fn with_stranger() -> (Test, SocketAddr) {
    let (mut test, address) = beside_a_stranger();
    assert_eq!(test.ask(1, "ask 0"), address.port().to_string());
    test.event(1, "listening");
    (test, address)
}

const CROWD: usize = 40;

/// The same, and a crowd of which the stranger has taken what it may have.
fn with_crowd() -> (Test, Crowd) {
    let (mut test, address) = with_stranger();
    let mut crowd = Crowd::connect(address, CROWD);
    crowd.until_answered(CROWD - CREDITS);
    assert_eq!(test.ask(1, &format!("take {CREDITS}")), "taken");
    (test, crowd)
}

/// Every client is served by the other worker, which serves on.
fn all_is_well(mut test: Test, mut crowd: Crowd) {
    crowd.until_answered(CROWD);
    assert_eq!(crowd.by(2), CROWD);
    crowd.join(CROWD);
    test.worker(1).end_now().unwrap();
    test.exit(1);
    crowd.until_answered(2 * CROWD);
    assert_eq!(crowd.by(2), 2 * CROWD);
    test.stop();
}

#[test]
fn one_that_closes_the_stream_at_once_gets_nothing() {
    let (mut test, address) = with_stranger();
    assert_eq!(test.ask(1, "shut"), "shut");
    let crowd = Crowd::connect(address, CROWD);
    all_is_well(test, crowd);
}

#[test]
fn one_that_takes_connections_and_closes_the_stream_gives_them_back() {
    let (mut test, crowd) = with_crowd();
    assert_eq!(test.ask(1, "shut"), "shut");
    all_is_well(test, crowd);
}

#[test]
fn one_that_ends_its_answers_gives_back_what_it_took() {
    let (mut test, crowd) = with_crowd();
    assert_eq!(test.ask(1, "hush"), "hushed");
    all_is_well(test, crowd);
}

#[test]
fn one_that_never_answers_holds_no_more_than_its_credits_until_it_ends() {
    let (test, mut crowd) = with_crowd();
    crowd.join(CROWD);
    crowd.until_answered(2 * CROWD - CREDITS);
    test.worker(1).end_now().unwrap();
    crowd.until_answered(2 * CROWD);
    assert_eq!(crowd.by(2), 2 * CROWD);
    test.stop();
}

#[test]
fn one_that_answers_nonsense_is_ended_and_what_it_held_is_served() {
    let (mut test, crowd) = with_crowd();
    // It may not live to tell.
    test.tell(1, "say x");
    let reason = test.event(1, "condemned").text.unwrap();
    assert_eq!(reason, "cannot understand the answer to a hand-off: unknown byte 0x78");
    assert_eq!(test.exit(1).1, EndCause::Violation);
    all_is_well(test, crowd);
}

#[test]
fn one_that_answers_what_it_was_never_given_is_ended() {
    let (mut test, address) = with_stranger();
    test.tell(1, "say t");
    let reason = test.event(1, "condemned").text.unwrap();
    assert_eq!(reason, "cannot match the answer to a hand-off: nothing was handed over");
    assert_eq!(test.exit(1).1, EndCause::Violation);
    all_is_well(test, Crowd::connect(address, CROWD));
}

/// What it said that it took stays with it, whatever it says in the same breath; and so does what it took without a
/// word.
#[test]
fn what_one_took_before_it_broke_the_rules_is_given_to_nobody_else() {
    for breach in ["say ttt", "say ttx", "say tx", "say x", "shut"] {
        let (mut test, mut crowd) = with_crowd();
        assert_eq!(test.ask(1, "serve"), "served");
        test.tell(1, breach);
        if breach == "shut" {
            crowd.until_answered(CROWD);
            test.worker(1).end_now().unwrap();
            test.exit(1);
        } else {
            assert_eq!(test.exit(1).1, EndCause::Violation);
        }
        crowd.until_answered(CROWD);
        assert_eq!((crowd.by(1), crowd.by(2)), (CREDITS, CROWD - CREDITS));
        test.stop();
    }
}

#[test]
fn one_that_asks_again_for_what_it_has_is_refused_and_keeps_its_stream() {
    let (mut test, mut crowd) = with_crowd();
    let port = crowd.address.port();
    for _ in 0..100 {
        let refused = rustix::io::Errno::ADDRINUSE.raw_os_error().to_string();
        assert_eq!(test.ask(1, &format!("ask {port}")), refused);
    }
    assert_eq!(test.ask(1, "serve"), "served");
    assert_eq!(test.ask(1, "say tt"), "said");
    crowd.until_answered(CROWD);
    assert_eq!((crowd.by(1), crowd.by(2)), (CREDITS, CROWD - CREDITS));
    test.worker(1).end_now().unwrap();
    test.exit(1);
    test.stop();
}

/// In a process of its own, whose descriptors are the primary's alone.
#[test]
fn one_that_hoards_streams_takes_few_descriptors_of_its_primary() {
    run_apart("counts_its_descriptors", Way::Stream, "", |_| {});
}

const HOARD: usize = 2_000;

async fn counts_its_descriptors() {
    test_apart(|_| {
        let open_here = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (mut test, address) = beside_a_stranger();
        let (before, most) = (open_here(), test.cluster.settings().conduct.ports);
        let streams: usize = test.ask(1, &format!("hoard {HOARD} 0")).parse().unwrap();
        assert!(streams > 1 && open_here() <= before + most + 8, "{streams} streams, {} open", open_here());
        let mut crowd = Crowd::connect(address, CROWD);
        crowd.until_answered(CROWD);
        assert_eq!(crowd.by(2), CROWD);
        // A newcomer has its share.
        test.fork();
        assert_eq!(open_port(&mut test, 3, "tcp a 127.0.0.1:0"), address);
        test.event(3, "proven");
        crowd.join(CROWD);
        crowd.until_answered(2 * CROWD);
        assert!(crowd.by(2) > CROWD && crowd.by(3) > 0);
        // Nor does it keep what it was given.
        test.worker(1).end_now().unwrap();
        test.exit(1);
        until_seen("that all streams are closed", || open_here() <= before + 8);
        test.stop();
    });
}

#[test]
fn one_that_names_servers_at_length_is_ended() {
    for (within, beyond) in
        [("mention", "mention"), ("mention", "pass"), ("pass", "pass"), ("pass", "mention")]
    {
        let (mut test, address) = with_stranger();
        assert_eq!(test.ask(1, &format!("{within} 1024")), if within == "pass" { "passed" } else { "0" });
        test.tell(1, &format!("{beyond} 1025"));
        let reason = test.event(1, "condemned").text.unwrap();
        assert_eq!(reason, "cannot keep key of a server: more than 1024 bytes");
        assert_eq!(test.exit(1).1, EndCause::Violation);
        assert_eq!(test.count("message"), usize::from(within == "pass"));
        all_is_well(test, Crowd::connect(address, CROWD));
    }
}
