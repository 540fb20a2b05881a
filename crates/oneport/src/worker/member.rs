//! Being one of a port's listeners: what a query was answered with, and what becomes of it until it is closed.
//!
//! Invariants: a listener is registered by the reading thread, before its asker wakes up, because Node's own primary
//! sends the first connection right behind its reply; a membership that nobody holds any more is closed; each is
//! closed once.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oneport_sys::listen::{SocketKind, socket_kind};
use oneport_wire::handoff;
use oneport_wire::node::message::{FromWorker, Outcome, Query, SockName};
use rustix::net::{Shutdown, shutdown};
use tokio::sync::{mpsc, oneshot};

use super::fast::Pair;
use super::index::Index;
use super::leave::Stage;
use super::link::{Link, State};
use super::outbox::Room;

/// Connections of one listener that may wait for `accept`; more are refused, so that a sibling gets them.
const WAITING: usize = 64;

/// What a query was answered with.
#[derive(Debug)]
pub(super) enum Answer {
    /// Connections come over the channel; some may be in there already.
    HandedOver { membership: Membership, sockname: Option<SocketAddr>, connections: mpsc::Receiver<Handed> },
    /// Connections come over a stream of their own.
    Stream { membership: Membership, sockname: Option<SocketAddr>, pair: Arc<Pair> },
    /// The socket itself. What waited elsewhere may come over the channel besides.
    Socket { membership: Membership, socket: OwnedFd, connections: mpsc::Receiver<Handed> },
    /// No.
    Failed(io::Error),
}

/// A connection that came over the channel.
#[derive(Debug)]
pub(super) struct Handed {
    /// Under which number it is answered.
    pub(super) ack: i64,
    pub(super) connection: OwnedFd,
}

/// A query on its way.
#[derive(Debug)]
pub(super) struct Asked {
    asker: oneshot::Sender<Answer>,
    index: Index,
}

impl Asked {
    pub(super) fn fail(self, error: io::Error) {
        let _ = self.asker.send(Answer::Failed(error)); // nobody waits any more
    }
}

/// A listener as the reading thread knows it.
#[derive(Debug)]
pub(super) struct Member {
    /// `None` for what nobody asked for.
    index: Option<Index>,
    gate: Gate,
    /// Connections over the channel that wait for `accept`: the primary may give them to a sibling until they are
    /// answered.
    unanswered: VecDeque<i64>,
}

/// Where its connections come in.
#[derive(Debug)]
enum Gate {
    /// Over the channel.
    Channel(mpsc::Sender<Handed>),
    /// Over a stream of its own.
    Stream(Arc<Pair>),
    /// It accepts for itself, and takes what the primary accepted in its place or a sibling's.
    Own(mpsc::Sender<Handed>),
    /// The program took the socket out: open until the process ends.
    Released,
    /// Closed; the program has not been given everything yet.
    Draining,
}

/// Being one of a port's listeners; dropping it tells the primary.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) link: Arc<Link>,
    key: String,
    /// Everything was given out, and nothing more will come.
    over: AtomicBool,
}

impl Membership {
    /// The program gets this connection now, or cannot. Nothing to say where it was claimed before.
    pub(super) fn answer(&self, ack: i64, accepted: bool) {
        let mut state = self.link.state();
        let Some(member) = state.members.get_mut(&self.key) else { return };
        let Some(at) = member.unanswered.iter().position(|waiting| *waiting == ack) else { return };
        member.unanswered.remove(at);
        self.link.say_answer(&mut state, ack, accepted);
    }

    /// Everything that was received is given out, and nothing more will come.
    pub(super) fn drained(&self) {
        self.over.store(true, Ordering::Release);
        self.link.close(&self.key);
    }

    /// Whether nothing more will come: its end was reached, or the worker is to leave. A primary that dies ends the
    /// streams of its listeners before its channel, or after it.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || self.link.is_leaving()
    }

    /// The program takes the socket out: nobody can tell any more when it is closed, so the key stays held.
    pub(super) fn release(self) {
        let mut state = self.link.state();
        if let Some(member) = state.members.get_mut(&self.key) {
            member.gate = Gate::Released;
        }
        let key = Cow::Owned(self.key.clone());
        // A primary that reads nothing learns it from the refusal of what it hands over.
        let _ =
            self.link.say_in(&mut state, Room::Answers, |seq| FromWorker::Released { key, seq: Some(seq) });
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.over.load(Ordering::Acquire) {
            return; // closed, and its key may be another's by now
        }
        self.link.close(&self.key);
    }
}

