//! `cargo xtask dist`: a directory from which `sam deploy` makes a deployment, without Rust.
//!
//! ```text
//! dist/template.yaml, data.yaml ...    the templates, with zips where the sources were
//! dist/berth-api-arm64.zip ...         the functions
//! dist/samconfig.toml                  stacks dev and prod
//! dist/web/                            the folder of a release in the web bucket: the dashboard, and bin/ with the command line and the agent
//! dist/image/linux_arm64/              programs for the images: docker buildx build --build-context binaries=dist/image
//! ```

use crate::{
    dashboard,
    python::Environment,
    run::{Outcome, binaries, cargo, has, output, root, run, say, step},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Links against the libraries that Amazon Linux 2023 has, for another processor too.
const CROSS: Environment = Environment { name: "cross", version: "1.9.2", packages: &["cargo-lambda==1.9.2", "ziglang==0.17.0"] };
/// The functions, each a package and its program.
const FUNCTIONS: &[&str] = &["berth-api", "berth-dispatch", "berth-reap", "berth-sweep"];
/// Programs of the images: package and program.
const IMAGES: &[(&str, &str)] =
    &[("berth-relay", "berth-relay"), ("berth-runner", "berth-runner"), ("berth-provider", "terraform-provider-berth")];
/// What people and workspaces download: package and program.
const DOWNLOADS: &[(&str, &str)] = &[("berth-cli", "berth"), ("berth-agent", "berth-agent")];

/// A processor, under the names that each party gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arch {
    Arm64,
    X86,
}

impl Arch {
    const ALL: [Self; 2] = [Self::Arm64, Self::X86];

    /// Lambda's name, and SAM's.
    const fn lambda(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86 => "x86_64",
        }
    }

    /// Docker's name, and the one in a download's file name.
    const fn docker(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86 => "amd64",
        }
    }

    const fn target(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64-unknown-linux-gnu",
            Self::X86 => "x86_64-unknown-linux-gnu",
        }
    }

    /// Whether this Rust can compile for it.
    fn is_installed(self) -> Outcome<bool> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        Ok(Path::new(sysroot.trim()).join("lib/rustlib").join(self.target()).join("lib").is_dir())
    }
}

/// What the person asked for.
#[derive(Debug)]
pub(crate) struct Options {
    arch: Arch,
    out: PathBuf,
    templates_only: bool,
}

