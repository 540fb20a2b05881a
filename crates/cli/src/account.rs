//! Users and groups by name or number, as `/etc/passwd` and `/etc/group` know them.

use std::fs;

use oneport_wire::control::WordOrNumber;

use crate::error::Failure;

/// Who a worker is to run as. A user without a group brings its own.
pub(crate) fn ids(
    user: Option<&WordOrNumber>,
    group: Option<&WordOrNumber>,
) -> Result<(Option<u32>, Option<u32>), Failure> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    find(&passwd, &groups, user.map(|user| user.0.as_str()), group.map(|group| group.0.as_str()))
}

fn find(
    passwd: &str,
    groups: &str,
    user: Option<&str>,
    group: Option<&str>,
) -> Result<(Option<u32>, Option<u32>), Failure> {
    let unknown =
        |what: &str, name: &str| Failure::usage(format!("cannot run as {what} `{name}`: there is none"));
    let of_user = user.map(|name| {
        let known = entry(passwd, name);
        let number = |at: usize| known.as_ref().and_then(|fields| fields.get(at)?.parse::<u32>().ok());
        let uid = number(2).or_else(|| name.parse().ok());
        uid.map(|uid| (uid, number(3))).ok_or_else(|| unknown("user", name))
    });
    let of_user = of_user.transpose()?;
    let of_group = group.map(|name| {
        let known = entry(groups, name).and_then(|fields| fields.get(2)?.parse::<u32>().ok());
        known.or_else(|| name.parse().ok()).ok_or_else(|| unknown("group", name))
    });
    let gid = of_group.transpose()?.or_else(|| of_user.and_then(|(_, gid)| gid));
    Ok((of_user.map(|(uid, _)| uid), gid))
}

/// The name of who runs this.
pub(crate) fn own_name() -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = rustix::process::geteuid().as_raw().to_string();
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.len() > 2)
        .find(|fields| fields[2] == uid)
        .map(|fields| fields[0].to_owned())
}

/// The line of that name, or of that number.
fn entry<'a>(table: &'a str, wanted: &str) -> Option<Vec<&'a str>> {
    let lines = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut fitting = lines.filter(|fields| fields.len() > 2 && (fields[0] == wanted || fields[2] == wanted));
    fitting.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/:/bin/sh\nbad line\n";
    const GROUPS: &str = "www:x:34:\nstaff:x:50:a,b\n";

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let found = |user, group| find(PASSWD, GROUPS, user, group).ok();
        assert_eq!(found(Some("www"), None), Some((Some(33), Some(34))));
        assert_eq!(found(Some("33"), Some("staff")), Some((Some(33), Some(50))));
        assert_eq!(found(Some("4711"), None), Some((Some(4711), None)));
        assert_eq!(found(None, Some("7")), Some((None, Some(7))));
        assert_eq!(found(None, None), Some((None, None)));
        assert_eq!(found(Some("nobody-here"), None), None);
        assert_eq!(found(None, Some("nobody-here")), None);
    }
}
