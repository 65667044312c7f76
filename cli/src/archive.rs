//! Template archives: a directory becomes a tar, and a tar a directory again.

use crate::{
    config::plain,
    failure::{Failure, Outcome},
};
use berth_wire::domain::limit::{ARCHIVE_BYTES_MAX, ARCHIVE_ENTRIES_MAX, ARCHIVE_UNPACKED_BYTES_MAX};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Seek, Write},
    path::{Component, Path, PathBuf},
};

/// Names that never belong into a template.
const LEFT_OUT: &[&str] =
    &[".git", ".terraform", ".terragrunt-cache", ".DS_Store", "terraform.tfstate.d", ".terraform.tfstate.lock.info"];

/// A packed directory.
#[derive(Debug)]
pub struct Packed {
    /// The tar, at its beginning; a file that nobody else sees.
    pub file: File,
    /// Its size in bytes.
    pub bytes: u64,
    /// How many files are in it.
    pub files: usize,
}

/// Packs a directory of Terraform. The same content gives the same bytes, so that an unchanged template is known to the deployment. State, plugins
/// and version control stay behind.
///
/// # Errors
/// When there is no Terraform in it, it holds what a template cannot, or it is too large.
pub fn pack(directory: &Path) -> Outcome<Packed> {
    let mut files = Vec::new();
    collect(directory, Path::new(""), &mut files)?;
    let is_terraform = |path: &PathBuf| {
        path.components().count() == 1 && [".tf", ".tf.json"].iter().any(|end| path.to_string_lossy().ends_with(end))
    };
    if !files.iter().any(is_terraform) {
        return Err(Failure::new(format!("{} holds no .tf file", directory.display()))
            .hint("name the template's directory with -d; `berth templates init` makes one"));
    }
    files.sort();
    let failed = |error: io::Error| {
        Failure::new(format!("cannot pack {}: {}", directory.display(), plain(&error))).hint("is there room for temporary files?")
    };
    let mut builder = tar::Builder::new(BufWriter::new(tempfile::tempfile().map_err(failed)?));
    for path in &files {
        append(&mut builder, directory, path)?;
    }
    let mut writer = builder.into_inner().map_err(failed)?;
    writer.flush().map_err(failed)?;
    let mut file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
    let bytes = file.stream_position().and_then(|bytes| file.rewind().map(|()| bytes)).map_err(failed)?;
    if bytes > ARCHIVE_BYTES_MAX as u64 {
        let clause =
            format!("{} is {} MiB as an archive; the limit is {}", directory.display(), bytes >> 20, ARCHIVE_BYTES_MAX >> 20);
        return Err(Failure::new(clause).hint("take large files out of the directory"));
    }
    Ok(Packed { file, bytes, files: files.len() })
}

fn collect(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> Outcome {
    let directory = root.join(below);
    let unreadable = |error: io::Error| {
        Failure::new(format!("cannot read {}: {}", directory.display(), plain(&error)))
            .hint("name the template's directory with -d")
    };
    for entry in fs::read_dir(&directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let path = below.join(&name);
        if LEFT_OUT.iter().any(|left_out| *left_out == text) || text.ends_with(".tfstate") || text.contains(".tfstate.") {
            continue;
        }
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            collect(root, &path, files)?;
        } else if kind.is_file() {
            files.push(path);
        } else {
            let what = if kind.is_symlink() { "a symbolic link" } else { "not a regular file" };
            return Err(Failure::new(format!("{} is {what}, which a template cannot hold", root.join(path).display()))
                .hint("copy the content into the directory"));
        }
        if files.len() > ARCHIVE_ENTRIES_MAX {
            return Err(Failure::new(format!("{} holds more than {ARCHIVE_ENTRIES_MAX} files", root.display()))
                .hint("is it the right directory? -d"));
        }
    }
    Ok(())
}

