//! Seeds of the fuzz targets out of the recorded conversations of `crates/wire/tests/transcripts`: their lines one by one,
//! and whole with a head that says how they arrive.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// What `Plan` of `fuzz/src/lib.rs` reads before the body: a mode, a limit beyond any line, six sizes of reads.
const HEADS: [[u8; 8]; 4] = [
    [0b000, 255, 0, 255, 40, 3, 90, 7],
    [0b001, 255, 0, 255, 40, 3, 90, 7],
    [0b010, 255, 11, 80, 199, 255, 0, 33],
    [0b011, 255, 11, 80, 199, 255, 0, 33],
];

/// Lines of one direction of one recorded conversation.
type Side = Vec<String>;

/// Writes the seeds that come from transcripts. The same names each time, so nothing piles up.
pub(super) fn write(corpus: &Path) -> Result<()> {
    let (mut worker, mut primary) = (Vec::new(), Vec::new());
    let transcripts = shell::root().join("crates/wire/tests/transcripts");
    for major in listed(&transcripts)? {
        for scenario in listed(&major)? {
            let text = fs::read_to_string(&scenario)
                .with_context(|| format!("cannot read `{}`", scenario.display()))?;
            let sides = sides(&text).with_context(|| format!("cannot read `{}`", scenario.display()))?;
            worker.push(sides.0);
            primary.push(sides.1);
        }
    }
    for (name, sides) in [("from_worker", &worker), ("from_primary", &primary)] {
        let lines = sides.iter().flatten().map(|line| line.clone().into_bytes());
        put(corpus, &[name, "values"], name, unlike(lines))?;
    }
    for (name, sides, heads) in
        [("worker", &worker, [HEADS[0], HEADS[2]]), ("primary", &primary, [HEADS[1], HEADS[3]])]
    {
        let whole = sides.iter().filter(|lines| !lines.is_empty()).map(|lines| lines.join("\n") + "\n");
        for (body, n) in unlike(whole.map(String::into_bytes)).iter().zip(0..) {
            for (head, mode) in heads.iter().zip(0..) {
                let input = vec![[head, &body[..]].concat()];
                put(corpus, &["framing", "pairing"], &format!("{name}-{n:02}-{mode}"), input)?;
            }
        }
    }
    Ok(())
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read `{}`", dir.display()))?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// What the workers said and what the primary said. The first record is about the file.
fn sides(text: &str) -> Result<(Side, Side)> {
    let (mut worker, mut primary) = (Vec::new(), Vec::new());
    for record in text.lines().skip(1) {
        let record: serde_json::Value = serde_json::from_str(record)?;
        let line = record["line"].as_str().context("a record has no line")?.to_owned();
        match record["from"].as_str() {
            Some("worker") => worker.push(line),
            Some("primary") => primary.push(line),
            other => bail!("nobody is called {other:?}"),
        }
    }
    Ok((worker, primary))
}

/// One of those that differ in nothing but digits.
fn unlike(inputs: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let shape = |input: &[u8]| {
        let mut shape: Vec<u8> =
            input.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte }).collect();
        shape.dedup_by(|a, b| *a == b'0' && *b == b'0');
        shape
    };
    inputs.map(|input| (shape(&input), input)).collect::<BTreeMap<_, _>>().into_values().collect()
}

pub(super) fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))
}

fn put(corpus: &Path, targets: &[&str], name: &str, inputs: Vec<Vec<u8>>) -> Result<()> {
    for target in targets {
        let dir = corpus.join(target);
        make(&dir)?;
        for (n, input) in inputs.iter().enumerate() {
            let path = dir.join(format!("{name}-{n:03}"));
            fs::write(&path, input).with_context(|| format!("cannot write `{}`", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_cut_into_its_two_sides() {
        let text = r#"{"node": "v22", "scenario": "rr"}
{"worker": 1, "from": "worker", "handle": false, "line": "{\"a\":1}"}
{"worker": 1, "from": "primary", "handle": false, "line": "2"}"#;
        assert_eq!(sides(text).unwrap(), (vec![r#"{"a":1}"#.to_owned()], vec!["2".to_owned()]));
        assert!(sides("\n{}").is_err());
    }

    #[test]
    fn what_differs_in_digits_is_one_seed() {
        let inputs = ["port 80", "port 18080", "port x"].map(|text| text.as_bytes().to_vec());
        assert_eq!(unlike(inputs.into_iter()), [b"port 18080".to_vec(), b"port x".to_vec()]);
    }
}
