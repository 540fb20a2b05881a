//! Every number as it was taken, for whoever wants to calculate differently.
//!
//! `null` stands for a sample that failed; its reason stands beside it.

use super::conditions;
use crate::bench::Bench;
use crate::section::{Row, Section};
use serde_json::{Map, Value, json};

/// The whole document.
pub(super) fn document(bench: &Bench, sections: &[Section]) -> String {
    let all: Vec<Value> = sections.iter().map(|section| value(bench, section)).collect();
    let document = json!({
        "conditions": conditions(bench),
        "rounds": bench.plan.rounds,
        "seed": bench.seed,
        "quick": bench.quick,
        "credits": bench.tools.credits,
        "measurements": all,
    });
    format!("{document:#}\n")
}

fn value(bench: &Bench, section: &Section) -> Value {
    let metrics: Vec<Value> = section
        .measurement
        .metrics
        .iter()
        .map(|metric| {
            let goals = section.judgements(metric, &bench.tools).into_iter().map(|judgement| {
                let measured = section.measured(judgement.peer, metric, judgement.goal);
                json!({
                    "peer": judgement.peer.key(),
                    "goal": super::goal_words(judgement.goal),
                    "measured": measured,
                    "verdict": judgement.verdict.word(),
                })
            });
            json!({
                "key": metric.key,
                "title": metric.title,
                "unit": metric.unit,
                "goals": goals.collect::<Vec<_>>(),
            })
        })
        .collect();
    let samples: Vec<Value> = section.rows.iter().map(sample).collect();
    json!({
        "name": section.measurement.name,
        "load_average": [section.load_before, section.load_after],
        "metrics": metrics,
        "samples": samples,
    })
}

fn sample(row: &Row) -> Value {
    let (values, note, error) = match &row.sample {
        Ok(sample) => {
            let pairs = sample.values().iter().map(|&(key, value)| (key.to_owned(), json!(value)));
            (Value::Object(pairs.collect::<Map<_, _>>()), json!(sample.note), Value::Null)
        }
        Err(failure) => (Value::Null, Value::Null, json!(failure.to_string())),
    };
    json!({ "round": row.round, "peer": row.peer.key(), "values": values, "note": note, "error": error })
}