impl Options {
    /// Reads the arguments.
    pub(crate) fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self { arch: Arch::Arm64, out: root().join("dist"), templates_only: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (name, inline) =
                argument.split_once('=').map_or((argument.as_str(), None), |(name, value)| (name, Some(value.to_owned())));
            let mut value = || inline.clone().or_else(|| arguments.next().cloned()).ok_or(format!("{name} needs a value"));
            match name {
                "--arch" => {
                    let wanted = value()?;
                    let arch = Arch::ALL.into_iter().find(|arch| arch.lambda() == wanted);
                    options.arch = arch.ok_or_else(|| format!("{wanted:?} is no architecture of Lambda\nhint: arm64 or x86_64"))?;
                }
                "--out" => options.out = PathBuf::from(value()?),
                "--templates-only" => options.templates_only = true,
                _ => {
                    return Err(format!(
                        "{argument:?} is not an option of `cargo xtask dist`\nhint: cargo xtask dist [--arch arm64|x86_64] [--out DIR] [--templates-only]"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// Makes the directory. What was in it stays unless it is made again.
pub(crate) fn dist(options: &Options) -> Outcome {
    if !options.templates_only && !options.arch.is_installed()? {
        let target = options.arch.target();
        return Err(format!(
            "this Rust cannot compile for {target}\nhint: rustup target add {target}, or --arch {}",
            Arch::ALL.into_iter().find(|other| *other != options.arch).map_or("", Arch::lambda)
        ));
    }
    let version = version()?;
    make(&options.out)?;
    templates(options, &version)?;
    if options.templates_only {
        return Ok(());
    }
    dashboard::build(&options.out.join("web"))?;
    let cross = Cross::new()?;
    for function in FUNCTIONS {
        let zip = cross.build(function, function, options.arch, "zip")?;
        copy(&zip, &options.out.join(format!("{function}-{}.zip", options.arch.lambda())))?;
    }
    let image = options.out.join("image").join(format!("linux_{}", options.arch.docker()));
    for (package, program) in IMAGES {
        copy(&cross.build(package, program, options.arch, "binary")?, &image.join(program))?;
    }
    downloads(options, &cross)?;
    say(&format!(
        "\nRelease {version} for {arch} is in {out}. Next (docs/operator.md says more):\n\n  cd {out} && sam deploy --guided\n  aws s3 sync web s3://WEB_BUCKET/releases/{version}",
        arch = options.arch.lambda(),
        out = options.out.display(),
    ));
    Ok(())
}

/// The command line and the agent for every Linux that this Rust compiles for: workspaces need not be of the functions' kind.
fn downloads(options: &Options, cross: &Cross) -> Outcome {
    let bin = options.out.join("web/bin");
    for arch in Arch::ALL {
        if !arch.is_installed()? {
            let target = arch.target();
            step("Skipping", &format!("berth and berth-agent for {target} (rustup target add {target})"));
            continue;
        }
        for (package, program) in DOWNLOADS {
            let built = cross.build(package, program, arch, "binary")?;
            copy(&built, &bin.join(format!("{program}-linux-{}", arch.docker())))?;
        }
    }
    Ok(())
}

/// cargo-lambda with its linker, and where what it makes ends up.
struct Cross {
    programs: PathBuf,
    made: PathBuf,
}

impl Cross {
    fn new() -> Outcome<Self> {
        Ok(Self { programs: CROSS.programs()?, made: binaries("lambda")? })
    }

    /// Builds one program, as a zip with its `bootstrap` or as the program alone. One package at a time: together they would get
    /// each other's features.
    fn build(&self, package: &str, program: &str, arch: Arch, format: &str) -> Outcome<PathBuf> {
        step("Building", &format!("{program} for {} (whole-program optimization takes some minutes)", arch.target()));
        let mut command = cargo();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path)));
        command.env("PATH", path.map_err(|error| format!("PATH cannot be extended: {error}"))?);
        command.args(["lambda", "build", "--release", "--package", package, "--bin", program, "--output-format", format]);
        if format == "binary" {
            // cargo-lambda's own settings suit Lambda: they end the process at a panic and ask for a recent processor.
            command.arg("--disable-optimizations");
        }
        // The oldest library that Amazon Linux 2023 and the images' Debian have in common.
        run(command.args(["--target", &format!("{}.2.34", arch.target())]))?;
        let file = if format == "zip" { "bootstrap.zip" } else { "bootstrap" };
        Ok(self.made.join(program).join(file))
    }
}

/// Copies the templates, so that they take the zips beside them and this architecture.
fn templates(options: &Options, version: &str) -> Outcome {
    step("Writing", &format!("templates of release {version} to {}", options.out.display()));
    let arch = options.arch.lambda();
    for entry in fs::read_dir(root().join("infra")).map_err(|error| format!("cannot read infra/: {error}"))? {
        let path = entry.map_err(|error| format!("cannot read infra/: {error}"))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".yaml")) else { continue };
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let text = match name {
            "template.yaml" => of_release(&text, arch, version)?,
            "functions.yaml" => with_zips(&text, arch)?,
            _ => text,
        };
        write(&options.out.join(name), &text)?;
    }
    let samconfig =
        fs::read_to_string(root().join("samconfig.toml")).map_err(|error| format!("cannot read samconfig.toml: {error}"))?;
    write(&options.out.join("samconfig.toml"), &samconfig.replace("\"infra/template.yaml\"", "\"template.yaml\""))
}

/// The root template for one architecture and one release.
fn of_release(text: &str, arch: &str, version: &str) -> Outcome<String> {
    let text = replaced(
        text,
        "    Default: arm64\n    AllowedValues: [arm64, x86_64]",
        &format!("    Default: {arch}\n    AllowedValues: [{arch}]"),
    )?;
    replaced(&text, "    Default: \"0.1.0\"", &format!("    Default: \"{version}\""))
}

/// The functions' template with zips for sources.
fn with_zips(text: &str, arch: &str) -> Outcome<String> {
    FUNCTIONS.iter().try_fold(text.to_owned(), |text, function| {
        let folder = function.trim_start_matches("berth-");
        let text = replaced(&text, &format!("CodeUri: ../functions/{folder}\n"), &format!("CodeUri: {function}-{arch}.zip\n"))?;
        replaced(
            &text,
            &format!("    Metadata: {{ BuildMethod: rust-cargolambda, BuildProperties: {{ Binary: {function} }} }}\n"),
            "",
        )
    })
}

/// Replaces what is there exactly once.
fn replaced(text: &str, from: &str, to: &str) -> Outcome<String> {
    match text.matches(from).count() {
        1 => Ok(text.replacen(from, to, 1)),
        times => Err(format!("a template has {from:?} {times} times, not once\nhint: crates/xtask/src/dist.rs follows infra/")),
    }
}

/// The workspace's version, with the commit where git knows one.
fn version() -> Outcome<String> {
    let metadata = output(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let package = metadata.pointer("/packages/0/version").and_then(|version| version.as_str()).unwrap_or("0.0.0").to_owned();
    if !has("git") {
        return Ok(package);
    }
    let commit = Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).current_dir(root()).output();
    let commit = commit.ok().filter(|commit| commit.status.success()).and_then(|commit| String::from_utf8(commit.stdout).ok());
    Ok(commit.map_or(package.clone(), |commit| format!("{package}-{}", commit.trim())))
}

fn make(directory: &Path) -> Outcome {
    fs::create_dir_all(directory).map_err(|error| format!("cannot create {}: {error}", directory.display()))
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Outcome {
    to.parent().map_or(Ok(()), make)?;
    let bytes = fs::copy(from, to).map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), to.display()))?;
    step("Made", &format!("{} ({:.1} MB)", to.display(), bytes as f64 / 1e6));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(name: &str) -> String {
        fs::read_to_string(root().join("infra").join(name)).unwrap()
    }

    #[test]
    fn a_release_takes_the_zips_beside_it_and_is_of_one_architecture() {
        for arch in Arch::ALL.map(Arch::lambda) {
            let functions = with_zips(&template("functions.yaml"), arch).unwrap();
            for function in FUNCTIONS {
                assert!(functions.contains(&format!("CodeUri: {function}-{arch}.zip\n")), "{functions}");
            }
            assert!(!functions.contains("../functions") && !functions.contains("BuildMethod"));
            let root = of_release(&template("template.yaml"), arch, "1.2.3-abc").unwrap();
            assert!(root.contains(&format!("    Default: {arch}\n    AllowedValues: [{arch}]\n")));
            assert!(root.contains("    Default: \"1.2.3-abc\"\n") && !root.contains("\"0.1.0\""));
        }
    }

    #[test]
    fn a_template_that_has_changed_under_us_is_said_and_not_passed_on() {
        let error = with_zips("Resources: {}\n", "arm64").unwrap_err();
        assert!(error.contains("0 times, not once") && error.contains("hint:"), "{error}");
    }

    #[test]
    fn the_options_say_what_they_take() {
        let parse = |line: &str| Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("").unwrap().arch, Arch::Arm64);
        let options = parse("--arch=x86_64 --out /tmp/d --templates-only").unwrap();
        assert_eq!((options.arch, options.out, options.templates_only), (Arch::X86, PathBuf::from("/tmp/d"), true));
        for (wrong, says) in [("--arch amd64", "arm64 or x86_64"), ("--out", "needs a value"), ("--rust", "is not an option")] {
            assert!(parse(wrong).unwrap_err().contains(says), "{wrong}");
        }
    }
}
