//! `monit`: one frame of a table that is drawn again and again. One row for each app, all of them together,
//! and the host.

use oneport_wire::control::{AppView, JobState, Status, StepState};

use super::grid::{Cell, Grid};
use super::letters::{cut, shown};
use super::paint::{BOLD, GREEN, HEAD, PLAIN, RED, YELLOW, paint};
use super::rows::{cpu, memory, ports, uptime};
use super::table::NOTHING;
use super::units;

/// What the caller knows of the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Host {
    /// The load of the last 1, 5 and 15 minutes.
    pub(crate) load: [f32; 3],
    pub(crate) cpus: usize,
    /// In bytes.
    pub(crate) memory_used: u64,
    pub(crate) memory_total: u64,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Columns of the longest name, and of the shortest.
const NAME: (usize, usize) = (40, 4);
/// Columns of other values.
const LONGEST_VALUE: usize = 24;
/// Lines that are no app: two above, four of the table, one for all together, one for those left out, one for
/// the cursor.
const OTHER_LINES: usize = 9;

/// Sums of one app, or of all.
#[derive(Clone, Copy, Default)]
struct Sums {
    slots: usize,
    online: usize,
    wanted: u64,
    restarts: u64,
    cpu: f32,
    memory: u64,
    connections: u64,
}

impl Sums {
    fn of(app: &AppView) -> Sums {
        let mut sums = Sums { slots: app.workers.len(), wanted: u64::from(app.instances), ..Sums::default() };
        for worker in &app.workers {
            sums.online += match worker.status {
                Status::Online | Status::OneLaunch => 1,
                Status::Launching
                | Status::Stopping
                | Status::Stopped
                | Status::Errored
                | Status::WaitingRestart => 0,
            };
            sums.restarts = sums.restarts.saturating_add(u64::from(worker.restarts));
            sums.cpu += cpu(worker);
            sums.memory = sums.memory.saturating_add(memory(worker));
            sums.connections = sums.connections.saturating_add(worker.connections.unwrap_or(0));
        }
        sums
    }

    fn and(self, other: Sums) -> Sums {
        Sums {
            slots: self.slots + other.slots,
            online: self.online + other.online,
            wanted: self.wanted.saturating_add(other.wanted),
            restarts: self.restarts.saturating_add(other.restarts),
            cpu: self.cpu + other.cpu,
            memory: self.memory.saturating_add(other.memory),
            connections: self.connections.saturating_add(other.connections),
        }
    }

    /// Online of those that are wanted: green when it is all of them, red when it is none.
    fn online(self) -> Cell {
        let style = match u64::try_from(self.online).unwrap_or(u64::MAX) {
            online if online >= self.wanted => GREEN,
            0 => RED,
            _ => YELLOW,
        };
        Cell::styled(format!("{}/{}", self.online, self.wanted), style)
    }
}

/// One frame, without cursor movement. Without a screen it is as large as it needs to be.
pub(crate) fn monit(apps: &[AppView], host: Option<&Host>, screen: Option<Screen>, now_ms: u64) -> String {
    let mut apps: Vec<&AppView> = apps.iter().collect();
    apps.sort_by(|a, b| a.name.cmp(&b.name));
    let all = apps.iter().fold(Sums::default(), |sums, app| sums.and(Sums::of(app)));
    let room = screen.map_or(usize::MAX, |screen| screen.height.saturating_sub(OTHER_LINES).max(1));
    let left_out = apps.len().saturating_sub(room);
    let mut head = vec![format!(
        "{}  {} apps, {} slots, {} online",
        units::moment(now_ms),
        apps.len(),
        all.slots,
        all.online
    )];
    head.extend(host.map(host_line));
    let most = screen.map_or(usize::MAX, |screen| screen.width);
    let mut out: String = head.iter().map(|line| format!("{}\n", paint(BOLD, &cut(line, most)))).collect();
    apps.truncate(room);
    out += &grid(&apps, all, screen, now_ms).draw();
    if left_out > 0 {
        out += &format!("{}\n", cut(&format!("and {left_out} more"), most));
    }
    out
}

