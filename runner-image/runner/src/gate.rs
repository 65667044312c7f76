//! The gate: what a plan would do to what holds data or runs, and what it would cost, before anything is done.

use berth_domain::{FailureCode, Gate, Transition};
use berth_wire::runner::{Build, Outcome};
use serde::Deserialize;
use serde_json::Value;

/// Types whose instances hold data that nothing else holds. A `*` stands for the rest of the name.
const DATA: &[&str] = &[
    "aws_ebs_volume",
    "aws_efs_file_system",
    "aws_fsx_*",
    "aws_db_instance",
    "aws_rds_cluster",
    "aws_s3_bucket",
    "aws_dynamodb_table",
    "azurerm_managed_disk",
    "azurerm_storage_account",
    "azurerm_storage_container",
    "azurerm_storage_share",
    "berth_directory",
    "digitalocean_volume",
    "docker_volume",
    "google_compute_disk",
    "google_compute_region_disk",
    "google_filestore_instance",
    "google_sql_database_instance",
    "google_storage_bucket",
    "hcloud_volume",
    "incus_storage_volume",
    "kubernetes_persistent_volume*",
    "libvirt_volume",
    "linode_volume",
    "lxd_volume",
    "oci_core_volume",
    "openstack_blockstorage_volume_*",
    "scaleway_block_volume",
    "vsphere_virtual_disk",
];
/// Types whose instances are machines with a disk of their own. A stop takes them down; a start must not replace them unasked.
const MACHINES: &[&str] = &[
    "aws_ec2_host",
    "aws_instance",
    "aws_spot_instance_request",
    "azurerm_linux_virtual_machine",
    "azurerm_virtual_machine",
    "azurerm_windows_virtual_machine",
    "digitalocean_droplet",
    "google_compute_instance",
    "hcloud_server",
    "incus_instance",
    "libvirt_domain",
    "linode_instance",
    "lxd_instance",
    "oci_core_instance",
    "openstack_compute_instance_*",
    "proxmox_virtual_environment_vm",
    "proxmox_vm_qemu",
    "scaleway_instance_server",
    "vsphere_virtual_machine",
];
/// The most losses that one line names.
const NAMED_MAX: usize = 5;

/// Something that a plan would take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Its address.
    pub address: String,
    /// Whether another one takes its place.
    pub is_replaced: bool,
    /// The attributes that cannot change in place.
    pub because: Vec<String>,
}

/// What a plan is about, as far as the gate asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What holds data or runs and would go.
    pub losses: Vec<Loss>,
    /// Sum of the `daily_cost` of all that there would be.
    pub daily_cost: i64,
}

