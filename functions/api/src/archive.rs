//! Template archives: what a tar must be before we keep it. Reads from anything, keeps names only, unpacks nothing.
//!
//! The checks are stricter than what a reader needs, so that no two readers can see two different trees in one archive: no
//! links, devices or fifos, no absolute or climbing names, no names that some system cannot hold, no two names that a case-folding
//! or normalizing file system takes for one, no size or name given twice, nothing after the end.

use berth_domain::limit::{ARCHIVE_ENTRIES_MAX, ARCHIVE_UNPACKED_BYTES_MAX};
use icu_normalizer::DecomposingNormalizerBorrowed;
use std::{
    collections::HashMap,
    io::{self, Read},
    path::Path,
};
use tar::{Archive, Entry, EntryType, PaxExtensions};

/// The longest path in an archive, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// The longest name of one file or directory on the file systems that we know, in bytes.
const PART_BYTES_MAX: usize = 255;
/// How deep directories may nest.
const DEPTH_MAX: usize = 32;
/// The most of a reader's own words in an error, in characters.
const ERROR_CHARS_MAX: usize = 200;
/// The most that all names may take, directories on the way to a file included, in bytes: ten thousand deep paths are a bomb too.
const NAMES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Names that Windows keeps for devices, whatever extension follows
/// (<https://learn.microsoft.com/windows/win32/fileio/naming-a-file>).
const WINDOWS_DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
/// The largest extension header (long name, PAX records), in bytes.
const EXTENSION_BYTES_MAX: u64 = 64 * 1024;
/// PAX records that say nothing about what is unpacked, or where.
const PAX_HARMLESS: [&str; 9] = ["mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment", "charset"];

/// Why an archive is refused. Every text is one line and names the entry.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// An entry leads out of the archive, or its name is not one that every system can hold.
    #[error("archive entry {name:?} {why}")]
    Name {
        /// The entry.
        name: String,
        /// What is wrong with its name.
        why: &'static str,
    },
    /// An entry is neither file nor directory.
    #[error("archive entry {name:?} is a {kind}: only files and directories are allowed")]
    Kind {
        /// The entry.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// Two entries have one name, or names that some systems take for one.
    #[error("archive entries {first:?} and {second:?} have the same name")]
    Same {
        /// The earlier.
        first: String,
        /// The later.
        second: String,
    },
    /// Too many entries.
    #[error("the archive has more than {ARCHIVE_ENTRIES_MAX} entries")]
    Entries,
    /// Names that are a bomb by themselves.
    #[error("the names in the archive take more than {NAMES_BYTES_MAX} bytes")]
    Names,
    /// Too much in it.
    #[error("the archive unpacks to more than {ARCHIVE_UNPACKED_BYTES_MAX} bytes at entry {name:?}")]
    Size {
        /// The entry that is too much.
        name: String,
    },
    /// No Terraform in it.
    #[error("the archive has no .tf file at its top level")]
    NoTerraform,
    /// Bytes after its end.
    #[error("the archive goes on after its end")]
    Trailing,
    /// Not a tar, or a broken one.
    #[error("this is not a tar archive, or a broken one: {}", one_line(.0))]
    Broken(#[from] io::Error),
}

/// What the reader says quotes the archive: cut, and nothing in it moves a terminal's cursor.
fn one_line(error: &io::Error) -> String {
    let mut line = String::new();
    for letter in error.to_string().chars().take(ERROR_CHARS_MAX) {
        if letter.is_control() { line.extend(letter.escape_debug()) } else { line.push(letter) }
    }
    line
}

/// What a good archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Files and directories.
    pub entries: usize,
    /// The sum of the files' sizes, in bytes.
    pub unpacked_bytes: u64,
}

/// Reads an archive to its end and says what is wrong with it.
///
/// # Errors
/// The first thing that is.
pub fn check(reader: impl Read) -> Result<Summary, ArchiveError> {
    let mut archive = Archive::new(reader);
    let mut found = Found::default();
    for entry in archive.entries()?.raw(true) {
        found.entry(&mut entry?)?;
    }
    if found.long_name.is_some() || found.pax_name.is_some() {
        return Err(broken("an extension header is followed by nothing"));
    }
    if !only_zeros(archive.into_inner())? {
        return Err(ArchiveError::Trailing);
    }
    if !found.terraform {
        return Err(ArchiveError::NoTerraform);
    }
    Ok(Summary { entries: found.entries, unpacked_bytes: found.bytes })
}

