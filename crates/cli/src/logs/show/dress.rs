//! What a line looks like: with the worker's number and the app's name in front, in a colour for each app and
//! in red for standard error; or as JSON, as pairs, or as it is.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{Look, Paint, Show, Wanted};
use crate::logs::Stream;
use crate::logs::moment::{Moment, Stamps};

const OF_APPS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::Magenta,
    AnsiColor::BrightCyan,
    AnsiColor::BrightGreen,
    AnsiColor::BrightYellow,
    AnsiColor::BrightBlue,
    AnsiColor::BrightMagenta,
];

pub(super) struct Dress {
    look: Look,
    paint: Paint,
    of: Vec<Label>,
    stamps: Option<Stamps>,
    highlight: Option<Vec<u8>>,
    /// Whether something stands above the next heading.
    begun: bool,
}

struct Label {
    /// With its colour, as far as it has one.
    text: String,
    app: String,
    id: u32,
    stream: Stream,
}

/// The keys are PM2's.
#[derive(Serialize)]
struct Object<'a> {
    message: &'a str,
    /// Not known of lines that were there before.
    timestamp: Option<&'a str>,
    #[serde(rename = "type")]
    stream: &'static str,
    process_id: u32,
    app_name: &'a str,
}

impl Dress {
    pub(super) fn new(wanted: &[&Wanted], how: &Show) -> Dress {
        let name = |wanted: &Wanted| format!("{}|{}", wanted.id, wanted.app);
        let width = wanted.iter().map(|wanted| name(wanted).chars().count()).max().unwrap_or(0);
        let mut colours: HashMap<&str, AnsiColor> = HashMap::new();
        let mut of = Vec::new();
        for wanted in wanted {
            let next = OF_APPS[colours.len() % OF_APPS.len()];
            let colour = *colours.entry(&wanted.app).or_insert(next);
            let colour = match wanted.stream {
                Stream::Out => colour,
                Stream::Err => AnsiColor::Red,
            };
            let style = match how.paint {
                Paint::Colours => Style::new().fg_color(Some(colour.into())),
                Paint::Plain => Style::new(),
            };
            let text = format!("{style}{:width$}  | {style:#}", name(wanted));
            of.push(Label { text, app: wanted.app.clone(), id: wanted.id, stream: wanted.stream });
        }
        let moment = |usual: &str| match how.timestamp.as_deref() {
            None | Some("") => Moment::parse(usual),
            Some(format) => Moment::parse(format),
        };
        let stamps = match (how.look, &how.timestamp) {
            (Look::Labelled | Look::Raw, None) => None,
            (Look::Labelled | Look::Raw, Some(_)) => Some(Stamps::new(Some(moment("YYYY-MM-DD-HH:mm:ss")))),
            (Look::Pairs, _) => Some(Stamps::new(Some(moment("YYYY-MM-DD-HH:mm:ssZ")))),
            (Look::Json, Some(format)) if !format.is_empty() => Some(Stamps::new(Some(moment("")))),
            (Look::Json, Some(_) | None) => Some(Stamps::new(None)),
        };
        let highlight = how.highlight.as_ref().filter(|word| !word.is_empty() && how.paint == Paint::Colours);
        let highlight = highlight.map(|word| word.clone().into_bytes());
        Dress { look: how.look, paint: how.paint, of, stamps, highlight, begun: false }
    }

    /// Above the last lines of a file.
    pub(super) fn heading(&mut self, path: &Path, lines: usize, out: &mut impl Write) -> io::Result<()> {
        match self.look {
            Look::Labelled => {}
            Look::Raw | Look::Json | Look::Pairs => return Ok(()),
        }
        let style = match self.paint {
            Paint::Colours => Style::new().bold(),
            Paint::Plain => Style::new(),
        };
        let above = if std::mem::replace(&mut self.begun, true) { "\n" } else { "" };
        let lines = if lines == 1 { "the last line".to_owned() } else { format!("the last {lines} lines") };
        writeln!(out, "{above}{style}==> {}: {lines}{style:#}", path.display())
    }

    /// `at`: when it came, if that is known.
    pub(super) fn line(
        &mut self,
        number: usize,
        line: &[u8],
        at: Option<i64>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let label = &self.of[number];
        let stamp = self.stamps.as_mut().zip(at).map(|(stamps, at)| stamps.of(at));
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.look {
            Look::Labelled | Look::Raw => {
                if let Some(stamp) = stamp {
                    out.write_all(stamp)?;
                    out.write_all(b": ")?;
                }
                if self.look == Look::Labelled {
                    out.write_all(label.text.as_bytes())?;
                }
                match &self.highlight {
                    Some(word) => highlighted(line, word, out)?,
                    None => out.write_all(line)?,
                }
            }
            Look::Json if is_object(line) => out.write_all(line)?,
            Look::Json => {
                let stamp = stamp.map(String::from_utf8_lossy);
                let object = Object {
                    message: &String::from_utf8_lossy(line),
                    timestamp: stamp.as_deref(),
                    stream: label.stream.word(),
                    process_id: label.id,
                    app_name: &label.app,
                };
                serde_json::to_writer(&mut *out, &object)?;
            }
            Look::Pairs => {
                if let Some(stamp) = stamp {
                    write!(out, "timestamp={} ", String::from_utf8_lossy(stamp))?;
                }
                let (stream, id) = (label.stream.word(), label.id);
                write!(out, "app={} id={id} type={stream} message=", label.app)?;
                out.write_all(line)?;
            }
        }
        out.write_all(b"\n")
    }
}

/// Whether the app's lines are stored in this form.
fn is_object(line: &[u8]) -> bool {
    let ours = |object: serde_json::Map<String, serde_json::Value>| {
        ["message", "timestamp", "type", "process_id", "app_name"].iter().all(|key| object.contains_key(*key))
    };
    line.starts_with(b"{") && serde_json::from_slice(line).is_ok_and(ours)
}

fn highlighted(mut line: &[u8], word: &[u8], out: &mut impl Write) -> io::Result<()> {
    let style = Style::new().invert();
    while let Some(at) = line.windows(word.len()).position(|here| here == word) {
        out.write_all(&line[..at])?;
        write!(out, "{style}")?;
        out.write_all(word)?;
        write!(out, "{style:#}")?;
        line = &line[at + word.len()..];
    }
    out.write_all(line)
}
