//! What programs say of themselves on a socket of their own (`NOTIFY_SOCKET`, sd_notify(3)), as events of the core.
//!
//! Its name is an abstract one, so anybody in the network namespace can send to it. Invariant: what counts was sent by
//! somebody who could do the worker the same good or harm without it: its user, ours, root, or a process that it started,
//! whoever that runs as by now. A turn hears a bounded number of messages, each word once in a message, and strangers are
//! looked up a bounded number of times.

use std::ffi::OsString;
use std::io;
use std::mem::discriminant;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use oneport_core::{Effects, EndCause, Event as Core, WorkerId};
use oneport_sys::notify::{self, NotifySocket, Sender, Word};
use oneport_sys::poll::Interest;
use oneport_sys::process::Pid;
use oneport_sys::tree;
use rustix::process::getuid;
use tracing::{debug, warn};

use crate::event::Event;
use crate::primary::Primary;
use crate::primary::token::Token;
use crate::program::ReadyOn;

/// Messages of one worker heard in one turn.
const TURN: usize = 16;
/// How often in a second it is looked up whether a sender is of a worker's tree.
const LOOKUPS: u32 = 32;
const SECOND: Duration = Duration::from_secs(1);
/// Of a status this much is told.
const STATUS: usize = 256;

const ROOT: u32 = 0;

/// A worker's own socket.
#[derive(Debug)]
pub(in crate::primary) struct Notify {
    socket: NotifySocket,
    /// Whose words count wherever they come from.
    users: [u32; 3],
    lookups: Lookups,
}

/// Those of the second that began then.
#[derive(Debug)]
struct Lookups {
    since: Instant,
    count: u32,
}

impl Notify {
    fn vouches_for(&mut self, sender: Sender, root: Option<Pid>) -> bool {
        self.users.contains(&sender.uid)
            || self.lookups.take(Instant::now())
                && root.is_some_and(|root| tree::descends_from(sender.pid, root))
    }
}

impl Lookups {
    /// Whether one more is allowed; then it counts.
    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= SECOND {
            *self = Lookups { since: now, count: 0 };
        }
        self.count += 1;
        self.count <= LOOKUPS
    }
}

impl Primary {
    /// The socket of a worker that is about to be started, where programs are to say that they are ready.
    pub(in crate::primary) fn open_notify(&self) -> io::Result<Option<Notify>> {
        match self.settings.program.ready_on {
            ReadyOn::Notify => {}
            ReadyOn::Listening | ReadyOn::Http { .. } | ReadyOn::Owner => return Ok(None),
        }
        let own = getuid().as_raw();
        let users = [self.settings.uid.unwrap_or(own), own, ROOT];
        Ok(Some(Notify {
            socket: NotifySocket::new()?,
            users,
            lookups: Lookups { since: Instant::now(), count: 0 },
        }))
    }

    /// What tells the worker of it. `WATCHDOG_PID` is left out, which means whoever reads it; the number of a process is
    /// not known before there is one.
    pub(in crate::primary) fn notify_variables(&self, notify: &Notify) -> Vec<(OsString, OsString)> {
        let mut variables = vec![(notify::VARIABLE.into(), notify.socket.name())];
        if let Some(span) = self.settings.conduct.watchdog {
            variables.push(("WATCHDOG_USEC".into(), span.as_micros().to_string().into()));
        }
        variables
    }

    pub(in crate::primary) fn watch_notify(&self, worker: WorkerId, notify: &Notify) -> io::Result<()> {
        self.poller.add(notify.socket.as_fd(), Token::Notify(worker).pack(), Interest::READ)
    }

