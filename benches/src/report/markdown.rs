//! The report as Markdown: the same tables, with the charts between them.
//!
//! Links are relative, so the directory can be moved or attached as a whole.

use super::{conditions, judged, judged_cells, load_line, notes, table};
use crate::bench::Bench;
use crate::section::Section;
use std::fmt::Write;

/// The whole page.
pub(super) fn page(bench: &Bench, sections: &[Section]) -> String {
    let mut page = String::from(
        "# oneport beside Node's cluster, PM2 and plain sockets\n\nThe same server under each, in one run.\n\n",
    );
    for line in conditions(bench) {
        let _infallible = writeln!(page, "- {line}");
    }
    let judged = judged(bench, sections);
    if !judged.is_empty() {
        page.push_str("\n## Goals\n\n![goals](goals.svg)\n\n");
        page.push_str(&row(&["measurement", "figure", "goal", "measured", ""].map(str::to_owned)));
        page.push_str(&row(&["---"; 5].map(str::to_owned)));
        for judged in &judged {
            page.push_str(&row(&judged_cells(judged)));
        }
    }
    for section in sections {
        let measurement = section.measurement;
        let _infallible = writeln!(page, "\n## {}\n\n{}", measurement.title, measurement.method);
        let _infallible = writeln!(page, "Median (min to max) over rounds; {}.\n", load_line(section));
        let _infallible = writeln!(page, "![{0}]({0}.svg)\n", measurement.name);
        for (index, cells) in table(bench, section).iter().enumerate() {
            page.push_str(&row(cells));
            if index == 0 {
                page.push_str(&row(&vec!["---".to_owned(); cells.len()]));
            }
        }
        let noted: Vec<String> = section.peers.iter().flat_map(|&peer| notes(section, peer)).collect();
        let failed = section
            .reasons()
            .into_iter()
            .map(|(peer, reason)| format!("{}: failed {}x: {reason}", peer.title(), section.failures(peer)));
        for (index, line) in noted.into_iter().chain(failed).enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            let _infallible = writeln!(page, "{gap}- {line}");
        }
    }
    page
}

/// One table row; a bar inside a cell would end it.
fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.trim().replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}
