//! The provider as an executable that Terraform itself starts.

use std::process::Stdio;
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;

use crate::bench::{Bench, Door, PLUGIN, Said, program, until};
use crate::{EVERY_TYPE, process_template};

const COOKIE: (&str, &str) = ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2");

/// What an HTTP/2 client says first: the preface and empty settings (RFC 9113, section 3.4).
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread")]
async fn a_template_with_every_type_lives_its_life_with_the_plugin() {
    for door in [Door::Overrides, Door::Mirror] {
        let mut bench = Bench::through(door, EVERY_TYPE).await;
        bench.tell("CODER_SECRET_ENV_NPM_TOKEN", "npm-token");
        let valid = bench.terraform(&["validate", "-json"]).await;
        assert!(valid.success && valid.text.contains("\"error_count\": 0"), "{}", valid.text);
        let plan = bench.terraform(&["plan", "-json", "-input=false"]).await;
        assert!(plan.success && plan.changes().contains(&"create coder_agent.main".to_owned()), "{}", plan.text);
        bench.build("start").await;
        assert_eq!(bench.attributes("data.coder_workspace_owner.me")["email"], "ada@example.com");
        assert_eq!(bench.attributes("data.coder_secret.npm")["value"], "npm-token");
        assert_eq!(bench.processes().len(), 1, "the process outlives the plugin");
        assert_eq!(bench.build("start").await.changes(), Vec::<String>::new());
        bench.build("stop").await;
        assert_eq!(bench.processes(), Vec::<i32>::new());
        bench.build("delete").await;
        assert_eq!(bench.plugins(), Vec::<i32>::new(), "{door:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_of_the_whole_group_reaches_the_plugin_as_a_stop() {
    let template = process_template("trap 'echo > $HOME/told' TERM; while :; do sleep 0.1; done").replace("= 5", "= 600");
    let mut bench = Bench::through(Door::Overrides, &template).await;
    bench.build("start").await;
    bench.tell("CODER_WORKSPACE_TRANSITION", "stop");
    let child = bench.begin(&["apply", "-json", "-auto-approve"]);
    let told = bench.path(&format!("root/{}/home/told", bench.id));
    until("the process was asked to end", || told.exists()).await;
    // As a terminal does it: to Terraform and to the plugin.
    for pid in bench.plugins().into_iter().chain(child.id().map(|pid| pid.cast_signed())) {
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    }
    let said = Said::from(child.wait_with_output().await.unwrap());
    assert!(!said.success && said.diagnostics().contains("interrupted while processes"), "{}", said.text);
    assert!(bench.attributes("berth_process.workspace")["pid"].is_i64());
    assert_eq!(bench.plugins(), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_does_not_outlive_a_terraform_that_was_killed() {
    let template = process_template("trap 'echo > $HOME/told' TERM; while :; do sleep 0.1; done").replace("= 5", "= 600");
    let mut bench = Bench::through(Door::Overrides, &template).await;
    bench.build("start").await;
    bench.tell("CODER_WORKSPACE_TRANSITION", "stop");
    let mut child = bench.begin(&["apply", "-json", "-auto-approve"]);
    let told = bench.path(&format!("root/{}/home/told", bench.id));
    until("the process was asked to end", || told.exists()).await;
    assert!(!bench.plugins().is_empty());
    child.kill().await.unwrap();
    until("the plugins end", || bench.plugins().is_empty()).await;
    assert!(!bench.processes().is_empty(), "the workspace is left to the next build");
}

#[tokio::test]
async fn a_person_who_runs_it_is_told_what_it_is_and_what_to_do() {
    let run = |arguments: &[&str]| Command::new(PLUGIN).args(arguments).env_clear().stdin(Stdio::null()).output();
    let alone = run(&[]).await.unwrap();
    assert_eq!((alone.status.code(), alone.stdout.as_slice()), (Some(1), &b""[..]));
    assert_eq!(
        String::from_utf8(alone.stderr).unwrap(),
        "error: this program is a provider, which Terraform or OpenTofu starts by itself\n\
         hint: put its directory under dev_overrides in your Terraform CLI configuration and run terraform plan, or serve it with --debug\n"
    );
    let wrong = run(&["--verbose"]).await.unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("\"--verbose\" is not an option\nhint: see --help"));
    assert!(String::from_utf8(run(&["--help"]).await.unwrap().stdout).unwrap().contains("--debug"));
    assert_eq!(run(&["--version"]).await.unwrap().stdout, b"2.99.0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_debug_mode_it_serves_until_it_is_interrupted() {
    let bench = Bench::new("data \"coder_workspace\" \"me\" {}\noutput \"name\" { value = data.coder_workspace.me.name }\n").await;
    let mut served = Command::new(PLUGIN);
    served.arg("-debug").env("CODER_WORKSPACE_NAME", "debugged").env("TMPDIR", bench.place.path());
    let mut served = served.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let line = first_line(&mut served).await;
    let json = line.strip_prefix("TF_REATTACH_PROVIDERS='").and_then(|rest| rest.strip_suffix('\'')).expect(&line);
    let reattach: Json = serde_json::from_str(json).unwrap();
    let socket = reattach["registry.terraform.io/coder/coder"]["Addr"]["String"].as_str().unwrap();
    assert!(std::fs::exists(socket).unwrap());
    let mut apply = Command::new(program());
    apply.args(["apply", "-auto-approve", "-no-color"]).current_dir(bench.path("template"));
    let applied = apply.env("TF_REATTACH_PROVIDERS", json).env("CHECKPOINT_DISABLE", "1").output().await.unwrap();
    let text = String::from_utf8_lossy(&applied.stdout).into_owned();
    assert!(text.contains("name = \"debugged\""), "{text}");
    kill(Pid::from_raw(served.id().unwrap().cast_signed()), Signal::SIGINT).unwrap();
    let ended = served.wait_with_output().await.unwrap();
    assert!(ended.status.success());
    assert!(String::from_utf8(ended.stderr).unwrap().starts_with("Serving the provider until Ctrl-C."));
    assert!(!std::fs::exists(socket).unwrap(), "the socket is removed");
}

async fn first_line(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    lines.next_line().await.unwrap().unwrap()
}

/// A plugin started as Terraform starts it, for a client with this certificate; its port and its own certificate.
async fn start(client: &CertifiedKey<KeyPair>) -> (Child, u16, CertificateDer<'static>) {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    let body = STANDARD.encode(client.cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let mut command = Command::new(PLUGIN);
    command.env_clear().envs([COOKIE, ("PLUGIN_PROTOCOL_VERSIONS", "5,6"), ("PLUGIN_CLIENT_CERT", &pem)]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let line = first_line(&mut child).await;
    let [core, protocol, "tcp", address, "grpc", certificate] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
    assert_eq!((core, protocol), ("1", "6"));
    let port = address.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
    (child, port, STANDARD_NO_PAD.decode(certificate).unwrap().into())
}

/// Says hello over TLS and answers what the server says first, or why it does not.
async fn greet(port: u16, server: &CertificateDer<'static>, own: Option<&CertifiedKey<KeyPair>>) -> std::io::Result<[u8; 9]> {
    let mut roots = RootCertStore::empty();
    roots.add(server.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        Some(own) => {
            let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
            builder.with_client_auth_cert(vec![own.cert.der().clone()], key.into()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await?;
    stream.write_all(HELLO).await?;
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_terraform_that_started_it_is_served() {
    let client = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (known, stranger) = (client(), client());
    let (mut child, port, server) = start(&known).await;

    assert!(greet(port, &server, None).await.is_err(), "no certificate");
    assert!(greet(port, &server, Some(&stranger)).await.is_err(), "another certificate");
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(HELLO).await.unwrap();
    let mut heard = Vec::new();
    let closed = plain.read_to_end(&mut heard).await;
    // A TLS alert (RFC 8446, section 6) and the end; never HTTP/2.
    assert!(closed.is_ok_and(|_| heard.first() == Some(&21)) || heard.is_empty(), "{heard:?}");

    let settings = greet(port, &server, Some(&known)).await.unwrap();
    assert_eq!(settings[3], 4, "the first frame of HTTP/2 is its settings: {settings:?}");
    assert_eq!(child.try_wait().unwrap(), None, "strangers do not end it");
}
