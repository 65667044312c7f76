//! Builds the dashboard with npm and puts its files into the program. Without Node or a registry the program is built all the same: it
//! then says in place of the dashboard what was missing.

// A build script speaks to cargo on standard output and reads its environment.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// What the dashboard is made of; a change builds it again.
const SOURCES: &[&str] = &["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "src"];

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboard");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", home.join(source).display());
    }
    println!("cargo::rerun-if-changed={}", home.join("../templates").display());
    let built = out.join("dashboard");
    let missing = install(&home).and_then(|()| build(&home, &built)).err();
    if let Some(why) = &missing {
        println!("cargo::warning=the dashboard is not built, and the server will say so: {why}");
        fs::create_dir_all(&built)?;
    }
    fs::write(out.join("dashboard.rs"), table(&built, missing.as_deref())?)
}

/// Installs what the lock file names, unless that is there already.
fn install(home: &Path) -> Result<(), String> {
    let age = |path: &str| fs::metadata(home.join(path)).and_then(|file| file.modified()).ok();
    if age("node_modules/.package-lock.json") >= age("package-lock.json") {
        return Ok(());
    }
    let options =
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1", "--loglevel=error"];
    run(Command::new("npm").args(options).current_dir(home))
}

fn build(home: &Path, built: &Path) -> Result<(), String> {
    let mut vite = Command::new("node");
    vite.args(["node_modules/vite/bin/vite.js", "build", "--mode", "embed", "--logLevel", "error", "--emptyOutDir", "--outDir"]);
    run(vite.arg(built).current_dir(home))
}

/// Runs to the end; an error is one line.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
            Err(format!("{name} ended with {}: {}", output.status, said.chars().take(400).collect::<String>()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("{name} is not on PATH")),
        Err(error) => Err(format!("cannot run {name}: {error}")),
    }
}

/// The files as Rust text: for each its path, its bytes and its bytes compressed.
fn table(built: &Path, missing: Option<&str>) -> io::Result<String> {
    let mut entries = String::new();
    for path in files(built)? {
        let name = path.strip_prefix(built).unwrap_or(&path).to_string_lossy().into_owned();
        if name.ends_with(".gz") {
            continue;
        }
        let compressed = format!("{}.gz", path.display());
        entries.push_str(&format!(
            "    File {{ path: {name:?}, bytes: include_bytes!({path:?}), compressed: include_bytes!({compressed:?}) }},\n"
        ));
    }
    Ok(format!("static FILES: &[File] = &[\n{entries}];\nconst MISSING: Option<&str> = {missing:?};\n"))
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
