//! What comes from PyPI: pinned packages in virtual environments below the target directory, each made once.

use crate::run::{Outcome, binaries, has, run, step};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// A virtual environment: its name and version below the target directory, and what it holds.
pub(crate) struct Environment {
    pub(crate) name: &'static str,
    /// Changes whenever the packages do.
    pub(crate) version: &'static str,
    pub(crate) packages: &'static [&'static str],
}

impl Environment {
    /// The directory with its programs; installs them when they are not there. One that was not finished is made anew.
    pub(crate) fn programs(&self) -> Outcome<PathBuf> {
        let home = binaries(self.name)?.join(self.version);
        let (programs, complete) = (home.join("bin"), home.join("complete"));
        if complete.is_file() {
            return Ok(programs);
        }
        let packages = self.packages.join(" ");
        step("Installing", &format!("{packages} (once)"));
        let hint = |error| format!("{error}\nhint: {packages} come from PyPI; is there a network, or a pip mirror?");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home)).map_err(hint)?;
        let mut pip = Command::new(programs.join("python"));
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install"]).args(self.packages);
        run(&mut pip).map_err(hint)?;
        fs::write(&complete, "").map_err(|error| format!("cannot write {}: {error}", complete.display()))?;
        Ok(programs)
    }
}

/// Whether Python is there and can make virtual environments, which Debian's leaves out.
pub(crate) fn makes_environments() -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", "import ensurepip, venv"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    has("python3") && command.status().is_ok_and(|status| status.success())
}
