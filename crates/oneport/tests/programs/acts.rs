//! What the copies play: servers as anybody might have written them, without a word of this library.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::harness::{ACT, WITH};

/// Plays the act that this process was started for, and ends; returns where it was started for none.
pub(crate) fn play() {
    let Ok(act) = std::env::var(ACT) else { return };
    let with = std::env::var(WITH).unwrap_or_default();
    match act.as_str() {
        "serve" => serve(&TcpListener::bind(with.as_str()).expect("bind")),
        other => panic!("no such act: {other}"),
    }
    std::process::exit(0);
}

/// Answers every connection with its pid.
fn serve(listener: &TcpListener) {
    loop {
        let (connection, _) = listener.accept().expect("accept");
        std::thread::spawn(move || answer(connection));
    }
}

fn answer(mut connection: TcpStream) {
    let mut asked = [0];
    while connection.read(&mut asked).is_ok_and(|read| read > 0) {
        let pid = std::process::id().to_ne_bytes();
        if connection.write_all(&pid).is_err() {
            return;
        }
    }
}
