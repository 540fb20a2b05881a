//! Choosing by open connections in the kernel, with real sockets. What this machine or user may not do is skipped, and said.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::VecDeque;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use oneport_sys::bpf::{Key, Loaded, MOST_LANES, Selector, Tier, Unit, probe};
use oneport_sys::lane::{make_beside, make_tcp, queue_length};
use oneport_sys::listen::{V6, bound_to, start_listening};

/// One address with some lanes, nobody of them open yet.
struct Address {
    loaded: Loaded,
    selector: Selector,
    at: SocketAddr,
    lanes: Vec<(TcpListener, Key, Unit)>,
}

impl Address {
    fn with(tier: Tier, lanes: usize) -> Option<Address> {
        let mut loaded = match Loaded::load(tier) {
            Ok(loaded) => loaded,
            Err(refused) => {
                eprintln!("skipped: tier {tier:?}: cannot {}: {}", refused.what, refused.error);
                return None;
            }
        };
        let selector = loaded.selector().unwrap();
        let first = make_tcp("127.0.0.1:0".parse().unwrap(), V6::Dual).unwrap();
        let at = bound_to(first.as_fd()).unwrap().unwrap();
        let mut address = Address { loaded, selector, at, lanes: Vec::new() };
        let others: Vec<OwnedFd> = (1..lanes).map(|_| make_beside(first.as_fd()).unwrap()).collect();
        for socket in std::iter::once(first).chain(others) {
            address.add(socket);
        }
        Some(address)
    }

    fn add(&mut self, socket: OwnedFd) {
        start_listening(socket.as_fd(), 512).unwrap();
        let key = self.selector.add(socket.as_fd()).unwrap();
        let unit = self.selector.begin(key, socket.as_fd()).unwrap();
        self.selector.attach(socket.as_fd()).unwrap();
        self.lanes.push((socket.into(), key, unit));
    }

    fn open(&self, lanes: impl IntoIterator<Item = usize>) {
        for lane in lanes {
            self.loaded.table().lane(self.lanes[lane].2).open_up();
        }
    }

    fn connect(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| TcpStream::connect(self.at).unwrap()).collect()
    }

    fn queues(&self) -> Vec<u32> {
        self.lanes.iter().map(|(listener, ..)| queue_length(listener.as_fd()).unwrap()).collect()
    }

    fn counts(&self) -> Vec<i32> {
        self.lanes.iter().map(|(.., unit)| self.loaded.table().lane(*unit).open()).collect()
    }

    fn accept_all(&self) -> Vec<TcpStream> {
        let all = self.lanes.iter().zip(self.queues());
        all.flat_map(|((listener, ..), queue)| (0..queue).map(|_| listener.accept().unwrap().0)).collect()
    }

    fn counts_become(&self, wanted: &[i32]) {
        eventually(|| self.counts() == wanted, || format!("{:?} are open, not {wanted:?}", self.counts()));
    }
}

fn eventually(is: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "{}", otherwise());
        std::thread::yield_now();
    }
}

#[test]
fn a_burst_is_spread_to_the_connection() {
    let Some(address) = Address::with(Tier::A, 4) else { return };
    address.open(0..4);
    let _clients = address.connect(64);
    assert_eq!(address.queues(), [16; 4]);
    assert_eq!(address.counts(), [16; 4]);
}

#[test]
fn nobody_is_sent_to_a_lane_that_is_not_open() {
    let Some(address) = Address::with(Tier::A, 4) else { return };
    address.open([1, 3]);
    let _clients = address.connect(10);
    assert_eq!(address.queues(), [0, 5, 0, 5]);
    address.loaded.table().lane(address.lanes[1].2).shut();
    let _more = address.connect(10);
    assert_eq!(address.queues(), [0, 5, 0, 15]);
}

#[test]
fn one_that_is_put_last_gets_nothing_while_others_have_few() {
    let Some(address) = Address::with(Tier::A, 3) else { return };
    address.open(0..3);
    let cells = |lane: usize| address.loaded.table().lane(address.lanes[lane].2);
    cells(0).put_last();
    let _clients = address.connect(20);
    assert_eq!(address.queues(), [0, 10, 10]);
    (1..3).for_each(|lane| cells(lane).put_last());
    let _more = address.connect(25);
    assert_eq!(address.queues(), [15; 3], "where all are last they are equals");
    // Whoever is shut stays so.
    cells(0).shut();
    cells(0).put_last();
    cells(0).put_even();
    assert!(!cells(0).is_open());
    (1..3).for_each(|lane| cells(lane).put_even());
    let _rest = address.connect(4);
    assert_eq!(address.queues(), [15, 17, 17]);
}

