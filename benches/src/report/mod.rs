//! Writes what was measured: a table for terminals, one for Markdown, charts, and every number raw.
//!
//! Rows, cells and goals are worded here, once, for both tables; the files below differ only in form.

mod markdown;
mod raw;
mod svg;
mod text;

use crate::bench::Bench;
use crate::error::{Cannot, Result};
use crate::measure::Metric;
use crate::peer::Peer;
use crate::pin::Pins;
use crate::section::{Goal, Section, Verdict};
use crate::stats::Spread;
use std::fs;

/// Writes all files for the sections there are so far, and returns the text.
pub(crate) fn write(bench: &Bench, sections: &[Section]) -> Result<String> {
    let text = text::page(bench, sections);
    let mut files = vec![
        ("report.txt".to_owned(), text.clone()),
        ("report.md".to_owned(), markdown::page(bench, sections)),
        ("raw.json".to_owned(), raw::document(bench, sections)),
        ("goals.svg".to_owned(), svg::goals(bench, sections)),
    ];
    for section in sections {
        files.push((format!("{}.svg", section.measurement.name), svg::chart(bench, section)));
    }
    for (name, content) in files {
        fs::write(bench.out.join(&name), content).cannot(|| format!("write `{name}`"))?;
    }
    Ok(text)
}

/// What everything ran on, one fact per line.
fn conditions(bench: &Bench) -> Vec<String> {
    let machine = &bench.machine;
    let tools = &bench.tools;
    let version = |users: &[Peer], version: &Result<String>| match version {
        _ if !users.iter().any(|user| bench.peers.contains(user)) => "not asked for".to_owned(),
        Ok(version) => version.clone(),
        Err(_) => "absent".to_owned(),
    };
    let mut lines = vec![
        format!("{} CPUs, {}, Linux {}", machine.cpus, machine.cpu_model, machine.kernel),
        format!(
            "Node {}, PM2 {}",
            tools.node_version,
            version(&[Peer::Pm2, Peer::Pm2Fork], &tools.pm2_version)
        ),
        format!(
            "oneport {}, {} credits per worker",
            version(&[Peer::Oneport, Peer::Library, Peer::Own], &tools.oneport_version),
            tools.credits
        ),
        match bench.pins {
            Pins::Apart { generator, servers, .. } => {
                format!("servers pinned to CPU {servers}, load generator to CPU {generator}")
            }
            Pins::Together => {
                "fewer than two CPUs: servers and generator share one, rates mean little".to_owned()
            }
        },
        format!("{} interleaved rounds, seed {}", bench.plan.rounds, bench.seed),
    ];
    if bench.peers.iter().any(|peer| peer.serves_a_program()) {
        lines.push(tools.programs.versions());
    }
    if bench.quick {
        lines.push("--quick: small counts, not warmed up; these figures only show that it runs".to_owned());
    }
    lines
}

/// Load by others during a section.
fn load_line(section: &Section) -> String {
    format!("load average {:.1} before, {:.1} after", section.load_before, section.load_after)
}

/// What to reach, in a few characters.
fn goal_words(goal: Goal) -> String {
    match goal {
        Goal::AtMost(peer, limit) => format!("≤ {limit}x {peer}"),
        Goal::AtLeast(peer, limit) => format!("≥ {limit}x {peer}"),
        Goal::NoMoreThan(peer) => format!("no more than {peer}"),
        Goal::EveryRound(limit) => format!("≤ {limit} in every round"),
        Goal::Median(limit) => format!("≤ {limit} in the median"),
    }
}

/// The title of a metric with its unit.
fn metric_words(metric: &Metric) -> String {
    match metric.unit {
        "" => metric.title.to_owned(),
        unit => format!("{}, {unit}", metric.title),
    }
}

/// `median (min to max)`.
fn value_cell(metric: &Metric, spread: Option<Spread>) -> String {
    match spread {
        None => "-".to_owned(),
        Some(Spread { median, min, max }) => {
            format!("{} ({} to {})", metric.show(median), metric.show(min), metric.show(max))
        }
    }
}

/// `0.86x (0.80 to 0.91)`.
fn ratio_cell(spread: Option<Spread>) -> String {
    match spread {
        None => "-".to_owned(),
        Some(Spread { median, min, max }) => format!("{median:.2}x ({min:.2} to {max:.2})"),
    }
}

/// One measurement as rows of cells, headings first: metric, peers, goal.
fn table(bench: &Bench, section: &Section) -> Vec<Vec<String>> {
    let heading = |peer: &Peer| peer.title().to_owned();
    let mut head = vec![String::new()];
    head.extend(section.peers.iter().map(heading));
    head.push("goal".to_owned());
    let mut rows = vec![head];
    for metric in section.measurement.metrics {
        let verdicts = section.verdicts(metric, &bench.tools);
        // A goal stands in the row of what it is judged by.
        let words = |against: Option<Peer>| {
            let own = verdicts.iter().filter(|(goal, _)| goal.against() == against);
            let own = own.map(|&(goal, verdict)| format!("{}: {}", goal_words(goal), verdict.word()));
            own.collect::<Vec<_>>().join(", ")
        };
        let mut row = vec![metric_words(metric)];
        row.extend(section.peers.iter().map(|&peer| value_cell(metric, section.spread(peer, metric))));
        row.push(words(None));
        rows.push(row);
        for &base in metric.against {
            let mut row = vec![format!("  ratio to {}", base.title())];
            row.extend(section.peers.iter().map(|&peer| {
                if peer == base { "1".to_owned() } else { ratio_cell(section.ratio(peer, base, metric)) }
            }));
            row.push(words(Some(base)));
            rows.push(row);
        }
    }
    rows
}

/// Each distinct note of a peer with the number of rounds that had it.
fn notes(section: &Section, peer: Peer) -> Vec<String> {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for note in section.notes(peer) {
        match counted.iter_mut().find(|(known, _)| *known == note) {
            Some((_, times)) => *times += 1,
            None => counted.push((note, 1)),
        }
    }
    counted.iter().map(|(note, times)| format!("{}, {times}x: {note}", peer.title())).collect()
}

/// A goal with what was measured against it.
struct Judged<'a> {
    section: &'a Section,
    metric: &'static Metric,
    goal: Goal,
    verdict: Verdict,
}

/// Every goal of the sections there are.
fn judged<'a>(bench: &Bench, sections: &'a [Section]) -> Vec<Judged<'a>> {
    let mut all = Vec::new();
    for section in sections {
        for metric in section.measurement.metrics {
            let verdicts = section.verdicts(metric, &bench.tools).into_iter();
            all.extend(verdicts.map(|(goal, verdict)| Judged { section, metric, goal, verdict }));
        }
    }
    all
}

/// What oneport measured, in the terms of the goal.
fn judged_value(judged: &Judged<'_>) -> String {
    let Judged { section, metric, goal, .. } = judged;
    match *goal {
        Goal::AtMost(base, _) | Goal::AtLeast(base, _) => {
            ratio_cell(section.ratio(section.ours(), base, metric))
        }
        Goal::NoMoreThan(base) => {
            match (section.ratio(section.ours(), base, metric), section.interval(base, metric)) {
                (None, _) => "-".to_owned(),
                (Some(ratio), None) => format!("{:.3}x, too few rounds for an interval", ratio.median),
                (Some(ratio), Some((low, high))) => {
                    format!("{:.3}x, median within {low:.3} to {high:.3}", ratio.median)
                }
            }
        }
        Goal::EveryRound(_) | Goal::Median(_) => value_cell(metric, section.spread(section.ours(), metric)),
    }
}