impl Link {
    /// Asks for a listener and waits for the answer; also answers what was asked, with its index. Cancellation safe:
    /// an answer nobody waits for is closed. `WouldBlock` when too much waits for the primary to read.
    pub(super) async fn query(&self, mut query: Query<'static>) -> io::Result<(Answer, Query<'static>)> {
        let (asker, answer) = oneshot::channel();
        {
            let mut state = self.state();
            if self.is_leaving() {
                return Err(state.gone());
            }
            let index = state.indexes.take(&query);
            query.index = index.number;
            let mut number = 0;
            let asked = query.clone();
            let said = self.say_in(&mut state, Room::Calls, |seq| {
                number = seq;
                FromWorker::Query { seq, query: asked }
            });
            if let Err(error) = said {
                state.indexes.release(Some(&index));
                return Err(error);
            }
            state.queries.insert(number, Asked { asker, index });
        }
        match answer.await {
            Ok(answer) => Ok((answer, query)),
            Err(_) => Err(self.state().gone()),
        }
    }

    /// Says that a listener accepts connections.
    pub(super) fn listening(&self, query: Query<'static>) -> io::Result<()> {
        let query = Query { handoff: None, ..query };
        self.say(Room::Calls, |seq| FromWorker::Listening { seq: Some(seq), query })
    }

    /// A reply of the primary.
    pub(super) fn replied(
        self: &Arc<Self>,
        ack: i64,
        key: &str,
        outcome: Outcome<'_>,
        handle: Option<OwnedFd>,
    ) {
        let (answer, asker) = {
            let mut state = self.state();
            let (asker, index) = match state.queries.remove(&ack) {
                Some(Asked { asker, index }) => (Some(asker), Some(index)),
                None => (None, None),
            };
            match self.settle(&mut state, key, outcome, handle) {
                Err(error) => {
                    state.indexes.release(index.as_ref());
                    (Answer::Failed(error), asker)
                }
                Ok((gate, answer)) => {
                    state.members.insert(key.to_owned(), Member { index, gate, unanswered: VecDeque::new() });
                    (answer, asker)
                }
            }
        };
        // An asker that stopped waiting drops the answer, which closes what it opened. So does no asker at all.
        match asker {
            Some(asker) => drop(asker.send(answer)),
            None => drop(answer),
        }
    }

