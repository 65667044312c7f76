//! `stat`: what of processor, memory and disk is used, of the container that this is or of the machine. Numbers and words are Coder's, since metadata
//! scripts of templates show them.

mod machine;

use std::fmt;

use super::words::{Word, Words, unknown};
use super::{Call, Failure, Outcome, say};
use machine::{Machine, MeasureError};

const USAGE: &str = "stat [cpu|mem|disk] [--host] [--path PATH] [--prefix Ki|Mi|Gi|Ti] [-o text|json]";

/// An amount that is used.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figure {
    used: f64,
    /// Of how much; none where nothing limits it.
    total: Option<f64>,
    unit: &'static str,
}

/// What a figure is divided by to be read.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Prefix {
    name: &'static str,
    factor: f64,
}

const PLAIN: Prefix = Prefix { name: "", factor: 1.0 };
const GIBI: Prefix = Prefix { name: "Gi", factor: 1_073_741_824.0 };
const PREFIXES: [Prefix; 4] = [
    Prefix { name: "Ki", factor: 1_024.0 },
    Prefix { name: "Mi", factor: 1_048_576.0 },
    GIBI,
    Prefix { name: "Ti", factor: 1_099_511_627_776.0 },
];

/// What was asked for.
#[derive(Debug)]
struct Asked {
    what: Option<String>,
    host: bool,
    path: String,
    prefix: Option<Prefix>,
    json: bool,
}

impl Asked {
    fn parse(call: &Call<'_>) -> Result<Self, Failure> {
        let mut asked = Self { what: None, host: false, path: "/".to_owned(), prefix: None, json: false };
        let mut words = Words::of(call.rest);
        while let Some(word) = words.next() {
            match &word {
                Word::Operand(what) if asked.what.is_none() && ["cpu", "mem", "disk"].contains(&what.as_str()) => {
                    asked.what = Some(what.clone());
                }
                Word::Option(option) => match option.as_str() {
                    "--host" => asked.host = true,
                    "--path" => asked.path = words.value(option)?,
                    "--prefix" => asked.prefix = Some(prefix(&words.value(option)?)?),
                    "-o" | "--output" => asked.json = is_json(&words.value(option)?)?,
                    _ => return Err(unknown(&word, USAGE)),
                },
                Word::Operand(_) => return Err(unknown(&word, USAGE)),
            }
        }
        Ok(asked)
    }
}

fn prefix(name: &str) -> Result<Prefix, Failure> {
    let found = PREFIXES.into_iter().find(|prefix| prefix.name == name);
    found.ok_or_else(|| Failure::usage(format!("--prefix {name:?} is none of Ki, Mi, Gi and Ti")))
}

fn is_json(format: &str) -> Result<bool, Failure> {
    match format {
        "json" => Ok(true),
        "text" | "table" => Ok(false),
        other => Err(Failure::usage(format!("-o {other:?} is neither text nor json"))),
    }
}

/// Prints what was asked for, or a table of all.
pub(super) fn run(call: &Call<'_>) -> Outcome {
    let asked = Asked::parse(call)?;
    let machine = Machine::own();
    let is_container = !asked.host && machine.is_container();
    let (figure, prefix) = match asked.what.as_deref() {
        Some("cpu") if is_container => (machine.container_cpu()?, PLAIN),
        Some("cpu") => (machine.host_cpu()?, PLAIN),
        Some("mem") if is_container => (machine.container_memory()?, GIBI),
        Some("mem") => (machine.host_memory()?, GIBI),
        Some(_) => (machine::disk(&asked.path)?, GIBI),
        None => return all(&machine, &call.home()?.to_string_lossy(), asked.json),
    };
    match asked.json {
        true => say(figure.json("")),
        false => say(figure.with(asked.prefix.unwrap_or(prefix))),
    }
}