fn broken(why: &str) -> ArchiveError {
    ArchiveError::Broken(io::Error::new(io::ErrorKind::InvalidData, why))
}

fn only_zeros(mut reader: impl Read) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(true),
            length if buffer.iter().take(length).any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
}

/// What was read so far.
#[derive(Default)]
struct Found {
    /// Headers of any kind, extensions included: a million empty ones are a bomb too.
    headers: usize,
    entries: usize,
    bytes: u64,
    terraform: bool,
    long_name: Option<Vec<u8>>,
    pax_name: Option<Vec<u8>>,
    /// Folded name to the name as written and what it is; every parent directory stands in it too.
    names: HashMap<String, (String, Kind)>,
    names_bytes: usize,
}

impl Found {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        self.headers += 1;
        if self.headers > 3 * ARCHIVE_ENTRIES_MAX {
            return Err(ArchiveError::Entries);
        }
        let header = entry.header();
        let extends = matches!(header.entry_type(), EntryType::GNULongName | EntryType::XHeader | EntryType::XGlobalHeader);
        if extends && header.as_ustar().is_none() && header.as_gnu().is_none() {
            // Some readers take it for what it says, others for a file of an old tar.
            return Err(broken("an extension header is of no known format"));
        }
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let mut name = extension(entry)?;
                while name.last() == Some(&0) {
                    name.pop();
                }
                self.name_once(name, |found| &mut found.long_name)
            }
            EntryType::XHeader => {
                let records = extension(entry)?;
                self.pax(&records)
            }
            EntryType::XGlobalHeader => {
                let records = extension(entry)?;
                pax_records(&records)?.into_iter().try_for_each(|(key, _)| harmless(&key))
            }
            kind => self.thing(entry, kind),
        }
    }

    fn name_once(&mut self, name: Vec<u8>, slot: fn(&mut Self) -> &mut Option<Vec<u8>>) -> Result<(), ArchiveError> {
        if self.long_name.is_some() || self.pax_name.is_some() {
            return Err(broken("an entry has two names"));
        }
        *slot(self) = Some(name);
        Ok(())
    }

    fn pax(&mut self, records: &[u8]) -> Result<(), ArchiveError> {
        for (key, value) in pax_records(records)? {
            match key.as_str() {
                "path" => self.name_once(value, |found| &mut found.pax_name)?,
                key => harmless(key)?,
            }
        }
        Ok(())
    }

    fn thing(&mut self, entry: &Entry<'_, impl Read>, kind: EntryType) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > ARCHIVE_ENTRIES_MAX {
            return Err(ArchiveError::Entries);
        }
        let name =
            self.long_name.take().or_else(|| self.pax_name.take()).unwrap_or_else(|| entry.header().path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&name).chars().take(200).collect::<String>();
        let kind = match kind {
            // An old tar writes a directory as a file whose name ends in a slash.
            EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Directory,
            other => return Err(ArchiveError::Kind { name: shown, kind: words(other) }),
        };
        let size = entry.header().entry_size()?;
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > ARCHIVE_UNPACKED_BYTES_MAX {
            return Err(ArchiveError::Size { name: shown });
        }
        if kind == Kind::Directory && size > 0 {
            return Err(ArchiveError::Name { name: shown, why: "is a directory with content" });
        }
        let parts = parts(&name).map_err(|why| ArchiveError::Name { name: shown, why })?;
        self.place(&parts, kind)
    }

    /// Puts a name and its parent directories into the tree.
    fn place(&mut self, parts: &[&str], kind: Kind) -> Result<(), ArchiveError> {
        let mut path = String::new();
        for (index, part) in parts.iter().enumerate() {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(part);
            let last = index + 1 == parts.len();
            self.place_one(&path, if last { kind } else { Kind::Directory })?;
        }
        let top = parts.len() == 1 && kind == Kind::File;
        let terraform = Path::new(&path).extension().is_some_and(|extension| extension == "tf") || path.ends_with(".tf.json");
        self.terraform |= top && terraform;
        Ok(())
    }

    fn place_one(&mut self, path: &str, kind: Kind) -> Result<(), ArchiveError> {
        match self.names.get(&folded(path)) {
            // Only a directory may be named again, and only in the same letters.
            Some((first, Kind::Directory)) if kind == Kind::Directory && first == path => Ok(()),
            Some((first, _)) => Err(ArchiveError::Same { first: first.clone(), second: path.to_owned() }),
            None => {
                self.names_bytes += path.len();
                if self.names_bytes > NAMES_BYTES_MAX {
                    return Err(ArchiveError::Names);
                }
                self.names.insert(folded(path), (path.to_owned(), kind));
                Ok(())
            }
        }
    }
}

