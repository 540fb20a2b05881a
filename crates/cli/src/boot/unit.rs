//! The text of the unit. Why each line is as it is: `docs/state.md`.

use std::fmt::Write;

use super::options::{Least, Level, Network};
use super::quote::{Word, for_unit};

/// The first line of what is ours; what lacks it is neither overwritten nor removed.
pub(super) const MARK: &str = "# Written by `oneport startup`; `oneport unstartup` removes it.";

/// What a unit says. No text of it has control characters.
#[derive(Clone, Debug)]
pub(crate) struct UnitOptions {
    pub(crate) level: Level,
    /// Its name, without `.service`.
    pub(crate) name: String,
    /// Who the daemon and its apps run as; only of a system unit.
    pub(crate) user: String,
    /// This program.
    pub(crate) executable: String,
    /// The daemon's home directory.
    pub(crate) home: String,
    /// Where interpreters are looked for.
    pub(crate) search: String,
    pub(crate) network: Network,
    pub(crate) least: Least,
}

/// The whole text.
pub(crate) fn unit(options: &UnitOptions) -> String {
    let executable = for_unit(&options.executable, Word::OfCommand);
    let variable = |name: &str, value: &str| for_unit(&format!("{name}={value}"), Word::Plain);
    let (edit, target, files) = match options.level {
        Level::System => ("systemctl", "multi-user.target", 1_048_576),
        // More than a user's manager may give is cut down to that by it.
        Level::User => ("systemctl --user", "default.target", 524_288),
    };
    let mut text = format!(
        "{MARK}\n# Changes of your own: `{edit} edit {name}`; they outlive the next `oneport startup`.\n\n",
        name = options.name,
    );
    let mut line = |line: &str| {
        // A String takes everything.
        let _ = writeln!(text, "{line}");
    };
    line("[Unit]");
    match options.level {
        Level::System => line(&format!("Description=oneport for {}", options.user.replace('%', "%%"))),
        Level::User => line("Description=oneport"),
    }
    match (options.level, options.network) {
        (Level::System, Network::Begun) => line("After=network.target"),
        (Level::System, Network::Online) => {
            line("Wants=network-online.target");
            line("After=network-online.target");
        }
        // These targets are the system's; a user's manager does not know them.
        (Level::User, Network::Begun | Network::Online) => {}
    }
    line("# However often the daemon dies, it comes back.");
    line("StartLimitIntervalSec=0");
    line("\n[Service]");
    line("Type=notify");
    line("NotifyAccess=main");
    if options.level == Level::System {
        line(&format!("User={}", options.user.replace('%', "%%")));
        line("WorkingDirectory=-~");
    }
    line(&format!("Environment={}", variable("ONEPORT_HOME", &options.home)));
    line(&format!("Environment={}", variable("PATH", &options.search)));
    line(&format!("ExecStart={executable} daemon --foreground --resurrect"));
    line(&format!("ExecReload={executable} reload all"));
    line(
        "# There is no ExecStop: SIGTERM makes the daemon drain and stop every app. When the daemon was killed",
    );
    line("# the apps live on, and the next one takes them over.");
    line("KillMode=process");
    line("Restart=on-failure");
    line("RestartSec=1");
    line("# Also for ExecReload, which takes as long as the slowest app.");
    line("TimeoutStartSec=600");
    line("# Longer than the drain_timeout and kill_timeout of any app together.");
    line("TimeoutStopSec=120");
    line("# An app that the kernel kills for its memory does not take the others along.");
    line("OOMPolicy=continue");
    line("Delegate=yes");
    line(&format!("LimitNOFILE={files}"));
    line("LimitNPROC=infinity");
    line("TasksMax=infinity");
    // Root has them all, and hands them on.
    if options.least == Least::TierA && options.level == Level::System && options.user != "root" {
        line("# For the best tier of --policy least; workers do not get them.");
        line("AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON");
    }
    line(&format!("\n[Install]\nWantedBy={target}"));
    text
}

