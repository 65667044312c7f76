//! Stories of what an import keeps: builds download nothing, and say so when they must.
//!
//! The third-party provider is our own plugin under another name, served from a mirror that the test lays out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use berth_domain::Transition;
use berth_wire::runner::{Build, Finish, Frozen, Outcome};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::api::{Api, build, import};

const VERSION: &str = "2.99.0";
const PACKAGE: &str = "registry.terraform.io/example/berth/2.99.0";

/// A home with a mirror that has the provider `example/berth`, and a git repository with a module.
struct World {
    home: TempDir,
    main: String,
}

/// What an import reported and kept.
struct Kept {
    finish: Finish,
    modules: Option<Vec<u8>>,
    log: String,
}

impl World {
    fn new() -> Self {
        let plugin = Path::new(env!("CARGO_BIN_EXE_berth-runner")).with_file_name("terraform-provider-berth");
        assert!(plugin.is_file(), "{} is not built; `cargo xtask test` builds it first", plugin.display());
        let home = tempfile::tempdir().unwrap();
        let package = home.path().join("mirror").join(PACKAGE).join(berth_runner::package::platform());
        fs::create_dir_all(&package).unwrap();
        fs::copy(plugin, package.join(format!("terraform-provider-berth_v{VERSION}"))).unwrap();
        let config =
            format!("provider_installation {{\n  filesystem_mirror {{\n    path = {:?}\n  }}\n}}\n", home.path().join("mirror"));
        fs::write(home.path().join("mirror.rc"), config).unwrap();
        let far = home.path().join("far");
        fs::create_dir(&far).unwrap();
        fs::write(far.join("main.tf"), "output \"word\" {\n  value = \"far\"\n}\n").unwrap();
        let git = "git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -q -m one";
        assert!(Command::new("sh").args(["-c", git]).current_dir(&far).status().unwrap().success());
        let main = format!(
            r#"
terraform {{
  required_providers {{
    third = {{ source = "example/berth" }}
    coder = {{ source = "coder/coder" }}
  }}
}}
data "coder_provisioner" "ours" {{}}
data "coder_provisioner" "theirs" {{
  provider = third
}}
module "far" {{
  source = "git::file://{far}"
}}
module "near" {{
  source = "./near"
}}
resource "terraform_data" "all" {{
  input = "${{module.far.word}} ${{module.near.word}} ${{data.coder_provisioner.theirs.os}} ${{data.coder_provisioner.ours.os}}"
}}
"#,
            far = far.display()
        );
        Self { home, main }
    }

    fn files(&self) -> [(&str, &str); 2] {
        [("main.tf", &self.main), ("near/main.tf", "output \"word\" {\n  value = \"near\"\n}\n")]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The operator's Terraform CLI configuration, which names the mirror.
    fn with_mirror(&self) -> String {
        self.path("mirror.rc").display().to_string()
    }

    /// The providers of a runner's image, laid out as its build does.
    fn baked(&self) -> String {
        let packed = self.path("packed/registry.terraform.io/example/berth");
        fs::create_dir_all(&packed).unwrap();
        let platform = berth_runner::package::platform();
        let zip = packed.join(format!("terraform-provider-berth_{VERSION}_{platform}.zip"));
        let package = self.path("mirror").join(PACKAGE).join(&platform);
        let file = format!("terraform-provider-berth_v{VERSION}");
        let python = ["-m", "zipfile", "-c", zip.to_str().unwrap(), &file];
        assert!(Command::new("python3").args(python).current_dir(package).status().unwrap().success());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/lay.sh");
        let baked = self.path("baked");
        assert!(Command::new(script).args([&self.path("packed"), &baked]).status().unwrap().success());
        baked.display().to_string()
    }

    async fn import(&self) -> Kept {
        let api = Api::serve(import(&[]), &self.files(), None).await;
        let config = self.with_mirror();
        let finish = api.runner(self.home.path(), &[("BERTH_TERRAFORM_CLI_CONFIG", &config)]).reported(&api).await;
        let memory = api.memory.borrow();
        assert_eq!(finish.outcome, Outcome::Succeeded, "{}", memory.log());
        Kept { finish, modules: memory.modules.clone(), log: memory.log() }
    }

    /// The place where this machine keeps the package.
    fn kept(&self, home: &Path) -> PathBuf {
        home.join("data/providers").join(PACKAGE).join(berth_runner::package::platform())
    }
}

impl Kept {
    fn frozen(&self) -> Frozen {
        let lock = self.finish.imported.as_ref().unwrap().lock.clone();
        Frozen { lock, modules: self.modules.as_ref().map(|tar| hex::encode(Sha256::digest(tar))) }
    }

