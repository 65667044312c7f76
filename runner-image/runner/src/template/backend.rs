//! A template's own `backend` or `cloud` block: the state of a workspace is a local file that the runner pushes, and nothing else may
//! be asked for it.
//!
//! The blocks are blanked out, so that every other line keeps its number and `terraform init` is not needed to change a backend. In a
//! file that we cannot read the blocks cannot be found; then an override file does the same (Terraform: "Merging terraform Blocks").

use std::{fs, io, ops::Range, path::Path};

use hcl_edit::{Span, structure::Block};
use serde_json::{Map, Value};

use super::file::{Syntax, bodies, template_files};

/// The names of the blocks inside a `terraform` block.
const BLOCKS: [&str; 2] = ["backend", "cloud"];

/// Blanks out the `backend` and `cloud` blocks of the template's files.
///
/// # Errors
/// When a file cannot be read or written.
pub fn blank_backends(directory: &Path) -> io::Result<()> {
    for file in template_files(directory)?.into_iter().filter(|file| !file.is_too_large) {
        let path = directory.join(&file.name);
        let blanked = match file.syntax {
            Syntax::Hcl => fs::read_to_string(&path).ok().and_then(|text| without_hcl(&text)),
            Syntax::Json => fs::read(&path).ok().and_then(|bytes| without_json(&bytes)),
        };
        if let Some(text) = blanked {
            fs::write(&path, text)?;
        }
    }
    Ok(())
}

/// The text with spaces in place of the blocks; `None` when there are none.
fn without_hcl(text: &str) -> Option<String> {
    let body = hcl_edit::parser::parse_body(text).ok()?;
    let settings = body.blocks().filter(|block| block.has_ident("terraform"));
    let inner = settings.flat_map(|block| block.body.blocks());
    let is_backend = |block: &&Block| BLOCKS.iter().any(|name| block.has_ident(name));
    let ranges: Vec<Range<usize>> = inner.filter(is_backend).filter_map(Span::span).collect();
    if ranges.is_empty() {
        return None;
    }
    let blank = |(at, character): (usize, char)| {
        let inside = ranges.iter().any(|range| range.contains(&at));
        if inside && !matches!(character, '\n' | '\r') { ' ' } else { character }
    };
    Some(text.char_indices().map(blank).collect())
}

fn without_json(bytes: &[u8]) -> Option<String> {
    let mut file: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let settings = file.get_mut("terraform")?;
    if !bodies(settings).iter().any(|body| BLOCKS.iter().any(|name| body.contains_key(*name))) {
        return None;
    }
    let remove = |body: &mut Map<String, Value>| body.retain(|name, _| !BLOCKS.contains(&name.as_str()));
    match settings {
        Value::Object(body) => remove(body),
        Value::Array(items) => items.iter_mut().filter_map(Value::as_object_mut).for_each(remove),
        _ => {}
    }
    serde_json::to_string_pretty(&file).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_become_spaces_and_every_other_line_stays_where_it_was() {
        let text = "# é\nterraform {\n  required_version = \"1\"\n  backend \"s3\" {\n    bucket = \"b\"\n  }\n}\nresource \"a\" \"backend\" {}\n";
        let blank = without_hcl(text).unwrap();
        assert_eq!(blank.lines().count(), text.lines().count());
        assert!(!blank.contains("s3") && !blank.contains("bucket"), "{blank}");
        assert_eq!(blank.lines().last(), text.lines().last());
        let parsed = hcl_edit::parser::parse_body(&blank).unwrap();
        assert_eq!(parsed.blocks().next().unwrap().body.iter().count(), 1, "{blank}");
        assert_eq!(without_hcl("terraform {\n  cloud {\n  }\n}\n").unwrap().trim_end(), "terraform {\n         \n   \n}");
        assert_eq!(without_hcl("resource \"backend\" \"cloud\" {\n  backend {}\n}\n"), None);
    }

    #[test]
    fn json_loses_the_keys() {
        let one = without_json(br#"{"terraform": {"backend": {"s3": {}}, "required_version": "1"}}"#).unwrap();
        assert!(!one.contains("s3") && one.contains("required_version"));
        let list = without_json(br#"{"terraform": [{"cloud": {}}, {"backend": {"gcs": {}}}]}"#).unwrap();
        assert!(!list.contains("cloud") && !list.contains("gcs"));
        assert_eq!(without_json(br#"{"terraform": {"required_version": "1"}}"#), None);
    }
}
