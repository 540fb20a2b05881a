//! No text makes a reader panic.

use proptest::prelude::*;

use super::*;

/// Pieces of all three formats, so that more than the first letter is looked at.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "'",
    "\"",
    "\n",
    "\n  ",
    "- ",
    "#",
    "//",
    "/*",
    "*/",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "|",
    ">",
    "---",
    "...",
    "%",
    "? ",
    "=",
    ".",
    "[[app]]\n",
    "[app]\n",
    "[defaults]\n",
    "apps",
    "script",
    "name",
    "env",
    "env_x",
    "instances",
    "x",
    "1",
    "-1",
    "1e999",
    "0x",
    "true",
    "null",
    "log_rotate",
    "watch_options",
    "args",
    "cwd",
    "~/..",
    "\\u0000",
    "\u{fc}",
    "\u{1f600}",
    "\u{feff}",
    "\r\n",
    "\t",
    "\u{202e}",
    "cron_restart",
    "ports",
    "stop_signal",
    "pm2",
    "uid",
];

fn any_text() -> impl Strategy<Value = String> {
    let pieces = proptest::collection::vec(proptest::sample::select(PIECES), 0..60);
    prop_oneof![any::<String>(), pieces.prop_map(|pieces| pieces.concat())]
}

/// Texts that are right, with something put in or taken out.
fn nearly_right() -> impl Strategy<Value = String> {
    const RIGHT: &[&str] = &[
        TOML,
        "{apps: [{script: 'x', env: {A: 1}, env_x: {B: 2}, watch: ['a'], log_rotate: {keep: 1}, args: 'a b'}]}",
        "apps:\n  - &a\n    script: x\n    env:\n      A: 1\n  - <<: *a\n    name: y\n    args: [1, two]\n",
    ];
    (
        proptest::sample::select(RIGHT),
        any::<proptest::sample::Index>(),
        0..8_usize,
        proptest::sample::select(PIECES),
    )
        .prop_map(|(text, at, cut, piece)| {
            let at = at.index(text.len() + 1);
            let letters: Vec<_> = text.chars().collect();
            let at = at.min(letters.len());
            let behind = letters.iter().skip(at + cut);
            letters.iter().take(at).copied().chain(piece.chars()).chain(behind.copied()).collect()
        })
}

fn try_all(text: &str) {
    let how = Reading { env: Some("x".to_owned()), ..Reading::default() };
    let dir = Path::new("/srv");
    for dialect in [Dialect::Own, Dialect::Pm2] {
        let source = Source { name: "x".to_owned(), text: text.to_owned() };
        for reader in [json::read, yaml::read, toml::read] {
            let mut notes = Notes::default();
            let found = reader(&source).and_then(|tree| understood(&tree, dialect, dir, &how, &mut notes));
            assert!(notes.into_lines(&source).len() <= 22);
            match found {
                Ok(apps) => {
                    assert!(!apps.is_empty());
                    for app in apps {
                        assert!(!app.spec.name.is_empty() && !app.spec.script.is_empty());
                        assert!(app.spec.cwd.is_some_and(|cwd| cwd.starts_with('/')));
                    }
                }
                Err(problem) => assert!(told(&problem.into_failure(&source)).len() < 4000),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_reader_panic(text in any_text()) {
        try_all(&text);
    }

    #[test]
    fn nor_does_one_that_is_nearly_right(text in nearly_right()) {
        try_all(&text);
    }
}
