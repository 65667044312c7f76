//! The dependency lock file: which version of which provider, and the checksums of its packages.

use std::{fs, io, path::Path};

use hcl_edit::{
    expr::Expression,
    structure::{Block, Body, Structure},
};

use crate::plain;

/// Terraform's name for it.
pub const LOCK_FILE: &str = ".terraform.lock.hcl";

/// A lock file that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// The providers in it.
    pub providers: Vec<Locked>,
}

/// One provider of a lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Host, namespace and type: `registry.terraform.io/hashicorp/aws`. Fit to be a relative path.
    pub source: String,
    /// `5.100.0`. Fit to be a file name.
    pub version: String,
    /// `h1:...` of unpacked packages and `zh:...` of zips, of one or more platforms.
    pub hashes: Vec<String>,
}

impl Lock {
    /// Reads the text of a lock file; a provider whose name or version could not be a file name is left out, and so is all of a text
    /// that is no lock file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let Ok(body) = hcl_edit::parser::parse_body(text) else { return Self::default() };
        Self { providers: body.blocks().filter_map(locked).collect() }
    }

    /// Reads the lock file of a template's directory; empty when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(directory: &Path) -> io::Result<Self> {
        Ok(Self::parse(&text(directory)?))
    }

    /// What it says of a provider source such as `registry.terraform.io/hashicorp/aws`.
    #[must_use]
    pub fn get(&self, source: &str) -> Option<&Locked> {
        self.providers.iter().find(|locked| locked.source == source)
    }
}

impl Locked {
    /// Without the host, for people: `hashicorp/aws 5.100.0`.
    #[must_use]
    pub fn short(&self) -> String {
        let name = self.source.split_once('/').map_or(self.source.as_str(), |(_, name)| name);
        format!("{name} {}", self.version)
    }
}

fn locked(block: &Block) -> Option<Locked> {
    if !block.has_ident("provider") {
        return None;
    }
    let source = block.labels.first()?.as_str().to_owned();
    let version = block.body.get_attribute("version")?.value.as_str()?.to_owned();
    let hashes = block.body.get_attribute("hashes").and_then(|attribute| attribute.value.as_array());
    let hashes = hashes.into_iter().flat_map(|hashes| hashes.iter()).filter_map(Expression::as_str).map(str::to_owned).collect();
    let fits = source.split('/').count() == 3 && source.split('/').all(is_file_name) && is_file_name(&version);
    fits.then_some(Locked { source, version, hashes })
}

/// Whether a part of a name can be a part of a path and nothing more.
fn is_file_name(part: &str) -> bool {
    !part.is_empty() && !part.starts_with('.') && part.chars().all(|one| one.is_alphanumeric() || "-_.+:".contains(one))
}

/// The text of a directory's lock file; empty when there is none.
///
/// # Errors
/// When it cannot be read.
pub fn text(directory: &Path) -> io::Result<String> {
    match plain::read(&directory.join(LOCK_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other)),
    }
}

/// Takes the blocks of the providers that the runner serves out of a template's lock file: a vendored one pins the public
/// `coder/coder`, whose checksums ours cannot match. A file that does not parse is left alone.
///
/// # Errors
/// When the file cannot be read or written.
pub fn strip_our_providers(directory: &Path) -> io::Result<()> {
    let text = text(directory)?;
    let Ok(body) = hcl_edit::parser::parse_body(&text) else { return Ok(()) };
    let is_ours = |structure: &Structure| {
        structure.as_block().is_some_and(|block| {
            block.has_ident("provider") && block.labels.first().is_some_and(|label| super::is_our_source(label.as_str()))
        })
    };
    if !body.iter().any(is_ours) {
        return Ok(());
    }
    let mut kept = Body::new();
    for structure in body.iter().filter(|structure| !is_ours(structure)) {
        kept.push(structure.clone());
    }
    // Not into the file that is there: it may be another user's, or a link.
    fs::remove_file(directory.join(LOCK_FILE))?;
    fs::write(directory.join(LOCK_FILE), kept.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_providers_leave_the_lock_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOCK_FILE);
        let aws =
            "provider \"registry.terraform.io/hashicorp/aws\" {\n  version = \"5.0.0\"\n  hashes = [\n    \"h1:x\",\n  ]\n}\n";
        let coder = "provider \"registry.terraform.io/coder/coder\" {\n  version = \"2.0.0\"\n}\n";
        fs::write(&path, format!("# This file is maintained automatically.\n{coder}\n{aws}")).unwrap();
        strip_our_providers(directory.path()).unwrap();
        let left = fs::read_to_string(&path).unwrap();
        assert!(left.contains("hashicorp/aws") && left.contains("h1:x") && !left.contains("coder"), "{left}");
        fs::write(&path, aws).unwrap();
        strip_our_providers(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), aws);
        fs::remove_file(&path).unwrap();
        strip_our_providers(directory.path()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_lock_file_is_read_and_no_name_in_it_leads_out_of_a_directory() {
        let aws = "provider \"registry.terraform.io/hashicorp/aws\" {\n  version     = \"5.1.0\"\n  constraints = \"~> 5\"\n  hashes = [\n    \"h1:x\",\n    \"zh:y\",\n  ]\n}\n";
        let lock = Lock::parse(aws);
        let aws = lock.get("registry.terraform.io/hashicorp/aws").unwrap();
        assert_eq!(
            (aws.short().as_str(), aws.hashes.as_slice()),
            ("hashicorp/aws 5.1.0", ["h1:x".to_owned(), "zh:y".to_owned()].as_slice())
        );
        for source in ["../../etc", "a/b/../c", "/a/b", "a/b", "a/b/c/d", "a/./c", "a/.git/c", "a\\\\/b/c"] {
            assert_eq!(Lock::parse(&format!("provider \"{source}\" {{\n  version = \"1\"\n}}\n")), Lock::default(), "{source}");
        }
        assert_eq!(Lock::parse("provider \"a/b/c\" {\n  version = \"../1\"\n}\n"), Lock::default());
        assert_eq!(Lock::parse("this is no lock file {"), Lock::default());
    }
}
