//! Hostile requests, byte for byte: none reaches an app that it may not reach, no app sees what is ours, and nothing is smuggled.
//!
//! Two apps: `web--dev--ada`, which only ada's cookie opens, and `open--dev--eve`, which is open to all and belongs to somebody else. Each row
//! is sent by a connection of its own and says which of the two may see it. A row is known at an app by its `X-Row`; what is smuggled in a
//! body has none, and asks for `/smuggled` at ada's host without her cookie.

use super::{ADA, HOP, PATIENCE, Server, Stage};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::timeout,
};

/// A secret that no app may see, wherever it stands.
const SECRET: &str = "0123456789abcdef0123456789abcdef-fedcba9876543210fedcba9876543210";
/// How long a connection may be silent before it is taken to be over.
const SILENCE: Duration = Duration::from_millis(400);
/// Rows at a time.
const AT_ONCE: usize = 24;
/// So many rows at the least.
const ROWS_MIN: usize = 500;

/// Who may see a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Nobody,
    /// Ada's app, and must.
    Web,
    /// Ada's app, or nobody.
    WebOrNobody,
    /// The open app, or nobody.
    OpenOrNobody,
}

/// A request, without its `X-Row`, which stands where `{row}` does.
type Row = (May, String);

struct Hosts {
    web: String,
    open: String,
    domain: String,
}

impl Hosts {
    /// Ada's request with these lines, and this behind its head.
    fn web(&self, line: &str, lines: &str, body: &str) -> String {
        format!("{line}\r\nHost: {}\r\n{{row}}Cookie: berth_app={ADA}\r\n{lines}\r\n{body}", self.web)
    }

    fn smuggled(&self) -> String {
        format!("GET /smuggled HTTP/1.1\r\nHost: {}\r\nX-Inner: 1\r\n\r\n", self.web)
    }
}

/// Two ways to say how long a body is, and bodies that are not what was said.
fn lengths(hosts: &Hosts, rows: &mut Vec<Row>) {
    let inner = hosts.smuggled();
    let codings = [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:\r\n chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer_Encoding: chunked",
        "TRANSFER-ENCODING: chunked",
    ];
    let sizes = [
        "4",
        "0",
        "+4",
        "-1",
        "4, 4",
        "4, 5",
        "0x4",
        " 4 ",
        "4\r\nContent-Length: 5",
        "4\r\nContent-Length: 4",
        "99999999999999999999",
    ];
    for coding in codings {
        let chunks = format!("0\r\n\r\n{inner}");
        rows.push((May::WebOrNobody, hosts.web("POST /te HTTP/1.1", &format!("{coding}\r\n"), &chunks)));
        for size in ["4", "0", "6", "1000"] {
            for lines in [format!("Content-Length: {size}\r\n{coding}\r\n"), format!("{coding}\r\nContent-Length: {size}\r\n")] {
                rows.push((May::WebOrNobody, hosts.web("POST /both HTTP/1.1", &lines, &chunks)));
            }
        }
    }
    for size in sizes {
        for method in ["GET", "POST", "HEAD", "OPTIONS", "DELETE"] {
            let lines = format!("Content-Length: {size}\r\n");
            rows.push((May::WebOrNobody, hosts.web(&format!("{method} /size HTTP/1.1"), &lines, &format!("abcd{inner}"))));
        }
    }
    let chunks = [
        "4;ext=1\r\nabcd\r\n0\r\n\r\n",
        "4\nabcd\n0\n\n",
        "4 \r\nabcd\r\n0\r\n\r\n",
        "0x4\r\nabcd\r\n0\r\n\r\n",
        "-4\r\nabcd\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabcd\r\n0\r\n\r\n",
        "4\r\nabcdef\r\n0\r\n\r\n",
        "4\r\nabcd\r\n0\r\nCookie: berth_app=x\r\n\r\n",
        "4\r\nabcd\r\n0\r\nHost: evil\r\nTransfer-Encoding: chunked\r\n\r\n",
        "4;\"\r\n\"\r\nabcd\r\n0\r\n\r\n",
        "\r\n4\r\nabcd\r\n0\r\n\r\n",
    ];
    for chunk in chunks {
        let body = format!("{chunk}{inner}");
        rows.push((May::WebOrNobody, hosts.web("POST /chunks HTTP/1.1", "Transfer-Encoding: chunked\r\n", &body)));
        rows.push((May::WebOrNobody, hosts.web("GET /chunks HTTP/1.1", "Transfer-Encoding: chunked\r\n", &body)));
    }
}

