//! The modules that `terraform init` fetched, as one tar: the same modules always give the same bytes.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use berth_domain::limit::{ARCHIVE_ENTRIES_MAX, MODULES_BYTES_MAX};
use tar::{Builder, EntryType, Header};

use crate::archive::{self, ArchiveError};

/// Terraform's own directory, and the one in it where `init` puts modules.
const TERRAFORM: &str = ".terraform";
const MODULES: &str = "modules";
/// Terraform's list of them.
const MANIFEST: &str = "modules.json";
/// Directories of a version control system are not read by Terraform.
const LEFT_OUT: [&str; 3] = [".git", ".hg", ".svn"];

/// Why modules are not kept. The template works nevertheless: each build fetches them again.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Too much.
    #[error("they are larger than {MODULES_BYTES_MAX} bytes")]
    Bytes,
    /// Too many.
    #[error("they hold more than {ARCHIVE_ENTRIES_MAX} files")]
    Entries,
    /// What was packed could not be unpacked again.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The disk refused.
    #[error("they cannot be read: {0}")]
    Disk(#[from] io::Error),
}

/// Packs the modules that an `init` fetched for the template in `directory`; `None` when it uses none. Blocking. Symbolic links are
/// followed as long as they stay among the modules; others are left out.
///
/// # Errors
/// When they are too large, cannot be read, or could not be unpacked again.
pub fn pack(directory: &Path) -> Result<Option<Vec<u8>>, PackError> {
    let root = directory.join(TERRAFORM).join(MODULES);
    if !root.join(MANIFEST).is_file() {
        return Ok(None);
    }
    let root = root.canonicalize()?;
    let mut walk = Walk { root: root.clone(), ..Walk::default() };
    walk.enter(&root, Path::new(MODULES))?;
    let mut bytes = 0;
    let mut builder = Builder::new(Vec::new());
    for (name, path) in &walk.files {
        let about = fs::metadata(path)?;
        bytes += about.len();
        if bytes > MODULES_BYTES_MAX as u64 {
            return Err(PackError::Bytes);
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(if about.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 });
        header.set_size(about.len());
        builder.append_data(&mut header, name, fs::File::open(path)?)?;
    }
    let tar = builder.into_inner()?;
    if tar.len() > MODULES_BYTES_MAX {
        return Err(PackError::Bytes);
    }
    archive::unpack(&tar, tempfile::tempdir()?.path())?;
    Ok(Some(tar))
}

/// Lays the modules out for the template in `directory`. Blocking.
///
/// # Errors
/// When it is not a tar of plain files, or the disk refuses.
pub fn lay(tar: &[u8], directory: &Path) -> Result<(), ArchiveError> {
    archive::unpack(tar, &directory.join(TERRAFORM))
}

/// The regular files below a directory, by their names in the tar.
#[derive(Default)]
struct Walk {
    root: PathBuf,
    files: BTreeMap<PathBuf, PathBuf>,
    /// The directories that it is in, so that a link back up is not followed for ever.
    inside: Vec<PathBuf>,
    entries: usize,
}

impl Walk {
    fn enter(&mut self, directory: &Path, name: &Path) -> Result<(), PackError> {
        self.inside.push(directory.to_owned());
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            self.entries += 1;
            if self.entries > ARCHIVE_ENTRIES_MAX {
                return Err(PackError::Entries);
            }
            // A dangling link leads nowhere.
            let Ok(real) = entry.path().canonicalize() else { continue };
            let is_left_out = LEFT_OUT.iter().any(|name| entry.file_name() == *name);
            if is_left_out || !real.starts_with(&self.root) || self.inside.contains(&real) {
                continue;
            }
            let name = name.join(entry.file_name());
            if real.is_dir() {
                self.enter(&real, &name)?;
            } else if real.is_file() {
                self.files.insert(name, real);
            }
        }
        self.inside.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn template(home: &Path, name: &str) -> PathBuf {
        let modules = home.join(name).join(".terraform/modules");
        fs::create_dir_all(modules.join("far/.git/objects")).unwrap();
        fs::write(modules.join(MANIFEST), r#"{"Modules":[]}"#).unwrap();
        fs::write(modules.join("far/main.tf"), "# far").unwrap();
        fs::write(modules.join("far/.git/objects/1"), name).unwrap();
        home.join(name)
    }

    #[test]
    fn the_same_modules_are_the_same_bytes_and_come_back_as_they_were() {
        let home = tempfile::tempdir().unwrap();
        let one = pack(&template(home.path(), "one")).unwrap().unwrap();
        assert_eq!(one, pack(&template(home.path(), "two")).unwrap().unwrap());
        let back = home.path().join("back");
        fs::create_dir(&back).unwrap();
        lay(&one, &back).unwrap();
        assert_eq!(fs::read_to_string(back.join(".terraform/modules/far/main.tf")).unwrap(), "# far");
        assert!(!back.join(".terraform/modules/far/.git").exists());
        assert!(pack(&back.join("far")).unwrap().is_none(), "a template without modules has nothing to keep");
    }

    #[test]
    fn links_are_followed_among_the_modules_and_not_out_of_them() {
        let home = tempfile::tempdir().unwrap();
        let directory = template(home.path(), "one");
        let far = directory.join(".terraform/modules/far");
        fs::write(home.path().join("secret"), "canary").unwrap();
        symlink("main.tf", far.join("linked.tf")).unwrap();
        symlink(home.path().join("secret"), far.join("stolen.tf")).unwrap();
        symlink("nowhere", far.join("dangling.tf")).unwrap();
        symlink(".", far.join("loop")).unwrap();
        symlink("..", far.join("up")).unwrap();
        let tar = pack(&directory).unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&tar).contains("canary"));
        let back = tempfile::tempdir().unwrap();
        lay(&tar, back.path()).unwrap();
        let far = back.path().join(".terraform/modules/far");
        assert_eq!(fs::read_to_string(far.join("linked.tf")).unwrap(), "# far");
        assert!(!far.join("stolen.tf").exists() && !far.join("dangling.tf").exists());
    }
}
