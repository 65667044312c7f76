//! Hostile archives, written byte by byte: a builder would refuse most attacks itself.

use std::fmt::Write as _;
use tar::{EntryType, Header};

/// One archive, and who must refuse it.
pub(super) struct Hostile {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Whether unpacking it would do harm on any machine, so that the runner must refuse it as well.
    pub(super) harms: bool,
}

const GOOD: &[u8] = b"resource \"terraform_data\" \"a\" {}\n";

/// A tar in the making.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

impl Tar {
    /// With a template, so that nothing but the attack is wrong.
    fn good() -> Self {
        Self::default().entry(b"main.tf", b'0', GOOD)
    }

    fn header(name: &[u8], kind: u8, size: u64) -> Header {
        let mut header = Header::new_ustar();
        let length = name.len().min(100);
        header.as_mut_bytes()[..length].copy_from_slice(&name[..length]);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_entry_type(EntryType::new(kind));
        header.set_cksum();
        header
    }

    fn push(mut self, header: &Header, content: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn entry(self, name: &[u8], kind: u8, content: &[u8]) -> Self {
        self.push(&Self::header(name, kind, content.len() as u64), content)
    }

    fn file(self, name: &str) -> Self {
        self.entry(name.as_bytes(), b'0', b"x")
    }

    fn link(self, name: &str, kind: u8, to: &str) -> Self {
        let mut header = Self::header(name.as_bytes(), kind, 0);
        header.as_mut_bytes()[157..157 + to.len()].copy_from_slice(to.as_bytes());
        header.set_cksum();
        self.push(&header, b"")
    }

    /// With a size field written as it is.
    fn sized(self, name: &str, size: &[u8; 12]) -> Self {
        let mut header = Self::header(name.as_bytes(), b'0', 0);
        header.as_mut_bytes()[124..136].copy_from_slice(size);
        header.set_cksum();
        self.push(&header, b"x")
    }

    fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            let mut length = rest.len() + 1;
            while length.to_string().len() + rest.len() != length {
                length += 1;
            }
            text.extend_from_slice(length.to_string().as_bytes());
            text.extend_from_slice(&rest);
        }
        self.entry(b"PaxHeader", kind, &text)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

#[derive(Default)]
struct Corpus(Vec<Hostile>);

impl Corpus {
    /// An archive that would do harm wherever it is unpacked.
    fn harm(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.0.push(Hostile { name: name.into(), bytes, harms: true });
    }

    /// One that is wrong on some machines, or that two readers see differently.
    fn doubt(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.0.push(Hostile { name: name.into(), bytes, harms: false });
    }

