use std::os::unix::fs::symlink;

use super::*;
use crate::boot::Least;
use crate::state::scratch::{Scratch, is_root, mode, names, set_mode};

/// A machine below a directory, with two users, whose systemd is a script that notes what it is told.
struct Machine {
    scratch: Scratch,
    place: Place,
}

impl Machine {
    /// Without systemd.
    fn new(uid: u32) -> Machine {
        let scratch = Scratch::new();
        fs::create_dir(scratch.join("etc")).unwrap();
        let users = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        fs::write(scratch.join("etc/passwd"), users).unwrap();
        let environment = [("PATH", "/opt/node/bin:/usr/bin"), ("XDG_RUNTIME_DIR", "/run/user/1000")];
        let place = Place {
            root: scratch.path().to_owned(),
            systemctl: None,
            executable: "/usr/local/bin/oneport".into(),
            uid,
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        Machine { scratch, place }
    }

    fn with_systemd(uid: u32) -> Machine {
        let mut machine = Machine::new(uid);
        fs::create_dir_all(machine.scratch.join("run/systemd/system")).unwrap();
        machine.systemctl("exit 0");
        machine
    }

    fn systemctl(&mut self, ending: &str) {
        let script = self.scratch.join("systemctl");
        let told = self.scratch.join("told");
        fs::write(&script, format!("#!/bin/sh\necho \"$@\" >> '{}'\n{ending}\n", told.display())).unwrap();
        set_mode(&script, 0o755);
        self.place.systemctl = Some(script);
    }

    fn told(&self) -> String {
        fs::read_to_string(self.scratch.join("told")).unwrap_or_default()
    }

    fn up(&self, options: &StartupOptions) -> Result<Outcome, Failure> {
        startup(options, &self.place)
    }

    fn down(&self, options: &StartupOptions) -> Result<Outcome, Failure> {
        unstartup(options, &self.place)
    }
}

fn asked() -> StartupOptions {
    StartupOptions { platform: Some("systemd".to_owned()), ..StartupOptions::default() }
}

fn for_ann() -> StartupOptions {
    StartupOptions { user: Some("ann".to_owned()), ..asked() }
}

fn done(outcome: Result<Outcome, Failure>) -> Vec<String> {
    match outcome {
        Ok(Outcome::Done(done)) => done.said,
        other => panic!("{other:?}"),
    }
}

const UNIT: &str = "etc/systemd/system/oneport-ann.service";
const LINK: &str = "etc/systemd/system/multi-user.target.wants/oneport-ann.service";

#[test]
fn a_system_unit_is_written_loaded_and_enabled() {
    let machine = Machine::with_systemd(0);
    let said = done(machine.up(&for_ann()));
    let unit = fs::read_to_string(machine.scratch.join(UNIT)).unwrap();
    assert!(unit.contains("\nUser=ann\n") && unit.contains("ONEPORT_HOME=/home/ann/.oneport\n"), "{unit}");
    assert!(unit.contains("PATH=/opt/node/bin:/usr/bin:/usr/local/sbin:"), "{unit}");
    assert_eq!(mode(&machine.scratch.join(UNIT)), 0o644);
    let quiet = "--system --no-ask-password --quiet";
    assert_eq!(machine.told(), format!("{quiet} daemon-reload\n{quiet} enable oneport-ann.service\n"));
    assert!(said.iter().any(|line| line.contains("systemctl start oneport-ann")), "{said:?}");

    assert!(done(machine.up(&for_ann()))[0].ends_with("is there already"));
}

#[test]
fn what_startup_did_unstartup_undoes() {
    let machine = Machine::with_systemd(0);
    done(machine.up(&for_ann()));
    let said = done(machine.down(&for_ann()));
    assert!(said[0].contains("is removed"), "{said:?}");
    assert!(!machine.scratch.join(UNIT).exists());
    assert!(
        machine
            .told()
            .ends_with("disable oneport-ann.service\n--system --no-ask-password --quiet daemon-reload\n")
    );
    assert!(machine.down(&for_ann()).unwrap_err().words().contains("it is not there"));
}

#[test]
fn without_a_running_systemd_the_link_is_made_and_removed_by_hand() {
    let machine = Machine::new(0);
    let said = done(machine.up(&for_ann()));
    assert!(said.iter().any(|line| line.contains("systemd does not run here")), "{said:?}");
    let to = fs::read_link(machine.scratch.join(LINK)).unwrap();
    assert_eq!(to, Path::new("/etc/systemd/system/oneport-ann.service"));
    done(machine.up(&for_ann()));
    done(machine.down(&for_ann()));
    assert_eq!(names(&machine.scratch.join("etc/systemd/system")), ["multi-user.target.wants"]);
    assert!(names(&machine.scratch.join("etc/systemd/system/multi-user.target.wants")).is_empty());
}

#[test]
fn whoever_is_not_root_gets_the_line_for_root() {
    let machine = Machine::with_systemd(1000);
    let command = |options: &StartupOptions| match machine.up(options) {
        Ok(Outcome::NeedsRoot { command }) => command,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        command(&asked()),
        "sudo env PATH=/opt/node/bin:/usr/bin /usr/local/bin/oneport startup systemd -u ann --hp /home/ann"
    );
    let all = StartupOptions {
        hp: Some("/srv/ann's".into()),
        service_name: Some("shop".to_owned()),
        network: Network::Online,
        least: Least::TierA,
        ..asked()
    };
    assert!(
        command(&all).ends_with(r"-u ann --hp '/srv/ann'\''s' --service-name shop --wait-ip --least"),
        "{}",
        command(&all)
    );
    assert!(!machine.scratch.join(UNIT).exists());
    assert!(
        matches!(machine.down(&asked()), Ok(Outcome::NeedsRoot { command }) if command.contains(" unstartup "))
    );
}

#[test]
fn a_home_of_its_own_is_kept() {
    let mut machine = Machine::with_systemd(1000);
    machine.place.environment.insert("ONEPORT_HOME".to_owned(), "/srv/one port".to_owned());
    match machine.up(&asked()) {
        Ok(Outcome::NeedsRoot { command }) => {
            assert!(command.contains("'ONEPORT_HOME=/srv/one port'"), "{command}");
        }
        other => panic!("{other:?}"),
    }
    machine.place.uid = 0;
    done(machine.up(&for_ann()));
    let unit = fs::read_to_string(machine.scratch.join(UNIT)).unwrap();
    assert!(unit.contains("Environment=\"ONEPORT_HOME=/srv/one port\"\n"), "{unit}");
}

#[test]
fn a_users_unit_needs_no_root_and_tells_of_lingering() {
    let machine = Machine::with_systemd(1000);
    let options = StartupOptions { level: Level::User, network: Network::Online, ..asked() };
    let said = done(machine.up(&options));
    assert!(machine.scratch.join("home/ann/.config/systemd/user/oneport.service").exists());
    assert!(machine.told().contains("--user --no-ask-password --quiet enable oneport.service"));
    assert!(said.iter().any(|line| line.contains("loginctl enable-linger ann")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("--wait-ip")), "{said:?}");
    fs::create_dir_all(machine.scratch.join("var/lib/systemd/linger/ann")).unwrap();
    assert!(!done(machine.up(&options)).iter().any(|line| line.contains("linger")));
    done(machine.down(&options));

    let other = StartupOptions { user: Some("root".to_owned()), ..options };
    assert!(machine.up(&other).unwrap_err().words().contains("you are somebody else"));
}

#[test]
fn a_unit_of_somebody_else_is_neither_overwritten_nor_removed() {
    let machine = Machine::with_systemd(0);
    let file = machine.scratch.join(UNIT);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "[Service]\nExecStart=/bin/true\n").unwrap();
    for outcome in [machine.up(&for_ann()), machine.down(&for_ann())] {
        let words = outcome.unwrap_err().words();
        assert!(words.contains("was not written by oneport") && words.contains("--service-name"), "{words}");
    }
    fs::remove_file(&file).unwrap();
    symlink("/dev/null", &file).unwrap();
    assert!(machine.up(&for_ann()).is_err(), "a masked unit");
    assert_eq!(machine.told(), "");
}

