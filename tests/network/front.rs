//! What stands between people and a server: something that ends TLS, as a CDN does, and a company's proxy.

use super::{
    PORT, Transfer, Wishes, World,
    internet::{Internet, Machine},
};
use crate::harness::{eventually, has};
use rcgen::{CertificateParams, KeyPair, SanType};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A program on a machine; it ends with this value.
pub(super) struct Program(Child);

impl Program {
    pub(super) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A certificate that is its own authority, for an address; the files are `cert.pem` and `key.pem`.
pub(super) fn certificate(place: &Path, address: &str) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names.push(SanType::IpAddress(address.parse().unwrap()));
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(place.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(place.join("key.pem"), key.serialize_pem()).unwrap();
    place.join("cert.pem").to_string_lossy().into_owned()
}

/// nginx on 443 of a machine, which speaks plain HTTP to `upstream` on the same machine, as a CDN speaks to its origin.
fn tls_front(machine: &Machine, place: &Path, upstream: u16) -> Program {
    let at = place.display();
    let tls = format!("listen 443 ssl http2; ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;");
    front(machine, (place, &tls), upstream)
}

/// nginx that listens as it is told.
pub(super) fn front(machine: &Machine, (place, listen): (&Path, &str), upstream: u16) -> Program {
    let at = place.display();
    let config = format!(
        "user root; daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/nginx.log;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
            map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
            server {{
                {listen}
                client_max_body_size 0;
                location / {{
                    proxy_pass http://127.0.0.1:{upstream};
                    proxy_http_version 1.1;
                    proxy_set_header Host $host;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $connection_upgrade;
                    proxy_set_header X-Forwarded-For $remote_addr;
                    proxy_set_header X-Forwarded-Proto https;
                    proxy_buffering off;
                    proxy_request_buffering off;
                    proxy_read_timeout 60s;
                }}
            }}
        }}\n"
    );
    let file = place.join("nginx.conf");
    fs::write(&file, config).unwrap();
    Program::start(machine.command("nginx").arg("-c").arg(file))
}

/// An HTTP proxy on a machine, that connects to port 443 of anything.
fn proxy(machine: &Machine, place: &Path) -> Program {
    let file = place.join("tinyproxy.conf");
    let log = place.join("tinyproxy.log");
    fs::write(
        &file,
        format!(
            "Port 3128\nListen {}\nTimeout 600\nLogLevel Connect\nLogFile \"{}\"\nConnectPort 443\n",
            machine.address,
            log.display()
        ),
    )
    .unwrap();
    Program::start(machine.command("tinyproxy").args(["-d", "-c"]).arg(file))
}

/// Waits until something listens.
fn listens(machine: &Machine, port: u16) {
    let probe = format!("exec 3<>/dev/tcp/{}/{port}", machine.address);
    eventually("something listens", || {
        machine.command("bash").args(["-c", &probe]).stderr(Stdio::null()).status().unwrap().success().then_some(())
    });
}

#[test]
fn with_nothing_but_port_443_and_a_cdn_a_workspace_is_reached_all_the_same() {
    if !has("nginx") {
        return eprintln!("SKIPPED: nginx, which ends TLS as a CDN does, is not installed; `cargo xtask test` installs it");
    }
    let Some(internet) = Internet::lay() else { return };
    let [server, client, agent] = ["server", "client", "agent"].map(|name| internet.machine(name));
    let place = tempfile::tempdir().unwrap();
    let trusted = certificate(place.path(), &server.address);
    let _front = tls_front(&server, place.path(), PORT);
    listens(&server, 443);
    [&client, &agent].into_iter().for_each(|machine| machine.allow_only(&server, 443));
    let access_url = Some(format!("https://{}/", server.address));
    let environment = [("SSL_CERT_FILE", trusted.as_str()), ("CURL_CA_BUNDLE", &trusted)];
    let world = World::on(internet, [server, client, agent], Wishes { access_url, environment: &environment, ..Wishes::default() });
    world.stays_relayed();
    let transfer = Transfer::start(&world.berth, "");
    transfer.goes(&world.internet, false, "by TCP to port 443");
    transfer.end();
}

#[test]
fn through_a_companys_proxy_both_ends_reach_the_relay() {
    if !has("nginx") || !has("tinyproxy") {
        return eprintln!("SKIPPED: nginx and tinyproxy are not installed; `cargo xtask test` installs them");
    }
    let Some(internet) = Internet::lay() else { return };
    let [server, client, agent, office] = ["server", "client", "agent", "office"].map(|name| internet.machine(name));
    let place = tempfile::tempdir().unwrap();
    let trusted = certificate(place.path(), &server.address);
    let (_front, _proxy) = (tls_front(&server, place.path(), PORT), proxy(&office, place.path()));
    listens(&server, 443);
    listens(&office, 3128);
    [&client, &agent].into_iter().for_each(|machine| machine.allow_only(&office, 3128));
    let through = format!("http://{}:3128", office.address);
    let environment =
        [("SSL_CERT_FILE", trusted.as_str()), ("CURL_CA_BUNDLE", &trusted), ("HTTPS_PROXY", &through), ("https_proxy", &through)];
    let access_url = Some(format!("https://{}/", server.address));
    let world = World::on(internet, [server, client, agent], Wishes { access_url, environment: &environment, ..Wishes::default() });
    world.stays_relayed();
    let transfer = Transfer::start(&world.berth, "");
    transfer.goes(&world.internet, false, "through the proxy");
    transfer.end();
    let log = fs::read_to_string(place.path().join("tinyproxy.log")).unwrap();
    for machine in [&world.client, &world.agent] {
        assert!(log.contains(&machine.address), "{} did not use the proxy:\n{log}", machine.address);
    }
}
