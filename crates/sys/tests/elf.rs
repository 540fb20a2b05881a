//! The note is found in ourselves, not in strangers, and no file can upset the reader.

mod common;

use std::fs;
use std::path::Path;

use oneport_sys::elf::{has_note, is_elf};

/// A minimal executable header with one note segment.
fn small_elf(note: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 64 + 56];
    file[..6].copy_from_slice(&[
        0x7f,
        b'E',
        b'L',
        b'F',
        2,
        if cfg!(target_endian = "little") { 1 } else { 2 },
    ]);
    file[32..40].copy_from_slice(&64u64.to_ne_bytes()); // program headers start
    file[54..56].copy_from_slice(&56u16.to_ne_bytes()); // size of one
    file[56..58].copy_from_slice(&1u16.to_ne_bytes()); // how many
    file[64..68].copy_from_slice(&4u32.to_ne_bytes()); // PT_NOTE
    file[72..80].copy_from_slice(&120u64.to_ne_bytes()); // its offset
    file[96..104].copy_from_slice(&(note.len() as u64).to_ne_bytes()); // its size
    file[112..120].copy_from_slice(&4u64.to_ne_bytes()); // its alignment
    file.extend_from_slice(note);
    file
}

fn note(name: &[u8; 8], kind: u32) -> Vec<u8> {
    let mut note = Vec::new();
    for number in [8, 4, kind] {
        note.extend_from_slice(&u32::to_ne_bytes(number));
    }
    note.extend_from_slice(name);
    note.extend_from_slice(&1u32.to_ne_bytes());
    note
}

#[test]
fn this_binary_has_the_note_and_the_shell_has_not() {
    assert!(has_note(Path::new("/proc/self/exe")).unwrap());
    assert!(is_elf(Path::new("/proc/self/exe")).unwrap());
    assert!(!has_note(Path::new("/bin/sh")).unwrap());
    assert!(is_elf(Path::new("/bin/sh")).unwrap());
}

#[test]
fn the_note_survives_being_stripped() {
    let scratch = common::Scratch::new();
    let copy = scratch.join("copy");
    fs::copy("/proc/self/exe", &copy).unwrap();
    let strip = std::process::Command::new("strip").arg(&copy).status();
    assert!(strip.unwrap().success());
    assert!(has_note(&copy).unwrap());
}

#[test]
fn the_note_is_found_behind_others_and_only_with_its_name_and_type() {
    let scratch = common::Scratch::new();
    let path = scratch.join("x");
    let check = |note: &[u8]| {
        fs::write(&path, small_elf(note)).unwrap();
        has_note(&path).unwrap()
    };
    assert!(check(&note(b"oneport\0", 1)));
    assert!(check(&[note(b"another\0", 1), note(b"oneport\0", 1)].concat()));
    assert!(!check(&note(b"another\0", 1)));
    assert!(!check(&note(b"oneport\0", 2)));
    assert!(!check(&note(b"oneport\0", 1)[..12]));
    assert!(!check(&[]));
}

#[test]
fn no_mutilated_file_upsets_the_reader() {
    let scratch = common::Scratch::new();
    let path = scratch.join("x");
    let good = small_elf(&note(b"oneport\0", 1));
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert!(!has_note(&path).unwrap(), "cut at {length}");
    }
    for position in 0..good.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[position] = value;
            fs::write(&path, &bad).unwrap();
            has_note(&path).unwrap();
        }
    }
    for field in [32..40, 72..80, 96..104, 120..124, 124..128] {
        let mut bad = good.clone();
        bad[54..62].fill(0xff); // counts and sizes of the tables
        bad[field].fill(0xff);
        fs::write(&path, &bad).unwrap();
        assert!(!has_note(&path).unwrap());
    }
}

#[test]
fn what_is_no_executable_has_no_note() {
    let scratch = common::Scratch::new();
    let script = scratch.join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    assert!(!has_note(&script).unwrap());
    assert!(!is_elf(&script).unwrap());
    assert!(!has_note(scratch.path()).unwrap());
    assert!(!has_note(Path::new("/dev/zero")).unwrap());
    let fifo = scratch.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(!is_elf(&fifo).unwrap()); // and does not wait for a writer
    assert_eq!(has_note(&scratch.join("none")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
