//! The directories of workspaces on this machine: `<BERTH_PROCESS_ROOT>/<workspace id>/<name>`, mode 0700.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use crate::behaviour::{Context, Done, with_new_id};
use crate::diagnostic::Diagnostic;
use crate::environment::Environment;
use crate::existing::Existing;
use crate::value::{Object, Value, text_at};

/// The longest name of a directory entry on the file systems that we know.
const NAME_BYTES_MAX: usize = 255;

/// True for a name that is one plain path component: no separator, not hidden, not special.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |character: char| character.is_alphanumeric() || "-_. ".contains(character);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with(['.', ' ']) && name.chars().all(plain)
}

/// The directory that holds everything of the workspace that is being built.
pub(crate) fn of_workspace(environment: &Environment) -> Result<PathBuf, Diagnostic> {
    let id = environment.get("CODER_WORKSPACE_ID").filter(|id| is_plain_name(id));
    let id = id.ok_or_else(|| Diagnostic::error("no workspace", "CODER_WORKSPACE_ID does not name a workspace"))?;
    Ok(root(environment)?.join(id))
}

fn root(environment: &Environment) -> Result<PathBuf, Diagnostic> {
    let root = environment.get("BERTH_PROCESS_ROOT").map(PathBuf::from).filter(|root| root.is_absolute());
    root.ok_or_else(|| {
        Diagnostic::error(
            "no place for processes",
            "this deployment does not run workspaces on its own machine (BERTH_PROCESS_ROOT is not an absolute path); \
             use a template whose workspaces are cloud resources or containers",
        )
    })
}

/// Makes the directory, or takes the one that a lost state left there.
pub(crate) async fn create(context: Context, planned: Object) -> Done {
    let workspace = match of_workspace(&context.environment) {
        Ok(workspace) => workspace,
        Err(diagnostic) => return Done::failed(diagnostic),
    };
    let name = text_at(&planned, "name");
    if !is_plain_name(name) {
        return Done::failed(Diagnostic::error("invalid name", format!("\"{name}\" is not the name of one directory")));
    }
    let path = workspace.join(name);
    match blocking(path.clone(), |path| make(&path)).await {
        Ok(()) => {
            let mut created = with_new_id(planned);
            created.insert("path".into(), Value::text(path.to_string_lossy()));
            Done::exists(created)
        }
        Err(why) => Done::failed(Diagnostic::error("cannot make directory", format!("{}: {why}", path.display()))),
    }
}

/// Finds the directory with this path, or this name, in the workspace that is being built.
pub(crate) async fn import(context: Context, id: String) -> Done {
    let workspace = match of_workspace(&context.environment) {
        Ok(workspace) => workspace,
        Err(diagnostic) => return Done::failed(diagnostic),
    };
    let path = workspace.join(&id);
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_plain_name(name)).map(str::to_owned);
    let is_there = tokio::fs::symlink_metadata(&path).await.is_ok_and(|metadata| metadata.is_dir());
    let Some(name) = name.filter(|_| is_there && path.parent() == Some(&workspace)) else {
        let detail =
            format!("\"{id}\" is not a directory in {}; remove the import block, and the build makes one", workspace.display());
        return Done::failed(Diagnostic::error("no such directory", detail));
    };
    let state = [("name", Value::Text(name)), ("path", Value::text(path.to_string_lossy()))];
    Done::exists(with_new_id(state.map(|(name, value)| (name.to_owned(), value)).into()))
}

/// The directories of a workspace under `root`, whether or not a state knows them. Blocking.
pub(crate) fn existing(root: &Path, workspace_id: &str) -> io::Result<Vec<Existing>> {
    if !is_plain_name(workspace_id) {
        return Ok(Vec::new());
    }
    let entries = match fs::read_dir(root.join(workspace_id)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_named = entry.file_name().to_str().is_some_and(is_plain_name);
        if is_named && entry.file_type()?.is_dir() {
            let path = entry.path().to_string_lossy().into_owned();
            found.push(Existing { kind: "berth_directory", what: format!("directory {path}"), id: path });
        }
    }
    found.sort_by(|first, second| first.id.cmp(&second.id));
    Ok(found)
}

