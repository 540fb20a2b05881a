//! `actix_web`, which needs a socket, and `actix_web_rr`, which does not.

use oneport_e2e::Run;
use oneport_e2e::load::Style;

use crate::servers::{both_serve, finishes_what_it_has_begun, reload_loses_nothing, serves_alone};

const SOCKET: &str = env!("CARGO_BIN_EXE_actix_web");
const SERVICE: &str = env!("CARGO_BIN_EXE_actix_web_rr");

#[test]
fn actix_serves_alone() {
    serves_alone(SOCKET);
}

#[test]
fn both_actix_workers_serve_under_shared() {
    both_serve(SOCKET, "shared");
}

#[test]
fn actix_workers_are_replaced_under_load_without_a_loss() {
    reload_loses_nothing(SOCKET, "shared", Style::Close);
}

#[test]
fn actixs_server_under_rr_is_told_why_it_cannot_have_the_socket() {
    let app = Run::target([SOCKET]).instances(1).policy("rr").start();
    app.wait_err("the policy `shared`");
}

#[test]
fn actixs_service_serves_alone() {
    serves_alone(SERVICE);
}

#[test]
fn both_workers_of_actixs_service_serve_under_rr() {
    both_serve(SERVICE, "rr");
}

#[test]
fn both_workers_of_actixs_service_serve_under_shared() {
    both_serve(SERVICE, "shared");
}

#[test]
fn workers_of_actixs_service_are_replaced_under_load_without_a_loss() {
    reload_loses_nothing(SERVICE, "rr", Style::Close);
}

#[test]
fn workers_of_actixs_service_are_replaced_under_load_on_kept_connections_without_a_loss() {
    reload_loses_nothing(SERVICE, "rr", Style::KeepAlive);
}

#[test]
fn actixs_service_finishes_a_request_that_has_begun() {
    finishes_what_it_has_begun(SERVICE);
}
