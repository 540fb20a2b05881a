//! The project's own tasks. `cargo xtask test` is what CI runs.
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let steps: [&[&str]; 3] = [
        &["fmt", "--all", "--check"],
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &["test", "--workspace"],
    ];
    for step in steps {
        let ran = Command::new("cargo").args(step).status();
        if !ran.is_ok_and(|s| s.success()) {
            eprintln!("error: cannot pass `cargo {}`", step.join(" "));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