/// What file systems that fold case or normalize (APFS, NTFS) compare: compatibility decomposition, lower case.
fn folded(path: &str) -> String {
    const NFKD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfkd();
    // Up and down: some letters (ß, ſ, final sigma) meet their kin in upper case only, and ẞ in lower case first.
    let upper = NFKD.normalize(path).to_lowercase().to_uppercase();
    NFKD.normalize(&upper.to_lowercase()).into_owned()
}

/// The parts of a relative path, `.` left out.
fn parts(name: &[u8]) -> Result<Vec<&str>, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "is not UTF-8")?;
    if name.is_empty() {
        return Err("has no name");
    }
    if name.len() > PATH_BYTES_MAX {
        return Err("has too long a name");
    }
    if name.starts_with('/') {
        return Err("is an absolute path");
    }
    if name.chars().any(|character| character.is_control() || character == '\\' || character == ':') {
        return Err("has a backslash, colon or control character in its name");
    }
    let parts: Vec<_> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err("leads out of the archive");
    }
    if parts.iter().any(|part| part.ends_with(' ') || part.ends_with('.')) {
        return Err("has a part that ends in a space or a dot");
    }
    if parts.iter().any(|part| part.len() > PART_BYTES_MAX) {
        return Err("has too long a name");
    }
    if parts.iter().any(|part| is_device(part)) {
        return Err("is a device on Windows");
    }
    if parts.len() > DEPTH_MAX {
        return Err("is too deep");
    }
    Ok(parts)
}

fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let numbered = |kind| {
        stem.strip_prefix(kind).is_some_and(|rest: &str| matches!(rest, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"))
    };
    WINDOWS_DEVICES.contains(&stem.as_str()) || numbered("COM") || numbered("LPT")
}

fn extension(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, ArchiveError> {
    let size = entry.header().entry_size()?;
    if size > EXTENSION_BYTES_MAX {
        return Err(broken("an extension header is too large"));
    }
    let mut bytes = Vec::new();
    entry.take(EXTENSION_BYTES_MAX).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(broken("an extension header is cut off")) }
}

fn pax_records(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let record = |record: io::Result<tar::PaxExtension<'_>>| {
        let record = record?;
        let key = record.key().map_err(|_| broken("a PAX key is not UTF-8"))?;
        Ok((key.to_owned(), record.value_bytes().to_vec()))
    };
    PaxExtensions::new(bytes).map(record).collect()
}

/// Records that change what is unpacked (sizes, sparse maps, link names, attributes) are refused: readers disagree about them.
fn harmless(key: &str) -> Result<(), ArchiveError> {
    let vendor = key.starts_with("LIBARCHIVE.") || key.starts_with("SCHILY.xattr.") || key.starts_with("hdrcharset");
    if PAX_HARMLESS.contains(&key) || vendor { Ok(()) } else { Err(broken(&format!("the PAX record {key:?} is not allowed"))) }
}

const fn words(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink => "symbolic link",
        EntryType::Link | EntryType::GNULongLink => "hard link",
        EntryType::Char | EntryType::Block => "device",
        EntryType::Fifo => "named pipe",
        EntryType::GNUSparse => "sparse file",
        _ => "special entry",
    }
}

#[cfg(test)]
mod tests;
