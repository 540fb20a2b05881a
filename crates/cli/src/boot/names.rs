//! Names: of init systems, as people know them from PM2, and of units.

use crate::error::Failure;

/// What systemd allows, less `.service`.
const LONGEST: usize = 247;

/// PM2's names for what is systemd.
const SYSTEMD: [&str; 9] =
    ["systemd", "ubuntu", "debian", "centos", "redhat", "fedora", "arch", "oracle", "amazon"];

/// Refuses every init system but one.
pub(super) fn check_platform(name: &str) -> Result<(), Failure> {
    match SYSTEMD.contains(&name) {
        true => Ok(()),
        false => {
            Err(Failure::usage(format!("cannot write a start script for `{name}`: only systemd is known"))
                .hint(
                    "let it start `oneport daemon --foreground --resurrect`, which stays in the foreground",
                ))
        }
    }
}

/// A unit's name without `.service`, as it was given.
pub(super) fn given_unit(name: &str) -> Result<String, Failure> {
    let bare = name.strip_suffix(".service").unwrap_or(name);
    let good = |letter: char| letter.is_ascii_alphanumeric() || "_-.:".contains(letter);
    match bare {
        "" => Err(Failure::usage("cannot name a unit ``: it is empty")),
        long if long.len() > LONGEST => {
            Err(Failure::usage(format!("cannot name a unit `{long}`: it is longer than {LONGEST} letters")))
        }
        good_one if good_one.chars().all(good) && !good_one.starts_with(['-', '.']) => Ok(bare.to_owned()),
        _ => Err(Failure::usage(format!(
            "cannot name a unit `{}`: only letters, digits and `_-.:` may be in it",
            name.escape_debug()
        ))),
    }
}

/// The unit of a user.
pub(super) fn unit_of(user: &str) -> String {
    let plain = |letter: char| match letter.is_ascii_alphanumeric() || "_-.".contains(letter) {
        true => letter,
        false => '_',
    };
    format!("oneport-{}", user.chars().map(plain).take(LONGEST - 8).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_units_are_checked() {
        assert_eq!(given_unit("shop.service").unwrap(), "shop");
        assert_eq!(given_unit("shop").unwrap(), "shop");
        let long = "x".repeat(LONGEST + 1);
        for bad in ["", ".service", "../shop", "a/b", "a b", "-x", ".x", "a\nb", "a@", &long] {
            assert!(given_unit(bad).is_err(), "{bad}");
        }
        assert_eq!(unit_of("ann"), "oneport-ann");
        assert_eq!(unit_of("DOM\\ann"), "oneport-DOM_ann");
        assert!(given_unit(&unit_of(&"x".repeat(500))).is_ok());
    }

    #[test]
    fn other_init_systems_are_refused_by_name() {
        assert!(check_platform("systemd").is_ok() && check_platform("ubuntu").is_ok());
        for other in ["upstart", "launchd", "openrc", "rcd", "systemv", "ubuntu14", "x"] {
            assert!(check_platform(other).unwrap_err().words().contains("only systemd is known"));
        }
    }
}
