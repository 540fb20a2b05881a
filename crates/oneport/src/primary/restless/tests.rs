use super::*;

/// Last sent and last received so many milliseconds ago, segments received, bare segments sent.
fn connection(sent: u32, received: u32, segments: u32, bare: u32) -> Connection {
    let address = "127.0.0.1:80".parse().unwrap();
    Connection {
        inode: 1,
        local: address,
        remote: address,
        state: ESTABLISHED,
        receive_queue: 0,
        send_queue: 0,
        unsent: 0,
        since_last_sent_ms: Some(sent),
        since_last_received_ms: Some(received),
        segments_received: segments,
        bare_segments_sent: bare,
    }
}

fn after(looks: &[Connection]) -> Restless {
    let mut restless = Restless::default();
    looks.iter().for_each(|one| restless.see(std::slice::from_ref(one)));
    restless
}

/// How many of the last look may be ended.
fn ended(looks: &[Connection]) -> usize {
    ended_at(looks, 0.0)
}

fn ended_at(looks: &[Connection], passed: f64) -> usize {
    after(looks).resting(&looks[looks.len() - 1..], passed).count()
}

#[test]
fn who_never_rests_for_long_is_ended_in_a_shorter_rest_later() {
    let begin = [connection(60, 80, 1, 1), connection(90, 5, 2, 1)];
    let rests = |sent, received| [&begin[..], &[connection(sent, received, 2, 1)]].concat();
    assert_eq!([0.0, 0.34, 0.67].map(|passed| ended_at(&rests(13, 20), passed)), [0, 1, 1]);
    assert_eq!([0.0, 0.34, 0.67].map(|passed| ended_at(&rests(4, 8), passed)), [0, 0, 1]);
    // What was answered may not be acknowledged yet, but it has to be sent.
    let waits =
        |unsent| [&begin[..], &[Connection { send_queue: 9, unsent, ..connection(13, 20, 2, 1) }]].concat();
    assert_eq!([0.0, 0.34].map(|passed| ended_at(&waits(0), passed)), [0, 1]);
    assert_eq!(ended_at(&waits(1), 0.34), 0);
    // Asked, and not answered for long.
    assert_eq!([0.34, 0.67].map(|passed| ended_at(&rests(60, 5), passed)), [0, 0]);
    // In one tick: it may be a request that has just come.
    assert_eq!([0.34, 0.67].map(|passed| ended_at(&rests(16, 16), passed)), [0, 0]);
    assert_eq!(ended_at(&rests(52, 52), 0.67), 1);
}

#[test]
fn who_asks_again_is_ended_once_it_rests() {
    let (first, busy) = (connection(60, 80, 1, 1), connection(90, 5, 2, 1));
    assert!(!after(std::slice::from_ref(&first)).is_any());
    assert!(after(&[first.clone(), busy.clone()]).is_any());
    assert_eq!(ended(&[first.clone(), busy.clone()]), 0);
    assert_eq!(ended(&[first.clone(), busy.clone(), connection(10, 30, 2, 1)]), 0);
    assert_eq!(ended(&[first, busy, connection(50, 70, 2, 1)]), 1);
}

#[test]
fn a_request_answered_at_once_between_two_looks_is_seen_as_well() {
    assert_eq!(ended(&[connection(60, 80, 5, 1), connection(52, 52, 6, 1)]), 1);
}

#[test]
fn a_request_that_came_in_the_tick_of_the_answer_before_it_is_under_way() {
    // Acknowledged, and not answered.
    let (idle, asked) = (connection(60, 80, 5, 5), connection(300, 300, 6, 6));
    let restless = after(&[idle.clone(), asked.clone()]);
    assert!(restless.is_any());
    assert!(!restless.is_idle(&asked));
    assert_eq!(ended(&[idle, asked]), 0);
    // Also where nothing was seen of it.
    let always = connection(1500, 1500, 6, 7);
    assert!(!after(std::slice::from_ref(&always)).is_idle(&always));
}

#[test]
fn a_connection_at_rest_is_idle_whatever_it_took_to_get_there() {
    // Asked once, answered at once, acknowledged before that; asked often, answered at once.
    for one in [connection(100, 100, 1, 2), connection(100, 100, 40, 3), connection(10_000, 10_000, 9, 9)] {
        assert!(after(std::slice::from_ref(&one)).is_idle(&one), "{one:?}");
    }
}

#[test]
fn one_long_answer_and_silence_are_no_asking() {
    // The request, its answer in pieces, and nothing after that.
    let looks = [(500, 10), (1, 100), (40, 140), (1, 200), (900, 1100)];
    let looks = looks.map(|(sent, received)| connection(sent, received, 2, 1));
    assert!(!after(&looks).is_any());
}

#[test]
fn what_is_closed_or_gone_is_not_waited_for() {
    let asks = [connection(60, 80, 1, 1), connection(90, 5, 2, 1)];
    let mut restless = after(&asks);
    restless.see(&[Connection { state: 5, ..connection(90, 110, 2, 1) }]);
    assert!(!restless.is_any());
    let mut restless = after(&asks);
    restless.see(&[]);
    assert!(!restless.is_any());
}