fn all(machine: &Machine, home: &str, json: bool) -> Outcome {
    let container = machine.is_container();
    let figures = [
        ("host_cpu", Some(machine.host_cpu()?), PLAIN),
        ("host_memory", Some(machine.host_memory()?), GIBI),
        ("home_disk", Some(machine::disk(home)?), GIBI),
        ("container_cpu", container.then(|| machine.container_cpu()).transpose()?, PLAIN),
        ("container_memory", container.then(|| machine.container_memory()).transpose()?, GIBI),
    ];
    if json {
        let value = |figure: Option<Figure>| figure.map_or_else(|| "null".to_owned(), |figure| figure.json("    "));
        let fields = figures.map(|(name, figure, _)| format!("    \"{name}\": {}", value(figure)));
        return say(format_args!("[\n  {{\n{}\n  }}\n]", fields.join(",\n")));
    }
    let text = |figure: Option<Figure>, prefix| figure.map_or_else(|| "-".to_owned(), |figure| figure.with(prefix).to_string());
    let columns = figures.map(|(name, figure, prefix)| (name.replace('_', " ").to_uppercase(), text(figure, prefix)));
    let width = |(name, value): &(String, String)| name.chars().count().max(value.chars().count());
    let line = |pick: fn(&(String, String)) -> &String| {
        let cells = columns.iter().map(|column| format!("{:1$}", pick(column), width(column)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    say(format_args!("{}\n{}", line(|column| &column.0), line(|column| &column.1)))
}

impl Figure {
    /// As people read it.
    const fn with(self, prefix: Prefix) -> Shown {
        Shown { figure: self, prefix }
    }

    /// An object, whose lines but the first begin with `indent`.
    fn json(self, indent: &str) -> String {
        let total = self.total.map_or_else(|| "null".to_owned(), |total| total.to_string());
        let Self { used, unit, .. } = self;
        format!("{{\n{indent}  \"total\": {total},\n{indent}  \"unit\": \"{unit}\",\n{indent}  \"used\": {used}\n{indent}}}")
    }
}

struct Shown {
    figure: Figure,
    prefix: Prefix,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { figure: Figure { used, total, unit }, prefix: Prefix { name, factor } } = *self;
        f.write_str(&short(used / factor))?;
        if let Some(total) = total {
            write!(f, "/{}", short(total / factor))?;
        }
        write!(f, " {name}{unit}")?;
        match total {
            Some(total) if total > 0.0 => write!(f, " ({:.0}%)", used / total * 100.0),
            _ => Ok(()),
        }
    }
}

/// At most three digits, if there are not more before the point.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size == 0.0 || size >= 100.0 => 0,
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        _ => 1,
    };
    let text = format!("{value:.digits$}");
    if digits == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

impl From<MeasureError> for Failure {
    fn from(error: MeasureError) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_shown_as_templates_expect_it() {
        let figure = |used, total, unit| Figure { used, total, unit };
        let cores = |used, total| figure(used, total, "cores").with(PLAIN).to_string();
        assert_eq!(cores(0.4, Some(4.0)), "0.4/4 cores (10%)");
        assert_eq!(cores(1.2345, None), "1.23 cores");
        assert_eq!(cores(0.0, Some(16.0)), "0/16 cores (0%)");
        let bytes = |used: f64, total: f64, prefix| figure(used, Some(total), "B").with(prefix).to_string();
        assert_eq!(bytes(2.1 * GIBI.factor, 16.0 * GIBI.factor, GIBI), "2.1/16 GiB (13%)");
        assert_eq!(bytes(123.6 * GIBI.factor, 1000.0 * GIBI.factor, GIBI), "124/1000 GiB (12%)");
        assert_eq!(bytes(512.0, 1024.0, PREFIXES[0]), "0.5/1 KiB (50%)");
        assert_eq!(figure(0.5, Some(8.0), "cores").json(""), "{\n  \"total\": 8,\n  \"unit\": \"cores\",\n  \"used\": 0.5\n}");
        assert!(figure(0.5, None, "cores").json("").contains("\"total\": null"));
    }
}
