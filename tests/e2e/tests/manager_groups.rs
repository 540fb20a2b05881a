//! Control groups of apps, where a service manager has handed ours over: who clears his environment and leaves his tree is
//! ended with his app all the same.

use std::path::{Path, PathBuf};

use oneport_e2e::manager::Manager;
use oneport_e2e::wait::eventually;
use oneport_e2e::{place, procfs};
use rustix::fs::{XattrFlags, setxattr};

/// A control group below this process's own that looks as if systemd had made it, as long as this is there.
struct HandedOver(PathBuf);

impl HandedOver {
    fn make(name: &str) -> Option<HandedOver> {
        let path = procfs::own_cgroup()?.join(format!("oneport-test-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        let made = HandedOver(path);
        setxattr(&made.0, "user.delegate", b"1", XattrFlags::empty()).ok()?;
        Some(made)
    }

    /// `oneport WORDS` in it, and so its daemon.
    fn run(&self, manager: &Manager, words: &[&str]) {
        let mut command = std::process::Command::new("sh");
        let moved = format!("echo $$ > {}/cgroup.procs; exec \"$0\" \"$@\"", self.0.display());
        command.args(["-c", &moved]).arg(place::oneport()).args(words);
        manager.prepare(&mut command);
        let outcome = manager.run_as(command, None);
        assert_eq!(outcome.code, 0, "{}", outcome.all());
    }

    fn groups(&self) -> usize {
        let entries = std::fs::read_dir(&self.0).expect("it is there").flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        // Whoever was in it is gone from it a moment after his end.
        eventually("the cgroup to be empty", || std::fs::remove_dir(&self.0).ok());
    }
}

/// A worker whose grandchild has nothing of it any more: another session, another parent, no environment.
const LEAVES: &str = "
setsid env -i /bin/sh -c 'sleep 600 & echo $!' </dev/null > pid.tmp
mv pid.tmp pid
exec sleep 600
";

fn escaped(pid_file: &Path) -> u32 {
    eventually("one that has left", || {
        let pid = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
        procfs::runs(pid).then_some(pid)
    })
}

#[test]
fn whoever_leaves_everything_behind_ends_with_his_app() {
    let Some(group) = HandedOver::make("apps") else {
        return place::skipped(
            "whoever_leaves_everything_behind_ends_with_his_app",
            "cgroups cannot be made here",
        );
    };
    let manager = Manager::new();
    manager.write("leaves.sh", LEAVES);
    group.run(&manager, &["start", "leaves.sh", "--min-uptime", "100"]);
    assert_eq!(group.groups(), 1);
    let first = escaped(&manager.file("pid"));
    // Its primary is killed: what it left is ended before the app comes again.
    std::fs::remove_file(manager.file("pid")).expect("it is ours");
    manager.kill_9(manager.primary("leaves"));
    eventually("his end", || (!procfs::runs(first)).then_some(()));
    let second = escaped(&manager.file("pid"));
    manager.ok(&["delete", "leaves"]);
    eventually("his end", || (!procfs::runs(second)).then_some(()));
    eventually("no group", || (group.groups() == 0).then_some(()));
    manager.ok(&["kill"]);
}

#[test]
fn what_is_to_be_left_alone_is() {
    let Some(group) = HandedOver::make("alone") else {
        return place::skipped("what_is_to_be_left_alone_is", "cgroups cannot be made here");
    };
    let manager = Manager::new();
    manager.write("leaves.sh", LEAVES);
    group.run(&manager, &["start", "leaves.sh", "--min-uptime", "100", "--no-treekill"]);
    let left = escaped(&manager.file("pid"));
    manager.ok(&["delete", "leaves"]);
    assert!(procfs::runs(left));
    manager.ok(&["kill"]);
    manager.kill_9(left);
    for entry in
        std::fs::read_dir(&group.0).expect("it is there").flatten().filter(|entry| entry.path().is_dir())
    {
        eventually("an empty group", || std::fs::remove_dir(entry.path()).ok());
    }
}