#[test]
fn whoever_has_the_fewest_gets_the_next() {
    let Some(address) = Address::with(Tier::A, 3) else { return };
    address.open([0]);
    let _clients = address.connect(9);
    address.open([1, 2]);
    let _more = address.connect(18);
    assert_eq!(address.counts(), [9; 3]);
}

#[test]
fn a_newcomer_with_a_handicap_gets_its_share_and_no_more() {
    let Some(address) = Address::with(Tier::A, 2) else { return };
    address.open([0]);
    let _clients = address.connect(20);
    address.loaded.table().lane(address.lanes[1].2).set_bias(20);
    address.open([1]);
    let _more = address.connect(10);
    assert_eq!(address.counts(), [25, 5]);
}

#[test]
fn connections_are_counted_down_however_they_end() {
    count_down();
}

fn count_down() {
    let Some(address) = Address::with(Tier::A, 2) else { return };
    address.open(0..2);
    let mut clients = address.connect(40);
    let mut served = address.accept_all();
    assert_eq!(address.counts(), [20, 20]);
    // The server ends some, and their clients do not.
    served.drain(..10);
    eventually(|| address.counts().iter().sum::<i32>() == 30, || format!("{:?}", address.counts()));
    // Clients end some; those count until their server does.
    clients.truncate(20);
    // And some by a reset, before anybody has looked.
    let queued = address.connect(6);
    for client in &queued {
        rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO)).unwrap();
    }
    drop(queued);
    drop(served);
    drop(clients);
    address.counts_become(&[0, 0]);
}

#[test]
fn what_a_worker_left_open_counts_in_its_own_lane_after_its_socket_has_another() {
    let Some(mut address) = Address::with(Tier::A, 1) else { return };
    address.open([0]);
    let _clients = address.connect(5);
    let served = address.accept_all();
    let (listener, key, old) = address.lanes.pop().unwrap();
    address.selector.end(old);
    let fresh = address.selector.begin(key, listener.as_fd()).unwrap();
    address.lanes.push((listener, key, fresh));
    address.open([0]);
    let _more = address.connect(3);
    assert_eq!(address.counts(), [3]);
    assert_eq!(address.loaded.table().lane(old).open(), 5);
    drop(served);
    eventually(|| address.loaded.table().lane(old).open() == 0, || "the old lane stays".to_owned());
    assert_eq!(address.counts(), [3]);
}

#[test]
fn a_connection_that_is_given_to_another_worker_counts_there() {
    let Some(address) = Address::with(Tier::A, 2) else { return };
    address.open([0]);
    let _clients = address.connect(4);
    let mut taken = address.accept_all();
    address.selector.hand_over(taken[0].as_fd(), address.lanes[1].2);
    assert_eq!(address.counts(), [3, 1]);
    // To where it is already: nothing changes.
    address.selector.hand_over(taken[0].as_fd(), address.lanes[1].2);
    assert_eq!(address.counts(), [3, 1]);
    drop(taken.remove(0));
    address.counts_become(&[3, 0]);
    drop(taken);
    address.counts_become(&[0, 0]);
}

/// The reset arrives before, in the middle of, or after the calls that move the count.
#[test]
fn a_connection_that_is_reset_while_it_changes_its_worker_is_counted_down_once() {
    const TIMES: usize = 4000;
    let Some(address) = Address::with(Tier::A, 2) else { return };
    address.open([0]);
    let (connected, to_reset) = std::sync::mpsc::sync_channel::<TcpStream>(0);
    let reset = std::thread::spawn(move || {
        for (turn, client) in to_reset.into_iter().enumerate() {
            rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
            (0..turn % 400).for_each(|_| std::hint::spin_loop());
        }
    });
    for turn in 0..TIMES {
        let client = TcpStream::connect(address.at).unwrap();
        let (connection, _) = address.lanes[0].0.accept().unwrap();
        connected.send(client).unwrap();
        (0..turn % 300).for_each(|_| std::hint::spin_loop());
        address.selector.hand_over(connection.as_fd(), address.lanes[1].2);
    }
    drop(connected);
    reset.join().unwrap();
    address.counts_become(&[0, 0]);
}

