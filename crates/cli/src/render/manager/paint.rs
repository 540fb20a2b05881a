//! The colours: PM2's, so that eyes find what they know.

use anstyle::{AnsiColor, Style};
use oneport_wire::control::{ExecMode, Status};

const fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(anstyle::Color::Ansi(colour)))
}

pub(super) const PLAIN: Style = Style::new();
pub(super) const HEAD: Style = colour(AnsiColor::Cyan).bold();
pub(super) const BORDER: Style = colour(AnsiColor::BrightBlack);
pub(super) const GREEN: Style = colour(AnsiColor::Green);
pub(super) const YELLOW: Style = colour(AnsiColor::Yellow);
pub(super) const RED: Style = colour(AnsiColor::Red);
pub(super) const CYAN: Style = colour(AnsiColor::Cyan);
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const INVERSE: Style = Style::new().invert();

/// The text in this style.
pub(super) fn paint(style: Style, text: &str) -> String {
    if style == PLAIN || text.is_empty() { text.to_owned() } else { format!("{style}{text}{style:#}") }
}

/// Of a mode.
pub(super) fn mode_style(mode: ExecMode) -> Style {
    match mode {
        ExecMode::Cluster => colour(AnsiColor::Blue).bold(),
        ExecMode::Fork => INVERSE,
    }
}

/// Of a status: green serves, yellow is on its way, red is gone.
pub(super) fn status_style(status: Status) -> Style {
    match status {
        Status::Online | Status::OneLaunch => GREEN.bold(),
        Status::Launching | Status::Stopping | Status::WaitingRestart => YELLOW.bold(),
        Status::Stopped | Status::Errored => RED.bold(),
    }
}
