//! Workers that are none of a cluster and have a channel all the same (`ChildChannel::Json`): what they are, what counts of
//! what they say, and that their life does not hang on it.

use oneport::{
    Attach, ChildChannel, EndCause, Exit, ListenFd, ProgramWay, Readiness, Settings, State, StopWith,
};

use crate::channel_kit::message;
use crate::harness::{Test, eventually, settings};

/// One worker that runs this program as a child with a channel.
fn child(program: &str, attach: Attach, change: impl FnOnce(&mut Settings)) -> Test {
    Test::forked(1, program, |settings| {
        settings.conduct.attach = attach;
        settings.conduct.stop_with = StopWith::Signal;
        settings.child_channel = ChildChannel::Json;
        change(settings);
    })
}

/// How a worker without the channel of a cluster may be attached.
const BOTH: [Attach; 2] = [Attach::Nothing, Attach::Program];

#[test]
fn a_child_is_no_worker_and_talks_both_ways() {
    for attach in BOTH {
        let mut test = child("talker", attach, |_| {});
        assert_eq!(test.ask(1, "role"), "child true");
        assert!(test.worker(1).is_connected());
        test.worker(1).send(&[1, 2]).unwrap();
        assert_eq!(test.ask(1, "receive"), "[1,2]");
        assert_eq!(test.ask(1, "send {\"a\":null}"), "sent");
        assert_eq!(message(&mut test, 1).0, serde_json::json!({"a": null}));
        // Its own socket, with a message.
        let listening = test.ask(1, "listen");
        assert_eq!(test.ask(1, "give 0 \"a server\""), "sent");
        let (told, handle) = message(&mut test, 1);
        assert_eq!(told, "a server");
        let Some(oneport::Handle::TcpListener(listener)) = handle else { panic!("{handle:?}") };
        assert_eq!(format!("0 {}", listener.local_addr().unwrap()), listening);
        // And back.
        test.worker(1).send_handle("yours", listener).unwrap();
        assert_eq!(test.ask(1, "receive"), "\"yours\" + TcpListener 1");
        assert_eq!(test.count("online"), 1);
        assert_eq!(test.count("condemned"), 0);
        test.stop();
    }
}

#[test]
fn a_child_is_ready_when_it_says_so_and_not_before() {
    for attach in BOTH {
        let mut test = child("talker", attach, |settings| settings.conduct.readiness = Readiness::Message);
        assert_eq!(test.ask(1, "send \"steady\""), "sent");
        assert_eq!(message(&mut test, 1).0, "steady");
        assert_eq!((test.count("online"), test.count("ready")), (1, 0));
        assert_eq!(test.ask(1, "send \"ready\""), "sent");
        test.event(1, "ready");
        test.event(1, "proven");
        assert_eq!(test.messages(1), ["\"steady\"", "\"ready\""], "the owner hears it, too");
        test.stop();
    }
}

#[test]
fn a_child_that_closes_its_channel_lives_on_and_can_be_sent_nothing() {
    let mut test = child("talker", Attach::Nothing, |settings| {
        settings.stop_message = Some("\"shutdown\"".into());
    });
    test.event(1, "proven");
    assert_eq!(test.ask(1, "send \"last words\""), "sent");
    assert_eq!(test.ask(1, "part"), "parting");
    test.event(1, "disconnect");
    assert_eq!(test.messages(1), ["\"last words\""]);
    // Nothing that would lead to its end is under way.
    assert_eq!(test.ask(1, "ended"), "ended");
    let worker = test.worker(1).clone();
    assert!(!worker.is_connected() && !worker.is_dead());
    assert_eq!((worker.state(), worker.exited_after_disconnect()), (State::Online, None));
    let refused = worker.send("nobody").unwrap_err();
    assert_eq!(refused.io_error().map(std::io::Error::kind), Some(std::io::ErrorKind::BrokenPipe));
    // Whom no message reaches is signalled.
    worker.disconnect().unwrap();
    assert_eq!(test.exit(1), (Exit::Signal(15), EndCause::Asked));
    assert_eq!(test.life(1).iter().filter(|name| **name == "disconnect").count(), 1);
    test.stop();
}