/// A plan that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("terraform's plan cannot be read: {0}")]
pub struct FormatError(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Plan {
    #[serde(default)]
    resource_changes: Vec<ResourceChange>,
    #[serde(default)]
    planned_values: Value,
}

#[derive(Deserialize)]
struct ResourceChange {
    address: String,
    #[serde(rename = "type")]
    kind: String,
    change: Change,
    #[serde(default)]
    action_reason: String,
}

#[derive(Deserialize)]
struct Change {
    actions: Vec<String>,
    #[serde(default)]
    replace_paths: Vec<Vec<Value>>,
}

/// Reads the output of `terraform show -json <plan>`.
///
/// # Errors
/// When it is not a plan.
pub fn read(json: &[u8], transition: Transition) -> Result<Findings, FormatError> {
    let plan: Plan = serde_json::from_slice(json)?;
    let losses = plan.resource_changes.into_iter().filter_map(|change| change.loss(transition)).collect();
    let mut daily_cost = 0;
    add_costs(plan.planned_values.get("root_module").unwrap_or(&Value::Null), &mut daily_cost);
    Ok(Findings { losses, daily_cost })
}

fn add_costs(module: &Value, sum: &mut i64) {
    let list = |key: &str| module.get(key).and_then(Value::as_array).into_iter().flatten();
    for resource in list("resources").filter(|resource| resource.get("type").and_then(Value::as_str) == Some("coder_metadata")) {
        let cost = resource.pointer("/values/daily_cost").and_then(Value::as_i64).unwrap_or(0);
        *sum = sum.saturating_add(cost);
    }
    list("child_modules").for_each(|child| add_costs(child, sum));
}

fn is_one_of(kind: &str, types: &[&str]) -> bool {
    types.iter().any(|one| one.strip_suffix('*').map_or(kind == *one, |start| kind.starts_with(start)))
}

impl ResourceChange {
    fn loss(self, transition: Transition) -> Option<Loss> {
        let does = |action: &str| self.change.actions.iter().any(|one| one == action);
        let (is_deleted, is_replaced) = (does("delete"), does("create"));
        let matters =
            is_one_of(&self.kind, DATA) || is_one_of(&self.kind, MACHINES) && (transition == Transition::Start || is_replaced);
        // What a failed build left half-made is made anew: nothing is in it yet.
        if !is_deleted || !matters || self.action_reason == "replace_because_tainted" {
            return None;
        }
        let path = |path: Vec<Value>| match path.first() {
            Some(Value::String(name)) => name.clone(),
            _ => "itself".to_owned(),
        };
        Some(Loss { address: self.address, is_replaced, because: self.change.replace_paths.into_iter().map(path).collect() })
    }
}

impl Loss {
    /// One line: `aws_instance.vm would be replaced (ami changes)`.
    #[must_use]
    pub fn words(&self) -> String {
        let what = if self.is_replaced { "replaced" } else { "destroyed" };
        let because = if self.because.is_empty() { String::new() } else { format!(" ({} changes)", self.because.join(", ")) };
        format!("{} would be {what}{because}", self.address)
    }
}

/// Holds what a plan would do against the gate. `None` is to go on.
#[must_use]
pub fn refusal(gate: Gate, findings: &Findings, build: &Build) -> Option<Outcome> {
    if gate.keep && !findings.losses.is_empty() {
        let mut named: Vec<_> = findings.losses.iter().take(NAMED_MAX).map(Loss::words).collect();
        if let more @ 1.. = findings.losses.len().saturating_sub(NAMED_MAX) {
            named.push(format!("and {more} more would go"));
        }
        let Build { transition, workspace_name, .. } = build;
        let error = format!(
            "{}; nothing was changed. `berth {transition} {workspace_name} --allow-replace` consents to it",
            named.join(", ")
        );
        return Some(Outcome::Refused { error, code: FailureCode::ReplacementNeedsConsent });
    }
    let most = gate.daily_cost_max.filter(|most| findings.daily_cost > *most)?;
    let error = format!(
        "this would cost {} a day, more than the {most} that template {} allows; nothing was changed. Choose less, or ask a template admin \
         to allow more",
        findings.daily_cost, build.template_name
    );
    Some(Outcome::Refused { error, code: FailureCode::InsufficientQuota })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(address: &str, actions: &[&str], reason: &str) -> Value {
        let kind = address.split('.').next().unwrap();
        json!({"address": address, "type": kind, "change": {"actions": actions, "replace_paths": [["ami"], ["root_block_device", 0]]}, "action_reason": reason})
    }

    fn found(changes: &[Value], transition: Transition) -> Vec<String> {
        let plan = json!({"format_version": "1.2", "resource_changes": changes}).to_string();
        read(plan.as_bytes(), transition).unwrap().losses.into_iter().map(|loss| loss.address).collect()
    }

    #[test]
    fn a_start_keeps_disks_and_machines_and_a_stop_keeps_disks() {
        let changes = [
            change("aws_instance.new", &["create"], ""),
            change("aws_instance.same", &["no-op"], ""),
            change("aws_instance.down", &["delete"], "delete_because_count_index"),
            change("aws_instance.vm", &["delete", "create"], "replace_because_cannot_update"),
            change("aws_instance.half_made", &["delete", "create"], "replace_because_tainted"),
            change("aws_ebs_volume.home", &["delete"], ""),
            change("kubernetes_persistent_volume_claim_v1.home", &["create", "delete"], ""),
            change("aws_security_group.open", &["delete", "create"], ""),
            change("docker_container.dev", &["delete"], ""),
        ];
        let data = ["aws_ebs_volume.home", "kubernetes_persistent_volume_claim_v1.home"];
        assert_eq!(found(&changes, Transition::Start), [&["aws_instance.down", "aws_instance.vm"][..], &data].concat());
        assert_eq!(found(&changes, Transition::Stop), [&["aws_instance.vm"][..], &data].concat());
    }

    #[test]
    fn costs_are_summed_over_all_modules() {
        let metadata = |cost: i64| json!({"type": "coder_metadata", "values": {"daily_cost": cost}});
        let plan = json!({"planned_values": {"root_module": {
            "resources": [metadata(10), {"type": "aws_instance", "values": {"daily_cost": 1000}}, metadata(0)],
            "child_modules": [{"resources": [metadata(5)], "child_modules": [{"resources": [metadata(7)]}]}],
        }}});
        assert_eq!(read(plan.to_string().as_bytes(), Transition::Start).unwrap().daily_cost, 22);
        assert!(read(b"nonsense", Transition::Start).is_err());
    }

    #[test]
    fn a_loss_reads_as_a_clause() {
        let loss = Loss { address: "aws_instance.vm".into(), is_replaced: true, because: vec!["ami".into(), "key_name".into()] };
        assert_eq!(loss.words(), "aws_instance.vm would be replaced (ami, key_name changes)");
        let loss = Loss { address: "aws_ebs_volume.home".into(), is_replaced: false, because: Vec::new() };
        assert_eq!(loss.words(), "aws_ebs_volume.home would be destroyed");
    }
}
