//! The page about the command line has every verb and every option, and no option that there is not.

use std::collections::BTreeSet;

use clap::CommandFactory;

use super::Args;

const PAGE: &str = include_str!("../../../../docs/cli.md");

fn has(word: &str) -> bool {
    let parts = PAGE.split(|letter: char| !letter.is_alphanumeric() && letter != '-');
    parts.into_iter().any(|part| part == word)
}

#[test]
fn every_verb_and_option_is_on_the_page() {
    for verb in Args::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        assert!(has(verb.get_name()), "{}", verb.get_name());
        for option in verb.get_arguments().filter(|option| !option.is_hide_set()) {
            let names =
                option.get_long().into_iter().chain(option.get_visible_aliases().into_iter().flatten());
            for name in names {
                assert!(has(&format!("--{name}")), "{} --{name}", verb.get_name());
            }
        }
    }
}

#[test]
fn the_page_has_no_option_that_there_is_not() {
    let command = Args::command();
    let mut known = BTreeSet::from(["--help".to_owned(), "--requests".to_owned()]);
    for option in command.get_subcommands().flat_map(clap::Command::get_arguments) {
        let aliases = option.get_all_aliases().into_iter().flatten();
        known.extend(option.get_long().into_iter().chain(aliases).map(|name| format!("--{name}")));
    }
    let told = PAGE.split(|letter: char| !letter.is_alphanumeric() && letter != '-');
    for option in told.filter(|word| word.starts_with("--") && word.len() > 2 && !word.starts_with("---")) {
        assert!(known.contains(option), "{option}");
    }
}
