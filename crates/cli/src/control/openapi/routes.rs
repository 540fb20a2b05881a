//! The paths of the document are those of the routers. A router cannot be asked for its routes, so their source is: each
//! has its path beside it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::schema;

/// Where routes are: those of the daemon, of a primary, of both. The daemon's `any` passes on what a primary answers.
const DAEMON: &str = include_str!("../../daemon/routes.rs");
const PRIMARY: &str = include_str!("../../commands/run/managed/request.rs");
const BOTH: &str = include_str!("../server.rs");

type Routes = BTreeSet<(String, String)>;

/// Every method of every path that is routed in this text.
fn routed(source: &str) -> Routes {
    let mut routes = Routes::new();
    let pieces: Vec<&str> = source.split(".route(").skip(1).collect();
    assert!(!pieces.is_empty());
    for piece in pieces {
        let rest = piece.trim_start().strip_prefix('"').expect("a path is written where it is routed");
        let (path, rest) = rest.split_once('"').unwrap();
        // The last one ends with its function.
        let rest = rest.split("\n}").next().unwrap();
        let mut methods = 0;
        for method in ["get", "post", "put", "delete", "any"] {
            if rest.contains(&format!("{method}(")) {
                methods += 1;
                routes.insert((method.to_owned(), path.to_owned()));
            }
        }
        assert!(methods > 0, "{path} has no method");
    }
    routes
}

fn told(document: &Value) -> Routes {
    let mut routes = Routes::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        routes.extend(methods.map(|method| (method.clone(), path.clone())));
    }
    routes
}

#[test]
fn every_route_is_told_and_nothing_else() {
    let mut there = routed(DAEMON);
    there.extend(routed(PRIMARY));
    there.extend(routed(BOTH));
    there.retain(|(method, _)| method != "any");
    assert_eq!(told(&schema::document()), there);
    assert_eq!(there.len(), 27);
}

#[test]
fn what_is_in_a_path_is_a_parameter_and_every_operation_has_a_name_of_its_own() {
    let document = schema::document();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let parts = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parts: BTreeSet<&str> = parts.collect();
        let told = item["parameters"].as_array().into_iter().flatten();
        let told: BTreeSet<&str> = told.map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(parts, told, "{path}");
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            assert!(operation["responses"]["200"].is_object(), "{method} {path}");
        }
    }
}

/// Every name leads somewhere, and no schema is there for nobody.
#[test]
fn every_schema_is_used() {
    fn collect(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| collect(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = schema::document();
    let mut used = BTreeSet::new();
    collect(&document, &mut used);
    for path in &used {
        assert!(document.pointer(path.trim_start_matches('#')).is_some(), "{path}");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(used.contains(&format!("#/components/schemas/{name}")), "{name}");
    }
}
