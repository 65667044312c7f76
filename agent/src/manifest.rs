//! What the control plane's manifest means for this process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_wire::agent::{Manifest, Relay};
use berth_wire::ticket::VerifyingKey;

use crate::config::Config;
use crate::ssh::{SessionEnvironment, resolve_path};
use crate::user::User;
use crate::verb;

/// The surroundings of sessions and scripts.
pub fn sessions(config: &Config, manifest: &Manifest) -> SessionEnvironment {
    let home = config.inherited.get(std::ffi::OsStr::new("HOME")).map(PathBuf::from);
    let user = User::current(home);
    let motd_file = (!manifest.motd_file.is_empty()).then(|| {
        resolve_path(&manifest.motd_file, (&user.home, &user.home), |name| {
            config.inherited.get(std::ffi::OsStr::new(name)).cloned()
        })
    });
    SessionEnvironment {
        inherited: config.inherited.clone(),
        template: template_variables(config, manifest),
        agent: agent_variables(config, manifest),
        directory: manifest.directory.clone(),
        programs: Some(config.script_programs()),
        motd_file,
        user: Some(user),
    }
}

/// The template's variables, and git's way to ssh unless the template has another.
fn template_variables(config: &Config, manifest: &Manifest) -> BTreeMap<String, String> {
    let mut variables = manifest.env.clone();
    variables.entry("GIT_SSH_COMMAND".to_owned()).or_insert_with(|| verb::git_ssh_command(config));
    variables
}

/// Where to be found: at the deployment's relays, or at the one of them that the environment pins.
pub fn relay(config: &Config, manifest: &Manifest) -> Relay {
    let Some(pinned) = &config.relay else { return manifest.relay.clone() };
    manifest.relay.only(pinned).unwrap_or_else(|| {
        let known = manifest.relay.urls().collect::<Vec<_>>().join(", ");
        tracing::warn!(relay.url = pinned, known, "BERTH_AGENT_RELAY names no relay of the deployment, using all");
        manifest.relay.clone()
    })
}

/// The key that signs clients' tickets.
pub fn ticket_key(manifest: &Manifest) -> VerifyingKey {
    VerifyingKey { id: manifest.ticket_key_id.clone(), public: manifest.ticket_key.clone() }
}

/// The seed of the SSH host key, if the manifest holds one.
pub fn host_key_seed(manifest: &Manifest) -> Option<[u8; 32]> {
    hex::decode(manifest.ssh_host_key_seed.expose()).ok()?.try_into().ok()
}

