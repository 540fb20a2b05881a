//! As much of JSON Schema as `docs/openapi.json` uses. What it does not know is an error: a word that is not looked at
//! would hold nobody to anything.

use serde_json::{Map, Value};

/// Words that say nothing about values.
const REMARKS: [&str; 3] = ["description", "examples", "x-secret"];

/// The whole document.
pub(super) fn document() -> Value {
    serde_json::from_str(include_str!("../../../../../docs/openapi.json")).unwrap()
}

/// The schema of this name.
pub(super) fn named(document: &Value, name: &str) -> Value {
    let schema = &document["components"]["schemas"][name];
    assert!(schema.is_object(), "there is no schema `{name}`");
    schema.clone()
}

/// The schema that is meant, itself or by its name.
pub(super) fn meant<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(path) => {
            let found = document.pointer(path.trim_start_matches('#'));
            meant(document, found.unwrap_or_else(|| panic!("{path} leads nowhere")))
        }
        None => schema,
    }
}

/// Why a value is not as the schema says.
pub(super) fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = meant(document, schema);
    let words = schema.as_object().ok_or("a schema is an object")?;
    for (word, says) in words {
        let done = match word.as_str() {
            remark if REMARKS.contains(&remark) => Ok(()),
            "type" => of_type(says, value),
            "enum" => match says.as_array().is_some_and(|known| known.contains(value)) {
                true => Ok(()),
                false => Err(format!("{value} is none of {says}")),
            },
            "minimum" => number(value, says, |is, bound| is >= bound),
            "maximum" => number(value, says, |is, bound| is <= bound),
            "items" => value.as_array().into_iter().flatten().try_for_each(|one| check(document, says, one)),
            "oneOf" => one_of(document, says, value),
            "required" => required(says, value),
            "properties" => properties(document, words, value),
            "additionalProperties" => additional(document, words, value),
            other => panic!("`{other}` is not understood"),
        };
        done.map_err(|why| format!("{word}: {why}"))?;
    }
    Ok(())
}

fn of_type(says: &Value, value: &Value) -> Result<(), String> {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("null") => value.is_null(),
        _ => panic!("{name} is no type"),
    };
    let fits = says.as_array().map_or_else(|| is(says), |names| names.iter().any(is));
    if fits { Ok(()) } else { Err(format!("{value} is no {says}")) }
}

fn number(value: &Value, bound: &Value, fits: impl Fn(f64, f64) -> bool) -> Result<(), String> {
    match (value.as_f64(), bound.as_f64()) {
        (Some(is), Some(bound)) if !fits(is, bound) => Err(format!("{is} is beyond {bound}")),
        _ => Ok(()),
    }
}

fn one_of(document: &Value, says: &Value, value: &Value) -> Result<(), String> {
    let choices = says.as_array().map_or(&[][..], Vec::as_slice);
    match choices.iter().filter(|choice| check(document, choice, value).is_ok()).count() {
        1 => Ok(()),
        n => Err(format!("{n} of them fit {value}")),
    }
}

fn required(says: &Value, value: &Value) -> Result<(), String> {
    let Some(object) = value.as_object() else { return Ok(()) };
    let names = says.as_array().into_iter().flatten().filter_map(Value::as_str);
    match names.into_iter().find(|name| !object.contains_key(*name)) {
        Some(name) => Err(format!("`{name}` is missing")),
        None => Ok(()),
    }
}

fn properties(document: &Value, words: &Map<String, Value>, value: &Value) -> Result<(), String> {
    let Some((object, known)) = value.as_object().zip(words["properties"].as_object()) else { return Ok(()) };
    for (name, value) in object {
        if let Some(schema) = known.get(name) {
            check(document, schema, value).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    Ok(())
}

fn additional(document: &Value, words: &Map<String, Value>, value: &Value) -> Result<(), String> {
    let known = words.get("properties").and_then(Value::as_object);
    let unknown = value.as_object().into_iter().flatten();
    let mut unknown = unknown.filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
    let says = &words["additionalProperties"];
    unknown.try_for_each(|(name, value)| {
        if *says == Value::Bool(false) {
            return Err(format!("`{name}` is not known"));
        }
        check(document, says, value).map_err(|why| format!("{name}: {why}"))
    })
}
