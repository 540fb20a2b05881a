use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc::sync_channel;
use std::task::Poll;

use super::*;

fn problem_of(room: usize, then: impl FnOnce(std::sync::mpsc::Receiver<Happening>) + Send) -> ProblemKind {
    let (happenings, queue) = sync_channel(room);
    let asking = Asking { happenings, events: broadcast::channel(1).0 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| then(queue));
        runtime.block_on(asking.order(Order::View)).unwrap_err().kind
    })
}

#[test]
fn a_question_that_meets_the_end_of_the_loop_is_told_so() {
    // Whoever watches a deletion takes this for its end, and a busy primary for trouble.
    let takes_and_goes = |queue: std::sync::mpsc::Receiver<Happening>| drop(queue.recv());
    assert_eq!(problem_of(1, takes_and_goes), ProblemKind::Failed);
    assert_eq!(problem_of(1, drop), ProblemKind::Failed);
}

#[test]
fn a_question_that_finds_no_room_waits_for_it() {
    let (happenings, queue) = sync_channel(1);
    let asking = Asking { happenings, events: broadcast::channel(1).0 };
    asking.happenings.send(Happening::Told).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let mut asked = pin!(asking.order(Order::View));
        // It meets the full queue now, and not at some time later.
        let waits = poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
        // The first is the one that filled it.
        let taker = thread::spawn(move || drop((queue.recv(), queue.recv())));
        let answer = asked.await;
        taker.join().unwrap();
        answer
    });
    assert_eq!(answer.unwrap_err().kind, ProblemKind::Failed, "it was taken, and not answered");
}
