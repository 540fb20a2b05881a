//! The list of apps: one row for each slot. Four layouts, each with less than the one before; the first that
//! fits into the terminal is shown. A pipe gets everything, as PM2's does.

use anstyle::Style;
use oneport_wire::control::{AppView, ExecMode, WorkerView};

use super::grid::{Cell, Grid};
use super::letters::shown;
use super::paint::{HEAD, PLAIN, mode_style, status_style};
use super::rows::{Row, ports, rows};
use super::sort::Sort;
use super::units;

/// How the list is to look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look<'a> {
    /// The time, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// Columns of the terminal. None: there is none.
    pub(crate) width: Option<usize>,
    /// The user to whom the daemon belongs. Apps that run as another one say so.
    pub(crate) user: Option<&'a str>,
    pub(crate) sort: Sort,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Id,
    Name,
    Namespace,
    Version,
    Mode,
    Slot,
    Pid,
    Uptime,
    Restarts,
    Status,
    Cpu,
    Memory,
    Port,
    Policy,
    Connections,
    User,
    Watching,
}

/// From the fullest to the barest. The last two hold what PM2's narrower ones do.
const LAYOUTS: [&[Column]; 4] = {
    use Column::{
        Connections, Cpu, Id, Memory, Mode, Name, Namespace, Pid, Policy, Port, Restarts, Slot, Status,
        Uptime, User, Version, Watching,
    };
    [
        &[
            Id,
            Name,
            Namespace,
            Version,
            Mode,
            Slot,
            Pid,
            Uptime,
            Restarts,
            Status,
            Cpu,
            Memory,
            Port,
            Policy,
            Connections,
            User,
            Watching,
        ],
        &[Id, Name, Mode, Slot, Pid, Uptime, Restarts, Status, Cpu, Memory, Port, Connections],
        &[Id, Name, Mode, Restarts, Status, Cpu, Memory],
        &[Id, Name, Status, Cpu, Memory],
    ]
};

/// Columns of the longest name.
const LONGEST_NAME: usize = 40;
/// What is left of a name at least, however narrow the terminal.
const SHORTEST_NAME: usize = 4;
/// Columns of other values that are chosen by people.
const LONGEST_VALUE: usize = 24;

/// The table.
pub(crate) fn table(apps: &[AppView], look: &Look<'_>) -> String {
    let mut rows = rows(apps);
    look.sort.apply(&mut rows, look.now_ms);
    let [widest, .., barest] = LAYOUTS;
    let Some(width) = look.width else { return grid(&rows, widest, look).draw() };
    let fits = LAYOUTS.iter().map(|layout| grid(&rows, layout, look)).find(|grid| grid.width() <= width);
    if let Some(fits) = fits {
        return fits.draw();
    }
    let mut grid = grid(&rows, barest, look);
    let name = barest.iter().position(|column| *column == Column::Name);
    grid.squeeze(name.unwrap_or_default(), width, SHORTEST_NAME);
    grid.draw()
}

fn grid(rows: &[Row<'_>], columns: &[Column], look: &Look<'_>) -> Grid {
    let mut grid = Grid::with_heads(columns.iter().map(|column| column.head()).collect());
    for row in rows {
        grid.push(columns.iter().map(|column| column.cell(row, look)).collect());
    }
    grid
}

/// The word for a mode.
pub(super) fn mode_word(mode: ExecMode) -> &'static str {
    match mode {
        ExecMode::Cluster => "cluster",
        ExecMode::Fork => "fork",
    }
}

/// PM2's words for whether files are watched.
pub(super) fn watching(app: &AppView) -> &'static str {
    if app.spec.watch.is_off() { "disabled" } else { "enabled" }
}

/// What stands where there is nothing to be said.
pub(super) const NOTHING: &str = "-";

