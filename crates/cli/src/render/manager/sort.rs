//! In which order rows are shown: `--sort field:asc|desc`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::rows::Row;

/// By what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SortField {
    #[default]
    Name,
    Id,
    Pid,
    Memory,
    Cpu,
    Status,
    Uptime,
    Instances,
}

/// Which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// The smallest first.
    #[default]
    Ascending,
    Descending,
}

/// An order of rows. Rows that are alike in it are by name and number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sort {
    pub(crate) field: SortField,
    pub(crate) order: Order,
}

impl SortField {
    /// Every one.
    pub(crate) const ALL: [SortField; 8] = [
        SortField::Name,
        SortField::Id,
        SortField::Pid,
        SortField::Memory,
        SortField::Cpu,
        SortField::Status,
        SortField::Uptime,
        SortField::Instances,
    ];

    /// The word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            SortField::Name => "name",
            SortField::Id => "id",
            SortField::Pid => "pid",
            SortField::Memory => "memory",
            SortField::Cpu => "cpu",
            SortField::Status => "status",
            SortField::Uptime => "uptime",
            SortField::Instances => "instances",
        }
    }
}

impl FromStr for Sort {
    type Err = String;

    fn from_str(text: &str) -> Result<Sort, String> {
        let (field, order) = text.split_once(':').unwrap_or((text, "asc"));
        let order = match order {
            "asc" => Order::Ascending,
            "desc" => Order::Descending,
            _ => return Err("expected `asc` or `desc` behind the colon".to_owned()),
        };
        let known = SortField::ALL.into_iter().find(|known| known.word() == field);
        let field = known.ok_or_else(|| {
            format!(
                "expected one of {}, with `:asc` or `:desc`",
                SortField::ALL.map(SortField::word).join(", ")
            )
        })?;
        Ok(Sort { field, order })
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::Ascending => "asc",
            Order::Descending => "desc",
        };
        write!(f, "{}:{order}", self.field.word())
    }
}

impl Sort {
    pub(super) fn apply(self, rows: &mut [Row<'_>], now_ms: u64) {
        rows.sort_by(|a, b| {
            let ordering = self.compare(a, b, now_ms);
            let ordering = match self.order {
                Order::Ascending => ordering,
                Order::Descending => ordering.reverse(),
            };
            ordering.then_with(|| a.app.name.cmp(&b.app.name)).then_with(|| id(a).cmp(&id(b)))
        });
    }

    fn compare(self, a: &Row<'_>, b: &Row<'_>, now_ms: u64) -> Ordering {
        match self.field {
            SortField::Name => a.app.name.cmp(&b.app.name),
            SortField::Id => id(a).cmp(&id(b)),
            SortField::Pid => a.pid().cmp(&b.pid()),
            SortField::Memory => a.memory().cmp(&b.memory()),
            SortField::Cpu => a.cpu().total_cmp(&b.cpu()),
            SortField::Status => status(a).cmp(status(b)),
            SortField::Uptime => a.uptime(now_ms).cmp(&b.uptime(now_ms)),
            SortField::Instances => a.app.instances.cmp(&b.app.instances),
        }
    }
}

fn id(row: &Row<'_>) -> Option<u32> {
    row.worker.map(|worker| worker.id)
}

fn status<'a>(row: &Row<'a>) -> &'a str {
    row.status().map_or("", |status| status.word())
}

#[cfg(test)]
mod tests {
    use super::super::rows::rows;
    use super::super::sample;
    use super::*;

    fn ids(sort: &str) -> Vec<u32> {
        let apps = sample::several();
        let mut rows = rows(&apps);
        sort.parse::<Sort>().unwrap().apply(&mut rows, sample::NOW);
        rows.iter().filter_map(|row| row.worker).map(|worker| worker.id).collect()
    }

    #[test]
    fn every_field_sorts_both_ways() {
        assert_eq!(Sort::default().to_string(), "name:asc");
        assert_eq!(ids("name"), [0, 1, 2, 3, 5, 6, 4]);
        assert_eq!(ids("name:desc"), [4, 5, 6, 0, 1, 2, 3]);
        assert_eq!(ids("id:desc"), [6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(ids("pid"), [3, 6, 4, 0, 1, 2, 5]);
        assert_eq!(ids("memory:desc"), [2, 1, 0, 5, 4, 3, 6]);
        assert_eq!(ids("cpu:desc"), [5, 2, 1, 0, 4, 3, 6]);
        assert_eq!(ids("status"), [6, 2, 0, 1, 5, 4, 3]);
        assert_eq!(ids("uptime:desc"), [0, 1, 5, 4, 2, 3, 6]);
        assert_eq!(ids("instances"), [4, 5, 6, 0, 1, 2, 3]);
    }

    #[test]
    fn what_cannot_be_sorted_by_is_answered_with_what_can() {
        assert_eq!(
            "size".parse::<Sort>().unwrap_err(),
            "expected one of name, id, pid, memory, cpu, status, uptime, instances, with `:asc` or `:desc`"
        );
        assert_eq!("name:up".parse::<Sort>().unwrap_err(), "expected `asc` or `desc` behind the colon");
    }
}
