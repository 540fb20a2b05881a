//! Writes what was measured: a table for terminals, one for Markdown, charts, and every number raw.
//!
//! Rows, cells and goals are worded here, once, for both tables; the files below differ only in form.

mod markdown;
mod raw;
mod svg;
mod text;

use crate::bench::Bench;
use crate::error::{Cannot, Result};
use crate::goal::Goal;
use crate::measure::Metric;
use crate::peer::Peer;
use crate::pin::Pins;
use crate::section::{Judgement, Section};
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
    let version = |uses: fn(Peer) -> bool, version: &Result<String>| match version {
        _ if !bench.peers.iter().any(|&peer| uses(peer)) => "not asked for".to_owned(),
        Ok(version) => version.clone(),
        Err(_) => "absent".to_owned(),
    };
    let mut lines = vec![
        format!("{} CPUs, {}, Linux {}", machine.cpus, machine.cpu_model, machine.kernel),
        format!("{}, PM2 {}", nodes(bench), version(Peer::is_pm2, &tools.pm2_version)),
        format!(
            "oneport {}, {} credits per worker",
            version(Peer::is_oneport, &tools.oneport_version),
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

/// The versions of Node that served.
fn nodes(bench: &Bench) -> String {
    let tools = &bench.tools;
    let newer = tools.newer_node.as_ref().map_or(String::new(), |node| format!(" and {}", node.version));
    format!("Node {}{newer}", tools.node.version)
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
        Goal::Floor(limit) => format!("≥ {limit} in the median"),
    }
}

/// The same with its owner, where that is another than the peer the measurement is about.
fn judgement_words(section: &Section, judgement: &Judgement) -> String {
    let goal = goal_words(judgement.goal);
    match judgement.peer == section.ours() {
        true => goal,
        false => format!("{} {goal}", judgement.peer.title()),
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
        let judged = section.judgements(metric, &bench.tools);
        // A goal stands in the row of what it is judged by.
        let words = |against: Option<Peer>| {
            let own = judged.iter().filter(|one| one.goal.against() == against);
            let own = own.map(|one| format!("{}: {}", judgement_words(section, one), one.verdict.word()));
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

/// A judgement with the section it is of.
struct Judged<'a> {
    section: &'a Section,
    judgement: Judgement,
}

/// Every goal of the sections there are.
fn judged<'a>(bench: &Bench, sections: &'a [Section]) -> Vec<Judged<'a>> {
    let mut all = Vec::new();
    for section in sections {
        for metric in section.measurement.metrics {
            let judgements = section.judgements(metric, &bench.tools).into_iter();
            all.extend(judgements.map(|judgement| Judged { section, judgement }));
        }
    }
    all
}

/// A goal as a row: measurement, figure, goal, what was measured, verdict.
fn judged_cells(judged: &Judged<'_>) -> [String; 5] {
    let Judged { section, judgement } = judged;
    [
        section.measurement.name.to_owned(),
        metric_words(judgement.metric),
        judgement_words(section, judgement),
        judged_value(judged),
        judgement.verdict.word().to_owned(),
    ]
}

/// What was measured, in the terms of the goal.
fn judged_value(judged: &Judged<'_>) -> String {
    let Judged { section, judgement: Judgement { metric, peer, goal, .. } } = *judged;
    match goal {
        Goal::AtMost(base, _) | Goal::AtLeast(base, _) => ratio_cell(section.ratio(peer, base, metric)),
        Goal::NoMoreThan(base) => {
            match (section.ratio(peer, base, metric), section.interval(peer, base, metric)) {
                (None, _) => "-".to_owned(),
                (Some(ratio), None) => format!("{:.3}x, too few rounds for an interval", ratio.median),
                (Some(ratio), Some((low, high))) => {
                    format!("{:.3}x, median within {low:.3} to {high:.3}", ratio.median)
                }
            }
        }
        Goal::EveryRound(_) | Goal::Median(_) | Goal::Floor(_) => {
            value_cell(metric, section.spread(peer, metric))
        }
    }
}
