//! The directory of one job: the unpacked template, the previous state, and the few files that the runner adds.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use berth_domain::Adoption;
use berth_domain::Secret;
use berth_provider::{HOSTS, SOURCES, plugin};
use tempfile::TempDir;

use crate::{
    archive::{self, ArchiveError},
    package::Packages,
    plain,
    resources::{ResourceError, State},
    state::{STATE_FILE, Version},
    template::{self, Lock, Template},
    terraform::{User, guard},
};

/// Overrides a `backend` or `cloud` block in a file of the template that we could not read: the state is a local file.
const OVERRIDE_FILE: &str = "zz_berth_override.tf";
const OVERRIDE: &str = "terraform {\n  backend \"local\" {}\n}\n";
/// What exists and is to be taken over by the template's resources.
const IMPORT_FILE: &str = "zz_berth_import.tf";
/// The README that the dashboard shows, and the most of it that is kept, in bytes.
const README_FILE: &str = "README.md";
const README_BYTES_MAX: usize = 256 * 1024;

/// Why a job's directory could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The archive is refused.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The stored state is no state.
    #[error(transparent)]
    State(#[from] ResourceError),
    /// The archive holds no template.
    #[error("the template has no .tf file at its top level")]
    Empty,
    /// The disk refused.
    #[error("cannot prepare the working directory: {0}")]
    Disk(#[from] io::Error),
}

/// A private temporary directory, removed when dropped.
#[derive(Debug)]
pub struct Room {
    outer: TempDir,
    /// What the template's files say.
    pub template: Template,
    /// Whether its lock file is the one that the import kept, from which an `init` must not depart.
    pub is_pinned: bool,
    /// Who has it, when not the runner's user.
    guest: Option<Guest>,
}

/// Terraform's user, and the executable that acts as it.
#[derive(Debug)]
struct Guest {
    user: User,
    runner: PathBuf,
}

impl Room {
    /// Unpacks the archive and lays the previous state beside it. Blocking.
    ///
    /// # Errors
    /// When the archive or the state is not usable, or the disk refuses.
    pub fn prepare(archive: &[u8], state: Option<&[u8]>) -> Result<Self, RoomError> {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        // The name tells whose it is: a runner that was killed cannot remove it.
        let prefix = format!("berth-{}-", std::process::id());
        let outer = tempfile::Builder::new().prefix(&prefix).permissions(private).tempdir()?;
        let mut room = Self { outer, template: Template::default(), is_pinned: false, guest: None };
        let directory = room.directory();
        fs::create_dir(&directory)?;
        archive::unpack(archive, &directory)?;
        if !has_template(&directory)? {
            return Err(RoomError::Empty);
        }
        template::strip_our_providers(&directory)?;
        template::blank_backends(&directory)?;
        room.template = Template::read(&directory)?;
        if room.template.unread.is_some() {
            fs::write(directory.join(OVERRIDE_FILE), OVERRIDE)?;
        }
        if let Some(state) = state {
            room.template.add_state_providers(State::parse(state)?.providers());
            fs::write(directory.join(STATE_FILE), state)?;
        }
        Ok(room)
    }

    /// Where Terraform runs.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.outer.path().join("template")
    }

    /// The provider's socket, outside of the template's directory.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.outer.path().join("provider.sock")
    }

    /// Gives the working directory to Terraform's user, and lets it read what is beside it. Once, when all is laid out and before
    /// anything of the template runs. Blocking.
    ///
    /// # Errors
    /// When the disk refuses, or the runner may not.
    pub fn hand_over(&mut self, user: User, runner: &Path) -> io::Result<()> {
        self.guest = Some(Guest { user, runner: runner.to_owned() });
        user.show(self.outer.path())?;
        user.give(&self.directory())?;
        if self.socket().exists() { user.admit(&self.socket()) } else { Ok(()) }
    }

    /// Writes the values of the template's variables.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_variables(&self, values: &std::collections::BTreeMap<String, Secret>) -> io::Result<()> {
        self.template.write_variables(&self.directory(), values)
    }

    /// Writes an `import` block for each resource that exists and is to be taken over.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_imports(&self, imports: &[Adoption]) -> io::Result<()> {
        if imports.is_empty() {
            return Ok(());
        }
        let block = |one: &Adoption| format!("import {{\n  to = {}\n  id = {}\n}}\n", one.to, hcl_text(&one.id));
        fs::write(self.directory().join(IMPORT_FILE), imports.iter().map(block).collect::<String>())
    }

    /// The given Terraform CLI configuration, or one of our own: the user's `~/.terraformrc` must not change a build. Ours looks for
    /// provider packages on this machine before it downloads them, and takes our own provider from the plugin, if there is one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn cli_config(&self, given: Option<&Path>, plugin: Option<&Path>) -> io::Result<PathBuf> {
        if let Some(given) = given {
            return Ok(given.to_owned());
        }
        fs::create_dir_all(self.mirror())?;
        if let Some(plugin) = plugin {
            plugin::mirror(&self.plugin(), &fs::canonicalize(plugin)?)?;
        }
        self.write_cli_config("terraform.rc", &[])
    }

    /// The same configuration as [`Self::cli_config`] made, but without the registries for these providers: only what is on this machine.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn cli_config_here(&self, sources: &[String]) -> io::Result<PathBuf> {
        self.write_cli_config("here.rc", sources)
    }

    fn write_cli_config(&self, name: &str, not_direct: &[String]) -> io::Result<PathBuf> {
        let list = |addresses: &[String]| format!("[{}]", addresses.iter().map(|one| hcl_text(one)).collect::<Vec<_>>().join(", "));
        let (mut ours, mut sources) = (String::new(), Vec::new());
        if self.plugin().exists() {
            sources = HOSTS.iter().flat_map(|host| SOURCES.iter().map(move |source| format!("{host}/{source}"))).collect();
            let path = hcl_text(&self.plugin().to_string_lossy());
            ours = format!("  filesystem_mirror {{\n    path    = {path}\n    include = {}\n  }}\n", list(&sources));
        }
        let mirror = hcl_text(&self.mirror().to_string_lossy());
        let (not_mirror, not_direct) = (list(&sources), list(&[&sources, not_direct].concat()));
        let path = self.outer.path().join(name);
        fs::write(
            &path,
            format!(
                "disable_checkpoint = true\nprovider_installation {{\n{ours}  filesystem_mirror {{\n    path    = {mirror}\n    \
                 exclude = {not_mirror}\n  }}\n  direct {{\n    exclude = {not_direct}\n  }}\n}}\n"
            ),
        )?;
        Ok(path)
    }

    fn plugin(&self) -> PathBuf {
        self.outer.path().join("plugin")
    }

    /// Fills the mirror that [`Self::cli_config`] names with the packages of this machine, for an `init`. Blocking.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn fill_mirror(&self, packages: &Packages) -> io::Result<()> {
        packages.mirror(&Lock::read(&self.directory())?, &self.mirror())
    }

    fn mirror(&self) -> PathBuf {
        self.outer.path().join("mirror")
    }

    /// The state file's bytes, when they are a whole state.
    #[must_use]
    pub fn state(&self) -> Option<Vec<u8>> {
        plain::read(&self.directory().join(STATE_FILE)).ok().filter(|bytes| Version::of(bytes).is_some())
    }

    /// The template's README, cut at its limit; empty when there is none.
    #[must_use]
    pub fn readme(&self) -> String {
        let bytes = plain::read(&self.directory().join(README_FILE)).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(..README_BYTES_MAX).unwrap_or(&bytes)).into_owned()
    }
}