#[test]
fn while_nobody_is_open_the_keeper_gets_them() {
    let Some(mut address) = Address::with(Tier::A, 2) else { return };
    let keeper = make_beside(address.lanes[0].0.as_fd()).unwrap();
    start_listening(keeper.as_fd(), 64).unwrap();
    address.selector.add_keeper(keeper.as_fd()).unwrap();
    let _clients = address.connect(7);
    assert_eq!((address.queues(), queue_length(keeper.as_fd()).unwrap()), (vec![0, 0], 7));
    address.open([0]);
    let _more = address.connect(2);
    assert_eq!((address.queues(), queue_length(keeper.as_fd()).unwrap()), (vec![2, 0], 7));
}

#[test]
fn what_waits_in_a_lane_that_closes_goes_to_the_others_and_never_to_the_keeper() {
    let Some(mut address) = Address::with(Tier::A, 3) else { return };
    let keeper = make_beside(address.lanes[0].0.as_fd()).unwrap();
    start_listening(keeper.as_fd(), 64).unwrap();
    address.selector.add_keeper(keeper.as_fd()).unwrap();
    address.open([0]);
    let mut clients = address.connect(8);
    address.open([1, 2]);
    let (closes, key, unit) = address.lanes.remove(0);
    address.selector.end(unit);
    address.selector.remove(key);
    drop(closes);
    assert_eq!((address.queues(), queue_length(keeper.as_fd()).unwrap()), (vec![4, 4], 0));
    // With nobody left to go to they are reset: better than to wait where nobody accepts.
    for (_, key, unit) in &address.lanes {
        address.selector.end(*unit);
        address.selector.remove(*key);
    }
    address.lanes.clear();
    let mut ended = |client: &mut TcpStream| client.read(&mut [0]).is_err();
    assert!(clients.iter_mut().all(&mut ended));
    assert_eq!(queue_length(keeper.as_fd()).unwrap(), 0);
}

#[test]
fn an_address_may_have_as_many_lanes_as_it_can_and_no_more() {
    fill(Tier::A);
}

fn fill(tier: Tier) {
    let Some(mut address) = Address::with(tier, 1) else { return };
    let model: OwnedFd = address.lanes[0].0.try_clone().unwrap().into();
    for _ in 1..MOST_LANES {
        address.add(make_beside(model.as_fd()).unwrap());
    }
    let one_more = make_beside(model.as_fd()).unwrap();
    start_listening(one_more.as_fd(), 8).unwrap();
    let refused = address.selector.add(one_more.as_fd()).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC));
    // It listens, and is sent nobody.
    address.open(0..MOST_LANES);
    let _clients = address.connect(2 * MOST_LANES);
    assert_eq!(address.queues(), vec![2; MOST_LANES]);
}

#[test]
fn counts_that_are_fed_are_chosen_by_and_bursts_between_two_feeds_are_even() {
    let Some(address) = Address::with(Tier::B, 4) else { return };
    address.open(0..4);
    for (lane, open) in [30, 0, 0, 30].into_iter().enumerate() {
        address.loaded.table().lane(address.lanes[lane].2).feed(open);
    }
    let _clients = address.connect(20);
    assert_eq!(address.queues(), [0, 10, 10, 0]);
}

#[test]
fn a_lane_that_was_counted_below_none_is_chosen_like_one_that_has_none() {
    let Some(address) = Address::with(Tier::B, 2) else { return };
    address.open(0..2);
    address.loaded.table().lane(address.lanes[0].2).feed((-1_i32).cast_unsigned());
    assert_eq!(address.loaded.table().lane(address.lanes[0].2).open(), -1);
    let _clients = address.connect(10);
    assert_eq!(address.queues(), [5, 5]);
}

