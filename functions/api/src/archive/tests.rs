use super::*;
use tar::{Builder, Header};

/// Writes a tar by hand: the builder of the crate would refuse most attacks itself.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn good() -> Self {
        Self::default().file("main.tf", b"terraform {}")
    }

    fn raw(mut self, name: &[u8], kind: u8, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_entry_type(EntryType::new(kind));
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(name.as_bytes(), b'0', content)
    }

    fn directory(self, name: &str) -> Self {
        self.raw(name.as_bytes(), b'5', b"")
    }

    fn link(mut self, name: &str, kind: u8, to: &str) -> Self {
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_link_name_literal(to).unwrap();
        header.set_size(0);
        header.set_entry_type(EntryType::new(kind));
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        self.raw(b"PaxHeader", b'x', &pax_text(records))
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    fn why(self) -> String {
        check(self.end().as_slice()).unwrap_err().to_string()
    }
}

fn pax_text(records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while format!("{length}{rest}").len() != length {
            length += 1;
        }
        text.push_str(&format!("{length}{rest}"));
    }
    text.into_bytes()
}

#[test]
fn a_template_as_people_pack_it_is_good() {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in
        [("./main.tf", "terraform {}"), ("modules/a/b.tf", ""), ("README.md", "# hi"), ("bin/großes café.sh", "x")]
    {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let mut header = Header::new_gnu();
    header.set_size(0);
    builder.append_data(&mut header, format!("{}/long.txt", "very-long-directory-name/".repeat(8)), [].as_slice()).unwrap();
    let summary = check(builder.into_inner().unwrap().as_slice()).unwrap();
    assert_eq!((summary.entries, summary.unpacked_bytes), (5, 17));

    let directories = Tar::default().directory("./").directory("a/").directory("a/b/").file("a/b/x.tf", b"").directory("a/");
    assert!(check(directories.file("x.tf.json", b"{}").end().as_slice()).is_ok());
    let padded = [Tar::good().end(), vec![0; 9_000]].concat();
    assert!(check(padded.as_slice()).is_ok(), "tar pads to whole records");
    let pax = Tar::default().pax(&[("path", "main.tf"), ("mtime", "1.5")]).file("other", b"");
    assert!(check(pax.end().as_slice()).is_ok());
    let git = Tar::default().raw(b"pax_global_header", b'g', &pax_text(&[("comment", "0123abcd")])).file("main.tf", b"");
    assert!(check(git.end().as_slice()).is_ok());
}

#[test]
fn names_that_leave_the_archive_or_do_not_exist_everywhere_are_refused() {
    for (name, why) in [
        ("../x", "leads out of the archive"),
        ("a/../../x", "leads out of the archive"),
        ("a/..", "leads out of the archive"),
        ("..", "leads out of the archive"),
        ("/etc/passwd", "is an absolute path"),
        ("//x", "is an absolute path"),
        ("C:/x", "has a backslash, colon or control character in its name"),
        ("a\\..\\x", "has a backslash, colon or control character in its name"),
        ("a\nb", "has a backslash, colon or control character in its name"),
        ("main.tf:stream", "has a backslash, colon or control character in its name"),
        ("nul.", "has a part that ends in a space or a dot"),
        ("a /b", "has a part that ends in a space or a dot"),
        (".../x", "has a part that ends in a space or a dot"),
        ("", "has no name"),
    ] {
        let text = Tar::good().file(name, b"").why();
        assert_eq!(text, format!("archive entry {name:?} {why}"));
        assert!(!text.contains('\n'), "one line: {text}");
    }
    assert!(Tar::good().raw(b"\xff\xfe", b'0', b"").why().ends_with("is not UTF-8"));
    assert!(Tar::good().file(&"a/".repeat(40), b"").why().ends_with("is too deep"));
    assert!(Tar::good().directory("../up/").why().ends_with("leads out of the archive"));
}

#[test]
fn long_names_are_held_to_the_same_rules() {
    assert_eq!(
        Tar::good().raw(b"././@LongLink", b'L', b"../../etc/cron.d/x\0").file("x", b"").why(),
        "archive entry \"../../etc/cron.d/x\" leads out of the archive"
    );
    assert_eq!(
        Tar::good().pax(&[("path", "/root/.ssh/authorized_keys")]).file("x", b"").why(),
        "archive entry \"/root/.ssh/authorized_keys\" is an absolute path"
    );
    assert!(Tar::good().raw(b"././@LongLink", b'L', b"x\0").pax(&[("path", "y")]).file("z", b"").why().contains("two names"));
    assert!(Tar::good().pax(&[("path", "x"), ("path", "y")]).file("z", b"").why().contains("two names"));
    assert!(Tar::good().raw(b"././@LongLink", b'L', b"x\0").why().contains("followed by nothing"));
    assert!(Tar::good().raw(b"././@LongLink", b'L', &vec![b'a'; 70_000]).file("z", b"").why().contains("too large"));
    assert!(Tar::good().raw(b"././@LongLink", b'L', &vec![b'a'; 2_000]).file("z", b"").why().ends_with("has too long a name"));
}

#[test]
fn links_and_devices_are_refused_whatever_they_point_to() {
    for (kind, words) in [
        (b'2', "symbolic link"),
        (b'1', "hard link"),
        (b'3', "device"),
        (b'4', "device"),
        (b'6', "named pipe"),
        (b'S', "sparse file"),
        (b'V', "special entry"),
    ] {
        let text = Tar::good().link("inner", kind, "main.tf").why();
        assert_eq!(text, format!("archive entry \"inner\" is a {words}: only files and directories are allowed"));
    }
    assert!(Tar::good().raw(b"././@LongLink", b'K', b"../up\0").file("x", b"").why().contains("hard link"));
    assert!(Tar::good().pax(&[("linkpath", "../up")]).file("x", b"").why().contains("\"linkpath\" is not allowed"));
}

#[test]
fn two_readers_cannot_see_two_trees() {
    assert!(Tar::good().pax(&[("size", "0")]).file("x", b"abc").why().contains("\"size\" is not allowed"));
    assert!(Tar::good().pax(&[("GNU.sparse.name", "../x")]).file("x", b"").why().contains("is not allowed"));
    assert!(Tar::good().raw(b"g", b'g', &pax_text(&[("path", "../x")])).file("x", b"").why().contains("is not allowed"));
    assert!(Tar::good().raw(b"d/", b'5', b"content").why().ends_with("is a directory with content"));
    let mut old = Tar::good().raw(b"././@LongLink", b'L', b"x\0").file("y", b"");
    old.0[1024 + 257..1024 + 265].fill(0);
    let sum: u32 = (0..512).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(old.0[1024 + at]) }).sum();
    old.0[1024 + 148..1024 + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert!(old.why().contains("of no known format"));
    let hidden = [Tar::good().end(), Tar::default().file("../x", b"").end()].concat();
    assert_eq!(check(hidden.as_slice()).unwrap_err().to_string(), "the archive goes on after its end");
}

