//! What may be said about programs that speak no channel: which of their listeners are the app's, how they are
//! attached, what makes them ready. Single values are read here; what does not go together is found in `attach`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use clap::{Args as ClapArgs, ValueEnum};
use oneport::{PortRange, Published};
use regex_lite::Regex;

pub(super) const HEADING: &str = "Any program (what is neither Node, Deno nor built with crate `oneport`)";
/// What a Unix address holds beside its final NUL (unix(7)).
const LONGEST_PATH: usize = 107;
/// What systemd allows for a name of a descriptor.
const LONGEST_NAME: usize = 255;

#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = HEADING)]
pub(crate) struct ProgramArgs {
    /// How the program's listeners become the app's
    #[arg(long, value_enum, value_name = "WAY", default_value_t = AttachArg::Auto)]
    pub(crate) attach: AttachArg,
    /// The ports of the app: 8000, 8000-8010, 53/udp; comma-separated [default: every TCP port the program listens on]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) port: Vec<PortRange>,
    /// Ports that each copy has for itself; comma-separated
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) exclude_port: Vec<PortRange>,
    /// Serve the program's port IN on port OUT; may be repeated
    #[arg(long, value_name = "OUT:IN")]
    pub(crate) publish: Vec<Published>,
    /// Share the program's Unix socket of this path, which is meant in --cwd if it is relative; may be repeated
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    pub(crate) unix: Vec<String>,
    /// Give the program ports below 1024 that it could not bind alone
    #[arg(long)]
    pub(crate) low_ports: bool,
    /// Start the program with a socket that listens on [HOST:]PORT (with --attach listen-fds); may be repeated
    #[arg(long, value_name = "ADDR[=NAME]")]
    pub(crate) listen: Vec<ListenArg>,
    /// What makes a copy ready: listen, notify (it says READY=1 on NOTIFY_SOCKET), http:/PATH (it answers GET) or
    /// line:REGEX (it writes such a line)
    #[arg(long, value_name = "WHAT", default_value = "listen")]
    pub(crate) ready_on: ReadyOnArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttachArg {
    /// The channel for Node, Deno and crate `oneport`; else the best of own, slot and preload that works here
    Auto,
    /// Node's channel, whatever the program is
    Channel,
    /// Its bind and listen are performed for it, on its own socket
    Own,
    /// A socket of oneport is put in place of its own
    Slot,
    /// A library in it asks for its sockets (LD_PRELOAD): liboneport_preload.so beside oneport, in ../lib/oneport from
    /// there, or where ONEPORT_PRELOAD_LIBRARY says
    Preload,
    /// It is started with listening sockets, as by systemd (LISTEN_FDS)
    ListenFds,
    /// Not at all: each copy binds for itself
    None,
}

#[derive(Clone, Debug)]
pub(crate) enum ReadyOnArg {
    Listen,
    Notify,
    /// A path, with its leading `/`.
    Http(String),
    Line(Regex),
}

impl FromStr for ReadyOnArg {
    type Err = String;

    fn from_str(text: &str) -> Result<ReadyOnArg, String> {
        match text.split_once(':') {
            None if text == "listen" => Ok(ReadyOnArg::Listen),
            None if text == "notify" => Ok(ReadyOnArg::Notify),
            Some(("http", path)) if path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()) => {
                Ok(ReadyOnArg::Http(path.to_owned()))
            }
            Some(("http", _)) => Err("expected a path behind `http:`, as in http:/health".to_owned()),
            Some(("line", "")) => {
                Err("expected a regular expression behind `line:`, as in line:listening".to_owned())
            }
            Some(("line", pattern)) => {
                let pattern =
                    Regex::new(pattern).map_err(|cause| format!("not a regular expression: {cause}"));
                pattern.map(ReadyOnArg::Line)
            }
            Some(_) | None => Err("expected listen, notify, http:/PATH or line:REGEX".to_owned()),
        }
    }
}

/// An address that a program is started with a socket for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenArg {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// Every address of both families, as far as there is IPv6.
    Every,
    Ip(IpAddr),
}

