//! A page of a directory: names, attributes, and the `ls -l` line that clients print as it is.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, Group, Uid, User};

use super::super::packet::{Attributes, Fields, Refusal, Reply, kind};

/// Entries in one reply, as in OpenSSH.
const ENTRIES_MAX: u32 = 100;

/// Bytes after which a page is full, whatever the number of entries.
const PAGE_BYTES: usize = 128 << 10;

/// Users, and groups, that one request may ask about.
const NAMES_MAX: usize = 1024;

/// Names of users and groups, each asked for once.
#[derive(Debug, Default)]
pub(super) struct Names {
    users: HashMap<u32, Option<String>>,
    groups: HashMap<u32, Option<String>>,
}

impl Names {
    fn user(&mut self, id: u32) -> Option<&str> {
        let look = || User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name);
        self.users.entry(id).or_insert_with(look).as_deref()
    }

    fn group(&mut self, id: u32) -> Option<&str> {
        let look = || Group::from_gid(Gid::from_raw(id)).ok().flatten().map(|group| group.name);
        self.groups.entry(id).or_insert_with(look).as_deref()
    }

    /// `users-groups-by-id@openssh.com`: the names of users and of groups, empty where there is none.
    pub(super) fn by_id(&mut self, id: u32, fields: &mut Fields<'_>) -> Result<Reply, Refusal> {
        let (users, groups) = (fields.bytes()?, fields.bytes()?);
        let mut reply = Reply::to(id, kind::EXTENDED_REPLY);
        reply.bytes(&names(users, |id| self.user(id).unwrap_or_default().to_owned()));
        reply.bytes(&names(groups, |id| self.group(id).unwrap_or_default().to_owned()));
        Ok(reply)
    }
}

/// Numbers in, as many strings out.
fn names(numbers: &[u8], mut name: impl FnMut(u32) -> String) -> Vec<u8> {
    let mut strings = Vec::new();
    for number in numbers.as_chunks::<4>().0.iter().take(NAMES_MAX) {
        let name = name(u32::from_be_bytes(*number));
        strings.extend_from_slice(&u32::try_from(name.len()).unwrap_or_default().to_be_bytes());
        strings.extend_from_slice(name.as_bytes());
    }
    strings
}

/// Entries that go out together.
pub(super) struct Page {
    count: u32,
    entries: Reply,
}

impl Page {
    pub(super) fn new() -> Page {
        Page { count: 0, entries: Reply::new(kind::NAME) }
    }

    pub(super) fn add(&mut self, name: &OsStr, metadata: &Metadata, names: &mut Names) {
        self.entries.text(name);
        self.entries.bytes(&long_name(name, metadata, names));
        self.entries.attributes(&Attributes::from(metadata));
        self.count += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= ENTRIES_MAX || self.entries.len() >= PAGE_BYTES
    }

    /// The reply to request `id`, or nothing if the page is empty.
    pub(super) fn into_reply(self, id: u32) -> Option<Reply> {
        if self.count == 0 {
            return None;
        }
        let mut reply = Reply::to(id, kind::NAME);
        reply.u32(self.count);
        reply.append(self.entries.finish().get(5..).unwrap_or_default());
        Some(reply)
    }
}

/// One line as `ls -l` prints it, its time in UTC.
fn long_name(name: &OsStr, metadata: &Metadata, names: &mut Names) -> Vec<u8> {
    let owner = names.user(metadata.uid()).map_or_else(|| metadata.uid().to_string(), str::to_owned);
    let group = names.group(metadata.gid()).map_or_else(|| metadata.gid().to_string(), str::to_owned);
    let mut line = format!(
        "{} {:>4} {owner:<8} {group:<8} {:>8} {} ",
        mode_letters(metadata.mode()),
        metadata.nlink(),
        metadata.size(),
        date(metadata.mtime())
    )
    .into_bytes();
    line.extend_from_slice(name.as_bytes());
    line
}

fn mode_letters(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '-',
    };
    let bit = |mask: u32, letter: char| if mode & mask == 0 { '-' } else { letter };
    let execute = |mask: u32, special: u32, letter: char| match (mode & mask != 0, mode & special != 0) {
        (true, true) => letter,
        (false, true) => letter.to_ascii_uppercase(),
        (true, false) => 'x',
        (false, false) => '-',
    };
    [
        kind,
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        execute(0o100, 0o4000, 's'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        execute(0o010, 0o2000, 's'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        execute(0o001, 0o1000, 't'),
    ]
    .iter()
    .collect()
}

/// `Mon dd  yyyy`, from days since 1970 (the civil-from-days algorithm of Howard Hinnant, chrono-Compatible Low-Level Date Algorithms).
fn date(seconds: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let name = usize::try_from(month - 1).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"???");
    format!("{name} {day:>2}  {year}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_modes_read_as_ls_prints_them() {
        assert_eq!(date(0), "Jan  1  1970");
        assert_eq!(date(951_782_400), "Feb 29  2000");
        assert_eq!(date(4_102_444_799), "Dec 31  2099");
        assert_eq!(mode_letters(0o104_755), "-rwsr-xr-x");
        assert_eq!(mode_letters(0o041_776), "drwxrwxrwT");
    }
}
