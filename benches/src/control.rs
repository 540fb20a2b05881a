//! Orders to a primary that takes them on its standard input, and its answers: one line each.
//!
//! The other side is `bin/owner.rs`. An answer that does not come is an error after a while, never a hang.

use crate::error::{Cannot, Failure, Result};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Longest wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The line to one primary. Dropping it asks the primary to stop.
#[derive(Debug)]
pub(crate) struct Control {
    orders: ChildStdin,
    answers: Receiver<String>,
}

impl Control {
    /// Takes the piped input and output of `child`.
    pub(crate) fn of(child: &mut Child) -> Result<Self> {
        let what = || "give orders to a primary".to_owned();
        let missing = || Failure::cannot(what(), "it has no pipes");
        let (orders, output) =
            (child.stdin.take().ok_or_else(missing)?, child.stdout.take().ok_or_else(missing)?);
        let (line, answers) = channel();
        // Ends with the primary, whose output it reads.
        let read = move || {
            let lines = BufReader::new(output).lines().map_while(std::io::Result::ok);
            lines.take_while(|text| line.send(text.clone()).is_ok()).for_each(drop);
        };
        thread::Builder::new().name("answers".into()).spawn(read).cannot(what)?;
        Ok(Self { orders, answers })
    }

    /// Gives an order and waits until it is carried out.
    pub(crate) fn order(&mut self, words: &str) -> Result<()> {
        writeln!(self.orders, "{words}").cannot(|| format!("order a primary to `{words}`"))?;
        self.hear()
    }

    /// Waits for the answer to what was asked for last; starting is the first of it.
    pub(crate) fn hear(&mut self) -> Result<()> {
        let what = || "have an order carried out by a primary".to_owned();
        match self.answers.recv_timeout(ANSWER_LIMIT).as_deref() {
            Ok("done") => Ok(()),
            Ok(other) => Err(Failure::cannot(what(), format!("it says `{other}`"))),
            Err(RecvTimeoutError::Timeout) => Err(Failure::cannot(what(), "it does not answer")),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Failure::cannot(what(), "it has ended, and its log may say why"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::tests::with_children;
    use std::process::{Command, Stdio};

    #[test]
    fn an_order_is_over_when_it_is_answered_and_a_refusal_is_an_error() {
        let _only_one = with_children();
        let script = "echo done; read a; echo done; read b; echo no: $a $b";
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().expect("sh");
        let mut control = Control::of(&mut shell).expect("pipes");
        control.hear().expect("started");
        control.order("one").expect("carried out");
        let refusal = control.order("two").expect_err("refused").to_string();
        assert!(refusal.ends_with("it says `no: one two`"), "{refusal}");
        assert!(shell.wait().expect("the shell ends").success());
        control.hear().expect_err("nobody is there");
    }
}