    /// The same name in the header, in a GNU long name, and in a PAX record.
    fn name(&mut self, name: &[u8], harms: bool) {
        let shown: String = String::from_utf8_lossy(name).escape_debug().take(40).collect();
        let shown = format!("{shown} ({} bytes)", name.len());
        let archives = [
            ("header", Tar::good().entry(name, b'0', b"x")),
            ("long name", Tar::good().entry(b"././@LongLink", b'L', &[name, b"\0"].concat()).file("x")),
            ("PAX path", Tar::good().pax(b'x', &[("path", name)]).file("x")),
        ];
        for (how, tar) in archives {
            if how == "header" && name.len() > 100 {
                continue;
            }
            self.0.push(Hostile { name: format!("{how}: {shown}"), bytes: tar.end(), harms });
        }
    }
}

/// All of them.
pub(super) fn corpus() -> Vec<Hostile> {
    let mut corpus = Corpus::default();
    names(&mut corpus);
    kinds(&mut corpus);
    records(&mut corpus);
    sizes(&mut corpus);
    structure(&mut corpus);
    collisions(&mut corpus);
    bombs(&mut corpus);
    corpus.0
}

fn names(corpus: &mut Corpus) {
    for name in [
        "../x",
        "a/../../x",
        "..",
        "./..",
        "a/b/../../../x",
        "../../../../etc/passwd",
        "a/./../../x",
        "..//x",
        ".//../x",
        "a/..",
        "/etc/passwd",
        "//x",
        "/../x",
        "///x",
        "/",
        "..\\x",
        "a\\..\\x",
        "\\x",
        "\\\\server\\share\\x",
        "c:\\x",
    ] {
        corpus.name(name.as_bytes(), true);
    }
    for name in [
        "C:/x",
        "C:x",
        "main.tf:stream",
        "x::$DATA",
        "a\nb",
        "a\tb",
        "a\rb",
        "a\u{7f}b",
        "a\u{1b}[2Jb",
        "a\u{85}b",
        "nul.",
        "a /b",
        ".../x",
        "x ",
        "dir./x",
        "CON",
        "con",
        "aux.tf",
        "nul",
        "NUL.txt",
        "com1.tf",
        "LPT9",
        "prn/x",
        "a/aux/b",
    ] {
        corpus.name(name.as_bytes(), false);
    }
    for name in [&b"\xff\xfe"[..], b"a\xc0\xafb", b"\xed\xa0\x80", b"main\x80.tf", b"a\xf8\x88\x80\x80\x80", b"caf\xe9"] {
        corpus.name(name, true);
    }
    corpus.name("n".repeat(300).as_bytes(), true);
    corpus.name("a/".repeat(600).as_bytes(), true);
    corpus.name("a/".repeat(40).as_bytes(), true);
    corpus.name(format!("{}x", "deep/".repeat(180)).as_bytes(), true);
    corpus.name("x".repeat(2_000).as_bytes(), true);
    corpus.name("x".repeat(60_000).as_bytes(), true);
    corpus.doubt("header: no name", Tar::good().file("").end());
    corpus.harm("a NUL inside a PAX path", Tar::good().pax(b'x', &[("path", b"a\0/../../b")]).file("x").end());
    corpus.harm("a directory that climbs", Tar::good().entry(b"../up/", b'5', b"").end());
    corpus.harm("an old directory that climbs", Tar::good().entry(b"../up/", b'\0', b"").end());
    let mut prefixed = Tar::header(b"x", b'0', 1);
    prefixed.as_mut_bytes()[345..356].copy_from_slice(b"../../../up");
    prefixed.set_cksum();
    corpus.harm("a ustar prefix that climbs", Tar::good().push(&prefixed, b"x").end());
}

fn kinds(corpus: &mut Corpus) {
    for (kind, word) in [
        (b'1', "hard link"),
        (b'2', "symbolic link"),
        (b'3', "character device"),
        (b'4', "block device"),
        (b'6', "named pipe"),
        (b'S', "GNU sparse file"),
        (b'V', "volume label"),
        (b'M', "rest of another volume"),
        (b'N', "old long name"),
        (b'D', "dump directory"),
        (b'A', "Solaris ACL"),
        (b'E', "extended attributes"),
        (b'I', "inode"),
        (b'Z', "unknown kind"),
        (b'9', "reserved kind"),
        (0x80, "kind beyond ASCII"),
    ] {
        corpus.harm(word, Tar::good().link("inner", kind, "main.tf").end());
    }
    for to in ["/etc/passwd", "../..", "..", "/", ".", "a/../../b", "C:\\Windows"] {
        for (kind, word) in [(b'2', "symbolic link"), (b'1', "hard link")] {
            corpus.harm(format!("a {word} to {to} and a file through it"), Tar::good().link("l", kind, to).file("l/x").end());
        }
    }
    corpus.harm("a link in a directory's clothes", Tar::good().link("d/", b'2', "/tmp").file("d/x").end());
    corpus.harm("a link over the template", Tar::good().link("main.tf", b'2', "/etc/passwd").end());
    let long_target = Tar::good().entry(b"././@LongLink", b'K', &[&b"../".repeat(60)[..], b"\0"].concat());
    corpus.harm("a long link target before a link", long_target.clone().link("l", b'2', "x").end());
    corpus.doubt("a long link target before a file", long_target.file("x").end());
    corpus.harm("a PAX link target", Tar::good().pax(b'x', &[("linkpath", b"/etc")]).link("l", b'2', "x").end());
    corpus.harm("a chain of links", Tar::good().link("a", b'2', "..").link("b", b'2', "a/..").file("b/x").end());
}

fn records(corpus: &mut Corpus) {
    let sparse =
        ["GNU.sparse.name", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.major", "GNU.sparse.numblocks"];
    for key in sparse.into_iter().chain(["size", "linkpath", "SUN.devmajor", "RHT.security.selinux", "realtime.any", "TYPE"]) {
        corpus.doubt(format!("the PAX record {key}"), Tar::good().pax(b'x', &[(key, b"1")]).file("x").end());
    }
    for (key, value) in [("path", &b"../x"[..]), ("path", b"/x"), ("size", b"0"), ("linkpath", b".."), ("GNU.sparse.major", b"1")] {
        let name = format!("the global PAX record {key}={}", String::from_utf8_lossy(value));
        corpus.doubt(name, Tar::good().pax(b'g', &[(key, value)]).file("x").end());
    }
    corpus.harm("a PAX size below the header's hides an entry", hidden_by_size("0"));
    corpus.harm("a PAX size above the header's", Tar::good().pax(b'x', &[("size", b"999999999999")]).file("x").end());
    corpus.doubt("two PAX paths", Tar::good().pax(b'x', &[("path", b"a"), ("path", b"b")]).file("x").end());
    corpus.doubt("two PAX headers", Tar::good().pax(b'x', &[("path", b"a")]).pax(b'x', &[("path", b"b")]).file("x").end());
    corpus.doubt("an empty PAX path", Tar::good().pax(b'x', &[("path", b"")]).file("x").end());
    corpus.doubt("a long name and a PAX path", Tar::good().entry(b"l", b'L', b"a\0").pax(b'x', &[("path", b"b")]).file("x").end());
    corpus.doubt("two long names", Tar::good().entry(b"l", b'L', b"a\0").entry(b"l", b'L', b"b\0").file("x").end());
    corpus.doubt("a long name before nothing", Tar::good().entry(b"l", b'L', b"a\0").end());
    corpus.doubt("a PAX header before nothing", Tar::good().pax(b'x', &[("path", b"a")]).end());
    for (what, text) in [
        ("no length", &b" path=x\n"[..]),
        ("a length of nothing", b"0 path=x\n"),
        ("too short a length", b"3 path=x\n"),
        ("a length beyond the end", b"99 path=x\n"),
        ("no equals sign", b"9 pathxx\n"),
        ("no newline", b"9 path=xx"),
        ("a length that overflows", b"99999999999999999999999 path=x\n"),
        ("a negative length", b"-9 path=x\n"),
        ("a key that is not UTF-8", b"9 p\xffth=x\n"),
        ("zeros", &[0; 64]),
    ] {
        corpus.doubt(format!("PAX: {what}"), Tar::good().entry(b"p", b'x', text).file("x").end());
    }
    corpus.doubt("PAX: 70 000 bytes of comment", Tar::good().pax(b'x', &[("comment", &[b'x'; 70_000])]).file("x").end());
}

/// A reader that believes the header skips what a reader that believes the PAX size takes for an entry.
fn hidden_by_size(size: &str) -> Vec<u8> {
    let inner = Tar::default().entry(b"../x", b'0', b"x").0;
    Tar::good().pax(b'x', &[("size", size.as_bytes())]).entry(b"x", b'0', &inner).end()
}

fn sizes(corpus: &mut Corpus) {
    let negative = [0xff; 12];
    let mut huge = [0xff; 12];
    huge[0] = 0x80;
    for (what, size) in [
        ("a negative size", &negative),
        ("a size of 2^88", &huge),
        ("the largest octal size", b"77777777777\0"),
        ("a size of 8s and 9s", b"89898989898\0"),
        ("a size of letters", b"size please\0"),
        ("a signed size", b"-0000000001\0"),
        ("a hexadecimal size", b"0x000000001\0"),
        ("no end to the size", b"777777777777"),
    ] {
        corpus.harm(what, Tar::good().sized("x", size).end());
    }
    corpus.harm("a file beyond the end", Tar::good().push(&Tar::header(b"x", b'0', 5_000), b"x").0);
    corpus.harm("a file of 257 MiB that is not there", Tar::good().push(&Tar::header(b"x", b'0', 257 << 20), b"x").end());
    corpus.doubt("a directory with content", Tar::good().entry(b"d/", b'5', b"content").end());
    let claims = (0..300).fold(Tar::good(), |tar, n| tar.push(&Tar::header(format!("f{n}").as_bytes(), b'0', 1 << 20), b""));
    corpus.harm("300 files of 1 MiB each inside one another", claims.end());
    corpus.doubt("a long name of 90 000 bytes", Tar::good().entry(b"l", b'L', &[b'a'; 90_000]).file("x").end());
    corpus.harm("a long name of 32 MiB", Tar::good().entry(b"l", b'L', &vec![b'a'; 32 << 20]).file("x").end());
    corpus.harm("a PAX header of 32 MiB", Tar::good().pax(b'x', &[("comment", &vec![b'x'; 32 << 20])]).file("x").end());
}

fn structure(corpus: &mut Corpus) {
    let whole = Tar::good().file("x");
    for (what, sum) in [("zero", &b"0000000\0"[..]), ("garbage", b"checksum"), ("spaces", b"        ")] {
        let mut bytes = whole.clone().end();
        bytes[148..156].copy_from_slice(sum);
        corpus.harm(format!("a checksum of {what}"), bytes);
    }
    let mut second = whole.clone().end();
    second[1024] ^= 1;
    corpus.harm("a wrong checksum in the second header", second);
    for (what, magic) in [
        ("gzip", &b"\x1f\x8b\x08\0"[..]),
        ("zip", b"PK\x03\x04"),
        ("xz", b"\xfd7zXZ\0"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("bzip2", b"BZh9"),
        ("ELF", b"\x7fELF\x02"),
        ("text", b"resource \"x\" \"y\" {}\n"),
        ("HTML", b"<!doctype html>"),
        ("7z", b"7z\xbc\xaf\x27\x1c"),
        ("ones", b"\xff"),
        ("JSON", b"{\"a\": 1}"),
    ] {
        corpus.harm(format!("{what} in place of a tar"), magic.repeat(4_096 / magic.len() + 1));
    }
    corpus.doubt("nothing", Vec::new());
    corpus.doubt("zeros", vec![0; 10_240]);
    for length in [1, 100, 511] {
        corpus.harm(format!("the first {length} bytes"), whole.clone().end()[..length].to_vec());
    }
    corpus.harm("cut inside a file", Tar::default().entry(b"main.tf", b'0', &[b'#'; 4_000]).end()[..2_000].to_vec());
    corpus.harm("cut inside a header", whole.clone().end()[..1_300].to_vec());
    corpus.doubt("two archives in one", [whole.clone().end(), Tar::default().file("../x").end()].concat());
    corpus.doubt("a byte after the end", [whole.end(), vec![0; 512], vec![1]].concat());
    corpus.doubt("no Terraform at the top", Tar::default().file("modules/a.tf").end());
    corpus.doubt("a directory named like a template", Tar::default().entry(b"main.tf/", b'5', b"").end());
    corpus.doubt("a README alone", Tar::default().file("README.md").end());
}

fn collisions(corpus: &mut Corpus) {
    for (first, second, harms) in [
        ("a", "a", true),
        ("a", "A", true),
        ("A/x", "a/X", true),
        ("a", "a/b", true),
        ("a/b", "a", true),
        ("./x", "x", true),
        ("x//y", "x/y", true),
        ("x/./y", "x/y", true),
        ("main.tf", "MAIN.TF", true),
        ("dir/x", "DIR/y", false),
        ("caf\u{e9}", "cafe\u{301}", false),
        ("stra\u{df}e", "STRASSE", false),
        ("\u{3c3}", "\u{3c2}", false),
        ("\u{212a}", "k", false),
        ("\u{fb01}", "fi", false),
        ("\u{17f}", "s", false),
        ("\u{1e9e}", "ss", false),
        ("\u{2126}", "\u{3c9}", false),
        ("\u{ac00}", "\u{1100}\u{1161}", false),
        ("\u{ff21}", "a", false),
        ("\u{2460}", "1", false),
    ] {
        let tar = Tar::good().entry(first.as_bytes(), b'0', b"1").entry(second.as_bytes(), b'0', b"2");
        corpus.0.push(Hostile { name: format!("{first} and {second}"), bytes: tar.end(), harms });
    }
    corpus.doubt("a directory twice in other letters", Tar::good().entry(b"d/", b'5', b"").entry(b"D/", b'5', b"").end());
    let over = Tar::good().entry(b"d/", b'5', b"").entry(b"d", b'0', b"x");
    corpus.harm("a file over a directory", over.end());
}

fn bombs(corpus: &mut Corpus) {
    let many =
        |kind: u8, suffix: &str| (0..10_001).fold(Tar::good(), |tar, n| tar.entry(format!("e{n}{suffix}").as_bytes(), kind, b""));
    corpus.harm("10 001 empty files", many(b'0', "").end());
    corpus.harm("10 001 directories", many(b'5', "/").end());
    let headers = |kind: u8| (0..30_001).fold(Tar::good(), |tar, _| tar.entry(b"h", kind, b""));
    corpus.harm("30 001 global PAX headers", headers(b'g').end());
    corpus.harm("30 001 PAX headers", headers(b'x').end());
    // Each of 9 000 entries brings 31 directories of its own.
    let trees = (0..9_000).fold(Tar::good(), |tar, n| {
        let mut path = String::new();
        for depth in 0..31 {
            let _never_fails = write!(path, "{n:x}-{depth:x}-{}/", "n".repeat(22));
        }
        path.push('x');
        path.truncate(1_020);
        tar.entry(b"l", b'L', &[path.as_bytes(), b"\0"].concat()).file("x")
    });
    corpus.harm("9 000 trees of 31 directories each", trees.end());
}