    fn settle(
        self: &Arc<Self>,
        state: &mut State,
        key: &str,
        outcome: Outcome<'_>,
        handle: Option<OwnedFd>,
    ) -> io::Result<(Gate, Answer)> {
        if !matches!(outcome, Outcome::Failed { .. }) && state.members.contains_key(key) {
            // One name for two listeners: Node's primary joins a worker to what it has already (up to 22, for a second
            // listen of one address). The key is the first one's and stays open.
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::ADDRINUSE.raw_os_error()));
        }
        let membership =
            || Membership { link: self.clone(), key: key.to_owned(), over: AtomicBool::new(false) };
        let why = match (outcome, handle) {
            (Outcome::Failed { errno }, _) => return Err(io::Error::from_raw_os_error(errno.to_os())),
            (Outcome::RoundRobin { sockname }, _) => {
                let (sender, connections) = mpsc::channel(WAITING);
                let sockname = sockname.and_then(|name| address(&name));
                let answer = Answer::HandedOver { membership: membership(), sockname, connections };
                return Ok((Gate::Channel(sender), answer));
            }
            (Outcome::Shared { .. }, Some(socket)) => {
                let (sender, connections) = mpsc::channel(WAITING);
                return Ok((
                    Gate::Own(sender),
                    Answer::Socket { membership: membership(), socket, connections },
                ));
            }
            (Outcome::HandOff { version, .. }, Some(_)) if version != handoff::VERSION => {
                "the primary chose a hand-off that was not offered"
            }
            (Outcome::HandOff { .. }, Some(pair)) if socket_kind(pair.as_fd()) != SocketKind::UnixStream => {
                "the primary's hand-off stream is no Unix stream socket"
            }
            (Outcome::HandOff { sockname, .. }, Some(pair)) => {
                let pair = Arc::new(Pair::new(pair));
                let sockname = sockname.and_then(|name| address(&name));
                let gate = Gate::Stream(pair.clone());
                return Ok((gate, Answer::Stream { membership: membership(), sockname, pair }));
            }
            (Outcome::Shared { .. } | Outcome::HandOff { .. }, None) => "the primary's socket did not arrive",
        };
        self.say_closed(state, key);
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("cannot listen: {why}")))
    }

    /// Lets a connection wait for its listener, or refuses it: the listener is closed or has too much waiting. It is
    /// answered when `accept` gives it to the program, so that the primary's credits bound what a blocked worker holds.
    pub(super) fn take_connection(&self, key: &str, ack: i64, connection: OwnedFd) -> io::Result<()> {
        let refused = {
            let mut state = self.state();
            match state.members.get_mut(key) {
                Some(Member { gate: Gate::Channel(sender) | Gate::Own(sender), unanswered, .. }) => {
                    let refused = sender.try_send(Handed { ack, connection }).err();
                    if refused.is_none() {
                        unanswered.push_back(ack);
                        return Ok(());
                    }
                    refused.map(|refused| refused.into_inner().connection)
                }
                Some(Member { gate: Gate::Stream(_) | Gate::Released | Gate::Draining, .. }) | None => {
                    Some(connection)
                }
            }
        };
        // Ours is closed before the primary gives it to somebody else.
        drop(refused);
        self.say(Room::Answers, |seq| FromWorker::Answer { ack, accepted: Some(false), seq: Some(seq) })
    }

    /// The channel is to be closed: what waits can be answered now or never, and stays with the program.
    pub(super) fn claim_waiting(&self, state: &mut State) {
        let members = state.members.values_mut();
        let waiting: Vec<i64> = members.flat_map(|member| std::mem::take(&mut member.unanswered)).collect();
        for ack in waiting {
            self.say_answer(state, ack, true);
        }
    }

    fn say_answer(&self, state: &mut State, ack: i64, accepted: bool) {
        // A primary that is gone gives it to nobody else. One that reads nothing does so once this process is gone.
        let _ = self.say_in(state, Room::Answers, |seq| {
            let accepted = Some(accepted);
            FromWorker::Answer { ack, accepted, seq: Some(seq) }
        });
    }

    /// Ends a membership: tells the primary, unless it knows.
    fn close(&self, key: &str) {
        let member = {
            let mut state = self.state();
            let Some(mut member) = state.members.remove(key) else { return };
            for ack in std::mem::take(&mut member.unanswered) {
                self.say_answer(&mut state, ack, false);
            }
            match member.gate {
                Gate::Released => {
                    state.members.insert(key.to_owned(), member);
                    return;
                }
                Gate::Draining => (),
                Gate::Channel(_) | Gate::Stream(_) | Gate::Own(_) => {
                    state.indexes.release(member.index.as_ref());
                    self.say_closed(&mut state, key);
                }
            }
            member
        };
        drop(member);
        self.close_if_unused();
    }

    /// Closes every listener; those with connections of their own to give out go on until they have.
    pub(super) fn close_members(&self, state: &mut State) {
        let mut members = std::mem::take(&mut state.members);
        members.retain(|key, member| {
            let stays = match std::mem::replace(&mut member.gate, Gate::Draining) {
                Gate::Channel(_) => true,
                Gate::Stream(pair) => {
                    // Wakes its reader, who still gets what lies in there, and makes the primary's next send fail
                    // (af_unix, Linux 2.6 to 6.x). Not connected any more: the same.
                    let _ = shutdown(pair.as_fd(), Shutdown::Read);
                    true
                }
                Gate::Own(_) => false,
                gate @ (Gate::Released | Gate::Draining) => {
                    member.gate = gate;
                    return true;
                }
            };
            state.indexes.release(member.index.as_ref());
            self.say_closed(state, key);
            stays
        });
        state.members = members;
    }

    fn say_closed(&self, state: &mut State, key: &str) {
        let key = Cow::Owned(key.to_owned());
        // The primary is gone, or reads nothing: then it learns from the refusal of what it hands over.
        let _ = self.say_in(state, Room::Answers, |seq| FromWorker::Close { key, seq: Some(seq) });
    }

    /// Resolves once this worker was told to leave, or lost its primary. Cancellation safe.
    pub(super) async fn leave(&self) {
        self.reached(Stage::Leaving).await;
    }
}

fn address(name: &SockName<'_>) -> Option<SocketAddr> {
    let ip: IpAddr = name.address.parse().ok()?;
    Some((ip, name.port).into())
}