/// Draws a frame over the one before. It has to be written as it is.
pub(crate) fn in_place(frame: &str) -> String {
    let lines: String = frame.lines().map(|line| format!("{line}\x1b[K\r\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

fn host_line(host: &Host) -> String {
    let [one, five, fifteen] = host.load;
    let cpus = if host.cpus == 1 { "1 CPU".to_owned() } else { format!("{} CPUs", host.cpus) };
    format!(
        "load {one:.2} {five:.2} {fifteen:.2} on {cpus}, memory {} of {}",
        units::memory(host.memory_used),
        units::memory(host.memory_total)
    )
}

fn grid(apps: &[&AppView], all: Sums, screen: Option<Screen>, now_ms: u64) -> Grid {
    let full = full_grid(apps, all, now_ms);
    match screen {
        Some(screen) if full.width() > screen.width => {
            let mut bare = bare_grid(apps, all);
            bare.squeeze(0, screen.width, NAME.1);
            bare
        }
        Some(_) | None => full,
    }
}

fn full_grid(apps: &[&AppView], all: Sums, now_ms: u64) -> Grid {
    let mut grid = Grid::with_heads(vec![
        "name", "online", "cpu", "mem", "conns", "↺", "uptime", "port", "policy", "now",
    ]);
    for app in apps {
        let youngest = app.workers.iter().filter_map(|worker| uptime(worker, now_ms)).min();
        let mut row = sums_row(app, Sums::of(app));
        row.extend([
            Cell::new(Sums::of(app).restarts.to_string()),
            Cell::new(youngest.map_or_else(|| "0".to_owned(), units::uptime)),
            Cell::new(shown(ports(app).as_deref().unwrap_or(NOTHING), LONGEST_VALUE)),
            Cell::new(shown(&app.policy, LONGEST_VALUE)),
            now(app),
        ]);
        grid.push(row);
    }
    let mut row = total_row(all);
    row.push(Cell::new(all.restarts.to_string()));
    grid.push(row);
    grid
}

fn bare_grid(apps: &[&AppView], all: Sums) -> Grid {
    let mut grid = Grid::with_heads(vec!["name", "online", "cpu", "mem", "conns"]);
    apps.iter().for_each(|app| grid.push(sums_row(app, Sums::of(app))));
    grid.push(total_row(all));
    grid
}

fn sums_row(app: &AppView, sums: Sums) -> Vec<Cell> {
    sums_cells(Cell::styled(shown(&app.name, NAME.0), HEAD), sums)
}

fn total_row(all: Sums) -> Vec<Cell> {
    sums_cells(Cell::styled("all", BOLD), all)
}

fn sums_cells(name: Cell, sums: Sums) -> Vec<Cell> {
    vec![
        name,
        sums.online(),
        Cell::new(units::cpu(sums.cpu)),
        Cell::new(units::memory(sums.memory)),
        Cell::new(sums.connections.to_string()),
    ]
}

/// What is being done with it.
fn now(app: &AppView) -> Cell {
    match &app.job {
        Some(job) if job.state == JobState::Running => {
            let done = job.steps.iter().filter(|step| step.state == StepState::Done).count();
            Cell::styled(format!("{} {done}/{}", job.kind.word(), job.steps.len()), YELLOW)
        }
        Some(_) | None if app.primary_pid.is_none() => Cell::styled("primary starts again", RED),
        Some(_) | None => Cell::styled(NOTHING, PLAIN),
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use insta::assert_snapshot;
    use oneport_wire::control::JobKind;

    use super::super::letters::columns;
    use super::super::sample;
    use super::*;

    const HOST: Host =
        Host { load: [0.52, 0.4, 0.314], cpus: 2, memory_used: 1_300_000_000, memory_total: 4_000_000_000 };

    fn frame(apps: &[AppView], screen: Option<(usize, usize)>) -> String {
        let screen = screen.map(|(width, height)| Screen { width, height });
        strip_str(&monit(apps, Some(&HOST), screen, sample::NOW)).to_string()
    }

    #[test]
    fn a_frame_has_sums_of_each_app_and_of_all() {
        let mut apps = sample::several();
        apps[1].job = Some(sample::job(JobKind::Reload, &[StepState::Done, StepState::Proving]));
        apps[2].primary_pid = None;
        assert_snapshot!("monit", frame(&apps, None));
        assert_snapshot!("monit_narrow", frame(&apps, Some((60, 24))));
        assert_snapshot!("monit_empty", frame(&[], Some((80, 24))));
    }

    #[test]
    fn no_frame_is_larger_than_the_screen() {
        let apps: Vec<AppView> =
            (0..100).map(|n| sample::app(&format!("app-{n}-{}", "x".repeat(n)), 1)).collect();
        for (width, height) in [(48, 10), (60, 11), (80, 24), (200, 50), (200, 200)] {
            let text = frame(&apps, Some((width, height)));
            assert!(text.lines().count() < height, "{height}:\n{text}");
            assert!(text.lines().all(|line| columns(line) <= width), "{width}:\n{text}");
        }
        assert!(frame(&apps, Some((80, 24))).ends_with("and 85 more\n"));
    }

    #[test]
    fn a_frame_is_drawn_over_the_one_before() {
        assert_eq!(in_place("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
    }

    #[test]
    fn sums_of_absurd_figures_do_not_overflow() {
        let mut app = sample::app("api", 2);
        for worker in &mut app.workers {
            (worker.memory, worker.connections) = (Some(u64::MAX), Some(u64::MAX));
            (worker.cpu, worker.restarts) = (Some(f32::MAX), u32::MAX);
        }
        assert!(frame(&[app], None).contains(&u64::MAX.to_string()));
    }
}
