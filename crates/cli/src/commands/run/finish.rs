//! The last moments: everything has ended, and what was written and told is still on its way out. Signals are taken
//! meanwhile, and nobody is waited for who has stopped reading.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use oneport_sys::process::Signal;

use super::{Happening, Run, interrupted};
use crate::render::life::Teller;
use crate::{signals, strangers};

/// Without a byte written for so long our output is given up.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the last line gets at least, when others used the time up.
const LAST_LINE: Duration = Duration::from_millis(250);
/// How often progress is looked at.
const GLANCE: Duration = Duration::from_millis(250);

/// How waiting for the writers ended.
enum Waited {
    Written,
    GivenUp,
    /// A further signal came.
    Cut(Signal),
}

impl Run {
    /// Waits for the output, tells the last thing, and gives the exit code.
    pub(super) fn finish(self, queue: &Receiver<Happening>, code: u8, last: impl FnOnce(&Teller)) -> u8 {
        let happenings = self.happenings.clone();
        // Fails only when this command is over.
        self.carrier.finish(move || _ = happenings.send(Happening::Carried));
        let began = Instant::now();
        let (code, limit) =
            match self.wait(queue, PATIENCE, |happening| matches!(happening, Happening::Carried)) {
                Waited::Written => (code, PATIENCE),
                Waited::GivenUp => {
                    self.teller.error("cannot write what the workers wrote last: nobody reads it", None);
                    (code, LAST_LINE)
                }
                Waited::Cut(signal) => (interrupted(code, signal), LAST_LINE),
            };
        last(&self.teller);
        let happenings = self.happenings.clone();
        self.teller.scribe.flush(move || _ = happenings.send(Happening::Told));
        let limit = limit.saturating_sub(began.elapsed()).max(LAST_LINE);
        match self.wait(queue, limit, |happening| matches!(happening, Happening::Told)) {
            Waited::Written | Waited::GivenUp => code,
            Waited::Cut(signal) => interrupted(code, signal),
        }
    }

    /// Waits for `wanted`, at most so long without progress.
    fn wait(
        &self,
        queue: &Receiver<Happening>,
        limit: Duration,
        wanted: impl Fn(&Happening) -> bool,
    ) -> Waited {
        let progress = || (self.carrier.progress(), self.teller.scribe.progress());
        let (mut seen, mut since) = (progress(), Instant::now());
        loop {
            match queue.recv_timeout(GLANCE.min(limit)) {
                Ok(happening) if wanted(&happening) => return Waited::Written,
                Ok(Happening::Signal(Signal::CHILD)) => strangers::reap(&self.cluster),
                // There is nothing left to reload.
                Ok(Happening::Signal(Signal::HUP)) if !self.had_terminal || signals::has_terminal() => {}
                Ok(Happening::Signal(signal)) => return Waited::Cut(signal),
                Ok(
                    Happening::Cluster(_)
                    | Happening::PrimaryLost
                    | Happening::Carried
                    | Happening::Told
                    | Happening::Control(_)
                    | Happening::Alarm(_),
                ) => {}
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Waited::GivenUp,
            }
            let now_seen = progress();
            if now_seen != seen {
                (seen, since) = (now_seen, Instant::now());
            } else if since.elapsed() >= limit {
                return Waited::GivenUp;
            }
        }
    }
}
