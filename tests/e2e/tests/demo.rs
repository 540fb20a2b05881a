//! `oneport demo`: thousands of requests through a reload and a killed worker, none lost.

use oneport_e2e::run::oneport;

#[test]
fn the_demo_loses_nothing_and_shows_who_holds_the_port() {
    let left = oneport(["demo", "--requests", "1000"]);
    let out = left.out();
    assert_eq!(left.code(), 0, "{out}\n{}", left.err());
    let sum = out.lines().find(|line| line.trim_start().starts_with("all ")).unwrap_or_default();
    assert_eq!(sum.split_whitespace().collect::<Vec<_>>(), ["all", "1000", "lost", "0"], "{out}");
    let holds = |role: &str| -> Vec<bool> {
        let rows = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row.get(1) == Some(&role)).map(|row| row.get(2) != Some(&"none")).collect()
    };
    assert_eq!(holds("primary"), [true], "{out}");
    assert_eq!(holds("worker"), [false; 4], "{out}");
}
