use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use berth_net::write_datagram;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, DuplexStream, ReadHalf, WriteHalf};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::process::Processes;
use crate::ssh::{SessionEnvironment, SshConfig};
use crate::user::User;
use crate::visitor::Visitors;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a viewer's stream holds.
const STREAM_BYTES: usize = 4096;
const ADA: Uuid = Uuid::from_u128(11);
const EVE: Uuid = Uuid::from_u128(12);

struct Bench {
    home: TempDir,
    terminals: Terminals,
    visitors: Visitors,
}

impl Bench {
    fn start(adjust: impl FnOnce(&mut TerminalLimits)) -> Bench {
        let home = tempfile::tempdir().unwrap();
        let sessions = SessionEnvironment {
            inherited: BTreeMap::from([("PATH".into(), std::env::var_os("PATH").unwrap())]),
            user: Some(User { home: home.path().to_owned(), shell: PathBuf::from("/bin/sh"), ..User::current(None) }),
            ..SessionEnvironment::default()
        };
        let server = Server::new(SshConfig { host_key_seed: [7; 32], sessions, processes: Processes::default() });
        let mut limits = TerminalLimits::default();
        adjust(&mut limits);
        Bench { home, terminals: Terminals::new(server, limits), visitors: Visitors::default() }
    }

    fn attach(&self, id: u128, user: Uuid, command: Option<&str>) -> Result<Viewer, AttachError> {
        let wanted = tunnel::Terminal { id: Uuid::from_u128(id), columns: 100, rows: 30, command: command.map(str::to_owned) };
        self.terminals.attach(&wanted, user, || self.visitors.admit(user, "key"))
    }

    fn view(&self, id: u128) -> Screen {
        Screen::of(self.attach(id, ADA, None).unwrap())
    }

    /// A file that a program of the terminal wrote, once it has.
    async fn file(&self, name: &str) -> String {
        let path = self.home.path().join(name);
        eventually(name, || std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))).await;
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        pause.tick().await;
    }
}

/// What a person at a terminal sees and does.
struct Screen {
    output: ReadHalf<DuplexStream>,
    input: WriteHalf<DuplexStream>,
    seen: String,
    serving: AbortOnDropHandle<io::Result<()>>,
}

impl Screen {
    fn of(viewer: Viewer) -> Screen {
        let (near, far) = tokio::io::duplex(STREAM_BYTES);
        let (output, input) = tokio::io::split(near);
        Screen { output, input, seen: String::new(), serving: crate::own(viewer.serve(far)) }
    }

    async fn types(&mut self, text: &str) {
        write_datagram(&mut self.input, &TerminalInput::Keys(text.as_bytes()).encode()).await.unwrap();
    }

    async fn resizes(&mut self, columns: u16, rows: u16) {
        write_datagram(&mut self.input, &TerminalInput::Resize { columns, rows }.encode()).await.unwrap();
    }

    /// Reads until this shows.
    async fn sees(&mut self, text: &str) {
        while !self.seen.contains(text) {
            assert!(self.reads().await, "the terminal ended without {text:?}: {:?}", self.seen);
        }
    }

    /// Reads to the end; what showed.
    async fn ends(mut self) -> String {
        while self.reads().await {}
        self.seen
    }

    async fn reads(&mut self) -> bool {
        let mut buffer = [0; 1024];
        let read = tokio::time::timeout(PATIENCE, self.output.read(&mut buffer)).await;
        let count = read.unwrap_or_else(|_| panic!("nothing more came after {:?}", self.seen)).unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        count > 0
    }
}

#[tokio::test]
async fn two_viewers_see_one_program_and_both_type_into_it() {
    let bench = Bench::start(|_| ());
    let (mut one, mut two) = (bench.view(1), bench.view(1));
    one.types("echo one=$((6*7)) $TERM $COLORTERM\r").await;
    one.sees("one=42 xterm-256color truecolor").await;
    two.sees("one=42").await;
    two.types("echo two=$((6*8))\r").await;
    one.sees("two=48").await;
    two.sees("two=48").await;
    let mut other = bench.view(2);
    other.types("echo three=$((6*9))\r").await;
    other.sees("three=54").await;
    assert!(!other.seen.contains("one="), "another id is another terminal");
}

#[tokio::test]
async fn a_viewer_that_comes_back_finds_the_program_and_what_it_showed_without_its_questions() {
    let bench = Bench::start(|_| ());
    let mut before = bench.view(1);
    before.types("kept=here; printf 'where\\033[6n am I\\n'; echo $((6*7))\r").await;
    before.sees("42").await;
    assert!(before.seen.contains("where\x1b[6n am I"));
    drop(before);
    let mut after = bench.view(1);
    after.sees("42").await;
    assert!(after.seen.contains("where am I"), "{:?}", after.seen);
    after.types("echo still=$kept\r").await;
    after.sees("still=here").await;
}

