//! The golden schema: what Terraform hears of every type, held against a checked-in file.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::EVERY_TYPE;
use crate::bench::Bench;

const GOLDEN: &str = "tests/terraform/schema.json";

/// Set to rewrite the golden file.
const BLESS: &str = "BERTH_BLESS";

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_that_terraform_reads_is_the_golden_one_under_both_names() {
    let bench = Bench::new(EVERY_TYPE).await;
    let said = bench.terraform(&["providers", "schema", "-json"]).await;
    assert!(said.success, "{}", said.text);
    let schemas = said.lines[0]["provider_schemas"].as_object().unwrap();
    let [coder, berth] = ["/coder/coder", "/berth/berth"].map(|source| {
        let (_, schema) = schemas.iter().find(|(address, _)| address.ends_with(source)).unwrap();
        schema.clone()
    });
    assert_eq!(coder, berth, "one provider, two names");
    let count = |kind: &str| coder[kind].as_object().unwrap().len();
    assert_eq!(count("resource_schemas") + count("data_source_schemas"), berth_provider::schema().len());

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let served = pretty(&coder);
    if std::env::var_os(BLESS).is_some() {
        fs::write(&path, &served).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == served,
        "the schema is not that of {GOLDEN}:\n{}\nhint: when the change is meant, review it, run this test once with {BLESS}=1 and \
         commit the file",
        difference(&golden, &served)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_with_every_type_is_valid() {
    let bench = Bench::new(EVERY_TYPE).await;
    let valid = bench.terraform(&["validate", "-json"]).await;
    assert!(valid.success && valid.text.contains("\"error_count\": 0"), "{}", valid.text);
}

/// JSON with sorted names, whatever order the map of this build keeps.
fn pretty(schema: &Json) -> String {
    let mut sorted = schema.clone();
    sorted.sort_all_objects();
    serde_json::to_string_pretty(&sorted).unwrap() + "\n"
}

/// The lines that are only in one of two texts, with the line before each group.
fn difference(golden: &str, served: &str) -> String {
    let diff = similar::TextDiff::from_lines(golden, served);
    diff.unified_diff().context_radius(3).header("golden", "served").to_string()
}
