//! JavaScript files of every temper.

use super::*;
use crate::config::tests::{Dir, told};

fn execute(name: &str, text: &str, deadline: Duration) -> (Result<String, String>, Vec<String>) {
    let dir = Dir::new();
    let file = dir.file(name, text);
    let source = Source { name: name.to_owned(), text: text.to_owned() };
    let mut notes = Notes::default();
    let tree = run(&file, &source, &mut notes, "node", deadline);
    let tree = tree.map(|tree| tree.to_json().to_string()).map_err(|failure| dir.plain(&told(&failure)));
    (tree, notes.into_lines(&source))
}

fn exports(name: &str, text: &str) -> Result<String, String> {
    execute(name, text, DEADLINE).0
}

#[test]
fn every_kind_of_module_is_read() {
    let json = Ok(r#"{"apps":[{"script":"x"}]}"#.to_owned());
    assert_eq!(exports("a.config.js", "module.exports = { apps: [{ script: 'x' }] }"), json);
    assert_eq!(exports("a.config.cjs", "exports.apps = [{ script: 'x' }]"), json);
    assert_eq!(exports("a.config.mjs", "export default { apps: [{ script: 'x' }] }"), json);
    assert_eq!(exports("a.config.mjs", "export const apps = [{ script: 'x' }]"), json);
    assert_eq!(exports("a.config.mjs", "export default Promise.resolve({ apps: [{ script: 'x' }] })"), json);
    let timer = "setInterval(() => {}, 1000); module.exports = { apps: [{ script: 'x' }] }";
    assert_eq!(exports("a.config.js", timer), json);
}

#[test]
fn what_json_has_no_word_for_becomes_text_or_nothing() {
    let text = "module.exports = { a: NaN, b: 10n, c: /x\\.y/, d: undefined, e: () => 1, f: -Infinity }";
    let json = r#"{"a":"NaN","b":"10","c":"x\\.y","f":"-Infinity"}"#;
    assert_eq!(exports("a.config.js", text), Ok(json.to_owned()));
}

#[test]
fn what_it_prints_is_told_and_does_not_disturb() {
    let text =
        "console.log('{\"apps\": 1}'); require('fs').writeSync(1, 'garbage'); module.exports = { apps: [] }";
    let (tree, notes) = execute("a.config.js", text, DEADLINE);
    assert_eq!(tree, Ok(r#"{"apps":[]}"#.to_owned()));
    assert_eq!(notes, [r#"`a.config.js` says: {"apps": 1}"#]);
}

#[test]
fn one_that_throws_shows_what_node_said() {
    let told = exports("a.config.js", "// one\nmodule.exports = { apps: [{ script: nope }] }").unwrap_err();
    assert!(told.starts_with("error: cannot read `a.config.js` with node: it ended with code 1"), "{told}");
    assert!(told.contains("a.config.js:2") && told.contains("ReferenceError: nope"), "{told}");
    let told = exports("a.config.js", "module.exports = {").unwrap_err();
    assert!(told.contains("SyntaxError"), "{told}");
    let told = exports("a.config.js", "const a = {}; a.a = a; module.exports = a").unwrap_err();
    assert!(told.contains("circular"), "{told}");
}

#[test]
fn one_that_ends_the_process_is_told_of() {
    let start = "error: cannot read `a.config.js` with node: it ended with code";
    let told = exports("a.config.js", "process.exit(0)").unwrap_err();
    assert_eq!(told, format!("{start} 0 before it had exported anything"));
    let told = exports("a.config.mjs", "await new Promise(() => {})").unwrap_err();
    assert!(told.contains("ended with code 13 before"), "{told}");
    let told = exports("a.config.js", "process.kill(process.pid, 'SIGKILL')").unwrap_err();
    assert!(told.contains("was killed by signal 9"), "{told}");
}

#[test]
fn one_that_exports_no_object_is_told_of() {
    let told = exports("a.config.js", "module.exports = () => ({ apps: [] })").unwrap_err();
    assert!(
        told.starts_with(
            "error: cannot read `a.config.js` with node: it exports a function, no object\n hint: "
        ),
        "{told}"
    );
    assert!(exports("a.config.js", "module.exports = null").unwrap_err().contains("it exports nothing, no"));
    assert!(exports("a.config.js", "module.exports = 'x'").unwrap_err().contains("it exports a string, no"));
}

#[test]
fn one_that_hangs_is_ended() {
    let short = Duration::from_millis(300);
    let (tree, _) = execute("a.config.js", "for (;;);", short);
    assert_eq!(tree.unwrap_err(), "error: cannot read `a.config.js` with node: it did not end within 300ms");
    let (tree, _) =
        execute("a.config.mjs", "setInterval(() => {}, 1000); await new Promise(() => {})", short);
    assert!(tree.unwrap_err().contains("did not end within"));
}

#[test]
fn one_that_prints_without_end_is_bounded() {
    let endless =
        "const fs = require('fs'); for (;;) { try { fs.writeSync(1, 'x'.repeat(65536)) } catch {} }";
    assert!(exports("a.config.js", endless).unwrap_err().contains("it printed more than 1 MiB"));
    let complaint = "for (let n = 0; n < 3000; n++) console.error('x'.repeat(1000)); throw 1";
    assert!(exports("a.config.js", complaint).unwrap_err().len() < 4096);
    assert!(
        exports("a.config.js", "module.exports = { a: 'x'.repeat(2 << 20) }").unwrap_err().contains("1 MiB")
    );
    let deep = "let a = []; for (let n = 0; n < 100; n++) a = [a]; module.exports = { a }";
    assert!(exports("a.config.js", deep).unwrap_err().contains("64"));
    let deep = "let a = []; for (let n = 0; n < 1000; n++) a = [a]; module.exports = { a }";
    assert!(exports("a.config.js", deep).is_err());
}

#[test]
fn children_that_hold_its_output_are_not_waited_for() {
    let text =
        "const child = require('child_process').spawn('sleep', ['30'], { stdio: 'inherit', detached: true });
                child.unref(); module.exports = { pid: child.pid }";
    let begun = Instant::now();
    let answer = exports("a.config.js", text).unwrap();
    assert!(begun.elapsed() < DEADLINE);
    let child = answer.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(child).unwrap(), rustix::process::Signal::KILL).unwrap();
}

#[test]
fn without_node_another_format_is_proposed() {
    let dir = Dir::new();
    let file = dir.file("a.config.js", "");
    let source = Source { name: "a.config.js".to_owned(), text: String::new() };
    let failure = run(&file, &source, &mut Notes::default(), "no-such-node", DEADLINE).unwrap_err();
    assert_eq!(
        told(&failure),
        "error: cannot read `a.config.js` with node: `node` is not in PATH\n hint: write the configuration as oneport.toml, JSON or YAML"
    );
}

#[test]
fn mistakes_in_what_it_exports_are_shown_where_the_word_stands() {
    let dir = Dir::new();
    let text = "const n = 'many';\nmodule.exports = {\n  apps: [{ name: 'web', script: 'x', instances: n, instnaces: 1 }],\n};\n";
    let told = dir.read("a.config.js", text, &Default::default()).unwrap_err();
    assert!(
        told.contains("cannot use `instances` of app `web` in `a.config.js`: expected a number"),
        "{told}"
    );
    assert!(told.contains("\n3 |   apps: [{ name: 'web', script: 'x', instances: n,"), "{told}");
    let text = text.replace(": n", ": 2");
    let loaded = dir.read("a.config.js", text, &Default::default()).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "`a.config.js` was executed with node to read it",
            "a.config.js:3:52: unknown key `instnaces`: did you mean `instances`?"
        ]
    );
}
