//! A worker's processes are found and ended, wherever they went.

mod common;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use oneport_sys::process::{Exit, Pid, Signal, own_pid};
use oneport_sys::tree::{
    Ending, Left, MARK_VARIABLE, Spared, Table, TreeMark, descends_from, members, wait_dead,
};

use common::{Running, command, read_line};

/// A shell under a mark; its whole tree is ended when the test is over.
struct Marked {
    child: Running,
    output: OwnedFd,
    mark: TreeMark,
}

impl Marked {
    fn start(worker: u64, script: &str) -> Self {
        let mark = TreeMark::of_worker(worker).expect("mark");
        let mut shell = command("sh", &["-c", script]);
        shell.env.push((MARK_VARIABLE.into(), mark.as_str().into()));
        let mut child = Running::start(shell);
        let output = child.take_output();
        Self { child, output, mark }
    }

    fn read_pid(&self) -> Pid {
        Pid::new(read_line(&self.output).parse().expect("number")).expect("pid")
    }

    fn members(&self) -> Vec<Pid> {
        members(self.child.0.pid, self.mark.as_str())
    }

    fn end(&self) -> bool {
        self.end_sparing(10, |_| false).0.is_empty()
    }

    fn end_sparing(&self, rounds: u32, spare: impl Fn(Pid) -> bool) -> (Left, Vec<Spared>) {
        let mut ending = Ending::new(self.child.0.pid, self.mark.as_str(), rounds, common::PATIENCE);
        loop {
            if let Some(left) = ending.round(&Table::read(), &spare) {
                return (left, ending.into_spared());
            }
            Ending::wait([&mut ending], Instant::now() + common::PATIENCE);
        }
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn an_orphan_in_its_own_session_is_found_by_its_mark_alone() {
    // The subshell ends at once, so the sleeper has another parent, group and session.
    let tree = Marked::start(1, "(setsid sh -c 'echo $$; exec sleep 1000' &); exec sleep 1000");
    let orphan = tree.read_pid();
    let root = tree.child.0.pid;
    common::eventually("the subshell is gone", || !members(root, "another.mark.1").contains(&orphan));
    assert_eq!(members(root, "another.mark.1"), [root]);
    let mut expected = [root, orphan];
    expected.sort_unstable();
    assert_eq!(tree.members(), expected);
    assert!(tree.end());
    assert_eq!(tree.child.wait(), Exit::Signal(9));
    assert_eq!(tree.members(), []);
}

#[test]
fn a_descendant_that_hid_everything_else_is_found_by_its_parent() {
    let tree = Marked::start(2, "setsid env -i /bin/sh -c 'echo $$; exec sleep 1000' & wait");
    let hidden = tree.read_pid();
    assert!(tree.members().contains(&hidden));
    assert!(tree.end());
}

#[test]
fn descent_is_seen_from_parents_and_ends_with_an_orphan() {
    let tree = Marked::start(8, "sh -c 'sh -c \"echo \\$\\$; exec sleep 1000\"; :' & wait");
    let (root, grandchild) = (tree.child.0.pid, tree.read_pid());
    assert!(descends_from(grandchild, root) && descends_from(root, root));
    assert!(descends_from(grandchild, own_pid()));
    assert!(!descends_from(root, grandchild));
    assert!(tree.end());
    let gone = Pid::new(i32::MAX).unwrap();
    assert!(!descends_from(gone, root));
}

#[test]
fn an_orphan_without_the_mark_is_found_by_its_group() {
    let tree = Marked::start(3, "(env -i /bin/sh -c 'echo $$; exec sleep 1000' &); exec sleep 1000");
    let orphan = tree.read_pid();
    assert!(tree.members().contains(&orphan));
    assert!(tree.end());
}

#[test]
fn the_group_of_a_dead_root_is_still_found() {
    let tree = Marked::start(4, "env -i /bin/sh -c 'echo $$; exec sleep 1000' & exit 0");
    let orphan = tree.read_pid();
    common::wait_readable(&tree.child.0.pidfd);
    assert_eq!(tree.members(), [orphan], "the root is a zombie and not counted");
    assert!(tree.end());
}

#[test]
fn a_signal_goes_to_all_and_never_to_us() {
    let tree = Marked::start(
        5,
        "trap 'exit 9' TERM; sh -c 'trap \"exit 8\" TERM; echo $$; while :; do sleep 1; done' & wait",
    );
    tree.read_pid();
    assert!(Table::read().kill(tree.child.0.pid, tree.mark.as_str(), Signal::CONT) >= 2);
    // Our own pid as the root: children belong to it, we do not.
    let ours = members(own_pid(), tree.mark.as_str());
    assert!(ours.contains(&tree.child.0.pid));
    assert!(!ours.contains(&own_pid()));
    assert!(tree.end());
}

#[test]
fn a_tree_that_keeps_forking_is_ended_within_its_bound() {
    let tree = Marked::start(
        6,
        "spawn() { while :; do sleep 1000 & sleep 0.01; done; }; spawn & spawn & echo $$; wait",
    );
    tree.read_pid();
    let (left, _) = tree.end_sparing(50, |_| false);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(tree.members(), []);
}

#[test]
fn without_rounds_or_time_the_survivors_are_named() {
    let tree = Marked::start(7, "echo $$; exec sleep 1000");
    let root = tree.read_pid();
    let (left, _) = tree.end_sparing(0, |_| false);
    assert_eq!(left.pids, [root]);
    // Time counts from the first round on: that one is always made.
    let mut ending = Ending::new(root, tree.mark.as_str(), 10, Duration::ZERO);
    let before = Table::read();
    assert_eq!(ending.round(&before, |_| false), None);
    assert!(!ending.has_dying());
    assert_eq!(ending.round(&before, |_| false), Some(Left { pids: vec![root] }));
    assert!(tree.end());
}

#[test]
fn marks_of_two_workers_differ_and_do_not_match_by_prefix() {
    let one = TreeMark::of_worker(1).unwrap();
    let eleven = TreeMark::of_worker(11).unwrap();
    assert_ne!(one, eleven);
    assert!(one.as_str().starts_with(&format!("{}.", own_pid())));
    let tree = Marked::start(81, "(setsid sh -c 'echo $$; exec sleep 1000' &); exec sleep 1000");
    let orphan = tree.read_pid();
    let shorter = TreeMark::of_worker(8).unwrap();
    common::eventually("the subshell is gone", || !members(tree.child.0.pid, "x").contains(&orphan));
    assert!(!members(tree.child.0.pid, shorter.as_str()).contains(&orphan));
    assert!(tree.end());
}

/// A tree of a shell that is to end and a sleeper that may go on, with its pid.
fn with_one_worth_sparing(worker: u64) -> (Marked, Pid) {
    let tree = Marked::start(worker, "sh -c 'echo $$; exec sleep 1000' & sleep 1000 & wait");
    let worthy = tree.read_pid();
    (tree, worthy)
}

#[test]
fn those_spoken_for_outlive_their_tree() {
    let (tree, worthy) = with_one_worth_sparing(9);
    let (left, spared) = tree.end_sparing(10, |pid| pid == worthy);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(tree.members(), [worthy]);
    assert_eq!(tree.child.wait(), Exit::Signal(9));
    // One that ends of itself before its time is not killed.
    let (long, [one]) = (Instant::now() + common::PATIENCE, <[Spared; 1]>::try_from(spared).unwrap());
    oneport_sys::process::signal(one.as_fd(), Signal::TERM).unwrap();
    assert_eq!(Spared::wait_or_kill(vec![one], long), 0);
    assert!(Instant::now() < long);
    assert_eq!(tree.members(), []);
}

#[test]
fn a_spared_process_that_takes_too_long_is_killed() {
    let (tree, worthy) = with_one_worth_sparing(10);
    let (_, spared) = tree.end_sparing(10, |pid| pid == worthy);
    assert_eq!(Spared::wait_or_kill(spared, Instant::now()), 1);
    assert_eq!(tree.members(), []);
    assert_eq!(Spared::wait_or_kill(Vec::new(), Instant::now()), 0);
}

#[test]
fn each_is_asked_about_once_and_without_rounds_nobody_is() {
    let (tree, worthy) = with_one_worth_sparing(11);
    let root = tree.child.0.pid;
    let (left, spared) = tree.end_sparing(0, |_| panic!("nobody is asked"));
    assert!(left.pids.contains(&root) && left.pids.contains(&worthy) && spared.is_empty(), "{left:?}");
    let asked = std::cell::RefCell::new(Vec::new());
    let (left, spared) = tree.end_sparing(10, |pid| {
        asked.borrow_mut().push(pid);
        pid == worthy
    });
    assert!(left.is_empty() && spared.len() == 1, "{left:?} {spared:?}");
    let mut asked = asked.into_inner();
    asked.sort_unstable();
    let once = asked.len();
    asked.dedup();
    assert!(asked.len() == once && asked.contains(&root) && asked.contains(&worthy), "{asked:?}");
}

/// A shell with a grandchild in a session of its own, and an orphan that is found by its mark alone.
fn with_a_grandchild_and_an_orphan(worker: u64) -> (Marked, Vec<Pid>) {
    let tree = Marked::start(
        worker,
        "(setsid sh -c 'echo $$; exec sleep 1000' &); \
         sh -c 'setsid env -i /bin/sh -c \"echo \\$\\$; exec sleep 1000\" & wait' & wait",
    );
    // The grandchild's parent is the one whose number is not told.
    let told = [tree.read_pid(), tree.read_pid()];
    let mut all = tree.members();
    common::eventually("the subshell is gone", || {
        all = tree.members();
        all.len() == 4
    });
    assert!(told.iter().all(|pid| all.contains(pid)), "{told:?} {all:?}");
    (tree, all)
}

#[test]
fn one_table_knows_the_members_of_many_trees_apart() {
    let (one, of_one) = with_a_grandchild_and_an_orphan(12);
    let (other, of_other) = with_a_grandchild_and_an_orphan(13);
    let table = Table::read();
    assert_eq!(table.members(one.child.0.pid, one.mark.as_str()), of_one);
    assert_eq!(table.members(other.child.0.pid, other.mark.as_str()), of_other);
    let nobody = Pid::new(i32::MAX).unwrap();
    assert_eq!(table.members(nobody, "another.mark.2"), []);
    assert_eq!(table.members(nobody, one.mark.as_str()), of_one, "by marks, and by a parent that has one");
    assert!(one.end());
    assert_eq!(one.members(), []);
    assert_eq!(other.members(), of_other);
}

#[test]
fn a_table_is_of_its_moment_and_signals_nobody_who_came_since() {
    let tree = Marked::start(14, "exec sleep 1000");
    let before = Table::read();
    let root = tree.child.0.pid;
    assert_eq!(before.members(root, tree.mark.as_str()), [root]);
    assert!(tree.end());
    tree.child.wait();
    assert_eq!(before.members(root, tree.mark.as_str()), [root]);
    assert_eq!(before.kill(root, tree.mark.as_str(), Signal::KILL), 0);
}

#[test]
fn many_trees_are_ended_with_one_table_for_each_round() {
    let trees = [15, 16, 17].map(|worker| with_a_grandchild_and_an_orphan(worker).0);
    let mut endings: Vec<Ending> = trees
        .iter()
        .map(|tree| Ending::new(tree.child.0.pid, tree.mark.as_str(), 10, common::PATIENCE))
        .collect();
    let mut tables = 0;
    while !endings.is_empty() {
        let table = Table::read();
        tables += 1;
        endings.retain_mut(|ending| match ending.round(&table, |_| false) {
            None => true,
            Some(left) => {
                assert!(left.is_empty(), "{left:?}");
                false
            }
        });
        let until = Instant::now() + common::PATIENCE;
        Ending::wait(&mut endings, until);
        assert!(!endings.iter().any(Ending::has_dying));
        assert!(tables < 10);
    }
    assert!(trees.iter().all(|tree| tree.members().is_empty()));
}

#[test]
fn who_is_dead_is_told_from_who_is_not() {
    let (one, other) = (Marked::start(18, "exec sleep 1000"), Marked::start(19, "exec sleep 1000"));
    let pidfds = vec![one.child.0.pidfd.as_fd(), other.child.0.pidfd.as_fd()];
    assert_eq!(wait_dead(pidfds.clone(), Instant::now()).len(), 2);
    assert!(one.end());
    let alive = wait_dead(pidfds, Instant::now());
    assert_eq!(alive.len(), 1);
    assert_eq!(
        std::os::fd::AsRawFd::as_raw_fd(&alive[0]),
        std::os::fd::AsRawFd::as_raw_fd(&other.child.0.pidfd)
    );
}