    fn build(&self) -> Build {
        Build { frozen: self.frozen(), ..build(Transition::Start) }
    }
}

/// The calls to addresses other than the API's that a trace shows. Terraform and a plugin that it started talk over loopback: what one
/// of the traced processes listens at is no stranger.
fn strangers(trace: &Path, api: &str) -> Vec<String> {
    let text = fs::read_to_string(trace).unwrap();
    assert!(text.contains("connect("), "the trace shows the API at least");
    let port = |line: &str| line.split_once("htons(").and_then(|(_, rest)| rest.split(')').next()).map(str::to_owned);
    let own = text.lines().filter(|line| line.contains("getsockname(")).filter_map(port);
    let known: Vec<String> = own.chain(api.rsplit(':').next().map(str::to_owned)).collect();
    let is_known = |line: &str| line.contains("inet_addr(\"127.0.0.1\")") && port(line).is_some_and(|port| known.contains(&port));
    let is_network = |line: &&str| line.contains("AF_INET") && !line.contains("getsockname(");
    text.lines().filter(is_network).filter(|line| !is_known(line)).map(str::to_owned).collect()
}

#[tokio::test]
async fn builds_of_a_version_whose_sources_are_gone_open_no_connection_but_to_the_api() {
    let world = World::new();
    let kept = world.import().await;
    assert!(kept.log.contains("Builds will use example/berth 2.99.0"), "{}", kept.log);
    let lock = &kept.finish.imported.as_ref().unwrap().lock;
    assert!(lock.contains("example/berth") && !lock.contains("coder/coder"), "{lock}");
    assert!(kept.modules.is_some());
    fs::remove_dir_all(world.path("far")).unwrap();
    fs::remove_dir_all(world.path("mirror")).unwrap();

    let first = Api::serve_frozen(kept.build(), &world.files(), None, kept.modules.clone()).await;
    let finish = first.runner(world.home.path(), &[]).reported(&first).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", first.memory.borrow().log());
    assert!(!first.memory.borrow().log().contains("init"), "{}", first.memory.borrow().log());

    let again = Api::serve_frozen(kept.build(), &world.files(), first.last_state(), kept.modules.clone()).await;
    let trace = world.path("trace");
    let finish = again.traced_runner(world.home.path(), &[], &trace).reported(&again).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", again.memory.borrow().log());
    assert_eq!(strangers(&trace, again.address()), Vec::<String>::new());
}

#[tokio::test]
async fn a_fresh_machine_runs_one_init_with_the_lock_and_keeps_the_package() {
    let world = World::new();
    let kept = world.import().await;
    let fresh = tempfile::tempdir().unwrap();
    let config = world.with_mirror();
    let first = Api::serve_frozen(kept.build(), &world.files(), None, kept.modules.clone()).await;
    let finish = first.runner(fresh.path(), &[("BERTH_TERRAFORM_CLI_CONFIG", &config)]).reported(&first).await;
    let log = first.memory.borrow().log();
    assert_eq!(finish.outcome, Outcome::Succeeded, "{log}");
    assert!(log.contains("Running terraform init: not on this machine yet: example/berth 2.99.0"), "{log}");
    assert!(world.kept(fresh.path()).is_dir());

    fs::remove_dir_all(world.path("mirror")).unwrap();
    fs::remove_dir_all(world.path("far")).unwrap();
    let second = Api::serve_frozen(kept.build(), &world.files(), first.last_state(), kept.modules.clone()).await;
    let finish = second.runner(fresh.path(), &[]).reported(&second).await;
    let log = second.memory.borrow().log();
    assert_eq!(finish.outcome, Outcome::Succeeded, "{log}");
    assert!(!log.contains("Initializing"), "{log}");
}

#[tokio::test]
async fn a_damaged_package_is_refused_by_terraform_and_installed_anew() {
    let world = World::new();
    let kept = world.import().await;
    let package = world.kept(world.home.path());
    let file = package.join(format!("terraform-provider-berth_v{VERSION}"));
    let whole = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, b"#!/bin/sh\necho canary > /dev/null\n").unwrap();

    let config = world.with_mirror();
    let api = Api::serve_frozen(kept.build(), &world.files(), None, kept.modules.clone()).await;
    let finish = api.runner(world.home.path(), &[("BERTH_TERRAFORM_CLI_CONFIG", &config)]).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    assert!(fs::read(&file).unwrap() == whole, "the package that is kept is whole again");
}

