//! Several writers of one file, and their lines that have begun and are not finished. Whole lines go to the
//! file; the end of a piece that is in the middle of a line waits for the rest where somebody else writes to
//! the same file, so that lines of two workers do not mix. A worker that has a file for itself waits for
//! nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::logs::moment::{self, Stamps};
use crate::logs::plan::{Form, Plan};
use crate::logs::{LONGEST_LINE, Source, Stream};

pub(super) type Key = (Source, Stream);

/// How long an unfinished line waits for its end, except where it can only be stored whole.
pub(super) const QUIET: Duration = Duration::from_millis(100);
/// Bytes of unfinished lines of one file. Beyond it they are cut.
const HELD: usize = 512 * 1024;
/// Writers of one file that are known at a time: twice as many as an app may have, for a reload.
const WRITERS: usize = 4 * 4096;

/// How a line looks.
pub(super) struct Shape {
    pub(super) form: Form,
    stamps: Stamps,
    /// As a JSON string.
    app: String,
}

impl Shape {
    pub(super) fn of(plan: &Plan) -> Shape {
        let moment = match &plan.form {
            Form::Raw => None,
            Form::Stamped(moment) => Some(moment.clone()),
            Form::Json(moment) => moment.clone(),
        };
        let app = serde_json::Value::from(plan.app.as_str()).to_string();
        Shape { form: plan.form.clone(), stamps: Stamps::new(moment), app }
    }

    /// A line of our own.
    pub(super) fn own_line(&mut self, key: Key, text: &str, out: &mut Vec<u8>) {
        match self.form {
            Form::Raw => {}
            Form::Stamped(_) => self.stamp(moment::now(), out),
            Form::Json(_) => return self.object(key, moment::now(), text.as_bytes(), out),
        }
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }

    fn stamp(&mut self, at: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.stamps.of(at));
        out.extend_from_slice(b": ");
    }

    /// The keys are PM2's.
    fn object(&mut self, (source, stream): Key, at: i64, text: &[u8], out: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text));
        let time = String::from_utf8_lossy(self.stamps.of(at));
        out.extend_from_slice(b"{\"message\":");
        // A vector takes everything, and a text is always a JSON text.
        let _ = serde_json::to_writer(&mut *out, &text);
        out.extend_from_slice(b",\"timestamp\":");
        let _ = serde_json::to_writer(&mut *out, &time);
        let (stream, id, app) = (stream.word(), source.id, &self.app);
        let rest = format!(",\"type\":\"{stream}\",\"process_id\":{id},\"app_name\":{app}}}\n");
        out.extend_from_slice(rest.as_bytes());
    }
}

#[derive(Default)]
struct Voice {
    line: Vec<u8>,
    /// When it began: for its stamp, and for our patience.
    at: i64,
    since: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Voices {
    /// There are to be several, though only one may have spoken yet.
    pub(super) shared: bool,
    all: HashMap<Key, Voice>,
    /// Whose unfinished line is at the end of the file.
    open: Option<Key>,
    held: usize,
}

impl Voices {
    /// Whether bytes of this one can go to the file as they are, in raw form.
    pub(super) fn passes(&mut self, key: Key) -> bool {
        self.all.entry(key).or_default();
        !self.shared && self.all.len() == 1 && self.held == 0
    }

    pub(super) fn passed(&mut self, key: Key, bytes: &[u8]) {
        self.open = (!bytes.ends_with(b"\n")).then_some(key);
    }

    /// Whether something waits that is to be written when its time is up.
    pub(super) fn waits(&self, shape: &Shape) -> bool {
        match shape.form {
            Form::Raw | Form::Stamped(_) => self.held > 0,
            Form::Json(_) => false,
        }
    }

    /// The line at the end of the file is not continued: something else comes behind it.
    pub(super) fn interrupted(&mut self) {
        self.open = None;
    }

