//! How people and programs name a workspace: `[owner/]name[.agent]`, and the host names that OpenSSH and IDEs hand over.

use crate::failure::Failure;
use berth_wire::domain::{AgentName, NameError, Username, WorkspaceName};
use std::{fmt, str::FromStr};

/// The host name ending that `config-ssh` writes unless told otherwise.
pub const DEFAULT_SUFFIX: &str = "berth";

/// A workspace, perhaps someone else's, and perhaps one of its agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceRef {
    /// Whose; none is the signed-in user's.
    pub owner: Option<Username>,
    /// The workspace.
    pub workspace: WorkspaceName,
    /// The agent; none is the only one.
    pub agent: Option<AgentName>,
}

/// A text that names no workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the name of a workspace")]
pub struct RefError {
    text: String,
    source: NameError,
}

/// How a host name is made from a workspace's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostForm<'a> {
    /// What stands before the name, e.g. `coder-vscode.example.com--`; may be empty.
    pub prefix: &'a str,
    /// What stands after it, without the dot.
    pub suffix: &'a str,
}

impl WorkspaceRef {
    /// Reads a host name: prefix or suffix are taken off if they are there, the rest is read as [`WorkspaceRef::from_str`] does.
    ///
    /// # Errors
    /// When what is left names no workspace.
    pub fn from_host(host: &str, form: &HostForm<'_>) -> Result<Self, RefError> {
        let host = host.strip_prefix(form.prefix).unwrap_or(host);
        let bare = host.strip_suffix(form.suffix).and_then(|rest| rest.strip_suffix('.')).filter(|_| !form.suffix.is_empty());
        bare.unwrap_or(host).parse()
    }

    fn assemble(owner: Option<&str>, workspace: &str, agent: Option<&str>) -> Result<Self, NameError> {
        Ok(Self {
            owner: owner.filter(|owner| !owner.eq_ignore_ascii_case("me")).map(Username::parse).transpose()?,
            workspace: WorkspaceName::parse(workspace)?,
            agent: agent.map(AgentName::parse).transpose()?,
        })
    }

    /// The owner as the API's path wants it.
    #[must_use]
    pub fn owner_or_me(&self) -> &str {
        self.owner.as_ref().map_or("me", Username::as_str)
    }

    /// The name to type for the same workspace: `[owner/]name`.
    #[must_use]
    pub fn typed(&self) -> String {
        self.owner.as_ref().map_or_else(|| self.workspace.to_string(), |owner| format!("{owner}/{}", self.workspace))
    }
}

impl FromStr for WorkspaceRef {
    type Err = RefError;

    /// Reads `name`, `name.agent`, `owner/name[.agent]`, `owner--name[.agent]`, `owner--name--agent` or `agent.name.owner`. Names hold neither dots
    /// nor doubled hyphens, so that the forms cannot be mistaken for each other.
    fn from_str(text: &str) -> Result<Self, RefError> {
        let parts: Vec<&str> = text.split('/').flat_map(|part| part.split("--")).flat_map(|part| part.split('.')).collect();
        let owned = text.contains('/') || text.contains("--");
        let found = match (parts.as_slice(), owned) {
            ([workspace], _) => Self::assemble(None, workspace, None),
            ([workspace, agent], false) => Self::assemble(None, workspace, Some(agent)),
            ([owner, workspace], true) => Self::assemble(Some(owner), workspace, None),
            ([agent, workspace, owner], false) => Self::assemble(Some(owner), workspace, Some(agent)),
            ([owner, workspace, agent], true) => Self::assemble(Some(owner), workspace, Some(agent)),
            _ => Err(NameError::Shape(text.to_owned())),
        };
        found.map_err(|source| RefError { text: text.to_owned(), source })
    }
}

impl fmt::Display for WorkspaceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed())?;
        self.agent.as_ref().map_or(Ok(()), |agent| write!(f, ".{agent}"))
    }
}

impl From<RefError> for Failure {
    fn from(error: RefError) -> Self {
        let why = match &error.source {
            NameError::Shape(_) => {
                "a name has letters and digits with single hyphens between them; the whole is [owner/]name[.agent]".to_owned()
            }
            other => other.to_string(),
        };
        Self::usage(error.to_string()).hint(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        text.parse::<WorkspaceRef>().map_or_else(|error| format!("error: {error}"), |reference| reference.to_string())
    }

    #[test]
    fn each_form_that_people_and_programs_use_is_read() {
        assert_eq!(read("dev"), "dev");
        assert_eq!(read("dev.main"), "dev.main");
        assert_eq!(read("ada/dev"), "ada/dev");
        assert_eq!(read("me/dev"), "dev");
        assert_eq!(read("ada/dev.main"), "ada/dev.main");
        assert_eq!(read("ada--dev"), "ada/dev");
        assert_eq!(read("ada--dev.main"), "ada/dev.main");
        assert_eq!(read("ada--dev--main"), "ada/dev.main");
        assert_eq!(read("main.dev.ada"), "ada/dev.main");
        assert_eq!(read("my-dev"), "my-dev");
    }

    #[test]
    fn what_names_no_workspace_says_so() {
        for text in ["", "a_b", "a/b/c/d", "a..b", "/dev", "dev/", "-dev", "dev;id", "a b", "new", "--stdio", "é"] {
            assert!(text.parse::<WorkspaceRef>().is_err(), "{text:?}");
        }
        let failure = Failure::from("a_b".parse::<WorkspaceRef>().unwrap_err());
        assert_eq!(failure.to_string(), "\"a_b\" is not the name of a workspace");
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn prefix_and_suffix_come_off_a_host_name() {
        let read = |host, prefix, suffix| WorkspaceRef::from_host(host, &HostForm { prefix, suffix }).unwrap().to_string();
        assert_eq!(read("dev.berth", "", "berth"), "dev");
        assert_eq!(read("dev", "", "berth"), "dev");
        assert_eq!(read("main.dev.ada.berth", "", "berth"), "ada/dev.main");
        assert_eq!(read("coder-vscode.example.com--ada--dev.main", "coder-vscode.example.com--", "berth"), "ada/dev.main");
        assert_eq!(read("coder-vscode.example.com--ada--dev", "coder-vscode.example.com--", ""), "ada/dev");
        assert_eq!(read("dev.workspaces.example", "", "workspaces.example"), "dev");
        assert_eq!(read("dev.berth", "", "other"), "dev.berth");
    }
}
