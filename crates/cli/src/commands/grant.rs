//! `oneport grant`: what `least` needs, loaded by who may, for a command that may not.

use std::os::unix::process::CommandExt;
use std::process::Command;

use oneport_sys::bpf::grant::{Grant, VARIABLE};

use crate::Done;
use crate::args::GrantArgs;
use crate::error::{Failure, plain};

pub(crate) fn run(args: &GrantArgs) -> Done {
    let user = args.user.as_deref().map(user).transpose()?;
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failure::usage("cannot execute a command: none is named"));
    };
    let grant = Grant::load(args.addresses as usize).map_err(|refused| {
        let message = format!("cannot {}: {}", refused.what, plain(&refused.error));
        Failure::new(message).hint("start it as root, or with CAP_BPF and CAP_NET_ADMIN (oneport doctor)")
    })?;
    let numbers = grant
        .leave_open()
        .map_err(|error| Failure::new(format!("cannot pass on what was loaded: {error}")))?;
    let mut command = Command::new(program);
    command.args(rest).env(VARIABLE, numbers);
    if let Some((uid, gid)) = user {
        // The standard library drops supplementary groups where it changes the user as root.
        command.gid(gid).uid(uid);
    }
    let error = command.exec();
    Err(Failure::new(format!("cannot execute `{}`: {}", program.to_string_lossy(), plain(&error))))
}

/// Who is meant, by numbers or by the name in `/etc/passwd`.
fn user(text: &str) -> Result<(u32, u32), Failure> {
    let number = |text: &str| text.parse::<u32>().ok();
    let by_number = match text.split_once(':') {
        Some((uid, gid)) => number(uid).zip(number(gid)),
        None => number(text).map(|uid| (uid, uid)),
    };
    let names = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    by_number.or_else(|| find(&names, text)).ok_or_else(|| {
        Failure::usage(format!("cannot become `{text}`: there is no such user")).hint("--user UID:GID")
    })
}

fn find(names: &str, wanted: &str) -> Option<(u32, u32)> {
    names.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        (name == wanted).then_some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::{find, user};

    #[test]
    fn a_user_is_a_name_or_numbers() {
        let names = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:34:www:/var/www:/usr/sbin/nologin\n";
        assert_eq!(find(names, "www-data"), Some((33, 34)));
        assert_eq!(find(names, "www"), None);
        assert_eq!(user("7:8").unwrap(), (7, 8));
        assert_eq!(user("7").unwrap(), (7, 7));
        assert!(user("7:").is_err());
    }
}
