//! Terminals in a browser, which the relay joins to the workspace: the same one at the next relay.

use super::Apart;
use crate::harness::PATIENCE;
use axum::http::Request;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, handshake::client::generate_key},
};
use uuid::Uuid;

/// A terminal's websocket, as a program has it that speaks Coder's protocol.
struct Pty {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    seen: String,
    sent: usize,
    ponged: bool,
}

/// Who asks, and for what.
#[derive(Clone, Copy)]
struct Asked<'a> {
    agent: Uuid,
    id: u128,
    session: Option<&'a str>,
    origin: Option<&'a str>,
    more: &'a str,
}

impl Pty {
    /// Opens one at this server or relay; else the status that it was refused with.
    async fn open(server: &str, asked: Asked<'_>) -> Result<Self, u16> {
        let address = server.trim_end_matches('/').strip_prefix("http://").unwrap();
        let Asked { agent, id, more, .. } = asked;
        let query = format!("reconnect={}&width=90&height=20{more}", Uuid::from_u128(id));
        let mut request = Request::get(format!("ws://{address}/api/v2/workspaceagents/{agent}/pty?{query}"))
            .header("host", address)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key());
        for (name, value) in [("cookie", asked.session), ("origin", asked.origin)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        match timeout(PATIENCE, tokio_tungstenite::connect_async(request.body(()).unwrap())).await.unwrap() {
            Ok((socket, _)) => Ok(Self { socket, seen: String::new(), sent: 0, ponged: false }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    async fn says(&mut self, frame: &str) {
        self.socket.send(Message::text(frame)).await.unwrap();
    }

    async fn types(&mut self, line: &str) {
        self.says(&serde_json::json!({ "data": format!("{line}\r") }).to_string()).await;
    }

    /// Reads until this has come.
    async fn sees(&mut self, words: &str) {
        while !self.seen.contains(words) {
            let end = self.reads().await;
            assert!(end.is_none(), "{end:?} after {:?}", self.seen);
        }
    }

    /// Reads one frame; how it ended if it did.
    async fn reads(&mut self) -> Option<(u16, String)> {
        match timeout(PATIENCE, self.socket.next()).await.unwrap_or_else(|_| panic!("only {:?} came", self.seen)) {
            Some(Ok(Message::Binary(bytes))) => {
                self.sent += bytes.len();
                self.seen.push_str(&String::from_utf8_lossy(&bytes));
                None
            }
            Some(Ok(Message::Close(frame))) => frame.map(|frame| (frame.code.into(), frame.reason.to_string())),
            Some(Ok(other)) => {
                self.ponged |= other.is_pong();
                None
            }
            other => panic!("{other:?} after {:?}", self.seen),
        }
    }

    async fn ends(&mut self) -> (u16, String) {
        loop {
            if let Some(end) = self.reads().await {
                return end;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_of_a_browser_is_found_again_at_the_next_relay_and_by_nobody_else() {
    let mut apart = tokio::task::spawn_blocking(Apart::with_workspace).await.unwrap();
    let cookie = format!("coder_session_token={}", apart.token().expose());
    let workspace = apart.berth.client().workspace_by_name("me", "dev").await.unwrap();
    let agents = workspace.latest_build.resources.iter().flat_map(|resource| resource.agents.iter().flatten());
    let agent = agents.map(|agent| agent.id).next().unwrap();
    let (relay, own) = (apart.url.clone(), apart.berth.url.trim_end_matches('/').to_owned());
    let ada = Asked { agent, id: 1, session: Some(&cookie), origin: Some(&own), more: "" };

    let mut first = Pty::open(&relay, ada).await.unwrap();
    first.types("kept=here; echo first=$((6*7)) $(stty size)").await;
    first.sees("first=42 20 90").await;
    first.says(r#"{"height":30,"width":100}"#).await;
    first.types("echo resized to $(stty size)").await;
    first.sees("resized to 30 100").await;

    // The relay stops, and says so to the page, which comes to the next one.
    let process = apart.relay.take().unwrap();
    let stopped = tokio::task::spawn_blocking(move || process.stop());
    assert_eq!(first.ends().await.0, 1001);
    assert_eq!(stopped.await.unwrap(), Some(0));
    let apart = tokio::task::spawn_blocking(move || {
        apart.start_relay();
        crate::harness::eventually("the agent is back", || (apart.agent_status() == "connected").then_some(()));
        apart
    });
    let _apart = apart.await.unwrap();
    let mut again = Pty::open(&relay, ada).await.unwrap();
    again.sees("first=42").await;
    again.types("echo second=$kept$((6*8))").await;
    again.sees("second=here48").await;
    // The server on this machine has a way to the agents, too.
    let mut here = Pty::open(&own, ada).await.unwrap();
    here.sees("second=here48").await;

    for server in [&relay, &own] {
        let status = async |asked: Asked<'_>| Pty::open(server, asked).await.err();
        assert_eq!(status(Asked { origin: Some("https://evil.example"), ..ada }).await, Some(403));
        assert_eq!(status(Asked { session: None, ..ada }).await, Some(401));
        assert_eq!(status(Asked { agent: Uuid::new_v4(), ..ada }).await, Some(404));
        assert_eq!(status(Asked { more: &format!("&command={}", "x".repeat(3000)), ..ada }).await, Some(400));
    }

    // A client that says what it has shown is sent no more than it can follow, while another one gets all.
    here.says(r#"{"ack":0}"#).await;
    again.types("head -c 3000000 /dev/zero | tr '\\0' x; echo over=$((5*5))").await;
    again.sees("over=25").await;
    here.socket.send(Message::Ping(Bytes::new())).await.unwrap();
    while !here.ponged {
        here.reads().await;
    }
    assert!(here.sent < 700 << 10 && !here.seen.contains("over=25"), "{} bytes came", here.sent);
    here.says(&format!("{{\"ack\":{}}}", u64::MAX)).await;
    here.sees("over=25").await;

    again.types("exit").await;
    assert_eq!(again.ends().await, (1000, "the program has ended".to_owned()));
    let mut rude = Pty::open(&relay, Asked { id: 2, ..ada }).await.unwrap();
    rude.says("no JSON").await;
    assert_eq!(rude.ends().await.0, 1008);
}
