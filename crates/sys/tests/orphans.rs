//! Orphans fall to a subreaper. A binary with one test: it looks at all children of the process.

mod common;

use oneport_sys::process::{Exit, Pid, become_subreaper, peek_zombie, reap_stranger};

use common::{Running, command, read_line};

#[test]
fn an_orphan_is_seen_without_touching_known_children() {
    assert_eq!(peek_zombie(), None);
    become_subreaper().unwrap();
    // The shell's child outlives it by waiting for the end of its input (as 4: a background job's 0 is /dev/null).
    let mut shell = command("sh", &["-c", "exec 4<&0; (read line <&4; exit 7) & echo $!"]);
    shell.stdin = oneport_sys::spawn::Stdio::Pipe;
    let mut known = Running::start(shell);
    let input = known.0.stdin.take().unwrap();
    let orphan = Pid::new(read_line(&known.take_output()).parse().unwrap()).unwrap();
    common::wait_readable(&known.0.pidfd);
    assert_eq!(peek_zombie(), Some(known.0.pid));
    assert_eq!(peek_zombie(), Some(known.0.pid), "peeking does not reap");
    assert_eq!(known.wait(), Exit::Code(0));
    assert_eq!(peek_zombie(), None, "the orphan lives");
    assert_eq!(reap_stranger(orphan).unwrap(), None);
    drop(input);
    common::eventually("the orphan ended", || peek_zombie() == Some(orphan));
    assert_eq!(reap_stranger(orphan).unwrap(), Some(Exit::Code(7)));
    assert_eq!(peek_zombie(), None);
    assert_eq!(reap_stranger(orphan).unwrap_err().raw_os_error(), Some(libc::ECHILD));
}
