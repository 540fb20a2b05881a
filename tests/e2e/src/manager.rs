//! One home of the manager: the verbs run against it as a person would, and what is known of its apps.
//!
//! Every [`Manager`] has a directory, a home and a daemon of its own. Dropping it runs `oneport kill`, and then ends
//! whatever still has that home in its environment: daemon, primaries, workers and their children all do.

mod terminal;
mod under;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::place::{self, TempDir};
use crate::procfs;
use crate::run::reach;
use crate::wait::{LONG, eventually_within, within};

pub use terminal::Terminal;
pub use under::{Outcome, Under};

/// How long one command may take, and how long something may take to come about.
const PATIENCE: Duration = LONG.saturating_mul(2);

/// A server for Node: `/` says its pid, `/?ms=N` after N milliseconds; `/env` its environment, `/cwd` its
/// directory and `/argv` its arguments.
pub const SERVER: &str = r"
require('http').createServer((question, answer) => {
  const url = new URL(question.url, 'http://x');
  if (url.pathname === '/env') return answer.end(JSON.stringify(process.env));
  if (url.pathname === '/cwd') return answer.end(process.cwd());
  if (url.pathname === '/argv') return answer.end(JSON.stringify(process.argv.slice(2)));
  setTimeout(() => answer.end('hello from ' + process.pid), Number(url.searchParams.get('ms') || 0));
}).listen(process.env.PORT || 0);
";

/// One that never listens, and tells when it comes.
pub const QUEUE: &str = "console.log('consuming'); setInterval(() => {}, 1000);";

/// A home, and the directory that commands are run in.
#[derive(Debug)]
pub struct Manager {
    place: TempDir,
    home: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Default for Manager {
    fn default() -> Self {
        Manager::new()
    }
}

impl Manager {
    /// A home that is not there yet, in a new directory.
    pub fn new() -> Manager {
        let place = TempDir::new();
        std::fs::create_dir(place.file("work")).expect("a scratch directory can be made");
        let home = place.file("home");
        Manager { place, home, env: Vec::new() }
    }

    /// One with [`SERVER`] as `app.js`.
    pub fn with_server() -> Manager {
        let manager = Manager::new();
        manager.write("app.js", SERVER);
        manager
    }

