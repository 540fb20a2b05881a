//! A Rust program that is the primary of Node workers and takes orders: what `oneport run` has no order for, the library has.
//!
//! One line in is an order, one line out says that it is carried out: `done`, or why not. The first `done` says that all
//! workers serve. One that joins others does so when it is proven, not when it is ready. The end of its input stops it in
//! order.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use oneport::{Cluster, Event, Events, Policy, Settings, Stdio, TierChoice, WorkerId};

/// The primary of Node workers, at the orders of its standard input: `scale N`, `reload`.
#[derive(Debug, Parser)]
struct Args {
    /// Workers at the start
    #[arg(short, long, value_name = "N")]
    instances: u32,
    /// How connections are shared out among them
    #[arg(long, value_enum)]
    policy: Wish,
    /// The tier of `least` [default: the best there is]
    #[arg(long, value_enum)]
    tier: Option<Tier>,
    /// The script that is a worker
    script: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wish {
    Rr,
    Shared,
    Hash,
    Least,
    Sticky,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tier {
    A,
    B,
    C,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("owner: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let (cluster, events) = Cluster::start(settings(args)?)?;
    let mut crew = Crew { events, living: BTreeSet::new(), proven: BTreeSet::new() };
    cluster.scale(args.instances)?;
    answer(crew.until_there_are(args.instances))?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["scale", number] => {
                let number = number.parse()?;
                cluster.scale(number)?;
                answer(crew.until_there_are(number))?;
            }
            ["reload"] => {
                cluster.reload()?;
                answer(crew.until_reloaded())?;
            }
            _ => answer(Err(format!("no order `{line}`: one of `scale N`, `reload`")))?,
        }
    }
    cluster.stop()?;
    while crew.next().is_ok() {}
    Ok(())
}

fn settings(args: &Args) -> Result<Settings, Box<dyn Error>> {
    let mut settings = Settings::new(&args.script);
    // This program's own output is for answers.
    settings.stdout = Stdio::Null;
    settings.conduct.policy = match args.policy {
        Wish::Rr => Policy::RoundRobin,
        Wish::Shared => Policy::Shared,
        Wish::Hash => Policy::Hash,
        Wish::Least => Policy::Least,
        Wish::Sticky => Policy::Sticky,
    };
    settings.tier = match args.tier {
        None => TierChoice::Best,
        Some(Tier::A) => TierChoice::A,
        Some(Tier::B) => TierChoice::B,
        Some(Tier::C) => TierChoice::C,
    };
    Ok(settings)
}

fn answer(carried_out: Result<(), String>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", carried_out.err().unwrap_or_else(|| "done".to_owned()))?;
    out.flush()
}

/// The workers, as far as events tell of them.
struct Crew {
    events: Events,
    living: BTreeSet<WorkerId>,
    proven: BTreeSet<WorkerId>,
}

impl Crew {
    /// The next event, after it has been taken into account.
    fn next(&mut self) -> Result<Event, String> {
        let event = self.events.blocking_recv().ok_or("the primary has ended")?;
        if let Event::Fork { worker, .. } = &event {
            self.living.insert(worker.id());
        }
        if let Event::Proven { worker } = &event {
            self.proven.insert(worker.id());
        }
        if let Event::Exit { worker, .. } = &event {
            self.living.remove(&worker.id());
            self.proven.remove(&worker.id());
        }
        if let Event::Errored { .. } = &event {
            return Err("a worker keeps ending".to_owned());
        }
        Ok(event)
    }

    fn until_there_are(&mut self, number: u32) -> Result<(), String> {
        while [&self.living, &self.proven].iter().any(|workers| workers.len() != number as usize) {
            self.next()?;
        }
        Ok(())
    }

    fn until_reloaded(&mut self) -> Result<(), String> {
        loop {
            let event = self.next()?;
            if let Event::ReloadDone { .. } = event {
                return Ok(());
            }
            if let Event::ReloadAborted { failure, .. } = event {
                return Err(format!("the reload was given up: {failure:?}"));
            }
        }
    }
}
