//! `exp sync`: scripts that wait for each other, by the agent's socket (`unit/socket.rs`).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::words::{Word, Words, unknown};
use super::{Call, Failure, Outcome, say, tell};
use crate::config::Config;

const USAGE: &str = "exp sync ping | want UNIT ON... | start UNIT [--timeout 5m] | complete UNIT | status UNIT [-o json] | list";

/// What was asked for.
#[derive(Debug, Default)]
struct Asked {
    operands: Vec<String>,
    timeout: Option<Duration>,
    json: bool,
}

impl Asked {
    fn parse(call: &Call<'_>) -> Result<Self, Failure> {
        // The first word is `sync`.
        let mut words = Words::of(call.rest.get(1..).unwrap_or_default());
        let mut asked = Self::default();
        while let Some(word) = words.next() {
            match &word {
                Word::Operand(operand) => asked.operands.push(operand.clone()),
                Word::Option(option) if option == "--timeout" => asked.timeout = duration(&words.value(option)?)?,
                Word::Option(option) if option == "-o" || option == "--output" => asked.json = words.value(option)? == "json",
                Word::Option(_) => return Err(unknown(&word, USAGE)),
            }
        }
        Ok(asked)
    }
}

/// `30s`, `5m`, `1h30m`; none for ever.
fn duration(text: &str) -> Result<Option<Duration>, Failure> {
    let refused = || Failure::usage(format!("--timeout {text:?} is not a time: write it like 30s or 5m"));
    let (mut seconds, mut number) = (0_u64, String::new());
    for character in text.chars() {
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            digit => {
                number.push(digit);
                continue;
            }
        };
        let count: u64 = std::mem::take(&mut number).parse().map_err(|_| refused())?;
        seconds = count.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(refused)?;
    }
    if !number.is_empty() && number != "0" || text.is_empty() {
        return Err(refused());
    }
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

/// Does it.
pub(super) fn run(call: &Call<'_>) -> Outcome {
    let asked = Asked::parse(call)?;
    let operands: Vec<&str> = asked.operands.iter().map(String::as_str).collect();
    let usage = |clause: &str| Failure::usage(clause.to_owned()).hint(format!("usage: {USAGE}"));
    match operands.as_slice() {
        ["ping"] => {
            ask(call, &["ping"], &asked)?;
            say("Success")
        }
        ["want", unit, _, ..] => {
            ask(call, &operands, &asked)?;
            say(format_args!("Unit '{unit}' waits for {}", operands.get(2..).unwrap_or_default().join(", ")))
        }
        ["start", unit] => {
            ask(call, &operands, &asked)?;
            say(format_args!("Unit '{unit}' started"))
        }
        ["complete", unit] => {
            ask(call, &operands, &asked)?;
            say(format_args!("Unit '{unit}' completed"))
        }
        ["status", unit] => {
            let lines = ask(call, &operands, &asked)?;
            say(if asked.json { status_json(unit, &lines) } else { status_text(unit, &lines) })
        }
        ["list"] => {
            let lines = ask(call, &operands, &asked)?;
            say(table(["UNIT", "STATUS", "READY"], &lines))
        }
        [] => Err(usage("a verb is missing")),
        [verb, ..] => Err(usage(&format!("`exp sync {verb}` is not understood, or wants other words after it"))),
    }
}

