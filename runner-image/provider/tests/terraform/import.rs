//! Import: what a lost state knew is found and adopted.

use std::fs;

use berth_provider::{Existing, existing};

use crate::bench::{Bench, until};
use crate::process_template;

/// The template with blocks that import what exists, as a repair writes them.
fn with_imports(template: &str, found: &[Existing]) -> String {
    let address = |kind: &str| if kind == "berth_process" { "berth_process.workspace[0]" } else { "berth_directory.home" };
    let block = |one: &Existing| format!("import {{\n  to = {}\n  id = {:?}\n}}\n", address(one.kind), one.id);
    format!("{template}\n{}", found.iter().map(block).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_state_knew_is_found_on_the_machine_and_adopted_without_a_restart() {
    let template = process_template("sleep 1000 & exec sleep 1001");
    let mut bench = Bench::new(&template).await;
    bench.build("start").await;
    until("both have started", || bench.processes().len() == 2).await;
    let (before, known) = (bench.processes(), bench.attributes("berth_process.workspace"));
    fs::remove_file(bench.path("template/terraform.tfstate")).unwrap();

    let found = existing(&bench.path("root"), &bench.id).await.unwrap();
    let home = bench.path(&format!("root/{}/home", bench.id)).display().to_string();
    let kinds: Vec<_> = found.iter().map(|one| (one.kind, one.id.as_str())).collect();
    assert_eq!(kinds, [("berth_process", known["id"].as_str().unwrap()), ("berth_directory", home.as_str())]);
    assert_eq!(found[0].what, format!("process {}: sleep 1001", known["pid"]));
    assert_eq!(existing(&bench.path("root"), "another").await.unwrap(), []);

    fs::write(bench.path("template/main.tf"), with_imports(&template, &found)).unwrap();
    let said = bench.build("start").await;
    assert!(!said.changes().iter().any(|change| change.starts_with("create") || change.starts_with("replace")), "{}", said.text);
    assert_eq!(bench.processes(), before, "nothing was restarted");
    let adopted = bench.attributes("berth_process.workspace");
    for name in ["id", "pid", "start_time", "boot_id", "fingerprint", "command", "dir", "log_file", "stop_grace_seconds"] {
        assert_eq!(adopted[name], known[name], "{name}");
    }
    assert_eq!(bench.attributes("berth_directory.home")["path"], home);

    fs::write(bench.path("template/main.tf"), &template).unwrap();
    assert_eq!(bench.build("start").await.changes(), Vec::<String>::new());
    bench.build("delete").await;
    assert_eq!((bench.processes(), bench.path("root").join(&bench.id).exists()), (Vec::new(), false));
    assert_eq!(existing(&bench.path("root"), &bench.id).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_process_that_runs_something_else_is_replaced() {
    let mut bench = Bench::new(&process_template("exec sleep 1000")).await;
    bench.build("start").await;
    let before = bench.processes();
    fs::remove_file(bench.path("template/terraform.tfstate")).unwrap();
    let found = existing(&bench.path("root"), &bench.id).await.unwrap();
    fs::write(bench.path("template/main.tf"), with_imports(&process_template("exec sleep 1001"), &found)).unwrap();
    let said = bench.build("start").await;
    assert!(said.changes().contains(&"replace berth_process.workspace[0]".to_owned()), "{}", said.text);
    let after = bench.processes();
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_what_does_not_exist_or_belongs_to_another_workspace_says_so() {
    let mut other = Bench::new(&process_template("exec sleep 1000")).await;
    other.build("start").await;
    let theirs = existing(&other.path("root"), &other.id).await.unwrap();
    let bench = Bench::new(&process_template("exec sleep 1000")).await;
    let said = |imports: String| {
        fs::write(bench.path("template/main.tf"), imports).unwrap();
        bench.terraform(&["plan", "-json"])
    };
    let template = process_template("exec sleep 1000");
    for (found, expected) in theirs.iter().zip(["no such process: no process of this workspace has the id", "no such directory"]) {
        let said = said(with_imports(&template, std::slice::from_ref(found))).await;
        assert!(!said.success && said.diagnostics().contains(expected), "{}", said.text);
    }
    let agent = "resource \"coder_agent\" \"main\" {\n  os = \"linux\"\n  arch = \"amd64\"\n}\n\
        import {\n  to = coder_agent.main\n  id = \"1\"\n}\n";
    let said = said(agent.into()).await;
    assert!(said.diagnostics().contains("a coder_agent exists only in the state: remove the import block"), "{}", said.text);
}