/// The variables that modules and tools look for, under the names they know and under ours.
fn agent_variables(config: &Config, manifest: &Manifest) -> BTreeMap<String, String> {
    // Scripts append paths to the URL without a slash of their own.
    let url = format!("{}/", config.url.trim_end_matches('/'));
    let both = [
        ("WORKSPACE_NAME", manifest.workspace_name.as_str()),
        ("WORKSPACE_ID", &manifest.workspace_id.to_string()),
        ("WORKSPACE_AGENT_NAME", &manifest.agent_name),
        ("WORKSPACE_OWNER_NAME", &manifest.owner_name),
        ("AGENT_URL", &url),
        ("AGENT_TOKEN", config.token.expose()),
        ("AGENT_SOCKET_PATH", &config.socket_file().display().to_string()),
    ]
    .map(|(name, value)| [(format!("CODER_{name}"), value.to_owned()), (format!("BERTH_{name}"), value.to_owned())]);
    let programs = config.script_programs().display().to_string();
    let askpass = verb::program(config).display().to_string();
    let alone =
        [("CODER", "true"), ("BERTH", "true"), ("CODER_SCRIPT_BIN_DIR", &programs), ("CS_DISABLE_GETTING_STARTED_OVERRIDE", "1")];
    let alone = alone.into_iter().chain([("GIT_ASKPASS", askpass.as_str())]);
    let ports = Some(("VSCODE_PROXY_URI".to_owned(), manifest.vs_code_port_proxy_uri.clone())).filter(|(_, uri)| !uri.is_empty());
    both.into_iter().flatten().chain(ports).chain(alone.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use berth_wire::domain::Secret;
    use berth_wire::runner::Monitors;
    use uuid::Uuid;

    use super::*;

    /// A manifest with nothing special in it.
    pub(crate) fn manifest() -> Manifest {
        Manifest {
            agent_id: Uuid::from_u128(1),
            agent_name: "main".to_owned(),
            workspace_id: Uuid::from_u128(2),
            workspace_name: "dev".to_owned(),
            owner_name: "ada".to_owned(),
            access_url: "http://127.0.0.1:3000".to_owned(),
            env: BTreeMap::new(),
            directory: String::new(),
            motd_file: String::new(),
            scripts: Vec::new(),
            metadata: Vec::new(),
            apps: Vec::new(),
            monitors: Monitors::default(),
            vs_code_port_proxy_uri: "http://{{port}}--main--dev--ada.apps.localhost:3000".to_owned(),
            relay: Relay { url: "http://127.0.0.1:1".to_owned(), others: Vec::new(), token: Secret::new("t".to_owned()) },
            ticket_key: String::new(),
            ticket_key_id: String::new(),
            ssh_host_key_seed: Secret::new("07".repeat(32)),
            disable_direct_connections: false,
        }
    }

    /// A configuration whose home is `home`.
    pub(crate) fn config(home: &std::path::Path) -> Config {
        let path = |name: &str, value: &std::path::Path| (name.into(), value.into());
        let text = |name: &str, value: &str| (name.into(), value.into());
        let search = std::env::var_os("PATH").unwrap_or_default();
        let pairs = [
            text("CODER_AGENT_URL", "http://127.0.0.1:3000"),
            text("CODER_AGENT_TOKEN", "secret"),
            path("HOME", home),
            path("TMPDIR", home),
        ];
        Config::read(pairs.into_iter().chain([("PATH".into(), search)]).collect()).unwrap()
    }

    /// What scripts of modules and their authors' guides use, by the names they know and by ours.
    #[test]
    fn every_session_has_what_modules_look_for_and_nobody_changes_it() {
        let home = tempfile::tempdir().unwrap();
        let config = config(home.path());
        let template =
            ["CODER_WORKSPACE_NAME", "CODER_SCRIPT_BIN_DIR", "CODER", "BERTH_AGENT_URL", "CS_DISABLE_GETTING_STARTED_OVERRIDE"];
        let env = template.iter().map(|name| ((*name).to_owned(), "the template's".to_owned())).collect();
        let found = sessions(&config, &Manifest { env, ..manifest() }).surroundings();
        let programs = config.script_programs().display().to_string();
        let workspace = Uuid::from_u128(2).to_string();
        for (name, expected) in [
            ("WORKSPACE_NAME", "dev"),
            ("WORKSPACE_ID", &workspace),
            ("WORKSPACE_AGENT_NAME", "main"),
            ("WORKSPACE_OWNER_NAME", "ada"),
            ("AGENT_URL", "http://127.0.0.1:3000/"),
            ("AGENT_TOKEN", "secret"),
        ] {
            for name in [format!("CODER_{name}"), format!("BERTH_{name}")] {
                assert_eq!(found.variables.get(std::ffi::OsStr::new(&name)).unwrap(), expected, "{name}");
            }
        }
        for (name, expected) in [
            ("CODER", "true"),
            ("BERTH", "true"),
            ("CODER_SCRIPT_BIN_DIR", &programs),
            ("CS_DISABLE_GETTING_STARTED_OVERRIDE", "1"),
            ("VSCODE_PROXY_URI", "http://{{port}}--main--dev--ada.apps.localhost:3000"),
        ] {
            assert_eq!(found.variables.get(std::ffi::OsStr::new(name)).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn sessions_know_where_they_are() {
        let home = tempfile::tempdir().unwrap();
        let config = config(home.path());
        let found = sessions(&config, &manifest()).surroundings();
        let value =
            |name: &str| found.variables.get(std::ffi::OsStr::new(name)).and_then(|value| value.to_str()).unwrap_or_default();
        assert_eq!(value("CODER_AGENT_URL"), "http://127.0.0.1:3000/");
        assert_eq!((value("CODER_WORKSPACE_NAME"), value("BERTH_WORKSPACE_AGENT_NAME"), value("CODER")), ("dev", "main", "true"));
        let program = config.script_programs().join("coder");
        assert_eq!(value("GIT_ASKPASS"), program.display().to_string());
        assert_eq!(value("GIT_SSH_COMMAND"), format!("{} gitssh --", program.display()));
        assert!(value("PATH").starts_with(&format!("{}:", config.script_programs().display())));
        assert_eq!(found.directory, home.path());
    }

    #[test]
    fn a_pinned_relay_is_the_only_one_if_there_is_such_a_one() {
        let home = tempfile::tempdir().unwrap();
        let (one, two) = ("https://one.example.com/".to_owned(), "https://two.example.com".to_owned());
        let relays = Relay { url: one, others: vec![two.clone()], token: Secret::new("t".to_owned()) };
        let manifest = Manifest { relay: relays, ..manifest() };
        let with = |pinned: Option<&str>| Config { relay: pinned.map(str::to_owned), ..config(home.path()) };
        assert_eq!(relay(&with(None), &manifest).urls().count(), 2);
        assert_eq!(relay(&with(Some("https://two.example.com/")), &manifest).urls().collect::<Vec<_>>(), [two.as_str()]);
        assert_eq!(relay(&with(Some("https://three.example.com")), &manifest).urls().count(), 2);
    }

    #[test]
    fn a_seed_of_another_length_is_none() {
        assert_eq!(host_key_seed(&manifest()), Some([7; 32]));
        let short = Manifest { ssh_host_key_seed: Secret::new("0707".to_owned()), ..manifest() };
        assert_eq!(host_key_seed(&short), None);
    }
}
