//! What a running `oneport` tells: its life lines (one JSON object per line on stderr), and the plain bytes of
//! stdout and stderr. Reader threads fill a [`Life`]; tests wait on it.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

/// One life line.
#[derive(Clone, Debug)]
pub struct Event {
    /// The whole object.
    pub value: Value,
    /// When the line was read.
    pub at: Instant,
}

impl Event {
    /// The field `event`.
    pub fn name(&self) -> &str {
        self.value["event"].as_str().unwrap_or_default()
    }

    /// Is this the event `name`?
    pub fn is(&self, name: &str) -> bool {
        self.name() == name
    }

    /// A number field.
    ///
    /// # Panics
    /// If it is missing or not a number.
    pub fn number(&self, field: &str) -> i64 {
        self.value[field].as_i64().unwrap_or_else(|| panic!("no number `{field}` in {}", self.value))
    }

    /// A text field.
    ///
    /// # Panics
    /// If it is missing or not text.
    pub fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {}", self.value))
    }

    /// The field `pid`.
    pub fn pid(&self) -> u32 {
        u32::try_from(self.number("pid")).expect("a pid fits")
    }

    /// The field `slot`; -1 for a worker outside the slots (a temporary copy).
    ///
    /// # Panics
    /// If it is missing.
    pub fn slot(&self) -> i64 {
        if self.value.get("slot").is_some_and(Value::is_null) { -1 } else { self.number("slot") }
    }

    /// The field `worker`.
    pub fn worker(&self) -> i64 {
        self.number("worker")
    }

    /// Is this about process `pid`?
    pub fn of(&self, pid: u32) -> bool {
        self.value["pid"].as_u64() == Some(u64::from(pid))
    }
}

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Event>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    open: u8,
}

/// Everything told so far, shared between the readers and the test.
#[derive(Debug, Default)]
pub struct Life {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// Which stream a reader follows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Life {
    pub(crate) fn follow(self: &Arc<Self>, stream: Stream, from: impl Read + Send + 'static) {
        self.lock().open += 1;
        let life = Arc::clone(self);
        std::thread::spawn(move || life.read(stream, from));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn read(&self, stream: Stream, mut from: impl Read) {
        let mut chunk = vec![0; 65536];
        let mut line: Vec<u8> = Vec::new();
        loop {
            let got = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(got) => &chunk[..got],
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let mut inner = self.lock();
            match stream {
                Stream::Out => inner.stdout.extend_from_slice(got),
                Stream::Err => {
                    inner.stderr.extend_from_slice(got);
                    for byte in got {
                        line.push(*byte);
                        if *byte == b'\n' {
                            inner.events.extend(parse(&line));
                            line.clear();
                        }
                    }
                }
            }
            drop(inner);
            self.changed.notify_all();
        }
        self.lock().open -= 1;
        self.changed.notify_all();
    }

    /// Waits until `look` finds what it wants in (events, stdout, stderr). None when the deadline passed, or
    /// when both streams ended and it is still not there.
    pub fn wait<T>(
        &self,
        deadline: Instant,
        mut look: impl FnMut(&[Event], &[u8], &[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut inner = self.lock();
        loop {
            if let Some(found) = look(&inner.events, &inner.stdout, &inner.stderr) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.open == 0 {
                return None;
            }
            let pause = left.min(Duration::from_millis(200));
            inner =
                self.changed.wait_timeout(inner, pause).map_or_else(|e| e.into_inner().0, |(guard, _)| guard);
        }
    }

    /// Every event so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// Stdout so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.lock().stdout.clone()
    }

    /// Stderr so far, life lines included.
    pub fn stderr(&self) -> Vec<u8> {
        self.lock().stderr.clone()
    }

    /// Everything, for the message of a failed test; long streams are cut in the front.
    pub fn transcript(&self) -> String {
        let inner = self.lock();
        let tail =
            |bytes: &[u8]| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(6000)..]).into_owned();
        format!("--- stdout\n{}\n--- stderr\n{}\n---", tail(&inner.stdout), tail(&inner.stderr))
    }
}

fn parse(line: &[u8]) -> Option<Event> {
    if !line.starts_with(b"{") {
        return None;
    }
    let value: Value = serde_json::from_slice(line).ok()?;
    value.get("event")?.as_str()?;
    Some(Event { value, at: Instant::now() })
}
