//! Commands: shown before they run, their output shown while they run and kept for reading.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// `cargo` as it started us, in the root of the repository.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

/// The command line as a person would type it.
pub(crate) fn spelled(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    std::iter::once(name)
        .chain(command.get_args().map(|word| word.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn announce(command: &Command) {
    println!("$ {}", spelled(command));
}

/// Runs a command; its failure is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    ensure!(succeeds(command)?, "cannot pass `{}`", spelled(command));
    Ok(())
}

/// Runs a command and says whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    announce(command);
    let status = command.status().with_context(|| format!("cannot start `{}`", spelled(command)))?;
    Ok(status.success())
}

/// What a command that was shown while it ran has said.
pub(crate) struct Told {
    /// Did it succeed?
    pub(crate) success: bool,
    /// Its stdout and stderr, lines in the order in which they were read, without colours.
    pub(crate) text: String,
}

/// Runs a command, shows its output and keeps it.
pub(crate) fn tee(command: &mut Command) -> Result<Told> {
    announce(command);
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.with_context(|| format!("cannot start `{}`", spelled(command)))?;
    let text = Arc::new(Mutex::new(String::new()));
    let out = child.stdout.take().map(|stream| follow(stream, Arc::clone(&text)));
    let err = child.stderr.take().map(|stream| follow(stream, Arc::clone(&text)));
    let status = child.wait().with_context(|| format!("cannot wait for `{}`", spelled(command)))?;
    for reader in [out, err].into_iter().flatten() {
        // A reader that panicked has printed why.
        drop(reader.join());
    }
    let text = text.lock().map_or_else(|e| e.into_inner().clone(), |text| text.clone());
    Ok(Told { success: status.success(), text })
}

fn follow(stream: impl Read + Send + 'static, text: Arc<Mutex<String>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let shown = String::from_utf8_lossy(&line).into_owned();
            print!("{shown}");
            // Nobody can be told that the terminal is gone.
            drop(std::io::stdout().flush());
            if let Ok(mut text) = text.lock() {
                text.push_str(&without_colours(&shown));
            }
            line.clear();
        }
    })
}

/// Text without the escape sequences that colour it.
pub(crate) fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\x1b' {
            // A sequence ends with its first letter.
            letters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(letter);
        }
    }
    plain
}

/// The first line a command prints, or nothing if it cannot be run.
pub(crate) fn first_line(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

/// Is there a program of this name in `PATH`?
pub(crate) fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Are we a CI run? (`CI=true`, as every CI system sets it)
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_removed_and_nothing_else() {
        assert_eq!(without_colours("\x1b[32;1mok\x1b[0m [1.0s] é"), "ok [1.0s] é");
        assert_eq!(without_colours("plain"), "plain");
        assert_eq!(without_colours("cut \x1b[3"), "cut ");
    }
}