impl Drop for Room {
    /// What Terraform's user made, that user removes; the rest goes with the temporary directory.
    fn drop(&mut self) {
        if let Some(guest) = &self.guest
            && let Err(error) = guest.remove(&self.directory())
        {
            tracing::warn!(%error, "what terraform made stays behind");
        }
    }
}

impl Guest {
    /// Empties a directory as that user: with its rights, nothing of anybody else's can be removed by a trick.
    fn remove(&self, directory: &Path) -> io::Result<()> {
        let mut command = Command::new(&self.runner);
        command.arg(guard::VERB).arg(self.user.to_string()).args(["rm", "-rf", "--"]).arg(directory).process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        // Open until it has ended: the guard takes its closing for the runner's death. The status says nothing: the directory itself
        // is not that user's to remove.
        let _pipe = child.stdin.take();
        child.wait().map(drop)
    }
}

/// A text as HCL writes it.
fn hcl_text(text: &str) -> String {
    hcl_edit::expr::Expression::from(text).to_string()
}

fn has_template(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".tf") || name.ends_with(".tf.json") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tar;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_room_is_private_and_a_backend_is_out_of_the_way() {
        let archive = tar(&[("main.tf", "terraform {\n backend \"s3\" {}\n}\nvariable \"size\" {}\n"), ("README.md", "# Hello")]);
        let state = br#"{"version": 4, "serial": 1, "lineage": "l", "resources": []}"#;
        let room = Room::prepare(&archive, Some(state)).unwrap();
        assert_eq!(fs::metadata(room.outer.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(!fs::read_to_string(room.directory().join("main.tf")).unwrap().contains("s3"));
        assert_eq!(room.template.needs_init, None);
        assert_eq!(room.state().unwrap(), state);
        assert_eq!(room.readme(), "# Hello");
        room.write_variables(&[("size".to_owned(), Secret::new("7".to_owned()))].into()).unwrap();
        assert_eq!(fs::read_to_string(room.directory().join("zz_berth.auto.tfvars.json")).unwrap(), "{\"size\":\"7\"}");
        assert_eq!(room.cli_config(Some(Path::new("/given")), None).unwrap(), Path::new("/given"));
    }

    #[test]
    fn a_backend_in_a_file_that_we_do_not_read_is_overridden() {
        let main = format!("# {}\nterraform {{\n backend \"s3\" {{}}\n}}\n", "too large ".repeat(500_000));
        let room = Room::prepare(&tar(&[("main.tf", &main)]), None).unwrap();
        assert_eq!(room.template.unread.as_deref(), Some("main.tf"));
        assert_eq!(fs::read_to_string(room.directory().join(OVERRIDE_FILE)).unwrap(), OVERRIDE);
    }

    #[test]
    fn the_mirror_of_this_machine_is_named_whatever_its_path() {
        assert_eq!(hcl_text("/tmp/a b/${x}\"y"), r#""/tmp/a b/$${x}\"y""#);
    }

    #[test]
    fn an_archive_without_a_template_says_so() {
        let error = Room::prepare(&tar(&[("README.md", "")]), None).unwrap_err().to_string();
        assert_eq!(error, "the template has no .tf file at its top level");
    }

    #[test]
    fn what_is_adopted_is_one_import_block_each_and_its_id_is_only_text() {
        let room = Room::prepare(&tar(&[("main.tf", "")]), None).unwrap();
        room.write_imports(&[]).unwrap();
        assert!(!room.directory().join(IMPORT_FILE).exists());
        let id = "a\"b\\c${file(1)}%{if}";
        room.write_imports(&[Adoption { to: "aws_instance.dev[0]".to_owned(), id: id.to_owned() }]).unwrap();
        let text = fs::read_to_string(room.directory().join(IMPORT_FILE)).unwrap();
        assert_eq!(text, "import {\n  to = aws_instance.dev[0]\n  id = \"a\\\"b\\\\c$${file(1)}%%{if}\"\n}\n");
        let body = hcl_edit::parser::parse_body(&text).unwrap();
        let block = body.blocks().next().unwrap();
        assert!(block.body.get_attribute("id").is_some());
    }
}
