//! Bar charts, written by hand: one panel per figure, one bar per peer, a whisker from the smallest to the largest
//! round, and a dashed mark where the goal lies.
//!
//! Colours follow the reader's light or dark setting; every bar carries its number, so none depends on colour.

use super::{conditions, judged, judged_value, judgement_words, metric_words};
use crate::bench::Bench;
use crate::goal::Goal;
use crate::measure::Metric;
use crate::section::{Judgement, Section};
use std::fmt::Write;

const WIDTH: f64 = 880.0;
/// Where bars begin; labels stand left of it.
const LEFT: f64 = 150.0;
/// The longest bar or whisker.
const LONGEST: f64 = 480.0;
const BAR: f64 = 20.0;
const STEP: f64 = 28.0;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-size:19px;font-weight:600}\
.panel{font-weight:600}.small{font-size:12px;fill:#59636e}.back{fill:#fff}.ours{fill:#0969da}\
.other{fill:#afb8c1}.mark{stroke:#9a6700;stroke-width:2;stroke-dasharray:4 3}\
.whisker{stroke:#1f2328;stroke-width:1.2}.goal{fill:#9a6700}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.back{fill:#0d1117}\
.ours{fill:#4493f8}.other{fill:#656c76}.mark{stroke:#d29922}.whisker{stroke:#e6edf3}.goal{fill:#d29922}}";

/// A drawing that grows downwards.
struct Canvas {
    body: String,
    y: f64,
}

impl Canvas {
    fn new(title: &str) -> Self {
        let mut canvas = Self { body: String::new(), y: 34.0 };
        canvas.text(20.0, "title", title);
        canvas.y += 24.0;
        canvas
    }

    fn text(&mut self, x: f64, class: &str, words: &str) {
        let (y, words) = (self.y, escaped(words));
        let _infallible =
            writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{words}</text>"#);
    }

    /// Text broken into lines of about 125 characters.
    fn paragraph(&mut self, words: &str) {
        let mut line = String::new();
        for word in words.split_whitespace() {
            if line.chars().count() + word.chars().count() > 125 {
                self.text(20.0, "small", &line);
                self.y += 17.0;
                line.clear();
            }
            line.push_str(word);
            line.push(' ');
        }
        self.text(20.0, "small", line.trim_end());
        self.y += 17.0;
    }

    fn bar(&mut self, width: f64, class: &str) {
        let (y, width) = (self.y, width.max(1.0));
        let _infallible = writeln!(
            self.body,
            r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{BAR}" rx="2" class="{class}"/>"#
        );
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _infallible = writeln!(
            self.body,
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" class="{class}"/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    /// Ends with the conditions, and frames it all.
    fn finish(mut self, bench: &Bench, title: &str) -> String {
        self.y += 22.0;
        for line in conditions(bench) {
            self.paragraph(&line);
        }
        let (height, title) = (self.y + 4.0, escaped(title));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
             height=\"{height:.0}\" role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{height:.0}\" rx=\"6\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// The chart of one measurement.
pub(super) fn chart(bench: &Bench, section: &Section) -> String {
    let measurement = section.measurement;
    let mut canvas = Canvas::new(measurement.title);
    canvas.paragraph(measurement.method);
    for metric in measurement.metrics.iter().filter(|metric| metric.charted) {
        let judgements = section.judgements(metric, &bench.tools);
        panel(&mut canvas, section, metric, &judgements);
    }
    canvas.finish(bench, measurement.title)
}

fn panel(canvas: &mut Canvas, section: &Section, metric: &Metric, judgements: &[Judgement]) {
    canvas.y += 22.0;
    canvas.text(20.0, "panel", &metric_words(metric));
    let limit = |goal: Goal| match goal.against() {
        Some(base) => section.spread(base, metric).map(|spread| spread.median * goal.limit()),
        None => Some(goal.limit()),
    };
    let limits: Vec<f64> = judgements.iter().filter_map(|judgement| limit(judgement.goal)).collect();
    for (index, judgement) in judgements.iter().enumerate() {
        canvas.y += if index == 0 { 0.0 } else { 16.0 };
        let words = format!("goal {}: {}", judgement_words(section, judgement), judgement.verdict.word());
        canvas.text(LEFT + LONGEST - 60.0, "goal", &words);
    }
    canvas.y += 10.0;
    let top = canvas.y;
    // A peer that ran and has no such figure (one process has no primary) gets no row; one that failed does.
    let ran = |peer| section.rows.iter().any(|row| row.peer == peer && row.sample.is_ok());
    let spreads = section.peers.iter().map(|&peer| (peer, section.spread(peer, metric)));
    let spreads: Vec<_> = spreads.filter(|&(peer, spread)| spread.is_some() || !ran(peer)).collect();
    let largest = spreads
        .iter()
        .filter_map(|(_, spread)| spread.map(|s| s.max))
        .chain(limits.clone())
        .fold(0.0, f64::max);
    let scale = if largest > 0.0 { LONGEST / largest } else { 0.0 };
    for (peer, spread) in spreads {
        let class = if peer == section.ours() { "ours" } else { "other" };
        let Some(spread) = spread else {
            canvas.y += 15.0;
            canvas.text(20.0, "", peer.title());
            canvas.text(LEFT, "small", "no figure");
            canvas.y += STEP - 15.0;
            continue;
        };
        canvas.bar(spread.median * scale, class);
        let (from, to, middle) =
            (LEFT + spread.min.max(0.0) * scale, LEFT + spread.max * scale, canvas.y + BAR / 2.0);
        if to > from {
            canvas.line("whisker", (from, middle), (to, middle));
            canvas.line("whisker", (from, middle - 4.0), (from, middle + 4.0));
            canvas.line("whisker", (to, middle - 4.0), (to, middle + 4.0));
        }
        let mut words = format!("{} {}", metric.show(spread.median), metric.unit);
        let others = metric.against.iter().copied().filter(|&base| base != peer);
        let ratios = others.filter_map(|base| Some((base, section.ratio(peer, base, metric)?.median)));
        let ratios = ratios.map(|(base, ratio)| match metric.against.len() {
            1 => format!("{ratio:.2}x"),
            _ => format!("{ratio:.2}x {base}"),
        });
        let ratios: Vec<String> = ratios.collect();
        if !ratios.is_empty() {
            let _infallible = write!(words, "  ({})", ratios.join(", "));
        }
        canvas.y += 15.0;
        canvas.text(20.0, "", peer.title());
        canvas.text(to.max(LEFT + spread.median * scale) + 8.0, "", &words);
        canvas.y += STEP - 15.0;
    }
    for limit in limits {
        let x = LEFT + limit * scale;
        let bottom = canvas.y - (STEP - BAR) + 3.0;
        canvas.line("mark", (x, top - 3.0), (x, bottom));
    }
}

/// All goals in one picture: how much of what is allowed was used.
pub(super) fn goals(bench: &Bench, sections: &[Section]) -> String {
    const TITLE: &str = "oneport against its goals";
    let mut canvas = Canvas::new(TITLE);
    canvas.paragraph("Bar: measured, as a share of what is allowed. Dashed: the limit. Shorter is better.");
    canvas.y += 8.0;
    let scale = LONGEST / 1.5;
    for judged in judged(bench, sections) {
        let Judgement { metric, peer, goal, verdict } = judged.judgement;
        let measured = judged.section.measured(peer, metric, goal);
        canvas.y += 18.0;
        let words = format!("{}: {}", judged.section.measurement.title, metric.title);
        canvas.text(20.0, "panel", &words);
        canvas.y += 8.0;
        // Any excess over a limit of zero fills the whole width.
        let share = measured.map_or(0.0, |value| goal.used(value).min(1.5));
        let limit = goal.limit();
        canvas.bar(share * scale, "ours");
        let mark = if limit > 0.0 { LEFT + scale } else { LEFT };
        canvas.line("mark", (mark, canvas.y - 3.0), (mark, canvas.y + BAR + 3.0));
        canvas.y += 15.0;
        canvas.text(20.0, "goal", verdict.word());
        let value =
            format!("{}, goal {}", judged_value(&judged), judgement_words(judged.section, &judged.judgement));
        canvas.text((LEFT + share * scale).max(mark) + 8.0, "small", &value);
        canvas.y += STEP - 15.0;
    }
    canvas.finish(bench, TITLE)
}

/// Text that cannot end an element or an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goal::Verdict;
    use crate::measure::{ALL, Sample};
    use crate::peer::Peer;

    #[test]
    fn a_panel_shows_every_peer_with_its_number_and_the_goal() {
        let measurement = ALL[0];
        let metric = &measurement.metrics[0];
        let mut section = Section::new(measurement, Peer::PAIR.to_vec());
        section.add(0, Peer::Oneport, Ok(Sample::default().with(metric.key, 80.0)));
        section.add(0, Peer::NodeRr, Ok(Sample::default().with(metric.key, 100.0)));
        let mut canvas = Canvas::new("a < b & c");
        let goal = Goal::AtMost(Peer::NodeRr, 0.88);
        let judgement = Judgement { metric, peer: Peer::Oneport, goal, verdict: Verdict::Pass };
        panel(&mut canvas, &section, metric, &[judgement]);
        for words in
            ["a &lt; b &amp; c", "80.0 µs  (0.80x)", "100.0 µs", "goal ≤ 0.88x node: pass", "class=\"mark\""]
        {
            assert!(canvas.body.contains(words), "{words} in {}", canvas.body);
        }
    }

    #[test]
    fn a_peer_without_samples_has_no_bar() {
        let section = Section::new(ALL[0], vec![Peer::Oneport]);
        let mut canvas = Canvas::new("t");
        panel(&mut canvas, &section, &ALL[0].metrics[0], &[]);
        assert!(canvas.body.contains("no figure") && !canvas.body.contains("<rect"));
    }
}
