//! What an executable is decides how it is attached: told from files made here, and from this one.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oneport_sys::elf::{Class, Facts, facts, has_note};

const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;

/// Writes numbers of as many bytes as the field has.
fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// An executable of `class` (1 or 2) with one segment for each content, and sections with these names.
fn elf(class: u8, segments: &[(u32, &[u8])], sections: &[&str]) -> Vec<u8> {
    let wide = class == 2;
    let (header, segment, section) = if wide { (64, 56, 64) } else { (52, 32, 40) };
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    let number = |value: usize| {
        if wide { (value as u64).to_ne_bytes().to_vec() } else { (value as u32).to_ne_bytes().to_vec() }
    };
    let half = |value: usize| (value as u16).to_ne_bytes();
    let sections_at = header + segment * segments.len();
    // One section more holds the names.
    let section_count = if sections.is_empty() { 0 } else { sections.len() + 1 };
    let mut file = vec![0; sections_at + section * section_count];
    put(&mut file, 0, &[0x7f, b'E', b'L', b'F', class, order]);
    put(&mut file, if wide { 32 } else { 28 }, &number(header));
    put(&mut file, if wide { 40 } else { 32 }, &number(sections_at));
    let counts = [segment, segments.len(), section, section_count, section_count.saturating_sub(1)];
    for (index, count) in counts.into_iter().enumerate() {
        put(&mut file, if wide { 54 } else { 42 } + 2 * index, &half(count));
    }
    for (index, (kind, contents)) in segments.iter().enumerate() {
        let (at, end) = (header + segment * index, file.len());
        put(&mut file, at, &kind.to_ne_bytes());
        put(&mut file, at + if wide { 8 } else { 4 }, &number(end));
        put(&mut file, at + if wide { 32 } else { 16 }, &number(contents.len()));
        file.extend_from_slice(contents);
    }
    let (mut names, strings_at) = (vec![0], file.len());
    for (index, name) in sections.iter().enumerate() {
        put(&mut file, sections_at + section * index, &(names.len() as u32).to_ne_bytes());
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    if section_count > 0 {
        let at = sections_at + section * sections.len();
        put(&mut file, at + if wide { 24 } else { 16 }, &number(strings_at));
        put(&mut file, at + if wide { 32 } else { 20 }, &number(names.len()));
    }
    file.extend_from_slice(&names);
    file
}

fn note(name: &[u8], kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for number in [name.len() as u32, contents.len() as u32, kind] {
        note.extend_from_slice(&number.to_ne_bytes());
    }
    note.extend_from_slice(name);
    note.extend_from_slice(contents);
    note
}

/// The facts of a file with these bytes.
fn of(bytes: &[u8]) -> Facts {
    let scratch = common::Scratch::new();
    let path = scratch.join("x");
    fs::write(&path, bytes).expect("write");
    facts(&path).expect("facts")
}

#[test]
fn the_interpreter_tells_dynamic_programs_from_static_ones_of_both_classes() {
    for (number, class) in [(1, Class::Bits32), (2, Class::Bits64)] {
        let still = of(&elf(number, &[(1, b"code")], &[]));
        assert_eq!((still.class, still.interpreter), (class, None));
        let dynamic = of(&elf(number, &[(1, b"code"), (PT_INTERP, b"/lib/ld.so\0junk")], &[".text"]));
        assert_eq!((dynamic.class, dynamic.interpreter), (class, Some(PathBuf::from("/lib/ld.so"))));
        for odd in [&b""[..], b"\0", &[b'a'; 5000]] {
            assert_eq!(of(&elf(number, &[(PT_INTERP, odd)], &[])).interpreter, None);
        }
    }
}

#[test]
fn this_binary_is_what_it_is() {
    let own = facts(Path::new("/proc/self/exe")).unwrap();
    let class = if cfg!(target_pointer_width = "64") { Class::Bits64 } else { Class::Bits32 };
    assert_eq!((own.class, own.go, own.setuid, own.file_capabilities), (class, false, false, false));
    if cfg!(target_env = "gnu") {
        assert!(own.interpreter.is_some_and(|path| path.exists()));
    }
}

#[test]
fn gos_programs_are_known_by_their_build_id_or_by_their_section() {
    for class in [1, 2] {
        let id = note(b"Go\0\0", 4, b"abcd/efgh");
        assert!(of(&elf(class, &[(PT_NOTE, &id)], &[])).go);
        assert!(of(&elf(class, &[], &[".text", ".go.buildinfo"])).go);
        let gnu = note(b"GNU\0", 3, b"0123456789abcdef");
        assert!(of(&elf(class, &[(PT_NOTE, &[gnu.clone(), id].concat())], &[])).go);
        assert!(!of(&elf(class, &[(PT_NOTE, &gnu)], &[".text", ".go.build", ".go.buildinfo.x"])).go);
        assert!(!of(&elf(class, &[(PT_NOTE, &note(b"Go\0\0", 5, b""))], &[])).go);
    }
}

#[test]
fn our_note_is_found_in_32_bits_too() {
    let scratch = common::Scratch::new();
    let path = scratch.join("x");
    let ours = note(b"oneport\0", 1, &1u32.to_ne_bytes());
    fs::write(&path, elf(1, &[(PT_NOTE, &ours)], &[])).unwrap();
    assert!(has_note(&path).unwrap());
}

#[test]
fn bits_that_no_new_privs_takes_away_are_told() {
    let scratch = common::Scratch::new();
    let path = scratch.join("x");
    fs::write(&path, elf(2, &[], &[])).unwrap();
    for (mode, setuid) in [(0o755, false), (0o4755, true), (0o2755, true), (0o2745, false), (0o1755, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(facts(&path).unwrap().setuid, setuid, "{mode:o}");
    }
    assert!(!facts(&path).unwrap().file_capabilities);
    // VFS_CAP_REVISION_2 with the effective bit; CAP_NET_BIND_SERVICE permitted.
    let mut capabilities = Vec::new();
    for word in [0x0200_0001u32, 1 << 10, 0, 0, 0] {
        capabilities.extend_from_slice(&word.to_le_bytes());
    }
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::setxattr(&path, "security.capability", &capabilities, flags) {
        Ok(()) => assert!(facts(&path).unwrap().file_capabilities),
        Err(error) => eprintln!("skipped: no file capabilities here: {error}"),
    }
}

#[test]
fn what_is_no_elf_file_is_that_and_what_cannot_be_opened_an_error() {
    let script = of(b"#!/bin/sh\n");
    assert_eq!((script.class, script.interpreter, script.go), (Class::NotElf, None, false));
    assert_eq!(of(b"\x7fELF").class, Class::NotElf);
    assert_eq!(of(b"").class, Class::NotElf);
    let scratch = common::Scratch::new();
    assert_eq!(facts(scratch.path()).unwrap().class, Class::NotElf);
    assert_eq!(facts(&scratch.join("none")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn no_mutilated_file_upsets_the_reader() {
    let scratch = common::Scratch::new();
    let path = scratch.join("x");
    for class in [1, 2] {
        let id = note(b"Go\0\0", 4, b"abcd");
        let good = elf(class, &[(PT_INTERP, b"/lib/ld.so\0"), (PT_NOTE, &id)], &[".text", ".go.buildinfo"]);
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            facts(&path).unwrap();
        }
        for position in 0..good.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[position] = value;
                fs::write(&path, &bad).unwrap();
                facts(&path).unwrap();
            }
        }
    }
}
