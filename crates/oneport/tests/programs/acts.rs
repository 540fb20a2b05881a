//! What the copies play: servers as anybody might have written them, without a word of the library under test.
//!
//! A script is a list of steps, `socket a 4 tcp; bind a 127.0.0.1:8000; listen a; serve a`, and an order is one step more.
//! Each step is answered with one fact: `ok`, `ok` and a value, or `errno` and the kernel's number. As programs do, one
//! ends with code 1 when a step of its script fails, unless that begins with `try`. It ends with its test, too.

mod odd;
pub(crate) mod said;
mod serving;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, shutdown, socket_with, sockopt};

use serving::Socket;

/// Names the script.
pub(crate) const SCRIPT: &str = "TEST_SCRIPT";
/// Begins each line that tells a fact.
pub(crate) const FACT: &str = "fact: ";
/// The last fact of a script.
pub(crate) const PLAYED: &str = "played";
/// No copy lives longer, whatever became of the test that started it.
const LIFETIME: Duration = Duration::from_secs(300);

/// Plays the script that this process was started for, and ends; returns where it was started for none.
pub(crate) fn play() {
    let Ok(script) = std::env::var(SCRIPT) else { return };
    std::thread::spawn(|| {
        let end = Instant::now() + LIFETIME;
        while Instant::now() < end {
            std::thread::park_timeout(LIFETIME);
        }
        std::process::abort();
    });
    let mut player = Player::default();
    for step in script.split(';').map(str::trim).filter(|step| !step.is_empty()) {
        let (step, may_fail) = step.strip_prefix("try ").map_or((step, false), |step| (step, true));
        if player.play(step).is_err() && !may_fail {
            std::process::exit(1);
        }
    }
    tell(PLAYED);
    for order in io::stdin().lines().map_while(Result::ok) {
        let _ = player.play(&order);
    }
    std::process::exit(0);
}

#[derive(Default)]
struct Player {
    sockets: BTreeMap<String, Socket>,
}

impl Player {
    fn play(&mut self, step: &str) -> io::Result<()> {
        match self.step(step) {
            Ok(value) => tell(format!("ok {value}").trim_end()),
            Err(error) => {
                tell(&format!("errno {}", error.raw_os_error().unwrap_or(0)));
                return Err(error);
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &str) -> io::Result<String> {
        match step.split(' ').collect::<Vec<_>>().as_slice() {
            // A whole server in one word, as most are written.
            ["server", name, address] => {
                let family = if address.starts_with('[') { "6" } else { "4" };
                for step in [
                    format!("socket {name} {family} tcp"),
                    format!("option {name} reuse_address"),
                    format!("bind {name} {address}"),
                    format!("listen {name}"),
                    format!("serve {name}"),
                ] {
                    self.step(&step)?;
                }
                self.step(&format!("where {name}"))
            }
            ["std", address] => serving::with_the_standard_library(address),
            ["socket", name, family, kind] => {
                let family = if *family == "6" { AddressFamily::INET6 } else { AddressFamily::INET };
                let kind = if *kind == "udp" { SocketType::DGRAM } else { SocketType::STREAM };
                let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
                self.sockets.insert((*name).into(), Socket::new(socket, kind));
                nothing()
            }
            ["option", name, "reuse_address"] => {
                sockopt::set_socket_reuseaddr(self.socket(name).fd(), true)?;
                nothing()
            }
            ["option", name, "reuse_port"] => {
                sockopt::set_socket_reuseport(self.socket(name).fd(), true)?;
                nothing()
            }
            ["option", name, "only_v6"] => {
                sockopt::set_ipv6_v6only(self.socket(name).fd(), true)?;
                nothing()
            }
            ["bind", name, address] => {
                bind(self.socket(name).fd(), &parsed(address))?;
                nothing()
            }
            ["listen", name] => {
                listen(self.socket(name).fd(), 512)?;
                nothing()
            }
            ["where", name] => {
                let address = rustix::net::getsockname(self.socket(name).fd())?;
                Ok(SocketAddr::try_from(address)?.to_string())
            }
            ["poll", name] => self.socket(name).poll(),
            ["serve", name] => self.socket(name).serve(),
            ["wakes", name] => serving::until_accept_fails(self.socket(name).fd()),
            ["pause", name] => self.socket(name).pause(),
            ["shut", name] => {
                shutdown(self.socket(name).fd(), rustix::net::Shutdown::Both)?;
                nothing()
            }
            ["close", name] => {
                let mut socket = self.sockets.remove(*name).unwrap_or_else(|| panic!("no socket {name}"));
                socket.pause()
            }
            ["pid"] => Ok(std::process::id().to_string()),
            ["exit", code] => std::process::exit(code.parse().unwrap()),
            // Once somebody has written the number of this copy's slot there.
            ["exit-if", path] => {
                let broken = std::fs::read_to_string(path).unwrap_or_default();
                if std::env::var("ONEPORT_SLOT").is_ok_and(|slot| slot == broken) {
                    std::process::exit(1);
                }
                nothing()
            }
            // Holds the socket as long as it lives.
            ["child", name] => {
                rustix::io::fcntl_setfd(self.socket(name).fd(), rustix::io::FdFlags::empty())?;
                let child = std::process::Command::new("sleep").arg("100").spawn()?;
                Ok(child.id().to_string())
            }
            // A server that goes its own way: it serves once somebody has written to the one path, until to the other.
            ["apart", address, begin, end] => {
                odd::starts_another(&format!("await {begin}; server a {address}; await {end}"))
            }
            ["client", address] => odd::binds_before_it_connects(parsed(address)),
            ["undumpable"] => odd::becomes_undumpable(),
            ["storm", turns, address] => {
                odd::listens_again_and_again(turns.parse().unwrap(), parsed(address))
            }
            ["crowd", threads, address] => {
                odd::listens_with_many_threads(threads.parse().unwrap(), |_| parsed(address))
            }
            ["crowd-apart", threads, port] => {
                let address = |thread| SocketAddr::from(([127, 0, 1, thread], port.parse().unwrap()));
                odd::listens_with_many_threads(threads.parse().unwrap(), address)
            }
            // For as long as it lives.
            ["swarm", threads, address] => odd::binds_without_end(threads.parse().unwrap(), parsed(address)),
            ["heir", name, path] => odd::leaves_a_connection_to_a_child(self.socket(name).fd(), path),
            ["await", path] => odd::awaits(path),
            ["answer", name] => self.socket(name).answer(),
            _ => said::step(self, step).unwrap_or_else(|| panic!("no such step: {step}")),
        }
    }

    fn socket(&mut self, name: &str) -> &mut Socket {
        self.sockets.get_mut(name).unwrap_or_else(|| panic!("no socket {name}"))
    }
}

/// A file that tests write and copies read, of no content at first.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, nth) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let scratch = Scratch(std::env::temp_dir().join(format!("oneport-programs-{pid}-{nth}")));
        scratch.write("");
        scratch
    }

    /// All at once: nobody reads half of it.
    pub(crate) fn write(&self, content: &str) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, content).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }
}

impl fmt::Display for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn tell(fact: &str) {
    println!("{FACT}{fact}");
}

fn nothing() -> io::Result<String> {
    Ok(String::new())
}

fn parsed(address: &str) -> SocketAddr {
    address.parse().unwrap_or_else(|error| panic!("{address}: {error}"))
}
