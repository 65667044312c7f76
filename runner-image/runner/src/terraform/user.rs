//! The user as whom Terraform runs, when that is not the runner's own.
//!
//! A template is code. As another user it can neither read the runner's memory, environment and open files nor signal it; see
//! SECURITY.md for what that does and does not protect. The runner keeps its own user and needs four capabilities instead of root:
//! `cap_setuid` and `cap_setgid` to start Terraform, `cap_chown` to give it its directory, `cap_kill` to end it. They are file
//! capabilities of the executable, which only the runner's user may execute, so that no other process has them.

use std::{
    fmt, fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown},
    path::Path,
    str::FromStr,
};

use nix::unistd::{Uid, User as Account};

/// What the executable must be given for this.
pub const CAPABILITIES: &str = "cap_setuid,cap_setgid,cap_chown,cap_kill=ep";
/// The deepest directory of a template that is handed over.
const DEPTH_MAX: usize = 64;
/// What group members may do with a directory that the runner and Terraform share; new files there belong to the group.
const SHARED_DIRECTORY: u32 = 0o2770;
/// The same for what Terraform only reads.
const READ_DIRECTORY: u32 = 0o2750;

/// A user that is not root, and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
}

/// Why a text names no user as whom Terraform may run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UserError(pub &'static str);

impl FromStr for User {
    type Err = UserError;

    /// Reads `uid:gid`, or the name of a user of this machine.
    fn from_str(text: &str) -> Result<Self, UserError> {
        let (uid, gid) = match text.split_once(':') {
            Some((uid, gid)) => uid.parse().ok().zip(gid.parse().ok()).ok_or(UserError("a user name or uid:gid"))?,
            None => {
                let account = Account::from_name(text).ok().flatten().ok_or(UserError("the name of a user of this machine"))?;
                (account.uid.as_raw(), account.gid.as_raw())
            }
        };
        if uid == 0 || gid == 0 {
            return Err(UserError("a user and a group other than root"));
        }
        if uid == Uid::effective().as_raw() {
            return Err(UserError("a user other than the runner's own"));
        }
        Ok(Self { uid, gid })
    }
}

/// `uid:gid`.
impl fmt::Display for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.uid, self.gid)
    }
}

impl User {
    /// Its number.
    #[must_use]
    pub const fn uid(self) -> u32 {
        self.uid
    }

    /// Its group's number.
    #[must_use]
    pub const fn gid(self) -> u32 {
        self.gid
    }

    /// Gives it a directory with all that is in it; the group, to which the runner belongs, may do the same as the owner. Only for
    /// what the runner itself laid out and while nothing of that user runs: links are not followed, but nothing stops a race.
    ///
    /// # Errors
    /// When the disk refuses, or the runner has no `cap_chown`.
    pub fn give(self, directory: &Path) -> io::Result<()> {
        self.share(directory, Some(self.uid), 0)
    }

    /// Lets it read a directory of the runner's, and whatever will be made there.
    ///
    /// # Errors
    /// As for [`User::give`].
    pub fn show(self, directory: &Path) -> io::Result<()> {
        self.share(directory, None, 0)
    }

    /// Lets it connect to a socket.
    ///
    /// # Errors
    /// As for [`User::give`].
    pub fn admit(self, socket: &Path) -> io::Result<()> {
        chown(socket, None, Some(self.gid))?;
        fs::set_permissions(socket, fs::Permissions::from_mode(0o660))
    }

    fn share(self, path: &Path, owner: Option<u32>, depth: usize) -> io::Result<()> {
        let about = fs::symlink_metadata(path)?;
        if depth > DEPTH_MAX {
            return Err(io::Error::other(format!("directories are nested more than {DEPTH_MAX} deep")));
        }
        if about.is_dir() {
            for entry in fs::read_dir(path)? {
                self.share(&entry?.path(), owner, depth + 1)?;
            }
        }
        // The mode first: afterwards it is another's.
        if about.is_dir() {
            fs::set_permissions(path, fs::Permissions::from_mode(if owner.is_some() { SHARED_DIRECTORY } else { READ_DIRECTORY }))?;
        } else if about.is_file() {
            fs::set_permissions(path, fs::Permissions::from_mode(of_group(about.mode(), owner.is_some())))?;
        }
        lchown(path, owner, Some(self.gid))
    }
}

/// A file's mode with the owner's rights for the group too, and none for others.
fn of_group(mode: u32, with_writing: bool) -> u32 {
    let owner = mode & 0o700;
    let group = if with_writing { owner >> 3 } else { owner >> 3 & 0o050 };
    owner | group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_two_numbers_or_a_name_of_this_machine_and_never_root_or_the_runner() {
        assert_eq!("4001:4002".parse(), Ok(User { uid: 4001, gid: 4002 }));
        assert!("nobody".parse::<User>().is_ok_and(|user| user.uid > 0));
        for wrong in ["0:4002", "4001:0", "root", "4001:", "4001:4002:1", "-1:5", "no such user", "", ":"] {
            assert!(wrong.parse::<User>().is_err(), "{wrong:?}");
        }
        let own = Uid::effective().as_raw().max(1);
        assert_eq!(format!("{own}:{own}").parse::<User>().is_err(), Uid::effective().as_raw() != 0);
    }

    #[test]
    fn a_file_is_the_groups_as_much_as_its_owners_and_nobody_elses() {
        assert_eq!(of_group(0o100_644, true), 0o660);
        assert_eq!(of_group(0o100_755, true), 0o770);
        assert_eq!(of_group(0o100_600, false), 0o640);
        assert_eq!(of_group(0o100_755, false), 0o750);
    }
}