    /// Hears what the worker said. What is left is heard in the next turn.
    pub(in crate::primary) fn hear_notify(&mut self, worker: WorkerId, effects: &mut Effects) {
        for _ in 0..TURN {
            let Some(w) = self.workers.get_mut(&worker) else { return };
            let root = w.process.as_ref().map(|(pid, _)| *pid);
            let Some(notify) = w.program.as_mut().and_then(|program| program.notify.as_mut()) else { return };
            let message = match notify.socket.receive() {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(cause) => return self.stop_hearing(worker, &cause),
            };
            if !notify.vouches_for(message.sender, root) {
                debug!(worker = worker.0, sender = ?message.sender, "not heard: a stranger's word");
                continue;
            }
            for word in folded(message.words) {
                self.take_word(worker, word, effects);
            }
        }
    }

    fn take_word(&mut self, worker: WorkerId, word: Word, effects: &mut Effects) {
        let event = match word {
            Word::Ready => Core::Ready { worker },
            Word::Stopping => Core::Stopping { worker },
            Word::Watchdog => Core::Alive { worker },
            Word::WatchdogTrigger => {
                if let Some(w) = self.workers.get_mut(&worker) {
                    w.reason = Some("it said that it hangs (WATCHDOG=trigger)".to_owned());
                }
                Core::Condemned { worker, cause: EndCause::Hung }
            }
            Word::ExtendTimeout(by) => Core::Extend { worker, by },
            Word::Status(text) => {
                let event = Event::Status { worker: self.handle(worker), text: cut(text) };
                return self.tell_if_heard(worker, event);
            }
            // A reload of its own changes nothing here, and whose end is the worker's is known.
            Word::Reloading | Word::MainPid(_) => return,
        };
        self.happen(event, effects);
    }

    /// A socket that cannot be read would wake the loop for ever.
    fn stop_hearing(&mut self, worker: WorkerId, cause: &io::Error) {
        warn!(%cause, worker = worker.0, "cannot hear what the worker says of itself");
        if let Some(program) = self.program_mut(worker) {
            program.notify = None;
        }
    }
}

/// Each word as it was said last: a message has room for hundreds, and the loop for other things to do.
fn folded(words: Vec<Word>) -> Vec<Word> {
    let mut folded: Vec<Word> = Vec::new();
    for word in words.into_iter().rev() {
        if !folded.iter().any(|later| discriminant(later) == discriminant(&word)) {
            folded.push(word);
        }
    }
    folded.reverse();
    folded
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(STATUS));
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use oneport_sys::notify::Word;

    use super::{LOOKUPS, Lookups, SECOND, STATUS, cut, folded};

    #[test]
    fn each_word_of_a_message_counts_once_as_it_was_said_last() {
        let status = |text: &str| Word::Status(text.to_owned());
        let more = |seconds| Word::ExtendTimeout(Duration::from_secs(seconds));
        let many = vec![Word::Ready, status("a"), more(1), Word::Ready, status("b"), more(2), Word::Stopping];
        let once = [Word::Ready, status("b"), more(2), Word::Stopping];
        assert_eq!(folded(many), once);
        assert_eq!(folded(vec![Word::Watchdog; 400]), [Word::Watchdog]);
        assert_eq!(folded(once.to_vec()), once);
        assert_eq!(folded(Vec::new()), []);
    }

    #[test]
    fn senders_are_looked_up_so_often_in_a_second_and_again_in_the_next() {
        let begin = Instant::now();
        let mut lookups = Lookups { since: begin, count: 0 };
        let mut taken = |after: Duration| (0..100).filter(|_| lookups.take(begin + after)).count();
        assert_eq!(taken(Duration::ZERO), LOOKUPS as usize);
        assert_eq!(taken(SECOND - Duration::from_millis(1)), 0);
        assert_eq!(taken(SECOND), LOOKUPS as usize);
    }

    #[test]
    fn a_status_is_cut_between_characters() {
        assert_eq!(cut("up".to_owned()), "up");
        assert_eq!(cut("x".repeat(300)), "x".repeat(STATUS));
        let text = format!("{}\u{e9}\u{e9}", "x".repeat(STATUS - 1));
        assert_eq!(cut(text), "x".repeat(STATUS - 1));
    }
}
