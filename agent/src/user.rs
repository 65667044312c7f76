//! Who the agent runs as, from the passwd database.

use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User as Passwd};

/// The shell when the passwd database names none that can be used.
const FALLBACK_SHELL: &str = "/bin/sh";

/// The account the agent and everything it starts run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell: an absolute path of a file that exists.
    pub shell: PathBuf,
}

impl User {
    /// The account of this process. `home`, if given (the agent's own `HOME`), wins over the passwd entry: a template may set it.
    pub fn current(home: Option<PathBuf>) -> User {
        let uid = Uid::current();
        let entry = Passwd::from_uid(uid).ok().flatten();
        let name = entry.as_ref().map_or_else(|| uid.to_string(), |entry| entry.name.clone());
        let shell = entry
            .as_ref()
            .map(|entry| entry.shell.clone())
            .filter(|shell| is_usable(shell))
            .unwrap_or_else(|| PathBuf::from(FALLBACK_SHELL));
        let home =
            home.or_else(|| entry.map(|entry| entry.dir)).filter(|home| home.is_absolute()).unwrap_or_else(|| PathBuf::from("/"));
        User { name, home, shell }
    }

    /// The shell's own name, such as `bash`.
    pub fn shell_name(&self) -> String {
        self.shell.file_name().map_or_else(|| "sh".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}

/// Service accounts have `nologin` or `false`: whoever put the agent there wants a shell all the same.
fn is_usable(shell: &Path) -> bool {
    let refuses = shell.file_name().is_some_and(|name| name == "nologin" || name == "false");
    !refuses && shell.is_absolute() && shell.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_given_home_wins_and_the_shell_exists() {
        let user = User::current(Some(PathBuf::from("/somewhere")));
        assert_eq!(user.home, PathBuf::from("/somewhere"));
        assert!(user.shell.is_file());
        assert!(!is_usable(Path::new("/usr/sbin/nologin")));
        assert!(!is_usable(Path::new("/no/such/shell")));
    }
}