#[test]
fn a_lane_is_used_anew_when_nothing_is_open_there() {
    let Some(mut address) = Address::with(Tier::A, 1) else { return };
    address.open([0]);
    let clients = address.connect(1);
    let (_, key, first) = address.lanes[0];
    let listener = address.lanes[0].0.try_clone().unwrap();
    address.selector.end(first);
    let second = address.selector.begin(key, listener.as_fd()).unwrap();
    assert_ne!(first, second);
    drop(address.accept_all());
    drop(clients);
    eventually(|| address.loaded.table().lane(first).open() == 0, || "it stays open".to_owned());
    address.selector.end(second);
    assert_eq!(address.selector.begin(key, listener.as_fd()).unwrap(), first);
}

/// Servers and clients that end connections in every order, while lanes are given to one worker after the other.
#[test]
fn after_many_connections_and_changes_of_workers_nothing_is_counted_as_open() {
    const CLIENTS: usize = 4;
    const EACH: usize = 2500;
    let Some(mut address) = Address::with(Tier::A, 4) else { return };
    address.open(0..4);
    let mut units: Vec<Unit> = address.lanes.iter().map(|(.., unit)| *unit).collect();
    let over = AtomicBool::new(false);
    let (at, table) = (address.at, address.loaded.table().clone());
    let listeners: Vec<TcpListener> =
        address.lanes.iter().map(|(listener, ..)| listener.try_clone().unwrap()).collect();
    std::thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(|| serve_until(listener, &over));
        }
        let clients: Vec<_> =
            (0..CLIENTS).map(|client| scope.spawn(move || visit(at, client, EACH))).collect();
        while clients.iter().any(|client| !client.is_finished()) {
            for (listener, key, unit) in &mut address.lanes {
                address.selector.end(*unit);
                // Every lane may still have connections of a worker before: then it goes on as it is.
                if let Ok(fresh) = address.selector.begin(*key, listener.as_fd()) {
                    *unit = fresh;
                    units.push(fresh);
                }
                table.lane(*unit).open_up();
            }
            std::thread::yield_now();
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
        over.store(true, Ordering::Relaxed);
    });
    // Those that nobody accepted any more are open until somebody does.
    drop(address.accept_all());
    let open = || -> Vec<i32> { units.iter().map(|unit| table.lane(*unit).open()).collect() };
    eventually(|| open().iter().all(|open| *open == 0), || format!("{:?} are left", open()));
}

fn serve_until(listener: &TcpListener, over: &AtomicBool) {
    let mut turn = 0;
    while !over.load(Ordering::Relaxed) {
        // Non-blocking, as made.
        let Ok((mut connection, _)) = listener.accept() else {
            std::thread::yield_now();
            continue;
        };
        turn += 1;
        // One in two waits for its client to end first.
        if turn % 2 == 0 {
            connection.set_nonblocking(false).unwrap();
            let _ = connection.read(&mut [0]);
        }
    }
}

fn visit(at: SocketAddr, client: usize, times: usize) {
    for turn in 0..times {
        let connection = TcpStream::connect(at).unwrap();
        // One in three goes with a reset.
        if (turn + client).is_multiple_of(3) {
            rustix::net::sockopt::set_socket_linger(&connection, Some(Duration::ZERO)).unwrap();
        }
    }
}

/// A worker, which is killed: run again by [`after_two_hundred_thousand_connections_and_five_kills_nothing_is_counted_as_open`]
/// with its listener as standard input.
#[test]
fn worker_on_standard_input() {
    if std::env::var_os("TEST_WORKER").is_none() {
        return;
    }
    let listener = TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    listener.set_nonblocking(false).unwrap();
    let mut held = VecDeque::new();
    for turn in 0.. {
        let (connection, _) = listener.accept().unwrap();
        // Half of them it ends at once, half some time after their clients did.
        if turn % 2 == 0 {
            held.push_back(connection);
        }
        if held.len() > 16 {
            held.pop_front();
        }
    }
}