impl Column {
    fn head(self) -> &'static str {
        match self {
            Column::Id => "id",
            Column::Name => "name",
            Column::Namespace => "namespace",
            Column::Version => "version",
            Column::Mode => "mode",
            Column::Slot => "slot",
            Column::Pid => "pid",
            Column::Uptime => "uptime",
            Column::Restarts => "↺",
            Column::Status => "status",
            Column::Cpu => "cpu",
            Column::Memory => "mem",
            Column::Port => "port",
            Column::Policy => "policy",
            Column::Connections => "conns",
            Column::User => "user",
            Column::Watching => "watching",
        }
    }

    fn cell(self, row: &Row<'_>, look: &Look<'_>) -> Cell {
        let Row { app, worker } = row;
        let of_worker = |text: fn(&WorkerView) -> String| worker.map_or_else(|| NOTHING.to_owned(), text);
        let (text, style): (String, Style) = match self {
            Column::Id => (of_worker(|worker| worker.id.to_string()), HEAD),
            Column::Name => (shown(&app.name, LONGEST_NAME), PLAIN),
            Column::Namespace => (shown(&app.namespace, LONGEST_VALUE), PLAIN),
            Column::Version => (shown(app.version.as_deref().unwrap_or("N/A"), LONGEST_VALUE), PLAIN),
            Column::Mode => (mode_word(app.mode).to_owned(), mode_style(app.mode)),
            Column::Slot => {
                let slot = worker.map(|worker| format!("{}/{}", worker.slot, app.instances));
                (slot.unwrap_or_else(|| format!("{NOTHING}/{}", app.instances)), PLAIN)
            }
            Column::Pid => (row.pid().to_string(), PLAIN),
            Column::Uptime => (row.uptime(look.now_ms).map_or_else(|| "0".to_owned(), units::uptime), PLAIN),
            Column::Restarts => (of_worker(|worker| worker.restarts.to_string()), PLAIN),
            Column::Status => {
                let style = row.status().map_or(PLAIN, status_style);
                (of_worker(|worker| worker.status.word().to_owned()), style)
            }
            Column::Cpu => (units::cpu(row.cpu()), PLAIN),
            Column::Memory => (units::memory(row.memory()), PLAIN),
            Column::Port => (shown(ports(app).as_deref().unwrap_or(NOTHING), LONGEST_VALUE), PLAIN),
            Column::Policy => (shown(&app.policy, LONGEST_VALUE), PLAIN),
            Column::Connections => {
                let connections = worker.and_then(|worker| worker.connections);
                (connections.map_or_else(|| NOTHING.to_owned(), |open| open.to_string()), PLAIN)
            }
            Column::User => {
                let user = app.spec.uid.as_ref().map(|uid| uid.0.as_str()).or(look.user);
                (shown(user.unwrap_or(NOTHING), LONGEST_VALUE), PLAIN)
            }
            Column::Watching => (watching(app).to_owned(), PLAIN),
        };
        Cell::styled(text, style)
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use insta::assert_snapshot;

    use super::super::letters::columns;
    use super::super::sample;
    use super::*;

    fn look(width: Option<usize>) -> Look<'static> {
        Look { now_ms: sample::NOW, width, user: Some("deploy"), sort: Sort::default() }
    }

    fn plain(apps: &[AppView], width: Option<usize>) -> String {
        strip_str(&table(apps, &look(width))).to_string()
    }

    #[test]
    fn a_pipe_gets_every_column() {
        assert_snapshot!("table_wide", plain(&sample::several(), None));
        assert_eq!(plain(&sample::several(), None), plain(&sample::several(), Some(250)));
    }

    #[test]
    fn a_narrow_terminal_gets_what_matters_most() {
        let shown =
            [130, 80, 50, 40].map(|width| format!("{width}:\n{}", plain(&sample::several(), Some(width))));
        assert_snapshot!("table_narrow", shown.join("\n"));
    }

    #[test]
    fn no_table_is_wider_than_its_terminal() {
        let mut apps = sample::several();
        apps[1].name = "long-".repeat(100);
        for width in 48..260 {
            let text = plain(&apps, Some(width));
            assert!(text.lines().all(|line| columns(line) <= width), "{width}:\n{text}");
        }
    }

    #[test]
    fn colours_are_those_of_pm2() {
        let text = table(&sample::several(), &look(Some(80)));
        assert_snapshot!("table_colours", text.replace('\x1b', "␛"));
    }

    #[test]
    fn a_name_moves_no_cursor_and_no_border() {
        let mut app = sample::app("x\x1b[2J\n世界", 1);
        app.namespace = "a\u{202e}b".to_owned();
        app.addresses = vec!["/run/\x07.sock".to_owned()];
        app.version = Some("1\r2".to_owned());
        let text = plain(&[app], None);
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text}");
        let widths: Vec<usize> = text.lines().map(columns).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
        assert!(text.contains("x\\x1b[2J\\n世界"), "{text}");
    }

    #[test]
    fn an_app_whose_primary_is_away_stays_on_the_list() {
        let mut app = sample::app("api", 2);
        (app.workers, app.primary_pid) = (Vec::new(), None);
        assert_snapshot!("table_without_workers", plain(&[app], Some(120)));
        assert_snapshot!("table_without_apps", plain(&[], None));
    }

    #[test]
    fn the_list_is_as_long_as_there_are_slots_even_when_they_are_thousands() {
        let app = sample::app("api", 4096);
        assert_eq!(plain(&[app], Some(80)).lines().count(), 4096 + 4);
    }
}