#[tokio::test]
async fn a_slow_viewer_holds_nobody_up_and_reads_how_much_it_missed() {
    let bench = Bench::start(|limits| limits.scrollback_bytes = 64 << 10);
    let (mut quick, mut slow) = (bench.view(1), bench.view(1));
    quick.types("seq 1 200000; echo done=$((6*7))\r").await;
    quick.sees("done=42").await;
    // The slow one has read nothing so far. Its stream is whole, and it is heard.
    slow.types("echo slow=$((6*8))\r").await;
    slow.sees("slow=48").await;
    assert!(slow.seen.contains("bytes were left out"), "{:?}", slow.seen.get(..200));
    assert!(slow.seen.len() < 200 << 10, "no more than is kept and was on its way: {}", slow.seen.len());
    assert!(slow.seen.contains("199999\r\n200000\r\ndone=42"), "the newest is whole");
}

#[tokio::test]
async fn no_more_is_kept_than_may_be() {
    let bench = Bench::start(|limits| limits.scrollback_bytes = 10_000);
    let mut first = bench.view(1);
    first.types("seq 1 50000; echo done=$((6*7))\r").await;
    first.sees("done=42").await;
    let again = bench.attach(1, ADA, None).unwrap();
    assert!(again.before.len() <= 10_000 && again.before.len() > 9_900, "{}", again.before.len());
    let line = again.before.split(|byte| *byte == b'\n').next().unwrap();
    assert_eq!(line.len(), "49999\r".len(), "it begins with a whole line");
}

#[tokio::test]
async fn a_terminal_is_its_users_alone() {
    let bench = Bench::start(|_| ());
    let _screen = bench.view(1);
    let refused = bench.attach(1, EVE, None).unwrap_err();
    assert_eq!(refused.to_string(), format!("terminal {} belongs to somebody else", Uuid::from_u128(1)));
    assert!(bench.attach(2, EVE, None).is_ok());
}

#[tokio::test]
async fn the_size_is_that_of_whoever_came_or_spoke_last() {
    let bench = Bench::start(|_| ());
    let mut one = bench.view(1);
    one.types("stty size\r").await;
    one.sees("30 100").await;
    let wanted = tunnel::Terminal { id: Uuid::from_u128(1), columns: 80, rows: 24, command: None };
    let mut two = Screen::of(bench.terminals.attach(&wanted, ADA, || bench.visitors.admit(ADA, "key")).unwrap());
    two.types("stty size\r").await;
    two.sees("24 80").await;
    one.resizes(132, 50).await;
    one.types("stty size\r").await;
    one.sees("50 132").await;
}

#[tokio::test]
async fn a_commands_end_ends_its_viewers_and_frees_the_id() {
    let bench = Bench::start(|_| ());
    let screen = Screen::of(bench.attach(1, ADA, Some("echo all=$((6*7)); tty; sleep 100 & exit 3")).unwrap());
    let seen = screen.ends().await;
    assert!(seen.starts_with("all=42\r\n/dev/pts/"), "{seen:?}");
    eventually("the id is free", || bench.terminals.open.lock().is_empty()).await;
    let again = Screen::of(bench.attach(1, ADA, Some("echo again")).unwrap());
    assert_eq!(again.ends().await, "again\r\n");
}

#[tokio::test]
async fn a_terminal_nobody_looks_at_for_long_is_hung_up() {
    let bench = Bench::start(|limits| limits.unwatched = Duration::from_millis(50));
    let mut screen = Screen::of(bench.attach(1, ADA, Some("echo $$ > pid; exec sleep 1000")).unwrap());
    let pid = bench.file("pid").await;
    let process = PathBuf::from(format!("/proc/{pid}"));
    screen.resizes(90, 20).await;
    assert!(process.exists(), "somebody looks at it");
    drop(screen);
    eventually("the program has ended", || !process.exists()).await;
    assert!(bench.terminals.open.lock().is_empty());
}

#[tokio::test]
async fn there_are_so_many_terminals_and_no_more() {
    let bench = Bench::start(|limits| limits.count = 2);
    let (_one, mut two) = (bench.view(1), bench.view(2));
    assert_eq!(bench.attach(3, ADA, None).unwrap_err().to_string(), "there are 2 terminals already");
    assert!(bench.attach(1, ADA, None).is_ok(), "one that is there can be looked at");
    two.types("exit\r").await;
    two.ends().await;
    eventually("there is room", || bench.attach(3, ADA, None).is_ok()).await;
}

#[tokio::test]
async fn whoever_says_what_is_not_understood_is_shown_out_and_the_program_goes_on() {
    let bench = Bench::start(|_| ());
    let mut rude = bench.view(1);
    write_datagram(&mut rude.input, &[7]).await.unwrap();
    let error = tokio::time::timeout(PATIENCE, rude.serving).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let mut polite = bench.view(1);
    polite.types("echo on=$((6*7))\r").await;
    polite.sees("on=42").await;
}
