//! PM2's names of files: `NAME-out-ID.log` and the like in its home directory unless they were configured; then with `-ID` in
//! front of the ending, unless logs are merged.

use std::path::Path;

/// Files of one record.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    pub(super) out: Option<String>,
    pub(super) error: Option<String>,
    pub(super) both: Option<String>,
    pub(super) pid: Option<String>,
}

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Out,
    Error,
    Both,
    Pid,
}

/// What the records of one app say of one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum File {
    /// PM2 chose it.
    Default,
    /// The same one for all.
    Shared(String),
    /// One for each, with its number in it; this is the name without it.
    Each(String),
    /// Something else; this is the first's.
    Various(String),
}

impl Kind {
    fn of(self, paths: &Paths) -> Option<&str> {
        match self {
            Kind::Out => paths.out.as_deref(),
            Kind::Error => paths.error.as_deref(),
            Kind::Both => paths.both.as_deref(),
            Kind::Pid => paths.pid.as_deref(),
        }
    }

    /// Directory below the home directory, and how names end before the number.
    fn usual(self) -> (&'static str, &'static str) {
        match self {
            Kind::Out => ("logs", "-out.log"),
            Kind::Error => ("logs", "-error.log"),
            Kind::Both => ("logs", ".log"),
            Kind::Pid => ("pids", ".pid"),
        }
    }

    fn is_default(self, path: &str, id: Option<u32>, home: Option<&str>) -> bool {
        let (below, ending) = self.usual();
        let parent = Path::new(path).parent().unwrap_or(Path::new(""));
        let at_home = home.is_some_and(|home| parent == Path::new(home).join(below))
            || parent.ends_with(Path::new(".pm2").join(below));
        at_home && (path.ends_with(ending) || without_id(path, id).ends_with(ending))
    }

    /// What the files of some records are: each with the record's number, and PM2's home directory if it is known.
    pub(super) fn together<'a>(
        self,
        records: impl Iterator<Item = (&'a Paths, Option<u32>)> + Clone,
        home: Option<&str>,
    ) -> File {
        let all = || records.clone().filter_map(|(paths, id)| self.of(paths).map(|path| (path, id)));
        let Some((first, first_id)) = all().next() else { return File::Default };
        let base = without_id(first, first_id);
        if all().all(|(path, id)| self.is_default(path, id, home)) {
            File::Default
        } else if all().all(|(path, id)| without_id(path, id) == base && path != base) {
            File::Each(base)
        } else if all().all(|(path, _)| path == first) {
            File::Shared(first.to_owned())
        } else {
            File::Various(first.to_owned())
        }
    }
}

/// The number at the end of the name of a pid file.
pub(super) fn id_of(path: &str) -> Option<u32> {
    let stem = Path::new(path).file_stem()?.to_str()?;
    stem.rsplit_once('-')?.1.parse().ok()
}

fn without_id(path: &str, id: Option<u32>) -> String {
    let split = || {
        let id = id?;
        let (stem, ending) = match path.rsplit_once('.') {
            Some((stem, ending)) if !ending.contains('/') => (stem, format!(".{ending}")),
            Some(_) | None => (path, String::new()),
        };
        Some(format!("{}{ending}", stem.strip_suffix(&format!("-{id}"))?))
    };
    split().unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(paths: &[(&str, u32)]) -> File {
        let paths: Vec<_> = paths
            .iter()
            .map(|(path, id)| (Paths { out: Some((*path).to_owned()), ..Paths::default() }, Some(*id)))
            .collect();
        Kind::Out.together(paths.iter().map(|(paths, id)| (paths, *id)), Some("/var/pm2"))
    }

    #[test]
    fn names_of_pm2s_choice_are_known_in_any_home() {
        assert_eq!(out(&[("/home/a/.pm2/logs/web-out-3.log", 3)]), File::Default);
        assert_eq!(
            out(&[("/var/pm2/logs/web-out.log", 0), ("/var/pm2/logs/web-out-1.log", 1)]),
            File::Default
        );
        assert_eq!(out(&[("/var/log/web-out.log", 0)]), File::Shared("/var/log/web-out.log".into()));
        assert_eq!(out(&[("/var/pm2/logs/x.log", 0)]), File::Shared("/var/pm2/logs/x.log".into()));
    }

    #[test]
    fn numbers_that_pm2_put_into_names_are_taken_out() {
        assert_eq!(out(&[("/l/web-5.log", 5), ("/l/web-6.log", 6)]), File::Each("/l/web.log".into()));
        assert_eq!(out(&[("/l.d/web-5", 5)]), File::Each("/l.d/web".into()));
        assert_eq!(out(&[("/l/web-5.log", 7), ("/l/web-5.log", 8)]), File::Shared("/l/web-5.log".into()));
        assert_eq!(out(&[("/l/a.log", 7), ("/l/b.log", 8)]), File::Various("/l/a.log".into()));
    }

    #[test]
    fn a_pid_file_tells_the_number() {
        assert_eq!(id_of("/home/a/.pm2/pids/my-app-12.pid"), Some(12));
        for none in ["/x/app.pid", "/x/app-.pid", "/x/app-99999999999.pid", ""] {
            assert_eq!(id_of(none), None, "{none}");
        }
    }
}