/// The target that wants it.
pub(super) fn target(level: Level) -> &'static str {
    match level {
        Level::System => "multi-user.target",
        Level::User => "default.target",
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::render::voice;
    use crate::state::scratch::Scratch;

    fn options(level: Level) -> UnitOptions {
        UnitOptions {
            level,
            name: "oneport-ann".to_owned(),
            user: "ann".to_owned(),
            executable: "/usr/local/bin/oneport".to_owned(),
            home: "/home/ann/.oneport".to_owned(),
            search: "/usr/local/bin:/usr/bin:/bin".to_owned(),
            network: Network::Begun,
            least: Least::Plain,
        }
    }

    fn has(text: &str, line: &str) -> bool {
        text.lines().any(|candidate| candidate == line)
    }

    #[test]
    fn a_system_unit_says_who_where_and_how() {
        let text = unit(&options(Level::System));
        for line in [
            "Type=notify",
            "User=ann",
            "After=network.target",
            "Environment=ONEPORT_HOME=/home/ann/.oneport",
            "Environment=PATH=/usr/local/bin:/usr/bin:/bin",
            "ExecStart=/usr/local/bin/oneport daemon --foreground --resurrect",
            "ExecReload=/usr/local/bin/oneport reload all",
            "KillMode=process",
            "Restart=on-failure",
            "WantedBy=multi-user.target",
        ] {
            assert!(has(&text, line), "{line}\n{text}");
        }
        assert!(text.starts_with(MARK));
        assert!(!text.contains("AmbientCapabilities") && !text.contains("ExecStop="));
    }

    #[test]
    fn a_users_unit_has_nothing_that_only_the_system_can_give() {
        let all = UnitOptions { network: Network::Online, least: Least::TierA, ..options(Level::User) };
        let text = unit(&all);
        for absent in ["User=", "network", "AmbientCapabilities", "multi-user", "WorkingDirectory"] {
            assert!(!text.contains(absent), "{absent}\n{text}");
        }
        assert!(has(&text, "WantedBy=default.target"));
    }

    #[test]
    fn rights_and_network_are_there_when_asked_for() {
        let all = UnitOptions { network: Network::Online, least: Least::TierA, ..options(Level::System) };
        let text = unit(&all);
        assert!(has(&text, "AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON"));
        assert!(has(&text, "Wants=network-online.target") && has(&text, "After=network-online.target"));
        let root = unit(&UnitOptions { user: "root".to_owned(), ..all });
        assert!(!root.contains("AmbientCapabilities"));
    }

    #[test]
    fn blanks_and_percent_signs_in_paths_stay_what_they_are() {
        let text = unit(&UnitOptions {
            executable: "/opt/my apps/oneport".to_owned(),
            home: "/srv/100%/$x".to_owned(),
            ..options(Level::System)
        });
        assert!(has(&text, "ExecStart=\"/opt/my apps/oneport\" daemon --foreground --resurrect"));
        assert!(has(&text, "Environment=ONEPORT_HOME=/srv/100%%/$x"));
    }

    #[test]
    fn systemd_finds_nothing_wrong_with_it() {
        let scratch = Scratch::new();
        for (level, flag) in [(Level::System, "--system"), (Level::User, "--user")] {
            let text = unit(&UnitOptions {
                executable: std::env::current_exe().unwrap().display().to_string(),
                user: "ann".to_owned(),
                network: Network::Online,
                least: Least::TierA,
                ..options(level)
            });
            let file = scratch.join("oneport-ann.service");
            std::fs::write(&file, text).unwrap();
            let mut verify = Command::new("systemd-analyze");
            verify.args([flag, "verify"]).arg(&file).env("XDG_RUNTIME_DIR", scratch.path());
            let skipped = "skipped: systemd_finds_nothing_wrong_with_it";
            let Ok(verified) = verify.output() else {
                voice::err(format_args!("{skipped} (systemd-analyze is not installed)"));
                return;
            };
            let said = String::from_utf8_lossy(&verified.stderr);
            if said.contains("Failed to initialize manager") {
                voice::err(format_args!("{skipped} ({flag}: {said})"));
                continue;
            }
            let about_it: Vec<_> = said.lines().filter(|line| line.contains("oneport-ann")).collect();
            assert!(about_it.is_empty(), "{flag}: {about_it:?}");
        }
    }
}