/// The lines of the agent's answer.
fn ask(call: &Call<'_>, words: &[&str], asked: &Asked) -> Result<Vec<String>, Failure> {
    let path = match call.variable("CODER_AGENT_SOCKET_PATH") {
        Some(path) => path.to_owned(),
        None => {
            let config = Config::read(call.variables.clone());
            config.map_err(|error| Failure::new(error.to_string()))?.socket_file().to_string_lossy().into_owned()
        }
    };
    let broken = |error: std::io::Error| {
        let late = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        match asked.timeout.filter(|_| late) {
            Some(timeout) => Failure::new(format!("what it wants was not completed within {} s", timeout.as_secs()))
                .hint("`coder exp sync list` shows how far each unit is".to_owned()),
            None => Failure::new(format!("cannot talk to the agent at {path}: {error}"))
                .hint("does this run in a workspace, as the agent's user?".to_owned()),
        }
    };
    let mut stream = UnixStream::connect(&path).map_err(broken)?;
    stream.set_read_timeout(asked.timeout).map_err(broken)?;
    let words: Vec<String> = words.iter().map(|word| word.replace(['\t', '\n'], " ")).collect();
    stream.write_all(format!("{}\n", words.join("\t")).as_bytes()).map_err(broken)?;
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(broken)?;
        match line.as_str() {
            "ok" => return Ok(lines),
            "wait" => {
                tell(format_args!("Waiting until all that unit '{}' wants is completed", words.get(1).map_or("", String::as_str)))
            }
            line => match line.strip_prefix("error ") {
                Some(why) => return Err(Failure::new(why.to_owned())),
                None => lines.push(line.to_owned()),
            },
        }
    }
    Err(broken(std::io::ErrorKind::UnexpectedEof.into()))
}

/// The value that a line of the form `key VALUE` tells.
fn value<'a>(lines: &'a [String], key: &str) -> &'a str {
    lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t')).unwrap_or_default()
}

/// The units that are waited for, each with its status.
fn wants(lines: &[String]) -> impl Iterator<Item = (&str, &str)> {
    lines.iter().filter_map(|line| line.strip_prefix("wants\t")?.split_once('\t'))
}

fn status_text(unit: &str, lines: &[String]) -> String {
    let head = format!("Unit: {unit}\nStatus: {}\nReady: {}\n\nDependencies:\n", value(lines, "status"), value(lines, "ready"));
    let rows: Vec<String> =
        wants(lines).map(|(on, status)| format!("{on}\tcompleted\t{status}\t{}", status == "completed")).collect();
    match rows.is_empty() {
        true => head + "No dependencies found",
        false => head + &table(["DEPENDS ON", "REQUIRED", "CURRENT", "SATISFIED"], &rows),
    }
}

fn status_json(unit: &str, lines: &[String]) -> String {
    let rows: Vec<String> = wants(lines)
        .map(|(on, status)| {
            let satisfied = status == "completed";
            format!(
                "{{\"depends_on\":{},\"required_status\":\"completed\",\"current_status\":{},\"is_satisfied\":{satisfied}}}",
                quoted(on),
                quoted(status)
            )
        })
        .collect();
    format!(
        "{{\"unit_name\":{},\"status\":{},\"is_ready\":{},\"dependencies\":[{}]}}",
        quoted(unit),
        quoted(value(lines, "status")),
        value(lines, "ready"),
        rows.join(",")
    )
}

/// A JSON string. Names hold no control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Lines of cells with a tab between them, under their headings.
fn table<const N: usize>(headings: [&str; N], lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> =
        std::iter::once(headings.to_vec()).chain(lines.iter().map(|line| line.split('\t').collect())).collect();
    let widths: Vec<usize> = (0..N)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default())
        .collect();
    let line = |row: &Vec<&str>| {
        let cells = row.iter().zip(widths.iter().copied()).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_its_unit() {
        assert_eq!(duration("90s").unwrap(), Some(Duration::from_secs(90)));
        assert_eq!(duration("1h30m").unwrap(), Some(Duration::from_secs(5400)));
        assert_eq!((duration("0").unwrap(), duration("0s").unwrap()), (None, None));
        for wrong in ["", "5", "m", "5x", "-5s"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_status_is_told_in_words_and_as_json() {
        let lines = ["status\tpending", "ready\tfalse", "wants\ta \"b\"\tstarted"].map(str::to_owned);
        assert_eq!(
            status_text("app", &lines),
            "Unit: app\nStatus: pending\nReady: false\n\nDependencies:\nDEPENDS ON  REQUIRED   CURRENT  SATISFIED\na \"b\"       completed  started  false"
        );
        let json = status_json("app", &lines);
        assert!(json.contains(r#""depends_on":"a \"b\"""#) && json.contains(r#""is_ready":false"#), "{json}");
        let none = ["status\tnot registered", "ready\ttrue"].map(str::to_owned);
        assert!(status_text("x", &none).ends_with("Ready: true\n\nDependencies:\nNo dependencies found"));
    }
}
