//! What exists of a workspace on this machine, whether or not a state knows it: for repair after a state was lost.

use std::io;
use std::path::Path;

use crate::{directory, process};

/// A process or a directory of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// The resource type that stands for it: `berth_process` or `berth_directory`.
    pub kind: &'static str,
    /// What an `import` block calls it: the id of a process, the path of a directory.
    pub id: String,
    /// What it is, in words for a person.
    pub what: String,
}

/// Everything of a workspace that exists on this machine, processes first; `root` is the deployment's place for workspaces
/// (`BERTH_PROCESS_ROOT`).
///
/// A process that the caller may not look into (another user's) is not found. Reads the process table and one directory.
///
/// # Errors
/// When the process table or the workspace's directory cannot be read.
pub async fn existing(root: &Path, workspace_id: &str) -> io::Result<Vec<Existing>> {
    let (root, workspace_id) = (root.to_path_buf(), workspace_id.to_owned());
    let look = move || {
        let mut found = process::existing(&workspace_id)?;
        found.extend(directory::existing(&root, &workspace_id)?);
        Ok(found)
    };
    tokio::task::spawn_blocking(look).await.map_err(io::Error::other)?
}