/// Hosts that are not the one that they look like.
fn hosts(hosts: &Hosts, rows: &mut Vec<Row>) {
    let Hosts { web, open, domain } = hosts;
    let label = "web--dev--ada";
    let alike = [
        format!("{web}."),
        format!("{label}.{domain}"),
        format!("{label}.{domain}:1"),
        format!("{label}.{domain}:"),
        format!(" {web}x"),
        format!("{web}@{open}"),
        format!("{open}@{web}"),
        format!("{web},{open}"),
        format!("{web} {open}"),
        format!("{web}\t{open}"),
        format!("{web}/"),
        format!("{web}?"),
        format!("{web}#"),
        format!("{web}\\{open}"),
        format!("{web}%00"),
        format!("http://{web}"),
        format!("x.{web}"),
        format!("{open}.{web}"),
        format!("{label}.{domain}.evil.example"),
        format!("{label}{domain}"),
        format!("web--dev--ada--x.{domain}"),
        format!("web---dev--ada.{domain}"),
        format!("--dev--ada.{domain}"),
        format!("web--dev.{domain}"),
        format!("web--dev--.{domain}"),
        format!("web%2d%2ddev--ada.{domain}"),
        format!("web--dev--%61da.{domain}"),
        format!("xn--web--dev--ada.{domain}"),
        format!("w\u{435}b--dev--ada.{domain}"),
        format!("web--dev--ada\u{ff0e}{domain}"),
        format!("[{web}]"),
        format!("_web--dev--ada.{domain}"),
        format!("0080--dev--ada.{domain}"),
        format!("65536--dev--ada.{domain}"),
        format!("*.{domain}"),
        domain.clone(),
        String::new(),
        format!("{label}.APPS.LOCALHOST.evil:80"),
        format!("{label}.apps.localhost\u{0}:1"),
        "localhost".into(),
        "127.0.0.1".into(),
    ];
    for host in alike {
        for version in ["1.1", "1.0"] {
            rows.push((
                May::WebOrNobody,
                format!("GET /host HTTP/{version}\r\nHost: {host}\r\n{{row}}Cookie: berth_app={ADA}\r\n\r\n"),
            ));
        }
        // A second host beside the real one, before and behind it, and in the target.
        rows.push((
            May::WebOrNobody,
            format!("GET /two HTTP/1.1\r\nHost: {host}\r\nHost: {web}\r\n{{row}}Cookie: berth_app={ADA}\r\n\r\n"),
        ));
        rows.push((
            May::WebOrNobody,
            format!("GET /two HTTP/1.1\r\nHost: {web}\r\nHost: {host}\r\n{{row}}Cookie: berth_app={ADA}\r\n\r\n"),
        ));
        rows.push((May::WebOrNobody, hosts.web(&format!("GET http://{host}/target HTTP/1.1"), "", "")));
        rows.push((May::WebOrNobody, hosts.web(&format!("GET //{host}/path HTTP/1.1"), "", "")));
    }
}