    /// One with three apps: `a` twice, `b` once in the namespace `back`, `c` once there, too; nobody listens, so that they come fast.
    #[track_caller]
    pub fn with_three() -> Manager {
        let manager = Manager::new();
        manager.write("queue.js", QUEUE);
        manager.write(
            "apps.json",
            r#"{"apps": [
                {"name": "a", "script": "queue.js", "instances": 2, "min_uptime": 100},
                {"name": "b", "script": "queue.js", "namespace": "back", "min_uptime": 100},
                {"name": "c", "script": "queue.js", "namespace": "back", "min_uptime": 100}
            ]}"#,
        );
        manager.ok(&["start", "apps.json"]);
        manager
    }

    /// Sets a variable for all commands to come.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Manager {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Another home.
    #[must_use]
    pub fn at(mut self, home: impl Into<PathBuf>) -> Manager {
        self.home = home.into();
        self
    }

    /// The home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A path in the home.
    pub fn in_home(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// The directory commands are run in.
    pub fn dir(&self) -> PathBuf {
        self.place.file("work")
    }

    /// A path in that directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The directory that both are in.
    pub fn outside(&self) -> &Path {
        self.place.path()
    }

    /// Writes a file into the directory of commands.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).unwrap_or_else(|e| panic!("cannot make `{}`: {e}", dir.display()));
        }
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write `{}`: {e}", path.display()));
        path
    }

    /// `oneport WORDS`, which is yet to be started.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(place::oneport());
        self.prepare(&mut command);
        command.args(words);
        command
    }

    /// The environment and the directory of a command.
    pub fn prepare(&self, command: &mut Command) {
        for name in
            ["NODE_OPTIONS", "NODE_CLUSTER_SCHED_POLICY", "NO_COLOR", "RUST_LOG", "NOTIFY_SOCKET", "PM2_HOME"]
        {
            command.env_remove(name);
        }
        command.current_dir(self.dir()).env("PATH", place::path()).env("PORT", "0");
        command.env("HOME", self.outside()).env("ONEPORT_HOME", &self.home);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
    }

    /// Starts a command that takes its time.
    pub fn begin(&self, words: &[&str]) -> Under {
        Under::start(self.command(words), None)
    }

    /// Starts a command on a terminal of this size.
    pub fn on_terminal(&self, words: &[&str], rows: u16, columns: u16) -> Terminal {
        Terminal::start(self.command(words), rows, columns)
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Outcome {
        self.begin(words).end()
    }

    /// The same of a command that was made by [`Manager::command`] and changed.
    #[track_caller]
    pub fn run_as(&self, command: Command, stdin: Option<&str>) -> Outcome {
        Under::start(command, stdin.map(str::to_owned)).end()
    }

    /// Runs a command that has to succeed.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> Outcome {
        self.ends(words, 0)
    }

    /// Runs a command that has to end with this code.
    #[track_caller]
    pub fn ends(&self, words: &[&str], code: i32) -> Outcome {
        let outcome = self.run(words);
        assert_eq!(outcome.code, code, "oneport {}: {}\n{}", words.join(" "), outcome.all(), self.log());
        outcome
    }

    /// What the daemon and its primaries have told.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.in_home("oneport.log")).unwrap_or_default()
    }

    /// `list --json`.
    #[track_caller]
    pub fn apps(&self) -> Vec<Value> {
        let told = self.ok(&["list", "--json"]).out;
        let all: Value = serde_json::from_str(&told).unwrap_or_else(|e| panic!("no JSON ({e}): {told}"));
        all["apps"].as_array().cloned().unwrap_or_else(|| panic!("no apps in {told}"))
    }

    /// One app of `list --json`.
    #[track_caller]
    pub fn app(&self, name: &str) -> Value {
        let apps = self.apps();
        let found = apps.iter().find(|app| app["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no app `{name}` among {apps:?}\n{}", self.log()))
    }

    /// The names of all apps, in their order.
    #[track_caller]
    pub fn names(&self) -> Vec<String> {
        self.apps().iter().map(|app| text(&app["name"])).collect()
    }

    /// Something of every worker of an app.
    #[track_caller]
    pub fn of_workers<T>(&self, app: &str, take: impl Fn(&Value) -> T) -> Vec<T> {
        self.app(app)["workers"].as_array().into_iter().flatten().map(take).collect()
    }

    /// The ids of an app's slots.
    #[track_caller]
    pub fn ids(&self, app: &str) -> Vec<i64> {
        self.of_workers(app, |worker| worker["id"].as_i64().unwrap_or(-1))
    }

    /// The processes of its workers; 0 where there is none.
    #[track_caller]
    pub fn pids(&self, app: &str) -> Vec<u32> {
        self.of_workers(app, |worker| pid(&worker["pid"]))
    }

    /// How often its workers were started again.
    #[track_caller]
    pub fn restarts(&self, app: &str) -> Vec<i64> {
        self.of_workers(app, |worker| worker["restarts"].as_i64().unwrap_or(-1))
    }

    /// How its workers are.
    #[track_caller]
    pub fn statuses(&self, app: &str) -> Vec<String> {
        self.of_workers(app, |worker| text(&worker["status"]))
    }

    /// Where an app listens first.
    #[track_caller]
    pub fn address(&self, app: &str) -> SocketAddr {
        self.wait(&format!("an address of `{app}`"), |apps| {
            let app = apps.iter().find(|known| known["name"] == app)?;
            app["addresses"][0].as_str().map(reach)
        })
    }

    /// Waits until the list is as wanted.
    ///
    /// # Panics
    /// If it is not in time.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut(&[Value]) -> Option<T>) -> T {
        let until = within(PATIENCE);
        loop {
            let apps = self.apps();
            if let Some(found) = look(&apps) {
                return found;
            }
            assert!(std::time::Instant::now() < until, "in vain: {what}\n{apps:#?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until all workers of an app are so.
    #[track_caller]
    pub fn wait_status(&self, app: &str, status: &str) {
        self.wait(&format!("all of `{app}` {status}"), |apps| {
            let app = apps.iter().find(|known| known["name"] == app)?;
            let workers = app["workers"].as_array()?;
            (!workers.is_empty() && workers.iter().all(|worker| worker["status"] == status)).then_some(())
        });
    }

    /// The daemon's process; 0 where none has written its number.
    pub fn daemon(&self) -> u32 {
        let text = std::fs::read_to_string(self.in_home("daemon.pid")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// The primary of each app.
    #[track_caller]
    pub fn primaries(&self) -> BTreeMap<String, u32> {
        self.apps().iter().map(|app| (text(&app["name"]), pid(&app["primary_pid"]))).collect()
    }

    /// The primary of one app.
    #[track_caller]
    pub fn primary(&self, app: &str) -> u32 {
        self.primaries()[app]
    }

    /// Everything that lives for this home: daemon, primaries, workers.
    pub fn living(&self) -> Vec<u32> {
        procfs::with_entry(&format!("ONEPORT_HOME={}", self.home.display()))
    }

    /// Ends a process as nobody expects it, and waits until it is gone.
    #[track_caller]
    pub fn kill_9(&self, pid: u32) {
        procfs::signal(pid, Signal::KILL);
        eventually_within(PATIENCE, &format!("the end of process {pid}"), || {
            (!procfs::runs(pid)).then_some(())
        });
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        if self.home.join("daemon.sock").exists() {
            let mut kill = self.command(&["kill"]);
            if let Ok(mut child) =
                kill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
            {
                let until = within(Duration::from_secs(3));
                while matches!(child.try_wait(), Ok(None)) && std::time::Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(5));
                }
                drop(child.kill());
                drop(child.wait());
            }
        }
        // The daemon first, which would bring back the others; and again, for who was born meanwhile.
        for pid in [self.daemon()].into_iter().filter(|pid| self.living().contains(pid)) {
            end(pid);
        }
        for _ in 0..3 {
            self.living().into_iter().for_each(end);
        }
    }
}

fn end(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // ESRCH: it is gone already, which is what is wanted.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn pid(value: &Value) -> u32 {
    value.as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or(0)
}
