//! `primary_events`: the order that the guide promises, as the example prints it.

use crate::started::start;

#[test]
fn events_come_in_the_promised_order_and_the_end_comes_last() {
    let (said, status) = start(env!("CARGO_BIN_EXE_primary_events")).ended();
    assert!(status.success(), "{status}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("setup: "), "{said}");
    assert_eq!(lines[lines.len() - 2..], ["disconnected: all are gone, and the primary lives on", "stopped"]);
    for worker in ["worker 1: ", "worker 2: "] {
        let told: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(worker)).collect();
        // Finer steps are indented; those that Node has, too, are these.
        let nodes: Vec<&str> = told.iter().copied().filter(|what| !what.starts_with(' ')).collect();
        let [fork, online, listening, message, disconnect, exit] = nodes[..] else {
            panic!("six events of {worker}in:\n{said}")
        };
        assert!(fork.starts_with("fork, process "), "{said}");
        assert_eq!(online, "online");
        assert!(listening.starts_with("listening on 127.0.0.1:"), "{said}");
        assert_eq!(message, "message \"here I am\"");
        assert_eq!(disconnect, "disconnect");
        assert_eq!(exit, "exit, Code(0), asked");
    }
}