#[test]
fn a_child_gets_the_stop_message_in_place_of_the_signal() {
    for attach in BOTH {
        let mut test = child("talker", attach, |settings| {
            settings.stop_message = Some("\"shutdown\"".into());
        });
        test.event(1, "proven");
        test.cluster.stop().unwrap();
        assert_eq!(test.ask(1, "receive"), "\"shutdown\"");
        // It ends when its test has nothing more to say.
        test.hang_up(1);
        assert_eq!(test.exit(1), (Exit::Code(0), EndCause::Asked));
    }
}

#[test]
fn a_child_that_speaks_as_a_worker_of_a_cluster_is_ended() {
    for line in [
        r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":0,"addressType":4,"seq":1}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":1}"#,
    ] {
        let mut test = child("raw", Attach::Nothing, |_| {});
        test.tell(1, &format!("say {line}"));
        let condemned = test.event(1, "condemned");
        assert_eq!(condemned.text.as_deref(), Some("cannot take message: it is no worker of a cluster"));
        assert_eq!(test.exit(1), (Exit::Signal(9), EndCause::Violation));
        test.stop();
    }
}

#[test]
fn other_words_of_node_are_answered_as_of_every_worker() {
    let mut test = child("raw", Attach::Nothing, |_| {});
    for line in [r#"{"cmd":"NODE_CLUSTER","ack":-1}"#, r#"{"cmd":"NODE_DEBUG_ENABLED"}"#] {
        assert_eq!(test.ask(1, &format!("say {line}")), "said");
    }
    // An envelope whose descriptor is missing.
    test.tell(1, r#"say {"cmd":"NODE_HANDLE","type":"net.Socket","msg":1}"#);
    assert_eq!(test.fact(1), "said");
    assert_eq!(test.ask(1, "hear"), r#"{"cmd":"NODE_HANDLE_NACK"}"#);
    assert_eq!(test.count("condemned"), 0);
    test.stop();
}

#[test]
fn a_child_that_ends_has_its_last_words_heard() {
    let mut test = child("talker", Attach::Nothing, |_| {});
    assert_eq!(test.ask(1, "send \"last words\""), "sent");
    test.hang_up(1);
    assert_eq!(test.exit(1), (Exit::Code(0), EndCause::ByItself));
    assert_eq!(test.messages(1), ["\"last words\""]);
    test.stop();
}

#[test]
fn without_the_setting_there_is_no_channel() {
    let mut test = child("talker", Attach::Nothing, |settings| settings.child_channel = ChildChannel::None);
    assert_eq!(test.ask(1, "role"), "child false");
    assert!(!test.worker(1).is_connected() && test.worker(1).send("x").is_err());
    test.stop();
}

#[test]
fn a_channel_and_sockets_that_are_passed_on_are_refused_together() {
    let mut settings = settings("talker");
    settings.extra_pipes = 0;
    settings.child_channel = ChildChannel::Json;
    settings.conduct.attach = Attach::Program;
    let socket = ListenFd { address: "127.0.0.1:0".parse().unwrap(), name: "web".into() };
    settings.program.way = ProgramWay::ListenFds { sockets: vec![socket] };
    let refused = oneport::Cluster::start(settings).unwrap_err();
    let text = std::error::Error::source(&refused).map_or_else(|| refused.to_string(), ToString::to_string);
    assert!(text.contains("its channel has the number of the first"), "{text}");
}

/// What is sent to one that does not read is counted, and told as lost when it ends.
#[test]
fn what_a_child_never_read_is_told_when_it_ends() {
    let mut test = child("raw", Attach::Nothing, |_| {});
    assert_eq!(test.ask(1, r#"say "up""#), "said");
    let worker = test.worker(1).clone();
    worker.send(&"x".repeat(1 << 20)).unwrap();
    eventually("it waits", || worker.waiting() > 0);
    worker.end_now().unwrap();
    test.exit(1);
    let mut life = test.life(1);
    assert_eq!(life.pop(), Some("exit"));
    // Its channel's end may be seen before that of its process.
    life[3..].sort_unstable();
    assert_eq!(life, ["fork", "online", "message", "disconnect", "error"]);
    test.stop();
}
