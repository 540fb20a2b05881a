//! Who holds the listening socket, as `lsof` would show it: every process of the demo and its listening sockets.

use std::fmt::Write;

use oneport::WorkerRef;
use oneport_sys::proc::listening_sockets;
use oneport_sys::process::{Pid, own_pid};

pub(super) fn table(workers: &[WorkerRef], port: u16) -> String {
    let mut table = format!("{:>8}  {:<8}  listening sockets\n", "pid", "role");
    row(&mut table, own_pid(), "primary", port);
    for worker in workers {
        if let Some(pid) = Pid::new(worker.pid) {
            row(&mut table, pid, "worker", port);
        }
    }
    table
}

fn row(table: &mut String, pid: Pid, role: &str, port: u16) {
    let sockets = listening_sockets(pid);
    let ours: Vec<&str> = sockets
        .iter()
        .filter(|socket| socket.port == Some(port))
        .map(|socket| socket.address.as_str())
        .collect();
    let shown = if ours.is_empty() { "none".to_owned() } else { ours.join(", ") };
    _ = writeln!(table, "{pid:>8}  {role:<8}  {shown}");
}
