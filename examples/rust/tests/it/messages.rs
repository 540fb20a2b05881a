//! `messages`: what the workers report is counted, and what the primary counted reaches them.

use oneport_e2e::wait::eventually;
use oneport_e2e::{Signal, procfs};

use crate::started::{get, start};

#[test]
fn requests_are_counted_by_the_primary_and_the_total_comes_back() {
    let example = start(env!("CARGO_BIN_EXE_messages"));
    let port = eventually("the port", || procfs::listens_on(example.pid()).first().copied());
    let address = (std::net::Ipv4Addr::LOCALHOST, port).into();
    for _ in 0..5 {
        assert!(get(address, "/").starts_with("hello world, "));
    }
    example.wait_times("numReqs = 5\n", 1);
    // Those that have been told of five say so; each request that asks them is one more.
    let mut asked = 5;
    let workers = example.children().len();
    let mut in_a_row = 0;
    eventually("every worker to know", || {
        asked += 1;
        let total = oneport_e2e::tcp::pid_in(&get(address, "/"));
        assert!(total < asked, "{total} of {asked}");
        in_a_row = if total >= 5 { in_a_row + 1 } else { 0 };
        (in_a_row == workers).then_some(())
    });
    example.wait_times(&format!("numReqs = {asked}\n"), 1);
    for worker in example.children() {
        procfs::signal(worker, Signal::KILL);
    }
    assert!(example.ended().1.success());
}