#[test]
fn names_that_some_systems_take_for_one_are_refused() {
    for (first, second) in [
        ("a", "a"),
        ("a", "A"),
        ("dir/x", "DIR/y"),
        ("caf\u{e9}", "cafe\u{301}"),
        ("stra\u{df}e", "STRASSE"),
        ("\u{1e9e}", "ss"),
        ("\u{3c3}", "\u{3c2}"),
        ("\u{212a}", "k"),
        ("\u{fb01}", "fi"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("./x", "x"),
        ("x//y", "x/y"),
    ] {
        let text = Tar::good().file(first, b"").file(second, b"").why();
        assert!(text.ends_with("have the same name"), "{first:?} {second:?}: {text}");
    }
}

#[test]
fn bombs_are_refused_before_they_unfold() {
    let many = (0..=ARCHIVE_ENTRIES_MAX).fold(Tar::default(), |tar, number| tar.file(&format!("{number}.tf"), b""));
    assert_eq!(many.why(), "the archive has more than 10000 entries");
    let headers = (0..=3 * ARCHIVE_ENTRIES_MAX).fold(Tar::default(), |tar, _| tar.raw(b"g", b'g', b""));
    assert_eq!(headers.why(), "the archive has more than 10000 entries");

    let mut claims = Tar::good();
    let mut header = Header::new_gnu();
    header.set_path("huge").unwrap();
    header.set_size(ARCHIVE_UNPACKED_BYTES_MAX + 1);
    header.set_cksum();
    claims.0.extend_from_slice(header.as_bytes());
    assert!(claims.why().contains("unpacks to more than 268435456 bytes at entry \"huge\""));

    let mut endless = Tar::good();
    let mut header = Header::new_gnu();
    header.set_path("endless").unwrap();
    header.set_size(u64::MAX);
    header.set_cksum();
    endless.0.extend_from_slice(header.as_bytes());
    assert!(check(endless.end().as_slice()).is_err());
}

#[test]
fn what_is_no_tar_or_has_no_terraform_is_refused() {
    assert_eq!(Tar::default().file("README.md", b"").why(), "the archive has no .tf file at its top level");
    assert_eq!(Tar::default().file("modules/a.tf", b"").why(), "the archive has no .tf file at its top level");
    assert_eq!(Tar::default().directory("main.tf/").why(), "the archive has no .tf file at its top level");
    assert_eq!(check([].as_slice()).unwrap_err().to_string(), "the archive has no .tf file at its top level");
    for garbage in [b"PK\x03\x04zip".repeat(200), b"\x1f\x8b\x08gzip".repeat(200), vec![b'x'; 5_000]] {
        assert!(check(garbage.as_slice()).unwrap_err().to_string().starts_with("this is not a tar archive, or a broken one: "));
    }
    let whole = Tar::good().file("big", &[7; 4_000]).end();
    for cut in (1..whole.len() - 1024).step_by(100) {
        let _ = check(&whole[..cut]); // A cut archive may end at an entry's border; it must never panic.
    }
    assert!(check(&whole[..2_000]).is_err(), "cut inside an entry");
}

#[test]
fn names_that_windows_keeps_for_devices_or_no_disk_can_hold_are_refused() {
    for name in ["con", "CON.tf", "aux.tf", "Nul", "a/prn.txt/b", "com1", "LPT9.x.y"] {
        assert_eq!(Tar::good().file(name, b"").why(), format!("archive entry {name:?} is a device on Windows"));
    }
    for name in ["console.tf", "auxiliary.tf", "com0", "com10", "lpt", "a.con", "null"] {
        assert!(check(Tar::good().file(name, b"").end().as_slice()).is_ok(), "{name}");
    }
    let long = [&[b'n'; 256][..], b"\0"].concat();
    assert!(Tar::good().raw(b"././@LongLink", b'L', &long).file("x", b"").why().ends_with("has too long a name"));
}

#[test]
fn names_that_are_a_bomb_by_themselves_are_refused() {
    let deep = (0..9_000).fold(Tar::good(), |tar, number| {
        let path: String = (0..31).map(|depth| format!("{number:04}-{depth:02}-{}/", "n".repeat(20))).collect();
        tar.raw(b"././@LongLink", b'L', format!("{path}x\0").as_bytes()).file("x", b"")
    });
    assert_eq!(deep.why(), "the names in the archive take more than 4194304 bytes");
}

/// What `check` lets through must be what everyone else may rely on.
#[test]
fn no_mutation_of_an_archive_makes_the_check_panic_or_miss_a_bad_name() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    let good = Tar::good()
        .directory("modules/")
        .file("modules/a.tf", &[b'#'; 700])
        .raw(b"././@LongLink", b'L', &[&b"deep/".repeat(25)[..], b"x\0"].concat())
        .file("x", b"1")
        .pax(&[("path", "caf\u{e9}.sh"), ("mtime", "1.5")])
        .file("y", b"2")
        .end();
    assert!(check(good.as_slice()).is_ok());
    let pieces: [&[u8]; 14] = [
        b"../",
        b"/",
        b"\0",
        b"\\",
        b"..",
        b"2",
        b"5",
        b"L",
        b"x",
        b"g",
        b"7777777",
        b"\xff\xff\xff\xff",
        b"12 path=../x\n",
        b"a/b",
    ];
    let mut accepted = 0;
    for seed in 0..20_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = good.clone();
        for _ in 0..random.random_range(1..4) {
            let header = random.random_range(0..bytes.len() / 512) * 512;
            // Name, mode, size, kind, link, magic, prefix; or anywhere.
            let field = [0, 100, 124, 156, 157, 257, 345, random.random_range(0..480)][random.random_range(0..8)];
            let piece = pieces[random.random_range(0..pieces.len())];
            bytes[header + field..header + field + piece.len()].copy_from_slice(piece);
            if random.random_ratio(3, 4) {
                bytes[header + 148..header + 156].fill(b' ');
                let sum: u32 = bytes[header..header + 512].iter().map(|byte| u32::from(*byte)).sum();
                bytes[header + 148..header + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        if random.random_ratio(1, 10) {
            bytes.truncate(random.random_range(0..bytes.len()));
        }
        if check(bytes.as_slice()).is_err() {
            continue;
        }
        accepted += 1;
        // Another reader, which believes everything that a tar may say.
        for entry in Archive::new(bytes.as_slice()).entries().unwrap() {
            let entry = entry.unwrap_or_else(|error| panic!("mutation {seed}: {error}"));
            let kind = entry.header().entry_type();
            let path = entry.path().unwrap().into_owned();
            let plain =
                path.components().all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
            assert!(kind == EntryType::XGlobalHeader || plain, "mutation {seed}: {path:?}");
            assert!(
                kind.is_file() || kind.is_dir() || kind.is_contiguous() || kind == EntryType::XGlobalHeader,
                "mutation {seed}: {kind:?}"
            );
        }
    }
    assert!(accepted > 100, "only {accepted} were accepted: the mutations are too coarse to say anything");
}
