//! When a library worker answers for a connection, seen from outside: a client sees the end of its connection, ports do not
//! get in each other's way, a busy program is not taken for one that hangs, and who leaves keeps nobody waiting.

use std::time::Duration;

use oneport::{EndCause, TcpListener};
use oneport_sys::diag::listen_queue;
use tokio::io::AsyncWriteExt;

use crate::harness::{Test, TestLine, connect, programs, who_answers};
use crate::listening_accept::CREDITS;
use crate::listening_loss::Load;
use crate::listening_ways::{Crowd, Way, greet, in_every_way, in_ways, open_port, until_seen};

programs! { clerk }

/// Has one listener, and accepts only when it is told to; everything in one task.
///
/// | order | what it does, and tells |
/// |---|---|
/// | `listen ADDRESS` | listens, and takes nobody: where |
/// | `take N` | takes N connections, answers and closes each: `taken` |
/// | `pause MILLISECONDS` | `pausing`; does nothing for so long, and then takes connections until there are no more to come: how many |
/// | `leave` | `ThisWorker::disconnect`, and meanwhile goes on to the end; keeps its listener: `left` |
async fn clerk() {
    let mut line = TestLine::open();
    let facts = line.facts();
    let mut listener = None;
    while let Some(order) = line.order().await {
        let (verb, object) = order.split_once(' ').unwrap_or((&order, ""));
        facts.tell(match (verb, &listener) {
            ("listen", None) => {
                let opened = TcpListener::bind(object).await.unwrap();
                let address = opened.local_addr().unwrap();
                listener = Some(opened);
                address.to_string()
            }
            ("take", Some(listener)) => {
                for _ in 0..object.parse().unwrap() {
                    assert!(take(listener).await);
                }
                "taken".into()
            }
            ("pause", Some(listener)) => {
                facts.tell("pausing");
                std::thread::sleep(Duration::from_millis(object.parse().unwrap()));
                let mut taken = 0;
                while take(listener).await {
                    taken += 1;
                }
                taken.to_string()
            }
            ("leave", Some(listener)) => {
                let rest = async { while take(listener).await {} };
                let (left, ()) = tokio::join!(oneport::worker().unwrap().disconnect(), rest);
                left.unwrap();
                "left".into()
            }
            order => panic!("no order reads {order:?}"),
        });
    }
}

/// Answers the next connection and closes it; false where there is none to come.
async fn take(listener: &TcpListener) -> bool {
    let Ok((mut stream, _)) = listener.accept().await else { return false };
    let number = oneport::worker().unwrap().id().0;
    // Its client may be gone.
    let _ = stream.write_all(format!("{number} 0\n").as_bytes()).await;
    true
}

/// A crowd that waits in the primary, on a port whose only worker takes nobody; where workers accept it waits in the kernel.
/// Whoever listens there next gets several at once.
fn crowd_that_waits(way: Way, test: &mut Test) -> Crowd {
    let address = open_port(test, 1, "listen 127.0.0.1:0");
    let crowd = Crowd::connect(address, CROWD);
    if matches!(way, Way::Stream | Way::Channel) {
        until_seen("that all are accepted", || listen_queue(&[address.port()]).unwrap()[0].waiting == 0);
    }
    crowd
}

const CROWD: usize = 12;

in_every_way! {
    fn a_client_sees_the_end_of_its_connection_though_its_worker_accepts_no_more(way: Way) {
        for credits in [1, CREDITS as u32, 4] {
            let mut test = way.cluster_of("clerk", 2, |settings| settings.conduct.credits = credits);
            let mut crowd = crowd_that_waits(way, &mut test);
            assert_eq!(open_port(&mut test, 2, "listen 127.0.0.1:0"), crowd.address);
            for taken in 1..=5 {
                assert_eq!(test.ask(2, "take 1"), "taken");
                // Each waits for the end.
                crowd.until_answered(taken);
            }
            assert_eq!(crowd.by(2), 5);
            test.stop();
        }
    }
}

in_every_way! {
    /// Each side listener serves one for long, and behind one of them another waits.
    fn listeners_that_serve_one_client_for_long_leave_the_main_listener_its_share(way: Way) {
        let mut test = way.cluster(1);
        let main = open_port(&mut test, 1, "tcp main 127.0.0.1:0");
        let sides = ["a", "b"].map(|side| open_port(&mut test, 1, &format!("tcp {side} 127.0.0.1:0 hold")));
        let served = sides.map(|side| greet(connect(side)).1);
        let waiting = connect(sides[0]);
        let mut crowd = Crowd::connect(main, 40);
        crowd.until_answered(40);
        drop(served);
        greet(waiting);
        test.stop();
    }
}

const HANG: Duration = Duration::from_millis(300);

in_ways! { Stream, Channel;
    fn a_program_that_serves_one_client_for_longer_than_the_hang_timeout_is_not_ended(way: Way) {
        let mut test = way.cluster_of("ear", 2, |settings| settings.conduct.hang_timeout = Some(HANG));
        let address = open_port(&mut test, 1, "tcp a 127.0.0.1:0 hold");
        let (_, held) = greet(connect(address));
        // One that comes later, and that its worker does not take, is held for so long, too.
        let unserved = connect(open_port(&mut test, 2, "tcp b 127.0.0.2:0 deaf"));
        assert_eq!(test.exit(2).1, EndCause::Hung);
        drop((held, unserved));
        assert_eq!(greet(connect(address)).0, (1, 0));
        test.stop();
    }
}

in_every_way! {
    /// The clients' own patience is less than the drain timeout.
    fn who_leaves_by_itself_under_load_and_keeps_its_listener_keeps_nobody_waiting(way: Way) {
        for _ in 0..5 {
            let mut test = way.cluster_of("clerk", 1, |_| {});
            test.fork_with(&[(way.program(), "ear")]);
            let address = open_port(&mut test, 1, "listen 127.0.0.1:0");
            assert_eq!(open_port(&mut test, 2, "tcp a 127.0.0.1:0"), address);
            let load = Load::start(address, 8);
            assert_eq!(test.ask(1, "take 50"), "taken");
            assert_eq!(test.ask(1, "leave"), "left");
            load.go_on(100);
            let tally = load.end();
            assert_eq!(tally.lost, 0, "{tally:?}");
            assert!(!test.worker(1).is_dead(), "its end would have helped");
            test.stop();
        }
    }
}

in_ways! { Stream, Channel;
    /// There is nobody else to serve them.
    fn clients_of_a_lone_worker_that_is_busy_when_it_is_told_to_leave_are_served(way: Way) {
        for _ in 0..5 {
            let mut test = way.cluster_of("clerk", 1, |_| {});
            let address = open_port(&mut test, 1, "listen 127.0.0.1:0");
            let clients: Vec<_> = (0..CREDITS).map(|_| connect(address)).collect();
            until_seen("that all are accepted", || listen_queue(&[address.port()]).unwrap()[0].waiting == 0);
            assert_eq!(test.ask(1, "pause 20"), "pausing");
            test.worker(1).disconnect().unwrap();
            for client in clients {
                assert_eq!(who_answers(client).unwrap(), (1, 0));
            }
            assert_eq!(test.fact(1), CREDITS.to_string());
            test.stop();
        }
    }
}
