//! A command of the manager that runs, and what came of it.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::Signal;

use super::PATIENCE;
use crate::procfs;
use crate::wait::eventually_within;

/// What came of a command.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; 128 + number after a signal.
    pub code: i32,
    /// All of stdout.
    pub out: String,
    /// All of stderr.
    pub err: String,
}

impl Outcome {
    /// Both streams, for messages.
    pub fn all(&self) -> String {
        format!("code {}\n{}{}", self.code, self.out, self.err)
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Under {
    child: Child,
    words: String,
    out: Option<JoinHandle<String>>,
    err: Option<JoinHandle<String>>,
    told: Arc<Mutex<String>>,
}

impl Under {
    pub(super) fn start(mut command: Command, stdin: Option<String>) -> Under {
        let words = format!("{command:?}");
        command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {words}: {e}"));
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).expect("a command reads its stdin");
        }
        let told = Arc::default();
        let out = child.stdout.take().map(|pipe| follow(pipe, Arc::clone(&told)));
        let err = child.stderr.take().map(|pipe| follow(pipe, Arc::clone(&told)));
        Under { child, words, out, err, told }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said so far, on both streams.
    pub fn told(&self) -> String {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        eventually_within(PATIENCE, &format!("`{text}` from {}: {}", self.words, self.told()), || {
            Some(self.told()).filter(|told| told.contains(text))
        })
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        procfs::signal(self.pid(), signal);
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end in time.
    #[track_caller]
    pub fn end(mut self) -> Outcome {
        let words = self.words.clone();
        let status = eventually_within(PATIENCE, &format!("the end of {words}"), || {
            self.child.try_wait().expect("a child can be waited for")
        });
        let take = |stream: &mut Option<JoinHandle<String>>| {
            stream.take().map(|thread| thread.join().expect("a reader does not panic")).unwrap_or_default()
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Outcome { code, out: take(&mut self.out), err: take(&mut self.err) }
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        // It may have ended long since.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn follow(mut pipe: impl Read + Send + 'static, told: Arc<Mutex<String>>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
        while let Ok(n) = pipe.read(&mut bytes) {
            if n == 0 {
                break;
            }
            all.extend_from_slice(&bytes[..n]);
            let text = String::from_utf8_lossy(&bytes[..n]);
            told.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
        }
        String::from_utf8_lossy(&all).into_owned()
    })
}
