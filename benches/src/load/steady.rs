//! Two clients side by side that go on at a steady rate until they are told to stop: one keeps its connections and uses
//! them in turn, the other opens one per request. Both count what is lost, and apart from that requests that met the end
//! of a connection at rest, which are sent once more.

use super::http;
use super::talk::{Fate, Loss, connect, exchange, is_open};
use crate::error::{Cannot, Result};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::{sleep, sleep_until};

/// Connections that are kept.
const KEPT: u32 = 20;
/// How often it is looked whether it is enough.
const LOOK: Duration = Duration::from_millis(20);

/// What one client saw.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Requests sent, those sent once more not counted again.
    pub(crate) sent: u32,
    /// Requests that met the end of a connection at rest.
    pub(crate) races: u32,
    /// Lost ones.
    pub(crate) losses: BTreeMap<Loss, u32>,
    /// Longest wait for an answer.
    pub(crate) longest: Duration,
}

impl Seen {
    /// Requests without a good answer.
    pub(crate) fn lost(&self) -> u32 {
        self.losses.values().sum()
    }

    /// Kinds and counts, in words.
    pub(crate) fn words(&self) -> String {
        let words = self.losses.iter().map(|(loss, count)| format!("{count} {}", loss.word()));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// What is offered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    /// To whom.
    pub(crate) port: u16,
    /// Requests per second over kept connections; 0: no such client.
    pub(crate) kept: u32,
    /// Requests per second, each on a connection of its own.
    pub(crate) new: u32,
}

/// Goes on until `enough`, and waits for what is under way. What the client with kept connections saw, and the other.
pub(crate) fn steady(offer: Offer, enough: &AtomicBool) -> Result<(Seen, Seen)> {
    let runtime = Builder::new_current_thread().enable_all().build().cannot(|| "make clients".into())?;
    let local = LocalSet::new();
    let begin = Instant::now();
    let clients = Clients { offer, begin, over: Rc::default(), kept: Rc::default(), new: Rc::default() };
    local.block_on(&runtime, async {
        let lanes = if offer.kept == 0 { 0 } else { KEPT };
        let next = Rc::new(RefCell::new(0));
        let kept: Vec<_> =
            (0..lanes).map(|_| tokio::task::spawn_local(clients.clone().lane(next.clone()))).collect();
        let new = tokio::task::spawn_local(clients.clone().one_by_one());
        while !enough.load(Ordering::Relaxed) {
            sleep(LOOK).await;
        }
        *clients.over.borrow_mut() = true;
        for lane in kept {
            lane.await.cannot(|| "keep connections".into())?;
        }
        new.await.cannot(|| "open connections".into())
    })?;
    Ok((clients.kept.take(), clients.new.take()))
}

#[derive(Clone)]
struct Clients {
    offer: Offer,
    begin: Instant,
    over: Rc<RefCell<bool>>,
    kept: Rc<RefCell<Seen>>,
    new: Rc<RefCell<Seen>>,
}

impl Clients {
    /// One connection of those that are kept: takes the next request whenever it is free.
    async fn lane(self, next: Rc<RefCell<u32>>) {
        let gap = Duration::from_secs(1) / self.offer.kept.max(1);
        let mut stream: Option<TcpStream> = None;
        loop {
            let number = next.replace_with(|number| *number + 1);
            sleep_until((self.begin + gap * number).into()).await;
            if *self.over.borrow() {
                return;
            }
            let usable = stream.take().filter(is_open);
            stream = ask(self.offer.port, (number, usable), http::KEPT, &self.kept).await;
        }
    }

    /// A connection per request, begun by the clock whether or not earlier ones were answered.
    async fn one_by_one(self) {
        let gap = Duration::from_secs(1) / self.offer.new.max(1);
        let mut under_way = Vec::new();
        for number in 0.. {
            sleep_until((self.begin + gap * number).into()).await;
            if *self.over.borrow() || self.offer.new == 0 {
                break;
            }
            let (port, seen) = (self.offer.port, self.new.clone());
            under_way.push(tokio::task::spawn_local(async move {
                drop(ask(port, (number, None), http::PLAIN, &seen).await);
            }));
            under_way.retain(|request| !request.is_finished());
        }
        for request in under_way {
            // One that panicked has said so.
            let _ = request.await;
        }
    }
}

/// One request, over `usable` if there is one; the connection, if it goes on.
async fn ask(
    port: u16,
    (number, usable): (u32, Option<TcpStream>),
    request: &[u8],
    seen: &RefCell<Seen>,
) -> Option<TcpStream> {
    let began = Instant::now();
    seen.borrow_mut().sent += 1;
    let first = match usable {
        Some(stream) => exchange(stream, request, true).await,
        None => fresh(port, number, request).await,
    };
    let fate = match first {
        Fate::Raced => {
            seen.borrow_mut().races += 1;
            fresh(port, number, request).await
        }
        other @ (Fate::Answered(_) | Fate::Lost(_)) => other,
    };
    let mut seen = seen.borrow_mut();
    seen.longest = seen.longest.max(began.elapsed());
    match fate {
        Fate::Answered(stream) => stream,
        Fate::Lost(loss) => {
            *seen.losses.entry(loss).or_default() += 1;
            None
        }
        // Never of a fresh connection.
        Fate::Raced => None,
    }
}

async fn fresh(port: u16, number: u32, request: &[u8]) -> Fate {
    match connect(port, number as usize).await {
        Ok(stream) => exchange(stream, request, false).await,
        Err(loss) => Fate::Lost(loss),
    }
}