#[test]
fn printing_changes_nothing_and_needs_no_root() {
    let machine = Machine::new(1000);
    let options = StartupOptions { purpose: Purpose::Print, ..StartupOptions::default() };
    match machine.up(&options) {
        Ok(Outcome::Printed(text)) => assert!(text.contains("User=ann")),
        other => panic!("{other:?}"),
    }
    assert_eq!(names(machine.scratch.path()), ["etc"]);
}

#[test]
fn a_systemctl_that_fails_is_quoted() {
    let mut machine = Machine::with_systemd(0);
    machine.systemctl("echo 'Failed to connect to bus' >&2; exit 1");
    let words = machine.up(&for_ann()).unwrap_err().words();
    assert!(words.contains("cannot execute `systemctl daemon-reload`: Failed to connect to bus"), "{words}");
}

#[test]
fn unknown_users_and_systems_without_systemd_are_said() {
    let machine = Machine::new(0);
    let nobody = StartupOptions { user: Some("zoe".to_owned()), ..asked() };
    assert!(machine.up(&nobody).unwrap_err().words().contains("there is no such user"));
    let words = machine.up(&StartupOptions::default()).unwrap_err().words();
    assert!(words.contains("there is no systemd"), "{words}");
    let other = StartupOptions { platform: Some("upstart".to_owned()), ..asked() };
    assert!(machine.up(&other).unwrap_err().words().contains("only systemd is known"));
}

#[test]
fn root_by_sudo_is_told_whose_apps_these_are() {
    let mut machine = Machine::with_systemd(0);
    machine.place.environment.insert("SUDO_USER".to_owned(), "ann".to_owned());
    let said = done(machine.up(&asked()));
    assert!(said.iter().any(|line| line.contains("these are the apps of `root`")), "{said:?}");
}

#[test]
fn a_home_that_belongs_to_another_user_is_refused() {
    if !is_root("a_home_that_belongs_to_another_user_is_refused") {
        return;
    }
    let machine = Machine::with_systemd(0);
    fs::create_dir_all(machine.scratch.join("home/ann/.oneport")).unwrap();
    let words = machine.up(&for_ann()).unwrap_err().words();
    assert!(words.contains("it belongs to user 0"), "{words}");
    std::os::unix::fs::chown(machine.scratch.join("home/ann/.oneport"), Some(1000), None).unwrap();
    done(machine.up(&for_ann()));
}

#[test]
fn drop_ins_of_the_person_stay() {
    let machine = Machine::with_systemd(0);
    done(machine.up(&for_ann()));
    fs::create_dir(machine.scratch.join("etc/systemd/system/oneport-ann.service.d")).unwrap();
    let said = done(machine.down(&for_ann()));
    assert!(said.iter().any(|line| line.contains("oneport-ann.service.d`")), "{said:?}");
}