    pub(super) fn say(
        &mut self,
        key: Key,
        at: i64,
        bytes: &[u8],
        now: Instant,
        shape: &mut Shape,
        out: &mut Vec<u8>,
    ) {
        let passes = self.passes(key);
        let mut voice = self.all.remove(&key).unwrap_or_default();
        self.held -= voice.line.len();
        match shape.form {
            Form::Raw if passes => {
                out.extend_from_slice(bytes);
                self.passed(key, bytes);
            }
            Form::Raw => {
                let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                if whole > 0 {
                    out.append(&mut voice.line);
                    out.extend_from_slice(&bytes[..whole]);
                    self.open = None;
                    voice.since = None;
                }
                voice.line.extend_from_slice(&bytes[whole..]);
                if voice.line.len() > LONGEST_LINE {
                    self.let_go(key, &mut voice, shape, out);
                }
            }
            Form::Stamped(_) => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    if voice.line.is_empty() {
                        voice.at = at;
                    }
                    if piece.ends_with(b"\n") {
                        self.let_go(key, &mut voice, shape, out);
                        self.stamped(key, voice.at, piece, shape, out);
                    } else if passes {
                        self.stamped(key, voice.at, piece, shape, out);
                    } else {
                        voice.line.extend_from_slice(piece);
                        if voice.line.len() > LONGEST_LINE {
                            self.let_go(key, &mut voice, shape, out);
                        }
                    }
                }
            }
            Form::Json(_) => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    let text = piece.strip_suffix(b"\n");
                    object_of(key, &mut voice, at, text.unwrap_or(piece), shape, out);
                    if text.is_some() {
                        shape.object(key, voice.at, &voice.line, out);
                        voice.line.clear();
                    }
                }
            }
        }
        voice.since = if voice.line.is_empty() { None } else { voice.since.or(Some(now)) };
        self.held += voice.line.len();
        self.all.insert(key, voice);
        if self.held > HELD {
            self.all_go(shape, out);
        }
        if self.all.len() > WRITERS {
            self.all_go(shape, out);
            self.all.clear();
        }
    }

    /// What has waited for the rest of its line long enough.
    pub(super) fn settle(&mut self, now: Instant, shape: &mut Shape, out: &mut Vec<u8>) {
        if !self.waits(shape) {
            return;
        }
        let late = |voice: &Voice| voice.since.is_some_and(|since| now.duration_since(since) >= QUIET);
        let keys: Vec<Key> = self.all.iter().filter(|(_, voice)| late(voice)).map(|(key, _)| *key).collect();
        for key in keys {
            self.goes(key, shape, out);
        }
    }

    /// Its pipe has ended.
    pub(super) fn end(&mut self, key: Key, shape: &mut Shape, out: &mut Vec<u8>) {
        let shared = self.shared || self.all.len() > 1;
        self.goes(key, shape, out);
        self.all.remove(&key);
        if self.open == Some(key) && (shared || shape.form != Form::Raw) {
            out.push(b'\n');
            self.open = None;
        }
    }

    /// Everything that waits, as it is.
    pub(super) fn all_go(&mut self, shape: &mut Shape, out: &mut Vec<u8>) {
        let keys: Vec<Key> = self.all.keys().copied().collect();
        for key in keys {
            self.goes(key, shape, out);
        }
    }

    fn goes(&mut self, key: Key, shape: &mut Shape, out: &mut Vec<u8>) {
        if let Some(mut voice) = self.all.remove(&key) {
            self.held -= voice.line.len();
            self.let_go(key, &mut voice, shape, out);
            voice.since = None;
            self.all.insert(key, voice);
        }
    }

    fn let_go(&mut self, key: Key, voice: &mut Voice, shape: &mut Shape, out: &mut Vec<u8>) {
        if voice.line.is_empty() {
            return;
        }
        match shape.form {
            Form::Raw => {
                out.extend_from_slice(&voice.line);
                self.open = Some(key);
            }
            Form::Stamped(_) => self.stamped(key, voice.at, &voice.line, shape, out),
            Form::Json(_) => shape.object(key, voice.at, &voice.line, out),
        }
        voice.line.clear();
    }

    /// A piece of a line, or its end with the line feed. Its beginning gets the time.
    fn stamped(&mut self, key: Key, at: i64, piece: &[u8], shape: &mut Shape, out: &mut Vec<u8>) {
        if self.open != Some(key) {
            if self.open.is_some() {
                out.push(b'\n');
            }
            shape.stamp(at, out);
        }
        out.extend_from_slice(piece);
        self.open = (!piece.ends_with(b"\n")).then_some(key);
    }
}

/// Adds to a line that will be an object; of one that is too long the beginning becomes one of its own.
fn object_of(key: Key, voice: &mut Voice, at: i64, mut text: &[u8], shape: &mut Shape, out: &mut Vec<u8>) {
    if voice.line.is_empty() {
        voice.at = at;
    }
    while voice.line.len() + text.len() > LONGEST_LINE {
        let (now, later) = text.split_at((LONGEST_LINE - voice.line.len()).min(text.len()));
        voice.line.extend_from_slice(now);
        text = later;
        // Not within a letter of UTF-8.
        let begins = |byte: &u8| byte & 0xc0 != 0x80;
        let first = text.first().or(voice.line.last()).is_none_or(begins);
        let back = voice.line.iter().rev().take(4).position(begins).map_or(0, |back| back + 1);
        let cut = if first { voice.line.len() } else { voice.line.len() - back };
        shape.object(key, voice.at, &voice.line[..cut], out);
        voice.line.drain(..cut);
        voice.at = at;
    }
    voice.line.extend_from_slice(text);
}