/// Finds out whether it is still there.
pub(crate) async fn read(state: Object) -> Done {
    let path = PathBuf::from(text_at(&state, "path"));
    match tokio::fs::symlink_metadata(&path).await {
        Ok(metadata) if metadata.is_dir() => Done::exists(state),
        Ok(_) => {
            let why = format!("{} is not a directory any more; move it away and build again", path.display());
            Done::exists(state).telling(Diagnostic::error("replaced directory", why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Done::gone(),
        Err(why) => Done::exists(state).telling(Diagnostic::error("cannot read directory", format!("{}: {why}", path.display()))),
    }
}

/// Removes the directory and all in it, and what else is left of the workspace when it was the last.
pub(crate) async fn delete(context: Context, state: Object) -> Done {
    let path = PathBuf::from(text_at(&state, "path"));
    let root = match root(&context.environment) {
        Ok(root) => root,
        Err(diagnostic) => return Done::exists(state).telling(diagnostic),
    };
    if !is_ours(&root, &path) {
        let why = format!("{} is not a directory of a workspace under {}; remove it by hand", path.display(), root.display());
        return Done::exists(state).telling(Diagnostic::error("directory is not ours", why));
    }
    match blocking(path.clone(), |path| remove(&path)).await {
        Ok(()) => Done::gone(),
        Err(why) => Done::exists(state).telling(Diagnostic::error("cannot remove directory", format!("{}: {why}", path.display()))),
    }
}

async fn blocking(path: PathBuf, verb: fn(PathBuf) -> io::Result<()>) -> io::Result<()> {
    tokio::task::spawn_blocking(move || verb(path)).await.map_err(io::Error::other)?
}

/// True for exactly `<root>/<workspace>/<name>` whose workspace directory is no link to elsewhere.
fn is_ours(root: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(root) else { return false };
    let plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
    let real_parent = || path.parent().and_then(|parent| fs::symlink_metadata(parent).ok()).is_none_or(|parent| parent.is_dir());
    plain && inside.components().count() == 2 && real_parent()
}

/// Makes a directory of mode 0700, and those above it.
fn make(path: &Path) -> io::Result<()> {
    make_private(path.parent().unwrap_or(path))?;
    make_private(path)
}

/// Makes one directory of mode 0700 if it is not there, and those above it.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if !fs::symlink_metadata(path)?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a link"));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Removes the tree without following links, then the logs beside it, then the workspace's directory if it is empty.
fn remove(path: &Path) -> io::Result<()> {
    match remove_tree(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let Some(workspace) = path.parent() else { return Ok(()) };
    for entry in fs::read_dir(workspace).into_iter().flatten().flatten() {
        if is_process_log(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    // It stays when another directory of the workspace is in it.
    let _ = fs::remove_dir(workspace);
    Ok(())
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        // Caches such as Go's hold directories without write permission.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_directories(path)?;
            fs::remove_dir_all(path)
        }
        result => result,
    }
}

/// Makes every directory of the tree writable for its owner. Links are not followed.
fn open_directories(path: &Path) -> io::Result<()> {
    let mut waiting = vec![path.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(())
}

/// True for the path of the log that a process gets when its template names none.
fn is_process_log(path: &Path) -> bool {
    let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    path.extension().is_some_and(|extension| extension == "log") && uuid::Uuid::parse_str(id).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_component() {
        for good in ["home", "data-1", "My Files", "a.b", "größe"] {
            assert!(is_plain_name(good), "{good}");
        }
        for bad in ["", ".", "..", ".ssh", "a/b", "/a", "a\0", "a\nb", "~", &"x".repeat(256)] {
            assert!(!is_plain_name(bad), "{bad}");
        }
    }

    #[test]
    fn removal_does_not_follow_links_and_takes_read_only_directories_and_logs_along() {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let root = place.path().join("root");
        let home = root.join("w1").join("home");
        make(&home).unwrap();
        assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
        std::os::unix::fs::symlink(&outside, home.join("link")).unwrap();
        fs::create_dir_all(home.join("go/pkg")).unwrap();
        fs::write(home.join("go/pkg/file"), "x").unwrap();
        fs::set_permissions(home.join("go/pkg"), fs::Permissions::from_mode(0o500)).unwrap();
        fs::write(root.join("w1").join(format!("{}.log", uuid::Uuid::new_v4())), "log").unwrap();

        assert!(is_ours(&root, &home));
        remove(&home).unwrap();

        assert!(outside.join("kept").exists());
        assert!(!root.join("w1").exists());
        assert!(root.exists());
    }

    #[test]
    fn nothing_but_a_directory_of_a_workspace_is_ours() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir_all(root.join("w1/home")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("w2")).unwrap();
        assert!(is_ours(&root, &root.join("w1/home")));
        for other in ["", "w1", "w1/home/deeper", "w1/../..", "../x/y", "w2/ssl"] {
            assert!(!is_ours(&root, &root.join(other)), "{other}");
        }
        assert!(!is_ours(&root, Path::new("/etc/ssl")));
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_is_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("w1")).unwrap();
        std::os::unix::fs::symlink("/etc", place.path().join("w1/home")).unwrap();
        assert!(make(&place.path().join("w1/home")).is_err());
    }
}
