//! The scripts that start an agent, one per operating system and architecture; `coder_agent` hands the fitting one to the template.

use std::path::Path;

/// Operating systems and architectures (Go names) that an agent may be asked for.
const MACHINES: &[(&str, &str)] = &[
    ("linux", "amd64"),
    ("linux", "arm64"),
    ("linux", "armv7"),
    ("darwin", "amd64"),
    ("darwin", "arm64"),
    ("windows", "amd64"),
    ("windows", "arm64"),
];

/// Every script.
pub(crate) fn all(agent_binary: Option<&Path>) -> Vec<(&'static str, &'static str, String)> {
    let script = agent_binary
        .map(|binary| format!("#!/bin/sh\nexport CODER_AGENT_URL=\"${{ACCESS_URL}}\"\nexec '{}'\n", binary.display()))
        .unwrap_or_default();
    MACHINES.iter().map(|(os, arch)| (*os, *arch, script.clone())).collect()
}
