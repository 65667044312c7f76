//! A file of answers or of variables: a YAML mapping of names to values; JSON is YAML too.

use crate::{
    config::{plain, read_optional},
    failure::{Failure, Outcome},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use std::{collections::BTreeMap, fmt, path::Path};

/// Reads the values of a file.
///
/// # Errors
/// When there is none, or it is not such a mapping; the failure names the place.
pub(crate) fn read(path: &Path) -> Outcome<BTreeMap<String, String>> {
    let name = path.display();
    let text = read_optional(path)?.ok_or_else(|| {
        let missing = plain(&std::io::Error::from(std::io::ErrorKind::NotFound));
        Failure::usage(format!("cannot read {name}: {missing}")).hint("name an existing file")
    })?;
    parse(&text).map_err(|why| Failure::usage(format!("{name}: {why}")).hint("write `name: value` lines, as YAML"))
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(BTreeMap::new());
    }
    // What YAML 1.2 reads as text stays text: `y`, `on`, `0123`, `1_000`.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    let answers: BTreeMap<String, Text> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| first_line(&error.to_string()))?;
    Ok(answers.into_iter().map(|(name, Text(value))| (name, value)).collect())
}

/// The reason without the picture of the place, which it names.
fn first_line(text: &str) -> String {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// A value as the text that a parameter takes.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value)
    }
}

struct Value;

impl<'de> Visitor<'de> for Value {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true, false or a list of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    /// `1.10` may be a version or a number; only its author knows.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text, E> {
        Err(E::custom(format!("put quotes around {number}: without them it is not known whether it is a number or a text")))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
        Ok(Text(String::new()))
    }

    fn visit_none<E: de::Error>(self) -> Result<Text, E> {
        Ok(Text(String::new()))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        Text::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Text, A::Error> {
        let mut items = Vec::new();
        while let Some(Text(item)) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Text(serde_json::Value::from(items).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pairs(text: &str) -> Vec<String> {
        parse(text).unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn yaml_and_json_are_read_as_scripts_write_them() {
        let text = "---\n# mine\ncpu: 4 # cores\nname: \"a: b\"\nother: 'it''s'\nlist: [\"a\", b]\nempty:\n\"odd key\": x\non: true\n\
                    script: |\n  one\n  two\nitems:\n  - git\n  - vim\nversion: \"1.10\"\n";
        assert_eq!(
            read_pairs(text),
            [
                "cpu=4",
                "empty=",
                "items=[\"git\",\"vim\"]",
                "list=[\"a\",\"b\"]",
                "name=a: b",
                "odd key=x",
                "on=true",
                "other=it's",
                "script=one\ntwo\n",
                "version=1.10",
            ]
        );
        assert_eq!(read_pairs("{\"cpu\": 4, \"on\": true, \"name\": \"x\"}"), ["cpu=4", "name=x", "on=true"]);
        assert_eq!(
            read_pairs("a: y\nb: off\nc: 01234\nd: 1_000\ne: [yes, no]\n"),
            ["a=y", "b=off", "c=01234", "d=1_000", "e=[\"yes\",\"no\"]"]
        );
        assert!(read_pairs("# nothing yet\n").is_empty());
    }

    #[test]
    fn what_is_not_an_answer_is_refused_with_its_place() {
        for (text, part) in [
            ("cpu 4", "line 1"),
            ("a:\n  b: 1", "a text, a number"),
            ("a: 1\na: 2", "dupl"),
            ("a: 1.10", "put quotes around 1.1"),
            ("- a", "line 1"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.to_lowercase().contains(part), "{text:?}: {why}");
            assert_eq!(why.lines().count(), 1, "{why}");
        }
    }
}
