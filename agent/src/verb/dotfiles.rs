//! `dotfiles`: a person's own settings, from a repository. Its install script is run, or its files whose names begin with a dot are linked.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_wire::domain::Timestamp;

use super::words::{Word, Words, unknown};
use super::{Call, Failure, Outcome, say, tell};

const USAGE: &str = "dotfiles [-y] [--branch BRANCH] [--repo-dir DIR] [--symlink-dir DIR] REPOSITORY";

/// Below the home directory: where people's own files refer to.
const PLACE: &str = ".config/coderv2";

/// The scripts that are looked for, the first that is there is run.
const SCRIPTS: [&str; 8] =
    ["install.sh", "install", "bootstrap.sh", "bootstrap", "script/bootstrap", "setup.sh", "setup", "script/setup"];

/// What was asked for.
#[derive(Debug)]
struct Asked {
    repository: String,
    branch: Option<String>,
    directory: PathBuf,
    links: PathBuf,
    agreed: bool,
}

impl Asked {
    fn parse(call: &Call<'_>) -> Result<Self, Failure> {
        let home = call.home()?;
        let (mut repository, mut branch, mut agreed) = (None, None, false);
        let mut name = call.variable("CODER_DOTFILES_REPO_DIR").unwrap_or("dotfiles").to_owned();
        let mut links = call.variable("CODER_SYMLINK_DIR").map_or_else(|| home.clone(), PathBuf::from);
        let mut words = Words::of(call.rest);
        while let Some(word) = words.next() {
            match &word {
                Word::Operand(url) if repository.is_none() => repository = Some(url.clone()),
                Word::Option(option) => match option.as_str() {
                    "-y" | "--yes" => agreed = true,
                    "-b" | "--branch" => branch = Some(words.value(option)?),
                    "--repo-dir" => name = words.value(option)?,
                    "--symlink-dir" => links = words.value(option)?.into(),
                    _ => return Err(unknown(&word, USAGE)),
                },
                Word::Operand(_) => return Err(unknown(&word, USAGE)),
            }
        }
        let missing = || Failure::usage("the repository is missing".to_owned()).hint(format!("usage: {USAGE}"));
        let repository = repository.ok_or_else(missing)?;
        Ok(Self { repository, branch, directory: home.join(PLACE).join(name), links, agreed })
    }

    /// Asks, unless the answer was given with the command.
    fn agree(&self, question: &str) -> Result<(), Failure> {
        if self.agreed {
            return Ok(());
        }
        let refused = |clause: &str| Err(Failure::new(clause.to_owned()).hint("with -y it goes ahead without asking".to_owned()));
        if !io::stdin().is_terminal() {
            return refused("there is no terminal to ask at");
        }
        let _shown = write!(io::stderr(), "{question}. Continue? [yes/no] ").and_then(|()| io::stderr().flush());
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).ok();
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => refused("nothing more was done"),
        }
    }
}

/// Fetches the repository and installs what is in it.
pub(super) fn run(call: &Call<'_>) -> Outcome {
    let asked = Asked::parse(call)?;
    fetch(&asked)?;
    if let Some(script) = SCRIPTS.iter().find(|script| asked.directory.join(script).is_file()) {
        return install(&asked, script);
    }
    let failed = |error: io::Error| Failure::new(format!("cannot read {}: {error}", asked.directory.display()));
    let entries = fs::read_dir(&asked.directory).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed)?;
    let mut names: Vec<_> = entries.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with('.') && !name.starts_with(".git"));
    names.sort();
    if names.is_empty() {
        return say("No install script and no dotfiles are in it: nothing to do.");
    }
    asked.agree(&format!("No install script is in it; {} will be linked to {}", names.join(", "), asked.links.display()))?;
    for name in names {
        let (from, to) = (asked.directory.join(&name), asked.links.join(&name));
        link(&from, &to).map_err(|error| Failure::new(format!("cannot link {}: {error}", to.display())))?;
    }
    say("Dotfiles are installed.")
}

/// Brings the directory to what the repository has now. Another repository's is put aside.
fn fetch(asked: &Asked) -> Result<(), Failure> {
    let directory = &asked.directory;
    if directory.is_dir() && origin(directory).as_deref() != Some(asked.repository.as_str()) {
        let aside = format!("{}_backup_{}", directory.display(), Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"));
        asked.agree(&format!("{} is of another repository and will be kept as {aside}", directory.display()))?;
        fs::rename(directory, &aside).map_err(|error| Failure::new(format!("cannot rename {}: {error}", directory.display())))?;
        tell(format_args!("What was there is kept as {aside}."));
    }
    if directory.is_dir() {
        asked.agree(&format!("{} will be pulled into {}", asked.repository, directory.display()))?;
        if pull(asked).is_err() {
            tell("warning: it cannot be brought up to date; going on with what is there");
        }
        return Ok(());
    }
    asked.agree(&format!("{} will be cloned into {}", asked.repository, directory.display()))?;
    let branch = asked.branch.iter().map(|branch| format!("--branch={branch}"));
    git(Command::new("git").arg("clone").args(branch).arg("--").arg(&asked.repository).arg(directory))
}

fn pull(asked: &Asked) -> Result<(), Failure> {
    let in_it = || {
        let mut command = Command::new("git");
        // A script that was made executable here is not another script.
        command.arg("-C").arg(&asked.directory).args(["-c", "core.fileMode=false"]);
        command
    };
    git(in_it().args(["fetch", "--quiet"]))?;
    if let Some(branch) = &asked.branch {
        git(in_it().args(["checkout", "--quiet", branch, "--"]))?;
    }
    git(in_it().args(["pull", "--ff-only"]))
}

/// The repository that a directory is of.
fn origin(directory: &Path) -> Option<String> {
    let said = Command::new("git").arg("-C").arg(directory).args(["config", "--get", "remote.origin.url"]).output().ok()?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

fn git(command: &mut Command) -> Result<(), Failure> {
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("git failed: {status}"))
            .hint("for a private repository, add the key that `coder publickey` prints where the repository is".to_owned())),
        Err(error) => Err(Failure::new(format!("cannot run git: {error}")).hint("is git installed here?".to_owned())),
    }
}

