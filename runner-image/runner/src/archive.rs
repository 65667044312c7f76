//! Unpacking a template archive, which is hostile until proved otherwise.
//!
//! The API refused bad archives at upload; the runner does not rely on it, because it is the one who writes files.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use berth_domain::limit::{ARCHIVE_ENTRIES_MAX, ARCHIVE_UNPACKED_BYTES_MAX};
use tar::{Archive, EntryType, PaxExtensions};

/// The longest path inside an archive, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// How deep directories may nest.
const DEPTH_MAX: usize = 32;
/// The largest extension header (long name, PAX records), in bytes: a reader takes it into memory as a whole.
const EXTENSION_BYTES_MAX: u64 = 64 * 1024;

/// Why an archive is not unpacked. What was written before stays in the directory, which the caller throws away.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is not a tar, or it is cut off.
    #[error("the template archive cannot be read as a tar")]
    Unreadable(#[source] io::Error),
    /// A path that leads out of the directory, or could on some machine.
    #[error("the template archive holds the path {0:?}, which is not a plain relative path")]
    Path(String),
    /// Neither a file nor a directory.
    #[error("the template archive holds {0:?}, which is neither a file nor a directory")]
    Kind(String),
    /// The same path twice, also when only the case differs.
    #[error("the template archive holds {0:?} twice")]
    Twice(String),
    /// Too many entries, or too many directories on the way to them.
    #[error("the template archive holds more than {ARCHIVE_ENTRIES_MAX} entries")]
    Entries,
    /// A path through more directories than any template has.
    #[error("the template archive holds {0:?}, which is too deep")]
    Depth(String),
    /// Headers that are too large, or that make two readers see two trees.
    #[error("the template archive has extension headers that are too large, or that change a size")]
    Extension,
    /// Too large once unpacked.
    #[error("the template archive holds more than {ARCHIVE_UNPACKED_BYTES_MAX} bytes")]
    Bytes,
    /// The disk refused.
    #[error("cannot write {path:?} of the template: {source}")]
    Disk {
        /// The path inside the archive.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Writes the archive's files and directories below `directory`. Left out: Terraform's own working files (`.terraform`, state), which
/// are never a template's to bring.
///
/// # Errors
/// At the first entry that is not a plain file or directory with a plain relative path, at a doubled name, and over a limit.
pub fn unpack(archive: &[u8], directory: &Path) -> Result<(), ArchiveError> {
    check_extensions(archive)?;
    check_tree(archive)?;
    let mut archive = Archive::new(archive);
    let mut left = ARCHIVE_UNPACKED_BYTES_MAX;
    let mut seen = BTreeSet::new();
    for entry in archive.entries().map_err(ArchiveError::Unreadable)? {
        let mut entry = entry.map_err(ArchiveError::Unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue; // `git archive` writes one: a comment, nothing to unpack
        }
        let path = plain(&name)?;
        if path.as_os_str().is_empty() || is_terraforms(&path) {
            continue;
        }
        let target = directory.join(&path);
        match kind {
            EntryType::Directory => fs::create_dir_all(&target).map_err(|source| ArchiveError::Disk { path: name, source })?,
            EntryType::Regular | EntryType::Continuous => {
                if !seen.insert(path.to_string_lossy().to_lowercase()) {
                    return Err(ArchiveError::Twice(name));
                }
                let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
                left = write(&mut entry, &target, executable, left).map_err(|error| error.of(name))?;
            }
            _ => return Err(ArchiveError::Kind(name)),
        }
    }
    Ok(())
}

/// Walks over the headers as they are, before anything believes them.
fn check_extensions(archive: &[u8]) -> Result<(), ArchiveError> {
    let mut archive = Archive::new(archive);
    for (count, entry) in archive.entries().map_err(ArchiveError::Unreadable)?.raw(true).enumerate() {
        let mut entry = entry.map_err(ArchiveError::Unreadable)?;
        // A long name and a PAX header may come before each.
        if count >= 3 * ARCHIVE_ENTRIES_MAX {
            return Err(ArchiveError::Entries);
        }
        let kind = entry.header().entry_type();
        let is_pax = kind.is_pax_local_extensions() || kind.is_pax_global_extensions();
        if !is_pax && !kind.is_gnu_longname() && !kind.is_gnu_longlink() {
            continue;
        }
        if entry.size() > EXTENSION_BYTES_MAX {
            return Err(ArchiveError::Extension);
        }
        let mut records = Vec::new();
        entry.read_to_end(&mut records).map_err(ArchiveError::Unreadable)?;
        let resizes = |record: io::Result<tar::PaxExtension<'_>>| record.is_ok_and(|record| record.key_bytes() == b"size");
        if is_pax && PaxExtensions::new(&records).any(resizes) {
            return Err(ArchiveError::Extension);
        }
    }
    Ok(())
}

/// Counts the entries, and the directories on the way to them, before any is made: ten thousand deep paths are a bomb too.
fn check_tree(archive: &[u8]) -> Result<(), ArchiveError> {
    let mut archive = Archive::new(archive);
    let mut directories = BTreeSet::new();
    for (count, entry) in archive.entries().map_err(ArchiveError::Unreadable)?.enumerate() {
        let entry = entry.map_err(ArchiveError::Unreadable)?;
        if count >= ARCHIVE_ENTRIES_MAX {
            return Err(ArchiveError::Entries);
        }
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let path = plain(&String::from_utf8_lossy(&entry.path_bytes()))?;
        if path.components().count() > DEPTH_MAX {
            return Err(ArchiveError::Depth(path.to_string_lossy().chars().take(200).collect()));
        }
        directories.extend(path.ancestors().skip(1).map(Path::to_path_buf));
        if directories.len() > ARCHIVE_ENTRIES_MAX {
            return Err(ArchiveError::Entries);
        }
    }
    Ok(())
}

/// The path, if it consists of names only. `.` parts and a trailing slash are dropped.
fn plain(name: &str) -> Result<PathBuf, ArchiveError> {
    let refused = || ArchiveError::Path(name.chars().take(200).collect());
    if name.len() > PATH_BYTES_MAX || name.contains(['\0', '\\']) || name.contains(char::REPLACEMENT_CHARACTER) {
        return Err(refused());
    }
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(refused()),
        }
    }
    Ok(path)
}