#[tokio::test]
async fn modules_that_are_gone_are_fetched_again() {
    let world = World::new();
    let kept = world.import().await;
    let api = Api::serve_frozen(kept.build(), &world.files(), None, Some(b"damaged".to_vec())).await;
    let config = world.with_mirror();
    let finish = api.runner(world.home.path(), &[("BERTH_TERRAFORM_CLI_CONFIG", &config)]).reported(&api).await;
    let log = api.memory.borrow().log();
    assert_eq!(finish.outcome, Outcome::Succeeded, "{log}");
    assert!(log.contains("gone or damaged: fetching them again"), "{log}");
}

#[tokio::test]
async fn a_second_version_finds_the_package_on_this_machine() {
    let world = World::new();
    world.import().await;
    // Without a mirror of the operator's, ours is looked into first; only the list of versions would be asked of the registry.
    let config = world.path("kept.rc");
    let ours =
        format!("provider_installation {{\n  filesystem_mirror {{\n    path = {:?}\n  }}\n}}\n", world.path("data/providers"));
    fs::write(&config, ours).unwrap();
    fs::remove_dir_all(world.path("mirror")).unwrap();
    let api = Api::serve(import(&[]), &world.files(), None).await;
    let config = config.display().to_string();
    let finish = api.runner(world.home.path(), &[("BERTH_TERRAFORM_CLI_CONFIG", &config)]).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "the layout is a filesystem mirror's: {}", api.memory.borrow().log());
}

/// A runner in a Fargate task: no data directory, and no registry to reach.
#[tokio::test]
async fn a_runner_without_a_data_directory_takes_what_its_image_brings() {
    let world = World::new();
    let baked = world.baked();
    fs::remove_dir_all(world.path("mirror")).unwrap();
    let extra = [("BERTH_PROVIDER_MIRROR", baked.as_str()), ("BERTH_DATA_DIR", ""), ("HTTPS_PROXY", "http://127.0.0.1:1")];
    let api = Api::serve(import(&[]), &world.files(), None).await;
    let finish = api.runner(world.home.path(), &extra).reported(&api).await;
    let log = api.memory.borrow().log();
    assert_eq!(finish.outcome, Outcome::Succeeded, "{log}");
    assert!(log.contains("From the runner's image: example/berth 2.99.0"), "{log}");

    let modules = api.memory.borrow().modules.clone();
    let kept = Kept { finish, modules, log };
    let api = Api::serve_frozen(kept.build(), &world.files(), None, kept.modules.clone()).await;
    let trace = world.path("trace");
    let finish = api.traced_runner(world.home.path(), &extra, &trace).reported(&api).await;
    let log = api.memory.borrow().log();
    assert_eq!(finish.outcome, Outcome::Succeeded, "{log}");
    assert!(log.contains("From the runner's image: example/berth 2.99.0") && !log.contains("Initializing"), "{log}");
    assert_eq!(strangers(&trace, api.address()), Vec::<String>::new());
}

#[tokio::test]
async fn a_version_that_the_image_does_not_have_is_asked_of_the_registry_once() {
    let world = World::new();
    let baked = world.baked();
    let extra = [("BERTH_PROVIDER_MIRROR", baked.as_str()), ("BERTH_DATA_DIR", ""), ("HTTPS_PROXY", "http://127.0.0.1:1")];
    let newer = world.main.replace("{ source = \"example/berth\" }", "{ source = \"example/berth\", version = \"> 3.0\" }");
    assert!(newer.contains("> 3.0"));
    let files = [("main.tf", newer.as_str()), ("near/main.tf", "output \"word\" {\n  value = \"near\"\n}\n")];
    let api = Api::serve(import(&[]), &files, None).await;
    let finish = api.runner(world.home.path(), &extra).reported(&api).await;
    let log = api.memory.borrow().log();
    let Outcome::Failed { error } = &finish.outcome else { panic!("{log}") };
    assert!(error.contains("terraform init failed") && log.contains("127.0.0.1:1"), "the registry was asked: {error}\n{log}");
    assert_eq!(log.matches("Error: ").count(), 1, "the first try is nobody's concern: {log}");
}

#[tokio::test]
async fn a_backend_that_we_do_not_see_is_overridden_and_never_asked() {
    let home = tempfile::tempdir().unwrap();
    let settings = "terraform {\n  cloud {\n    organization = \"o\"\n    hostname = \"192.0.2.1\"\n    workspaces {\n      name = \"w\"\n    }\n  }\n}\nresource \"terraform_data\" \"a\" {}\n";
    let main = format!("# {}\n{settings}", "too large to be looked into ".repeat(200_000));
    let api = Api::serve_frozen(build(Transition::Start), &[("main.tf", &main)], None, None).await;
    let trace = home.path().join("trace");
    let finish = api.traced_runner(home.path(), &[], &trace).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    assert_eq!(strangers(&trace, api.address()), Vec::<String>::new());
}