fn install(asked: &Asked, script: &str) -> Outcome {
    asked.agree(&format!("{script} will be run"))?;
    let file = asked.directory.join(script);
    let failed = |error: io::Error| Failure::new(format!("cannot run {}: {error}", file.display()));
    let mut permissions = fs::metadata(&file).map_err(failed)?.permissions();
    if permissions.mode() & 0o100 == 0 {
        permissions.set_mode(permissions.mode() | 0o100);
        fs::set_permissions(&file, permissions).map_err(failed)?;
    }
    tell(format_args!("Running {script}"));
    let status = Command::new(&file).current_dir(&asked.directory).status().map_err(failed)?;
    if status.success() { say("Dotfiles are installed.") } else { Err(Failure::new(format!("{script} failed: {status}"))) }
}

/// Links, and keeps what was there beside it. A link that was there is replaced.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(found) if found.is_symlink() => fs::remove_file(to)?,
        Ok(_) => {
            let names = (0_u32..).map(|number| {
                let ending = if number == 0 { String::new() } else { number.to_string() };
                PathBuf::from(format!("{}.bak{ending}", to.display()))
            });
            if let Some(aside) = names.into_iter().find(|aside| fs::symlink_metadata(aside).is_err()) {
                tell(format_args!("What was at {} is kept as {}.", to.display(), aside.display()));
                fs::rename(to, aside)?;
            }
        }
        Err(_) => {}
    }
    symlink(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    struct Bench {
        _place: tempfile::TempDir,
        home: PathBuf,
        repository: PathBuf,
    }

    impl Bench {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            let (home, repository) = (place.path().join("home"), place.path().join("repository"));
            [&home, &repository].into_iter().for_each(|directory| fs::create_dir(directory).unwrap());
            let bench = Self { _place: place, home, repository };
            bench.git(&["init", "--quiet", "--initial-branch=main"]);
            bench
        }

        fn git(&self, words: &[&str]) {
            let identity = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"];
            let done = Command::new("git").arg("-C").arg(&self.repository).args(identity).args(words).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        }

        fn commit(&self, name: &str, text: &str) {
            let file = self.repository.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
            self.git(&["add", "."]);
            self.git(&["commit", "--quiet", "-m", name]);
        }

        fn run(&self, words: &[&str]) -> Outcome {
            let rest: Vec<OsString> = words.iter().map(OsString::from).collect();
            let variables = BTreeMap::from([("HOME".into(), self.home.clone().into_os_string())]);
            super::run(&Call { rest: &rest, variables })
        }

        fn url(&self) -> &str {
            self.repository.to_str().unwrap()
        }
    }

    #[test]
    fn files_are_linked_and_what_was_there_is_kept() {
        let bench = Bench::new();
        bench.commit(".vimrc", "one");
        bench.commit(".gitignore", "no dotfile");
        fs::write(bench.home.join(".vimrc"), "mine").unwrap();
        for text in ["two", "three"] {
            bench.commit(".vimrc", text);
            assert_eq!(bench.run(&["-y", bench.url()]).unwrap(), 0);
            assert_eq!(fs::read_to_string(bench.home.join(".vimrc")).unwrap(), text, "the second time it is pulled");
        }
        assert_eq!(fs::read_to_string(bench.home.join(".vimrc.bak")).unwrap(), "mine");
        assert!(!bench.home.join(".gitignore").exists() && !bench.home.join(".vimrc.bak1").exists());
    }

    #[test]
    fn an_install_script_does_it_all_and_its_failure_is_ours() {
        let bench = Bench::new();
        bench.commit("setup.sh", "#!/bin/sh\nexit 9\n");
        bench.git(&["checkout", "--quiet", "-b", "good"]);
        bench.commit("install.sh", "#!/bin/sh\necho yes > \"$PWD/../../../ran\"\n");
        assert_eq!(bench.run(&["-y", "-b", "good", bench.url()]).unwrap(), 0);
        assert_eq!(fs::read_to_string(bench.home.join("ran")).unwrap(), "yes\n");
        let failed = bench.run(&["-y", "--branch=main", bench.url()]).unwrap_err();
        assert!(failed.clause.starts_with("setup.sh failed"), "{failed:?}");
    }

    #[test]
    fn nothing_is_done_unasked_and_a_wrong_repository_is_told() {
        let bench = Bench::new();
        bench.commit(".vimrc", "one");
        if !io::stdin().is_terminal() {
            let refused = bench.run(&[bench.url()]).unwrap_err();
            assert!(refused.hint.unwrap().contains("-y") && !bench.home.join(PLACE).exists());
        }
        assert!(bench.run(&["-y", "/no/such/repository"]).unwrap_err().clause.starts_with("git failed"));
        assert_eq!(bench.run(&["-y"]).unwrap_err().code, super::super::USAGE);
    }
}
