//! Many processes behind one port: Node's cluster for any program.
//!
//! A port can be bound once. Node's `cluster` gets round that with a *primary* process that owns the listening
//! socket and *workers* whose `listen()` asks the primary. This crate is that system in Rust, both sides of it:
//!
//! * As **worker**: [`TcpListener`], [`UnixListener`] and [`UdpSocket`] bind when the program runs alone and ask when
//!   there is a primary. That may be this crate's, the command `oneport run`, or Node's own.
//! * As **primary**: [`Cluster`] starts workers, hands connections to them, restarts and replaces them. They may be Rust
//!   programs with this crate, and unmodified Node and Deno servers, side by side on one port.
//!
//! What it is for: a crash costs one process and not the server, a blocked one delays its own connections and not
//! everybody's, and a new version takes over without a lost connection. No byte of a connection passes through the
//! primary: workers get the socket itself.
//!
//! # A server of several processes
//!
//! One line of an ordinary server changes:
//!
//! ```no_run
//! # async fn serve() -> std::io::Result<()> {
//! let listener = oneport::TcpListener::bind("127.0.0.1:8000").await?;
//! loop {
//!     let (stream, peer) = listener.accept().await?;
//!     // ... as ever
//!     # drop((stream, peer));
//! }
//! # }
//! ```
//!
//! Started alone it binds. `oneport run -i 4 -- ./server` starts four of it on the same port.
//!
//! The same program can be its own primary, as in Node:
//!
//! ```no_run
//! use oneport::{Cluster, Event, Settings};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     if oneport::is_primary() { primary() } else { Ok(worker()?) }
//! }
//!
//! fn primary() -> Result<(), Box<dyn std::error::Error>> {
//!     let (cluster, mut events) = Cluster::start(Settings::this_program()?)?;
//!     for _ in 0..4 {
//!         cluster.fork(&[("ROLE", "web")])?;
//!     }
//!     while let Some(event) = events.blocking_recv() {
//!         if let Event::Exit { worker, .. } = event {
//!             println!("worker {} died", worker.pid());
//!             if cluster.workers().is_empty() {
//!                 break;
//!             }
//!         }
//!     }
//!     Ok(())
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn worker() -> std::io::Result<()> {
//!     let listener = oneport::TcpListener::bind("127.0.0.1:8000").await?;
//!     loop {
//!         let (stream, _) = listener.accept().await?;
//!         # drop(stream);
//!     }
//! }
//! ```
//!
//! # As worker
//!
//! **Alone, nothing happens.** Without a primary the listeners are tokio's own, and what the kernel would say is said:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! assert!(oneport::is_primary());
//! assert!(oneport::worker().is_none());
//!
//! let listener = oneport::TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?;
//! let second = oneport::TcpListener::bind(address).await;
//! assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
//! # Ok(())
//! # }
//! ```
//!
//! **How to listen** is said with [`ListenOptions`], in the words of Node's `server.listen(options)`:
//!
//! ```
//! use oneport::ListenOptions;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let public = ListenOptions::new().backlog(1024).listen("127.0.0.1:0").await?;
//! // Of this process alone, also under a primary.
//! let metrics = ListenOptions::new().exclusive(true).listen("127.0.0.1:0").await?;
//! # assert_ne!(public.local_addr()?, metrics.local_addr()?);
//! # Ok(())
//! # }
//! ```
//!
//! **The end.** When a worker is to leave (its primary said so, or is gone) [`TcpListener::accept`] gives out what was handed
//! over and fails with [`BrokenPipe`](std::io::ErrorKind::BrokenPipe) from then on; [`disconnected()`] resolves. A server
//! that finishes what it has and returns is all that is wanted. A program that waits for messages ends too: when its
//! primary told it to leave, [`recv`](ThisWorker::recv) fails so once the last listener is closed. With axum:
//!
#![cfg_attr(feature = "axum", doc = "```no_run")]
#![cfg_attr(not(feature = "axum"), doc = "```text")]
//! # async fn serve() -> std::io::Result<()> {
//! use axum::{Router, routing::get};
//!
//! let app = Router::new().route("/", get(|| async { "hello\n" }));
//! let listener = oneport::TcpListener::bind("127.0.0.1:8000").await?;
//! axum::serve(listener, app).with_graceful_shutdown(oneport::disconnected()).await
//! # }
//! ```
//!
//! By the program's own loop:
//!
//! ```no_run
//! # async fn serve(listener: oneport::TcpListener) -> std::io::Result<()> {
//! let mut open = tokio::task::JoinSet::new();
//! loop {
//!     let stream = match listener.accept().await {
//!         Ok((stream, _)) => stream,
//!         Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
//!         // One connection's error, or no descriptor left: neither is the end.
//!         Err(_) => {
//!             tokio::time::sleep(std::time::Duration::from_millis(100)).await;
//!             continue;
//!         }
//!     };
//!     open.spawn(async move {
//!         // ... serve
//!         # drop(stream);
//!     });
//! }
//! while open.join_next().await.is_some() {}
//! # Ok(())
//! # }
//! ```
//!
//! A worker that does not leave in time gets the stop signal when [`Conduct::drain_timeout`] is over, and SIGKILL
//! [`Conduct::kill_timeout`] later.
//!
//! **Frameworks.**
//!
//! | | how |
//! |---|---|
//! | axum | feature `axum`: `axum::serve(listener, app)` |
//! | tonic | `serve_with_incoming_shutdown(listener.into_incoming(), oneport::disconnected())` |
//! | hyper | its accept loop, over [`TcpListener::accept`] |
//! | what wants a socket of its own (actix-web's `HttpServer`) | [`TcpListener::into_std`], under every policy but [`RoundRobin`](Policy::RoundRobin) |
//!
//! Under [`RoundRobin`](Policy::RoundRobin), the default, a listener has no descriptor: the primary has it, and
//! connections come one by one. `into_std` says [`Unsupported`](std::io::ErrorKind::Unsupported) there.
//!
//! **The worker itself** is [`worker()`]: its number, its slot, [`ready`](ThisWorker::ready) where the primary waits for
//! that, [`disconnect`](ThisWorker::disconnect). It counts as booted (`Online`) from its first call that needs the
//! channel on, usually the first `bind`.
//!
//! # As primary
//!
//! [`Cluster::start`] starts the primary on a thread of its own. So it fits any async runtime and none: commands return at
//! once, and [`Events`] can be awaited, waited for ([`blocking_recv`](Events::blocking_recv)) or polled.
//!
//! Workers come in two ways. [`fork`](Cluster::fork) starts one, and what happens when it ends is the program's decision,
//! as in Node. [`scale`](Cluster::scale) keeps a number of *supervised* ones in numbered slots: they are restarted with
//! growing pauses, given up one by one when they crash again and again, and replaced without a gap by
//! [`reload`](Cluster::reload). `oneport run` is a shell around exactly this.
//!
//! ```
//! use oneport::{Cluster, Event, Exit, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut settings = Settings::new("sh");
//! settings.args = vec!["-c".into(), "exit $CODE".into()];
//! let (cluster, mut events) = Cluster::start(settings)?;
//!
//! let worker = cluster.fork(&[("CODE", "3")])?;
//! while let Some(event) = events.blocking_recv() {
//!     match event {
//!         Event::Exit { worker: who, exit, .. } => {
//!             assert_eq!((who, exit), (worker.clone(), Exit::Code(3)));
//!             cluster.stop()?;
//!         }
//!         Event::Stopped => break,
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Order of events.** For each worker `Fork`, `Online`, `Listening` for each server, `Disconnect`, `Exit`; messages in
//! between, as they come. `Exit` comes exactly once for every `Fork` and is the last of its worker; `Disconnect` comes
//! exactly once before it, unless there never was a channel. An event tells what happened then; the [`Worker`] in it
//! answers with what is known now, which may be later.
//!
//! **The end.** [`stop`](Cluster::stop) ends everything in order, and [`Event::Stopped`] is the last event;
//! [`disconnect`](Cluster::disconnect) sends the workers away and keeps the primary. When the last [`Cluster`] and the
//! [`Events`] are dropped the workers are ended at once. A program that ends without having waited for `Stopped` leaves
//! its workers to themselves: they see their channel close. Node's then leave at once, Rust ones as their programs do.
//!
//! # Messages and sockets
//!
//! Either side sends whatever serde can make JSON of, and a socket with it if wanted. To a Node program on the other side it
//! is an ordinary `message`.
//!
//! ```no_run
//! # async fn worker() -> std::io::Result<()> {
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Job { name: String }
//!
//! // In the worker; in the primary `Worker::send` and `Event::Message`.
//! let Some(this) = oneport::worker() else { return Ok(()) };
//! this.send(&Job { name: "first".into() })?;
//! let job: Job = this.recv().await?.parse()?;
//! # drop(job);
//! # Ok(())
//! # }
//! ```
//!
//! `send` does not wait; up to 16 MiB wait for a side that does not read, then it fails with
//! [`WouldBlock`](std::io::ErrorKind::WouldBlock). [`Channel::drained`] is for who would rather wait.
//!
//! A [`Handle`] is a listener, a connection or a UDP socket. What is passed is the open socket, not a copy of its data; the
//! sender's own is closed once the other side has confirmed it, and when sending fails. To keep it, pass a clone:
//!
//! ```
//! use oneport::Handle;
//!
//! # fn main() -> std::io::Result<()> {
//! let handle = Handle::from(std::net::TcpListener::bind("127.0.0.1:0")?);
//! let passed = handle.try_clone()?;
//! assert!(matches!(passed, Handle::TcpListener(_)));
//! # Ok(())
//! # }
//! ```
//!
//! A child of Node's `child_process.fork` (with `execPath`) is no worker, and has the same [`channel()`].
//!
//! # What happens before `main`
//!
//! A program that links this crate takes its channel's variables out of its environment and makes the channel
//! close-on-exec, before `main` and before there are threads, so that nothing it starts inherits them. It also carries an
//! ELF note by which `oneport run` sees that it speaks the channel. A program that runs alone is left as it is.
//!
//! # Errors
//!
//! Listeners and channels answer with [`std::io::Error`], so that a server handles one kind of error wherever it runs; a
//! `bind` that the primary refuses has the kernel's kind (`AddrInUse`, `PermissionDenied` ...). Commands to a primary
//! answer with [`Error`], and [`Error::io_error`] has the kind where there is one. Both read
//! `cannot <verb> <object>: <cause>`.
//!
//! Outside of a tokio runtime listeners return an error. Two things panic, as tokio's own do: listening (`bind` and the
//! other calls that need its I/O) in a runtime whose I/O is not enabled, and [`Events::blocking_recv`] inside of a runtime.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `axum` | no | `axum::serve::Listener` for [`TcpListener`] and [`UnixListener`]; depends on axum 0.8 |
//!
//! # Platform
//!
//! Linux only; elsewhere the build stops and says so. Meant for kernel 5.19 and later. Rust 1.95 or later. tokio 1 with
//! its I/O enabled for the worker's listeners; messages, [`disconnected()`] and the primary need no runtime.
//!
//! # Limits
//!
//! * Connections are spread, not requests: a busy keep-alive connection stays with its worker.
//! * A request that is inside a worker when that is killed is lost with it.
//! * If the process of the primary is killed the port is gone; workers see their channel close.
//! * Under [`Shared`](Policy::Shared) and for UDP the kernel chooses the worker.
//! * The channel speaks JSON. A primary that insists on Node's `advanced` serialization gets an error that names it.
//!
//! The repository has more: `docs/library.md` goes through all this with the examples, `docs/cluster-api.md` says what each
//! name of Node's API is called here and where the two differ.

#[cfg(feature = "axum")]
mod axum;
mod cluster;
mod error;
mod event;
mod fork;
mod handle;
mod inspect;
mod message;
mod passed_on;
mod primary;
mod program;
mod settings;
mod worker;

pub use cluster::{AllGone, Cluster, Events, TryRecvError};
pub use error::{Error, Result};
pub use event::{Address, AddressKind, Event, Oddity, Output};
pub use fork::{State, Worker, WorkerRef};
pub use handle::Handle;
pub use inspect::InspectPort;
pub use message::Message;
pub use oneport_core::{
    Attach, Canary, Claims, EndCause, Exit, LowPorts, Phase, Policy, PortRange, Published, Readiness,
    ReloadFailure, ReloadTerms, Restarts, Settings as Conduct, Slot, StopWith, Transport, WorkerId,
};
pub use oneport_sys::process::Signal;
pub use program::{ListenFd, MOST_TRAPPED, Ports, ProgramSettings, ProgramWay, ReadyOn};
pub use settings::{ChildChannel, Settings, Stdio, TierChoice, TreeRule, scheduling_policy_of};
pub use worker::{
    Channel, Incoming, ListenOptions, TcpListener, ThisWorker, UdpSocket, UnixIncoming, UnixListener,
    channel, disconnected, is_primary, is_worker, worker,
};