impl ListenArg {
    pub(crate) fn address(&self) -> SocketAddr {
        // Names of hosts are not looked up: nothing leaves this machine.
        let ip = match self.host {
            Host::Ip(ip) => ip,
            // Absent when the kernel has no IPv6 or it is switched off.
            Host::Every if std::path::Path::new("/proc/net/if_inet6").exists() => {
                Ipv6Addr::UNSPECIFIED.into()
            }
            Host::Every => Ipv4Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(ip, self.port)
    }
}

impl FromStr for ListenArg {
    type Err = String;

    fn from_str(text: &str) -> Result<ListenArg, String> {
        let expected = || "expected PORT or HOST:PORT with an IP address, and =NAME if wanted".to_owned();
        let (address, name) = text.split_once('=').unwrap_or((text, "listener"));
        let good = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(good) {
            return Err("expected a name without blanks and colons behind `=`".to_owned());
        }
        let (host, port) = match (address.parse::<u16>(), address.parse::<SocketAddr>()) {
            (Ok(port), _) => (Host::Every, port),
            (_, Ok(address)) => (Host::Ip(address.ip()), address.port()),
            (Err(_), Err(_)) => match address.split_once(':') {
                Some(("localhost", port)) => {
                    (Host::Ip(Ipv4Addr::LOCALHOST.into()), port.parse().map_err(|_| expected())?)
                }
                Some(_) | None => return Err(expected()),
            },
        };
        Ok(ListenArg { host, port, name: name.to_owned() })
    }
}

fn parse_path(text: &str) -> Result<String, String> {
    match text {
        "" => Err("expected a path".to_owned()),
        path if path.len() > LONGEST_PATH => Err(format!("a Unix address has at most {LONGEST_PATH} bytes")),
        path => Ok(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_ready_is_read_in_each_form() {
        let read = |text: &str| match text.parse::<ReadyOnArg>()? {
            ReadyOnArg::Listen => Ok("listen".to_owned()),
            ReadyOnArg::Notify => Ok("notify".to_owned()),
            ReadyOnArg::Http(path) => Ok(format!("path {path}")),
            ReadyOnArg::Line(pattern) => Ok(format!("pattern {}", pattern.as_str())),
        };
        assert_eq!(read("listen"), Ok("listen".to_owned()));
        assert_eq!(read("notify"), Ok("notify".to_owned()));
        assert_eq!(read("http:/health?full=1"), Ok("path /health?full=1".to_owned()));
        assert_eq!(read("line:^up: \\d+"), Ok("pattern ^up: \\d+".to_owned()));
        for bad in ["", "http:", "http:health", "http:/a b", "http:/a\r\nX: y", "line:", "line:(", "log:x"] {
            let error: Result<String, String> = read(bad);
            assert!(error.is_err(), "{bad}");
        }
    }

    #[test]
    fn a_socket_to_start_with_is_read_with_and_without_host_and_name() {
        let read = |text: &str| text.parse::<ListenArg>().map(|arg| (arg.host, arg.port, arg.name));
        let ip = |text: &str| Host::Ip(text.parse().unwrap());
        let listener = || "listener".to_owned();
        assert_eq!(read("8000"), Ok((Host::Every, 8000, listener())));
        assert_eq!(read("8000=web"), Ok((Host::Every, 8000, "web".to_owned())));
        assert_eq!(read("127.0.0.1:80=a.b"), Ok((ip("127.0.0.1"), 80, "a.b".to_owned())));
        assert_eq!(read("[::1]:80"), Ok((ip("::1"), 80, listener())));
        assert_eq!(read("localhost:80"), Ok((ip("127.0.0.1"), 80, listener())));
        for bad in ["", "x", "70000", "example.org:80", "80=", "80=a:b", "80=a b", ":80", "localhost:x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_that_no_address_holds_is_refused() {
        assert!(parse_path("app.sock").is_ok());
        assert!(parse_path("").is_err());
        assert!(parse_path(&"x".repeat(LONGEST_PATH + 1)).is_err());
    }
}
