//! The list without a table (`-m`): a few lines for each slot, for small screens and screen readers.

use oneport_wire::control::AppView;

use super::letters::{LONGEST, shown};
use super::paint::{BOLD, paint, status_style};
use super::rows::{ports, rows};
use super::table::{Look, NOTHING, mode_word, watching};
use super::units;

/// Blocks of lines.
pub(crate) fn mini(apps: &[AppView], look: &Look<'_>) -> String {
    let mut rows = rows(apps);
    look.sort.apply(&mut rows, look.now_ms);
    let mut out = String::new();
    for row in rows {
        let app = row.app;
        out += &format!("{}\n", paint(BOLD, &format!("+--- {}", shown(&app.name, LONGEST))));
        let mut say = |what: &str, value: String| out += &format!("{what}: {value}\n");
        say("namespace", shown(&app.namespace, LONGEST));
        say("version", shown(app.version.as_deref().unwrap_or("N/A"), LONGEST));
        say("mode", mode_word(app.mode).to_owned());
        say("port", shown(ports(app).as_deref().unwrap_or(NOTHING), LONGEST));
        say("watching", watching(app).to_owned());
        let Some(worker) = row.worker else { continue };
        say("id", worker.id.to_string());
        say("slot", format!("{}/{}", worker.slot, app.instances));
        say("status", paint(status_style(worker.status), worker.status.word()));
        say("pid", row.pid().to_string());
        say("uptime", row.uptime(look.now_ms).map_or_else(|| "0".to_owned(), units::uptime));
        say("restarts", worker.restarts.to_string());
        say("cpu", units::cpu(row.cpu()));
        say("memory", units::memory(row.memory()));
        let connections = worker.connections.map_or_else(|| NOTHING.to_owned(), |open| open.to_string());
        say("connections", connections);
        let logs = [("log", &worker.logs.both), ("output", &worker.logs.out), ("errors", &worker.logs.error)];
        for (what, path) in logs {
            path.iter().for_each(|path| say(what, shown(path, LONGEST)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use insta::assert_snapshot;

    use super::super::sample;
    use super::*;

    #[test]
    fn the_small_list_is_lines() {
        let look = Look { now_ms: sample::NOW, ..Look::default() };
        let mut away = sample::app("away\x1b[1m", 1);
        away.workers.clear();
        let text = mini(&[sample::full(), away], &look);
        assert_snapshot!("mini", strip_str(&text).to_string());
        assert_eq!(mini(&[], &look), "");
    }
}