fn append(builder: &mut tar::Builder<impl Write>, root: &Path, path: &Path) -> Outcome {
    let full = root.join(path);
    let failed = |error: io::Error| {
        Failure::new(format!("cannot pack {}: {}", full.display(), plain(&error)))
            .hint("try again when nothing writes to the directory")
    };
    let file = File::open(&full).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut header = tar::Header::new_gnu();
    header.set_size(metadata.len());
    header.set_mode(if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 == 0 { 0o644 } else { 0o755 });
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    // Exactly as much as was announced, whatever happens to the file meanwhile.
    let content = file.take(metadata.len()).chain(io::repeat(0)).take(metadata.len());
    builder.append_data(&mut header, path, content).map_err(failed)
}

/// Unpacks an archive into a directory that must be new or empty. Only plain files and directories below it are accepted.
///
/// # Errors
/// When the directory is not empty, the archive holds anything else or is too large, or a file cannot be written.
pub fn unpack(archive: &[u8], directory: &Path) -> Outcome<usize> {
    let failed = |error: io::Error| {
        Failure::new(format!("cannot unpack into {}: {}", directory.display(), plain(&error))).hint("try another directory")
    };
    make_empty(directory)?;
    let (mut files, mut bytes) = (0, 0_u64);
    for entry in tar::Archive::new(archive).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        bytes = bytes.saturating_add(entry.size());
        files += 1;
        let plain_path = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let kind = entry.header().entry_type();
        if !plain_path || !(kind.is_file() || kind.is_dir()) || files > ARCHIVE_ENTRIES_MAX || bytes > ARCHIVE_UNPACKED_BYTES_MAX {
            return Err(Failure::new(format!("the archive holds {:?}, which a template cannot", path.display()))
                .hint("tell the template's author"));
        }
        let target = directory.join(&path);
        if kind.is_dir() {
            fs::create_dir_all(&target).map_err(failed)?;
            continue;
        }
        target.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        let mut file = File::create(&target).map_err(failed)?;
        io::copy(&mut entry, &mut file).map_err(failed)?;
    }
    Ok(files)
}

/// Makes sure that a directory exists and is empty.
///
/// # Errors
/// When it holds something or cannot be made.
pub fn make_empty(directory: &Path) -> Outcome {
    let unwritable = |error: io::Error| crate::config::unwritable(directory, &error);
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(Failure::new(format!("{} is not empty", directory.display())).hint("name another directory")),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(directory).map_err(unwritable),
        Err(error) => Err(unwritable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("main.tf", "# main"),
            ("scripts/start.sh", "echo"),
            ("terraform.tfstate", "{}"),
            (".terraform/x", "x"),
            (".git/config", ""),
        ] {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn bytes(directory: &Path) -> Vec<u8> {
        let mut all = Vec::new();
        pack(directory).unwrap().file.read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn a_directory_survives_the_way_there_and_back_without_its_state() {
        let (from, to) = (template(), tempfile::tempdir().unwrap());
        let target = to.path().join("new");
        assert_eq!(unpack(&bytes(from.path()), &target).unwrap(), 2);
        assert_eq!(fs::read_to_string(target.join("scripts/start.sh")).unwrap(), "echo");
        assert!(!target.join("terraform.tfstate").exists());
        assert_eq!(bytes(&target), bytes(from.path()));
        assert!(unpack(&bytes(from.path()), &target).unwrap_err().to_string().ends_with("is not empty"));
    }

    #[test]
    fn what_a_template_cannot_hold_is_named() {
        let directory = template();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("link")).unwrap();
        assert!(pack(directory.path()).unwrap_err().to_string().contains("link is a symbolic link"));
        let empty = tempfile::tempdir().unwrap();
        assert!(pack(empty.path()).unwrap_err().to_string().ends_with("holds no .tf file"));
    }

    #[test]
    fn an_archive_cannot_write_outside_its_directory() {
        for (name, kind) in
            [("../evil", tar::EntryType::Regular), ("/evil", tar::EntryType::Regular), ("evil", tar::EntryType::Symlink)]
        {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            let mut builder = tar::Builder::new(Vec::new());
            builder.append(&header, io::empty()).unwrap();
            let to = tempfile::tempdir().unwrap();
            let failure = unpack(&builder.into_inner().unwrap(), &to.path().join("d")).unwrap_err();
            assert!(failure.to_string().contains("which a template cannot"), "{failure}");
        }
    }
}