/// Hosts that another part of the request names.
fn second_hosts(hosts: &Hosts, rows: &mut Vec<Row>) {
    let Hosts { web, open, .. } = hosts;
    for (target, host) in [(web, open), (open, web)] {
        let line = |target: &str| format!("{target} HTTP/1.1\r\nHost: {host}\r\n{{row}}Cookie: berth_app={ADA}\r\n\r\n");
        rows.push((May::Nobody, line(&format!("GET http://{target}/"))));
        rows.push((May::Nobody, line(&format!("GET https://{target}/"))));
        rows.push((May::Nobody, line(&format!("CONNECT {target}"))));
        rows.push((May::Nobody, line(&format!("OPTIONS {target}"))));
        rows.push((May::Nobody, format!("GET / HTTP/1.1\r\nHost: {target}\r\nHost: {host}\r\n{{row}}\r\n")));
        rows.push((May::Nobody, format!("GET / HTTP/1.1\r\nHost: {host}\r\n Host: {target}\r\n{{row}}\r\n")));
        rows.push((May::Nobody, format!("GET / HTTP/1.1\r\nhost : {target}\r\nHost: {host}\r\n{{row}}\r\n")));
    }
    for name in
        ["X-Forwarded-Host", "X-Host", "Forwarded", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Server", "X-HTTP-Host-Override"]
    {
        let value = if name == "Forwarded" { format!("host={open}") } else { open.clone() };
        rows.push((May::Web, hosts.web("GET /said HTTP/1.1", &format!("{name}: {value}\r\n"), "")));
        rows.push((May::OpenOrNobody, format!("GET /said HTTP/1.1\r\nHost: {open}\r\n{{row}}{name}: {web}\r\n\r\n")));
    }
}

/// Paths that a careless proxy makes another path of. They are the app's own business and come to it as they are.
fn paths(hosts: &Hosts, rows: &mut Vec<Row>) {
    let paths = [
        "/..",
        "/../..",
        "/%2e%2e/",
        "/..%2f..%2f",
        "/%2e%2e%2f",
        "/..;/",
        "/.%00/",
        "//",
        "///",
        "//evil.example/",
        "/\\evil.example",
        "/%5c",
        "/a//b",
        "/a/./b",
        "/a/../b",
        "/%2f%2fevil",
        "/%252e%252e",
        "/@ada/dev/apps/web/",
        "/@eve/dev/apps/open",
        "/relay",
        "/ping",
        "/generate_204",
        "/presence",
        "/api/v2/users/me",
        "/api/v2/relay/watch",
        "/healthz",
        "/.well-known/berth/start/",
        "/.well-known/berth/start%2f",
        "/.well-known/berth/START",
        "/.well-known//berth/start",
        "/?redirect=//evil",
        "/?berth_app_ticket",
        "/?xberth_app_ticket=1",
        "/%c0%ae",
        "/~",
        "/*",
        "/?a=b?c=d",
        "/a%20b",
        "/%0d%0aX-Injected:%201",
        "/%0aHost:%20evil",
    ];
    for path in paths {
        rows.push((May::Web, hosts.web(&format!("GET {path} HTTP/1.1"), "", "")));
        // Without the cookie nobody sees it, whatever the path.
        rows.push((May::Nobody, format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{{row}}\r\n", hosts.web)));
    }
    let broken = ["", "*", "evil", "http:/evil", "/a b", "/\u{7f}", "/\u{e9}", "/a\tb", "?", "#"];
    for path in broken {
        rows.push((May::WebOrNobody, hosts.web(&format!("GET {path} HTTP/1.1"), "", "")));
    }
    for line in [
        "GET /",
        "GET / HTTP/0.9",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/1.1 x",
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "get / HTTP/1.1",
        "TRACE / HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "GET / http/1.1",
        "PRI * HTTP/2.0",
        "G\u{0}T / HTTP/1.1",
        "GET / HTTP/1.1\u{0}",
    ] {
        rows.push((May::WebOrNobody, hosts.web(line, "", "")));
    }
}

/// Names of headers and cookies that are ours, almost ours, or ours by another way.
fn secrets(hosts: &Hosts, rows: &mut Vec<Row>) {
    for name in ["Coder-Session-Token", "coder-session-token", "CODER-SESSION-TOKEN"] {
        for times in [1, 2] {
            rows.push((May::Web, hosts.web("GET /token HTTP/1.1", &format!("{name}: {SECRET}\r\n").repeat(times), "")));
        }
    }
    for scheme in ["Bearer", "bearer", "BEARER", "Token", "Basic"] {
        for space in [" ", "  "] {
            rows.push((May::Web, hosts.web("GET /bearer HTTP/1.1", &format!("Authorization: {scheme}{space}{SECRET}\r\n"), "")));
        }
    }
    let ours = [
        "coder_session_token",
        "berth_app2",
        "berth_hop",
        "berth_x",
        "__Host-berth_app",
        "__Host-berth_hop",
        "__Secure-berth_app",
        "__Host-coder_session_token",
    ];
    for name in ours {
        for cookie in [
            format!("{name}={SECRET}"),
            format!("a=1; {name}={SECRET}"),
            format!("{name}={SECRET}; a=1"),
            format!("a=1;{name}={SECRET};b=2"),
            format!("a=1; \t {name} = {SECRET} ; b=2"),
            format!("{name}={SECRET}; {name}={SECRET}"),
            format!("a=\"1; {name}={SECRET}; 2\""),
            format!(";;{name}={SECRET};;"),
        ] {
            rows.push((May::Web, hosts.web("GET /cookie HTTP/1.1", &format!("Cookie: {cookie}\r\n"), "")));
        }
    }
    for other in ["Berth_app=1", "xberth_app=1", "my=berth_app", "coder_session_tokens=1", "=1", "a", "", "a=b=c", "\u{e9}=1"] {
        rows.push((May::Web, hosts.web("GET /other HTTP/1.1", &format!("Cookie: {other}\r\n"), "")));
    }
    // Hers twice: somebody tossed one in.
    rows.push((May::Nobody, hosts.web("GET /tossed HTTP/1.1", &format!("Cookie: berth_app={ADA}\r\n"), "")));
    rows.push((May::Nobody, hosts.web("GET /tossed HTTP/1.1", "Cookie: x=1; berth_app=other\r\n", "")));
    for named in [
        "Cookie",
        "Host",
        "X-Row",
        "Coder-Session-Token",
        "Authorization",
        "close, Cookie",
        "X-Forwarded-For, X-Forwarded-Host",
        "Transfer-Encoding",
        "Content-Length",
        "\u{e9}",
    ] {
        let lines = format!("Connection: {named}\r\nCoder-Session-Token: {SECRET}\r\nAuthorization: Bearer {SECRET}\r\n");
        rows.push((May::WebOrNobody, hosts.web("GET /named HTTP/1.1", &lines, "")));
    }
}

/// Connections that are to become something else, and requests that a page elsewhere sends.
fn upgrades(hosts: &Hosts, rows: &mut Vec<Row>) {
    let Hosts { web, open, .. } = hosts;
    for protocol in ["h2c", "h2", "websocket2", "TLS/1.0", "websocket, h2c", "h2c, websocket", "tcp", "", "connect-udp"] {
        let lines =
            format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n");
        rows.push((May::WebOrNobody, hosts.web("GET /upgrade HTTP/1.1", &lines, "")));
        rows.push((May::WebOrNobody, hosts.web("POST /upgrade HTTP/1.1", &lines, &hosts.smuggled())));
    }
    let socket =
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let origins = [
        format!("http://{open}"),
        format!("https://{web}"),
        "null".into(),
        String::new(),
        "http://evil.example".into(),
        format!("http://{web}.evil.example"),
        format!("http://evil.example/{web}"),
        format!("http://user@{web}"),
        format!("http://{web}:1"),
        format!("http://{web}, http://{web}"),
        "http://127.0.0.1".into(),
        "http://berth.example".into(),
        format!("HTTP://{web}x"),
        format!("//{web}"),
        web.clone(),
        "file://".into(),
        format!("http://x.{web}"),
        "http://web--dev2--ada.apps.localhost".into(),
    ];
    for origin in origins {
        rows.push((May::Nobody, hosts.web("GET /socket HTTP/1.1", &format!("{socket}Origin: {origin}\r\n"), "")));
        for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "post"] {
            rows.push((
                May::Nobody,
                hosts.web(&format!("{method} /change HTTP/1.1"), &format!("Origin: {origin}\r\nContent-Length: 0\r\n"), ""),
            ));
        }
    }
    // A socket that the app does not agree to: what follows is no tunnel.
    rows.push((May::WebOrNobody, hosts.web("GET /socket HTTP/1.1", socket, &hosts.smuggled())));
    for site in ["cross-site", "same-site", "", "Same-Origin", "same-origin, none"] {
        for mode in ["no-cors", "cors", "websocket", ""] {
            let lines = format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\n");
            rows.push((May::Nobody, hosts.web("GET /fetched HTTP/1.1", &lines, "")));
        }
        rows.push((
            May::Nobody,
            hosts.web(
                "POST /fetched HTTP/1.1",
                &format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: navigate\r\nContent-Length: 0\r\n"),
                "",
            ),
        ));
    }
}

/// Heads that are too much, and bytes that are no HTTP.
fn sizes(hosts: &Hosts, rows: &mut Vec<Row>) {
    rows.push((May::Nobody, hosts.web("GET / HTTP/1.1", &format!("X: {}\r\n", "x".repeat(64 * 1024)), "")));
    rows.push((May::Nobody, hosts.web(&format!("GET /{} HTTP/1.1", "x".repeat(128 * 1024)), "", "")));
    rows.push((May::Nobody, hosts.web("GET / HTTP/1.1", &"X: 1\r\n".repeat(2_000), "")));
    rows.push((May::Nobody, hosts.web("GET / HTTP/1.1", &format!("{}: 1\r\n", "X".repeat(70_000)), "")));
    rows.push((May::Nobody, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{0}\u{0}\u{0}\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}".into()));
    for lines in [
        "X\r\n",
        ": 1\r\n",
        "X 1\r\n",
        "X\u{0}: 1\r\n",
        "X: \u{0}\r\n",
        "X: a\rb\r\n",
        "X: a\r\n folded\r\n",
        "\r\n",
        "X: \u{7f}\r\n",
        "X(: 1\r\n",
    ] {
        rows.push((May::WebOrNobody, hosts.web("GET /header HTTP/1.1", lines, "")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_hundreds_of_hostile_requests_none_reaches_the_wrong_app_and_nothing_of_ours_gets_out() {
    let (stage, web, open, mut tasks) = (Stage::start().await, Server::default(), Server::default(), JoinSet::new());
    let port = stage.world.address.port();
    let here = Hosts {
        web: stage.app("web", web.start("web", &mut tasks).await),
        open: {
            stage.app("open", open.start("open", &mut tasks).await);
            stage.host("open--dev--eve")
        },
        domain: format!("apps.localhost:{port}"),
    };
    let mut rows = Vec::new();
    for generate in [lengths, hosts, second_hosts, paths, secrets, upgrades, sizes] {
        generate(&here, &mut rows);
    }
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    // Both are seen as they are meant to be, or nothing is proven by what does not arrive.
    assert!(stage.get(&here.web, "/", "X-Row: web\r\n").await.contains("x-server: web"));
    assert!(
        stage
            .raw(format!("GET / HTTP/1.1\r\nHost: {}\r\nX-Row: open\r\nConnection: close\r\n\r\n", here.open).as_bytes())
            .await
            .contains("x-server: open")
    );

    let numbered: Vec<_> =
        rows.iter().enumerate().map(|(number, (_, text))| text.replace("{row}", &format!("X-Row: {number}\r\n"))).collect();
    for batch in numbered.chunks(AT_ONCE) {
        futures_util::future::join_all(batch.iter().map(|request| send(&stage, request.as_bytes()))).await;
    }

    let mut reached = 0;
    for (server, name) in [(&web, "web"), (&open, "open")] {
        for seen in server.seen.lock().unwrap().iter() {
            assert!(!seen.line().contains("smuggled"), "smuggled to {name}: {}", seen.head);
            let row = seen.values("x-row");
            let Some(number) = row.first().and_then(|row| row.parse::<usize>().ok()) else {
                assert!(row == [name] || took_its_mark_away(&seen.head), "at {name}: {}", seen.head);
                continue;
            };
            let (may, text) = &rows[number];
            let allowed = match may {
                May::Nobody => false,
                May::Web | May::WebOrNobody => name == "web",
                May::OpenOrNobody => name == "open",
            };
            assert!(allowed, "row {number} reached {name}, {may:?}:\n{text}\n{}", seen.head);
            reached += 1;
        }
        let bytes = server.bytes.lock().unwrap();
        let holds = |secret: &str| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        for secret in [ADA, SECRET, HOP] {
            assert!(!holds(secret), "{name} saw {secret}");
        }
    }
    let at_web: Vec<_> =
        web.seen.lock().unwrap().iter().filter_map(|seen| seen.values("x-row").first().and_then(|row| row.parse().ok())).collect();
    for (number, (may, text)) in rows.iter().enumerate() {
        assert!(*may != May::Web || at_web.contains(&number), "row {number} did not arrive:\n{text}");
    }
    println!("{} rows, of which {reached} reached an app that they may reach", rows.len());
}

/// A row that has its own mark in `Connection`.
fn took_its_mark_away(head: &str) -> bool {
    head.starts_with("GET /named ")
}

async fn send(stage: &Stage, request: &[u8]) {
    let mut stream = stage.connect().await;
    // It may be hung up on in the middle.
    if stream.write_all(request).await.is_err() {
        return;
    }
    let mut answer = [0; 8 * 1024];
    let silent =
        async { while timeout(SILENCE, stream.read(&mut answer)).await.is_ok_and(|read| read.is_ok_and(|read| read > 0)) {} };
    timeout(PATIENCE, silent).await.expect("an answer has an end");
}
