//! Socket.IO over HTTP polling: a client comes back to its worker, and workers reach each other's clients.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::process::Command;

use oneport_e2e::{Run, place};

#[test]
fn under_sticky_socket_io_works_with_polling_and_its_cluster_adapter() {
    const CLIENTS: usize = 16;
    let dir = place::root().join("target/e2e-node");
    if !dir.join("node_modules/socket.io").is_dir() {
        return place::skipped(
            "socket.io",
            "target/e2e-node has no packages; `cargo xtask test` installs them",
        );
    }
    let app = Run::path(dir.join("socketio.js")).instances(4).args(["--policy", "sticky"]).start();
    let port = app.serving(4).port();
    let mut clients = Command::new("node");
    clients.arg(dir.join("socketio_clients.js")).args([port.to_string(), CLIENTS.to_string()]);
    // Its own deadlines end it.
    let output = clients.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let workers: BTreeSet<u64> =
        told["workers"].as_array().unwrap().iter().filter_map(serde_json::Value::as_u64).collect();
    assert!(workers.len() > 1, "all have one worker, so the test shows nothing: {told}");
    assert_eq!((told["heard"].as_u64(), told["known"].as_u64()), (Some(16), Some(16)), "{told}");
    app.stop();
}
