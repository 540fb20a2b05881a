//! `oneport check PROGRAM`: which way a program will be attached, where it listens, what is unusual about it.

use oneport_e2e::programs::build::{self, Link};
use oneport_e2e::programs::{c, or_skip, python_words, source};
use oneport_e2e::run::oneport;
use oneport_e2e::{Finished, place};

fn check<T: Into<std::ffi::OsString>>(words: impl IntoIterator<Item = T>) -> Finished {
    let head = ["check".into(), "--".into()];
    oneport(head.into_iter().chain(words.into_iter().map(Into::into)))
}

fn says(left: &Finished, words: &[&str]) {
    let all = left.out() + &left.err();
    for word in words {
        assert!(all.contains(word), "`{word}` in: {all}");
    }
}

#[test]
fn an_ordinary_program_will_be_attached_by_its_own_socket() {
    let port = place::free_port().to_string();
    let left = check(python_words("python/http_server.py", [&port]));
    assert_eq!(left.code(), 0, "{}{}", left.out(), left.err());
    says(&left, &["own", &port]);
}

#[test]
fn a_program_that_registers_early_and_one_that_is_static_are_recognised() {
    let port = place::free_port().to_string();
    let left = check([c("epoll_early").into_os_string(), port.clone().into()]);
    assert_eq!(left.code(), 0, "{}{}", left.out(), left.err());
    says(&left, &["in an epoll set before it binds it"]);
    let Some(built) = or_skip("check of a static program", build::c(&source("c/block.c"), Link::Glibc))
    else {
        return;
    };
    let left = check([built.into_os_string(), port.into()]);
    assert_eq!(left.code(), 0, "{}{}", left.out(), left.err());
    says(&left, &["linked statically"]);
}

#[test]
fn a_program_that_never_listens_is_told_as_such() {
    let none: [&str; 0] = [];
    let left = check(python_words("odd/never_listens.py", none));
    says(&left, &["it did not listen in time"]);
}

#[test]
fn a_program_that_ends_at_once_fails_the_check() {
    let none: [&str; 0] = [];
    let left = check(python_words("odd/exits.py", none));
    assert_ne!(left.code(), 0, "{}{}", left.out(), left.err());
    says(&left, &["no configuration: giving up"]);
}
