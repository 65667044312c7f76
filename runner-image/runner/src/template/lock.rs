//! A vendored dependency lock file pins the public `coder/coder` provider, whose checksums ours cannot match.

use std::{fs, io, path::Path};

use hcl_edit::structure::Body;

/// Terraform's name for it.
const LOCK_FILE: &str = ".terraform.lock.hcl";

/// Takes the blocks of the providers that the runner serves out of a template's lock file. A file that does not parse is left alone.
///
/// # Errors
/// When the file cannot be read or written.
pub fn strip_our_providers(directory: &Path) -> io::Result<()> {
    let path = directory.join(LOCK_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let Ok(body) = hcl_edit::parser::parse_body(&text) else { return Ok(()) };
    let is_ours = |structure: &hcl_edit::structure::Structure| {
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
    fs::write(&path, kept.to_string())
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
}