fn start_worker(listener: &TcpListener) -> Child {
    let listener: OwnedFd = listener.try_clone().unwrap().into();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["worker_on_standard_input", "--exact"]).env("TEST_WORKER", "").stdin(listener);
    again.stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn after_two_hundred_thousand_connections_and_five_kills_nothing_is_counted_as_open() {
    const CLIENTS: usize = 4;
    const EACH: usize = 50_000;
    const KILLS: usize = 5;
    let Some(mut address) = Address::with(Tier::A, 4) else { return };
    let mut workers: Vec<Child> = address.lanes.iter().map(|(listener, ..)| start_worker(listener)).collect();
    address.open(0..4);
    let mut units: Vec<Unit> = address.lanes.iter().map(|(.., unit)| *unit).collect();
    let (at, table, done) = (address.at, address.loaded.table().clone(), AtomicUsize::new(0));
    // A lane in which nothing is open may be used anew, and begins to count from none.
    let mut established = 0;
    std::thread::scope(|scope| {
        let visits = |client: usize| {
            (0..EACH).for_each(|turn| {
                visit(at, client + turn, 1);
                done.fetch_add(1, Ordering::Relaxed);
            });
        };
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || visits(client))).collect();
        for kill in 1..=KILLS {
            let due = CLIENTS * EACH * kill / (KILLS + 1);
            let is_due = || done.load(Ordering::Relaxed) >= due;
            eventually(is_due, || format!("{} of {due} connections", done.load(Ordering::Relaxed)));
            let (lane, worker) = (&mut address.lanes[kill % 4], &mut workers[kill % 4]);
            worker.kill().unwrap();
            worker.wait().unwrap();
            address.selector.end(lane.2);
            established += table.lane(lane.2).established();
            lane.2 = address.selector.begin(lane.1, lane.0.as_fd()).unwrap();
            units.push(lane.2);
            *worker = start_worker(&lane.0);
            table.lane(lane.2).open_up();
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    for mut worker in workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    drop(address.accept_all());
    let open = || -> Vec<i32> { units.iter().map(|unit| table.lane(*unit).open()).collect() };
    eventually(|| open().iter().all(|open| *open == 0), || format!("{:?} are left", open()));
    established += address.lanes.iter().map(|(.., unit)| table.lane(*unit).established()).sum::<u32>();
    assert!(established >= (CLIENTS * EACH) as u32 - 5000, "{established} were counted");
}

#[test]
fn a_socket_that_is_there_already_may_be_put_there_again() {
    let Some(mut address) = Address::with(Tier::A, 2) else { return };
    address.open(0..2);
    let socket: OwnedFd = address.lanes[0].0.try_clone().unwrap().into();
    address.selector.put(address.lanes[0].1, socket.as_fd()).unwrap();
    let _clients = address.connect(4);
    assert_eq!(address.queues(), [2, 2]);
}

/// Run again by [`each_capability_gives_its_tier`].
#[test]
fn tier_of_this_user() {
    let Ok(wanted) = std::env::var("TEST_TIER") else { return };
    let probe = probe();
    assert_eq!(format!("{:?}", probe.tier), wanted, "{probe:?}");
    if probe.tier == Tier::C {
        assert!(probe.refused.iter().all(oneport_sys::bpf::Refused::is_privilege), "{probe:?}");
    } else {
        // The longest program: the verifier looks at more where CAP_PERFMON is missing (Linux 5.8 to 6.18).
        fill(probe.tier);
    }
    if probe.tier == Tier::A {
        // With CAP_PERFMON in place of CAP_NET_ADMIN it is the other counter.
        count_down();
    }
}

#[test]
fn each_capability_gives_its_tier() {
    if !rustix::process::geteuid().is_root() || Loaded::load(Tier::A).is_err() {
        return eprintln!("skipped: capabilities: needs root, and a kernel that allows eBPF");
    }
    let own = std::env::current_exe().unwrap();
    for (capabilities, tier) in
        [("", "C"), ("+net_admin", "C"), ("+bpf", "B"), ("+bpf,+net_admin", "A"), ("+bpf,+perfmon", "A")]
    {
        let all = format!("-all{}{capabilities}", if capabilities.is_empty() { "" } else { "," });
        let mut again = Command::new("setpriv");
        again.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        again.args([
            format!("--inh-caps={all}"),
            format!("--ambient-caps={all}"),
            format!("--bounding-set={all}"),
        ]);
        again.arg(&own).args(["tier_of_this_user", "--exact"]).current_dir("/");
        let output = again.env("TEST_TIER", tier).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "with {capabilities:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