fn is_terraforms(path: &Path) -> bool {
    let first = path.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    first == ".terraform" || first.starts_with("terraform.tfstate") || first.starts_with("zz_berth")
}

enum WriteError {
    TooLarge,
    Read(io::Error),
    Disk(io::Error),
}

impl WriteError {
    fn of(self, path: String) -> ArchiveError {
        match self {
            Self::TooLarge => ArchiveError::Bytes,
            Self::Read(source) => ArchiveError::Unreadable(source),
            Self::Disk(source) => ArchiveError::Disk { path, source },
        }
    }
}

/// Copies one file and answers how many bytes may still follow.
fn write(entry: &mut impl Read, target: &Path, executable: bool, left: u64) -> Result<u64, WriteError> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(WriteError::Disk)?;
    }
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(target).map_err(WriteError::Disk)?;
    let mut bytes = vec![0; 64 * 1024];
    let mut left = left;
    loop {
        let count = entry.read(&mut bytes).map_err(WriteError::Read)?;
        if count == 0 {
            return Ok(left);
        }
        left = left.checked_sub(count as u64).ok_or(WriteError::TooLarge)?;
        io::Write::write_all(&mut file, bytes.get(..count).unwrap_or_default()).map_err(WriteError::Disk)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    fn tar(entries: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (kind, name, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4777);
            header.set_size(content.len() as u64);
            // As an attacker would: past the checks of `set_path`.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn refusal(entries: &[(EntryType, &str, &[u8])]) -> String {
        let room = tempfile::tempdir().unwrap();
        let inside = room.path().join("inside");
        fs::create_dir(&inside).unwrap();
        let error = unpack(&tar(entries), &inside).expect_err("the archive must be refused");
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1, "something was written outside");
        error.to_string()
    }

    #[test]
    fn a_template_is_unpacked_without_set_user_bits_and_without_terraforms_own_files() {
        use std::os::unix::fs::PermissionsExt;
        let room = tempfile::tempdir().unwrap();
        let archive = tar(&[
            (EntryType::XGlobalHeader, "pax_global_header", b"19 comment=abcdef\n"),
            (EntryType::Directory, "./", b""),
            (EntryType::Regular, "./main.tf", b"# hello"),
            (EntryType::Regular, "scripts/run.sh", b"#!/bin/sh"),
            (EntryType::Regular, "terraform.tfstate", b"{}"),
            (EntryType::Regular, ".terraform/terraform.tfstate", b"{}"),
        ]);
        unpack(&archive, room.path()).unwrap();
        assert_eq!(fs::read_to_string(room.path().join("main.tf")).unwrap(), "# hello");
        let mode = fs::metadata(room.path().join("scripts/run.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7000, 0);
        assert!(!room.path().join("terraform.tfstate").exists());
        assert!(!room.path().join(".terraform").exists());
    }

    #[test]
    fn paths_that_lead_out_links_and_devices_are_refused() {
        for name in ["../up", "a/../../up", "/etc/cron.d/x", "a\\..\\b"] {
            assert!(refusal(&[(EntryType::Regular, name, b"x")]).contains("not a plain relative path"), "{name}");
        }
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::GNUSparse]
        {
            let error = refusal(&[(kind, "x", b"")]);
            assert!(error.contains("neither a file nor a directory") || error.contains("cannot be read"), "{kind:?}: {error}");
        }
    }

    #[test]
    fn doubled_names_and_cut_archives_are_refused() {
        let twice = refusal(&[(EntryType::Regular, "main.tf", b"a"), (EntryType::Regular, "MAIN.tf", b"b")]);
        assert_eq!(twice, "the template archive holds \"MAIN.tf\" twice");
        let room = tempfile::tempdir().unwrap();
        let whole = tar(&[(EntryType::Regular, "main.tf", &[b'x'; 4096])]);
        assert!(matches!(unpack(&whole[..1024], room.path()), Err(ArchiveError::Unreadable(_))));
        assert!(matches!(unpack(&[7; 4096], room.path()), Err(ArchiveError::Unreadable(_))));
    }

    #[test]
    fn a_bomb_of_entries_or_bytes_is_refused() {
        let many: Vec<String> = (0..=ARCHIVE_ENTRIES_MAX).map(|number| format!("d{number}")).collect();
        let entries: Vec<_> = many.iter().map(|name| (EntryType::Directory, name.as_str(), &b""[..])).collect();
        assert!(refusal(&entries).contains("more than 10000 entries"));
        let left = write(&mut &b"12345"[..], &tempfile::tempdir().unwrap().path().join("f"), false, 4);
        assert!(matches!(left, Err(WriteError::TooLarge)));
    }
}
