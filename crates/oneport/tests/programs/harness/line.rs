//! The line between a test and a copy of its program: orders to its standard input, facts from its standard output.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, channel};

use oneport::Output;
use oneport_sys::foreign::Blocking;
use oneport_sys::lane::set_blocking;

use super::PATIENCE;
use crate::acts::{FACT, PLAYED};

pub(super) struct Line {
    orders: File,
    facts: Receiver<String>,
    played: bool,
}

impl Line {
    pub(super) fn new(output: Output) -> Option<Line> {
        let (orders, facts) = (output.stdin?, output.stdout?);
        for end in [&orders, &facts] {
            set_blocking(end.as_fd(), Blocking::Waits).unwrap();
        }
        let (sender, received) = channel();
        // Ends with the last process that holds the other end.
        std::thread::spawn(move || {
            for line in BufReader::new(File::from(facts)).lines().map_while(Result::ok) {
                // The framework writes `test name ... ` without ending the line.
                if let Some((_, fact)) = line.split_once(FACT)
                    && sender.send(fact.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Some(Line { orders: File::from(orders), facts: received, played: false })
    }

    pub(super) fn tell(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// What the next step came to.
    pub(super) fn fact(&mut self) -> String {
        self.facts.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("the program told nothing: {error}"))
    }

    /// The rest of what the script came to; nothing if that was heard.
    pub(super) fn played(&mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while !self.played {
            let fact = self.fact();
            self.played = fact == PLAYED;
            rest.push(fact);
        }
        rest.pop();
        rest
    }
}
