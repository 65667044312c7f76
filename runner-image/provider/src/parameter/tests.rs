//! The conformance table of parameter values, in our own words.
//!
//! A case is `type | previous | input | default | options | validation => outcome`. A missing column is `-`, an empty text
//! is `''`. A type may be followed by its form type (`number/slider`) and preceded by `mutable` and `ephemeral`; a form type alone
//! stands for its type. A validation is `min..max` (with the message `{min} < {value} < {max}`), `inc`, `dec` or `sideways` (with the
//! message "order"), `any` (nothing but the message "no good: {value}"), a regex (with the message "no match"), or `bare:` and a
//! regex. The outcome is the value in single quotes, or words that the error must contain.

use super::*;
use berth_domain::parameter::{ParameterOption, ParameterRule};

const CASES: &[&str] = &[
    // Nothing is given.
    "string | - | - | - | - | - => ''",
    "number | - | - | - | - | - => ''",
    "string | - | - | - | 1,1,1 | - => unique",
    "number | - | - | - | 1,1,1 | - => unique",
    "list(string) | - | - | - | - | - => ''",
    r#"list(string) | - | - | - | ["a"],["a"] | - => unique"#,
    "tag-select | - | - | - | - | - => ''",
    "string | - | - | - | 1,2,3 | - => ''",
    "number | - | - | - | 1,2,3 | - => ''",
    "string | - | - | - | - | world => no match",
    "number | - | - | - | - | 1..10 => 1 <  < 10",
    "number | - | - | - | 1,2,3 | 2..5 => valid option",
    "string | - | - | - | hello,goodbye | goodbye => valid option",
    "string | - | - | - | - | .* => ''",
    "number | 4 | - | - | - | inc => order",
    "number | 4 | - | - | - | dec => order",
    // The default is all there is.
    "number | - | - | 5 | - | - => '5'",
    "number | - | - | 5 | - | 3..7 => '5'",
    "number | - | - | 5 | - | 10.. => 10 < 5 < 0",
    "number | - | - | 5 | 1,3,5,7 | 2..6 => '5'",
    "number | - | - | 5 | 1,3,7,9 | 2..6 => valid option",
    "number | - | - | 5 | 1,3,5,7 | 6..10 => 6 < 5 < 10",
    r#"number | - | - | a | - | - => type "number""#,
    r#"number | - | - | 1 | 1,a,2 | - => type "number""#,
    "number | 4 | - | 5 | - | inc => '5'",
    "number | 6 | - | 5 | - | inc => greater",
    "number | 6 | - | 5 | - | dec => '5'",
    "number | 4 | - | 5 | - | dec => lower",
    "number | 5 | - | 5 | - | dec => '5'",
    "number | 5 | - | 5 | - | inc => '5'",
    "number | a | - | 5 | - | inc => '5'",
    "number | b | - | 5 | - | dec => '5'",
    "string | - | - | hello | - | - => 'hello'",
    "string | - | - | hello | - | inc => monotonic",
    "string | - | - | hello | - | world => no match",
    "string | - | - | a | a,b,c | - => 'a'",
    "string | - | - | a | b,c,d | - => valid option",
    "string | - | - | a | a,b,c,d,e,f | [a-c] => 'a'",
    "string | - | - | d | a,b,c,d,e,f | [a-c] => no match",
    r#"list(string) | - | - | ["a"] | - | - => '["a"]'"#,
    r#"list(string) | - | - | ["a"] | ["a"],["b"] | - => '["a"]'"#,
    r#"list(string) | - | - | ["a"] | ["b"],["c"] | - => valid option"#,
    r#"tag-select | - | - | ["a"] | - | - => '["a"]'"#,
    r#"multi-select | - | - | ["a"] | a,b | - => '["a"]'"#,
    r#"multi-select | - | - | ["a"] | b,c | - => valid option"#,
    // A value is given.
    "number | - | 3 | - | - | - => '3'",
    r#"number | - | 3 | 5 | a,1,2,3,4,5 | 1..3 => type "number""#,
    r#"number | - | a | - | - | - => type "number""#,
    "number | - | a | - | - | 1..3 => 1 < a < 3",
    "number | - | 3 | 5 | - | - => '3'",
    "number | - | 3 | 5 | - | 1..3 => '3'",
    "number | - | 5 | 5 | - | 1..3 => 1 < 5 < 3",
    "number | - | 3 | 5 | 1,2,3,4,5 | 1..3 => '3'",
    "number | - | 3 | 5 | 1,2,4,5 | 1..3 => valid option",
    "number | - | 3 | 5 | 1,2,4,5 | 1..2 => valid option",
    "number | - | 3 | 5 | 1,2,4,5 | - => valid option",
    "number | - | 3 | - | 1,2,4,5 | - => valid option",
    "number | 4 | 5 | 3 | - | inc => '5'",
    "number | 6 | 5 | 7 | - | inc => greater",
    "number | 6 | 5 | 7 | - | dec => '5'",
    "number | 4 | 5 | 3 | - | dec => lower",
    "number | 5 | 5 | 5 | - | dec => '5'",
    "number | 5 | 5 | 5 | - | inc => '5'",
    "string | - | c | - | - | - => 'c'",
    "string | - | c | - | a,b,c,c | - => unique",
    "string | - | c | e | - | - => 'c'",
    "string | - | c | e | - | [a-c] => 'c'",
    "string | - | e | e | - | [a-c] => no match",
    "string | - | c | e | a,b,c,d,e | [a-c] => 'c'",
    "string | - | c | e | a,b,d,e | [a-c] => valid option",
    "string | - | c | e | a,b,d,e | [a-b] => valid option",
    "string | - | c | e | a,b,d,e | - => valid option",
    "string | - | c | - | a,b,d,e | - => valid option",
    "string | - | c | - | a,b,c,d,e | 1..10 => a min cannot",
    r#"list(string) | - | ["c"] | - | - | - => '["c"]'"#,
    "list(string) | - | c | - | - | - => list of strings",
    r#"list(string) | - | ["c"] | ["e"] | - | - => '["c"]'"#,
    r#"list(string) | - | ["c"] | ["e"] | - | [a-c] => regex cannot"#,
    r#"list(string) | - | ["c"] | ["e"] | ["c"],["d"],["e"] | - => '["c"]'"#,
    r#"list(string) | - | ["c"] | ["e"] | ["d"],["e"] | - => valid option"#,
    r#"list(string) | - | ["c"] | - | ["d"],["e"] | - => valid option"#,
    r#"multi-select | - | ["c"] | ["e"] | c,d,e | - => '["c"]'"#,
    r#"multi-select | - | c | ["e"] | c,d,e | - => json encoded"#,
    r#"multi-select | - | ["c"] | ["e"] | d,e | - => valid option"#,
    r#"multi-select | - | ["c"] | - | d,e | - => valid option"#,
    r#"multi-select | - | ["c"] | ["e"] | c,d,e | [a-c] => regex cannot"#,
    // Ours.
    "bool | - | true | - | - | - => 'true'",
    "bool | - | T | - | - | - => 'T'",
    r#"bool | - | yes | - | - | - => type "bool""#,
    "number | - | 1.5 | - | - | - => '1.5'",
    "number | - | 1.5 | - | - | 1..3 => 1 < 1.5 < 3",
    "number | - | -2 | - | - | -5..-1 => '-2'",
    r#"number | - | '' | 5 | - | - => type "number""#,
    "string | - | '' | x | - | - => ''",
    "string | - | a | - | - | ( => cannot be read",
    "slider | - | 3 | - | - | 1..5 => '3'",
    "slider | - | 3 | - | 1,2,3 | - => when options exist",
    "dropdown | - | a | - | - | - => when no options exist",
    "checkbox | - | true | - | - | - => 'true'",
    // Form types, named beside their type.
    "string/textarea | - | a | - | - | - => 'a'",
    "string/radio | - | a | - | a,b | - => 'a'",
    "string/slider | - | a | - | - | - => not supported for type \"string\", choose one of input, textarea",
    "string/error | - | a | - | - | - => not supported",
    "string/multi-select | - | a | - | a,b | - => not supported for type \"string\", choose one of radio, dropdown",
    "number/input | - | 3 | - | - | - => '3'",
    "number/dropdown | - | 3 | - | 1,3 | - => '3'",
    "number/checkbox | - | 3 | - | - | - => not supported",
    "bool/switch | - | false | - | - | - => 'false'",
    "bool/dropdown | - | false | - | true,false | - => 'false'",
    "bool/switch | - | true | - | true,false | - => when options exist",
    r#"list(string)/radio | - | ["a"] | - | ["a"],["b"] | - => '["a"]'"#,
    r#"list(string)/radio | - | ["a"] | - | a,b | - => is not of type "list(string)""#,
    r#"list(string)/multi-select | - | ["a"] | - | - | - => when no options exist"#,
    // Bools.
    "bool | - | - | - | - | - => ''",
    "bool | - | - | true | - | - => 'true'",
    "bool | - | false | true | - | - => 'false'",
    r#"bool | - | - | maybe | - | - => type "bool""#,
    "bool | - | true | - | true,false | - => 'true'",
    "bool | - | T | - | true,false | - => valid option",
    r#"bool | - | - | - | true,maybe | - => is not of type "bool""#,
    "bool | - | 1 | - | - | any => either",
    "bool | - | true | - | - | any => 'true'",
    "bool | - | - | - | - | any => either",
    "bool | - | true | - | - | 1..2 => a min cannot be specified for a bool type",
    "bool | - | true | - | - | inc => monotonic cannot be specified for a bool type",
    "bool | - | true | - | - | world => a regex cannot be specified for a bool type",
    // Numbers.
    "number | - | +3 | - | - | 1..3 => '+3'",
    r#"number | - | 3x | - | - | - => type "number""#,
    "number | - | 1e3 | - | - | - => '1e3'",
    "number | - | 1e3 | - | - | any => no good: 1e3",
    "number | - | 10 | - | - | ..10 => '10'",
    "number | - | 11 | - | - | ..10 => 0 < 11 < 10",
    "number | - | 9223372036854775808 | - | - | 1.. => 1 < 9223372036854775808 < 0",
    "number | - | 3 | - | - | world => a regex cannot be specified for a number type",
    "number | - | 3 | - | - | sideways => monotonic is either",
    "number | 7 | 5 | - | 1,5,9 | dec => '5'",
    "number | 4 | 5 | - | 1,5,9 | dec => lower",
    "number | '' | 5 | - | - | inc => '5'",
    "number | 5.5 | 5 | - | - | inc => '5'",
    "number | -3 | -2 | - | - | dec => lower",
    // Texts.
    "string | - | '' | - | a,b | - => the value is empty, not one of a, b",
    "string | - | '' | a | a,b | - => valid option",
    "string | - | - | '' | - | - => ''",
    "string | - | anything | - | - | any => 'anything'",
    "string | - | world! | - | - | ^world$ => no match (value \"world!\" does not match \"^world$\")",
    "string | - | a | - | - | bare:^a$ => an error must be specified",
    "string | - | é | - | - | ^.$ => 'é'",
    // Lists.
    "list(string) | - | [] | - | - | - => '[]'",
    "list(string) | - | null | - | - | - => 'null'",
    "list(string) | - | [1] | - | - | - => list of strings",
    "list(string) | - | '' | - | - | - => list of strings",
    r#"list(string) | - | ["a"] | - | - | 1..2 => a min cannot be specified for a list(string) type"#,
    "list(string) | - | x | - | - | any => list of strings",
    r#"multi-select | - | [] | - | a,b | - => '[]'"#,
    r#"multi-select | - | ["a","b"] | - | a,b | - => '["a","b"]'"#,
    r#"multi-select | - | ["a","c","d"] | - | a,b | - => "c", "d" are not among a, b"#,
    r#"multi-select | - | ["a",1] | - | a,b | - => json encoded"#,
    r#"multi-select | - | - | - | a,b | - => ''"#,
    // What may change between builds.
    "mutable string | - | a | b | - | - => 'a'",
    "mutable ephemeral string | - | - | b | - | - => 'b'",
    "mutable ephemeral bool | - | true | false | - | - => 'true'",
    "mutable ephemeral string | - | a | - | - | - => an ephemeral parameter requires a default",
    "ephemeral string | - | a | b | - | - => an ephemeral parameter must be mutable",
];

/// So that a row that is lost in a merge is missed.
const CASES_COUNT: usize = 163;

fn blank(kind: &str) -> Parameter {
    serde_json::from_value(serde_json::json!({ "name": "p", "type": kind })).unwrap()
}

fn option(name: &str, value: &str) -> ParameterOption {
    ParameterOption { name: name.into(), value: value.into(), ..ParameterOption::default() }
}

fn case(text: &str) -> (Parameter, Option<String>, Option<String>) {
    let columns: Vec<_> = text.split(" | ").collect();
    let [kind, previous, input, default, options, validation] = columns[..] else { panic!("{text}: six columns") };
    let text = |column: &str| (column != "-").then(|| column.trim_matches('\'').to_owned());
    let (words, kind) = kind.rsplit_once(' ').unwrap_or(("", kind));
    let (kind, form_type) = kind.split_once('/').unwrap_or(match kind {
        "tag-select" | "multi-select" => ("list(string)", kind),
        "slider" => ("number", kind),
        "dropdown" => ("string", kind),
        "checkbox" => ("bool", kind),
        _ => (kind, ""),
    });
    let options = text(options).unwrap_or_default();
    let values: Vec<_> = options.split(',').filter(|value| !value.is_empty()).collect();
    let parameter = Parameter {
        form_type: form_type.into(),
        mutable: words.contains("mutable"),
        ephemeral: words.contains("ephemeral"),
        default: text(default),
        options: (0..).zip(&values).map(|(index, value)| option(&format!("{index}"), value)).collect(),
        rule: text(validation).map(|validation| rules(&validation)).unwrap_or_default(),
        ..blank(kind)
    };
    (parameter, text(input), text(previous))
}

fn rules(text: &str) -> ParameterRule {
    let is_limit = |text: &str| text.is_empty() || text.parse::<i64>().is_ok();
    let range = text.split_once("..").filter(|(min, max)| is_limit(min) && is_limit(max));
    let declared = ParameterRule { declared: true, ..ParameterRule::default() };
    let words = |text: &str| Some(text.to_owned());
    match (text, range) {
        ("inc", _) => ParameterRule { monotonic: words("increasing"), error: words("order"), ..declared },
        ("dec", _) => ParameterRule { monotonic: words("decreasing"), error: words("order"), ..declared },
        ("sideways", _) => ParameterRule { monotonic: words("sideways"), error: words("order"), ..declared },
        ("any", _) => ParameterRule { error: words("no good: {value}"), ..declared },
        (_, Some((min, max))) => {
            ParameterRule { min: min.parse().ok(), max: max.parse().ok(), error: words("{min} < {value} < {max}"), ..declared }
        }
        (text, None) if text.starts_with("bare:") => ParameterRule { regex: words(&text[5..]), ..declared },
        (regex, None) => ParameterRule { regex: words(regex), error: words("no match"), ..declared },
    }
}

#[test]
fn every_case_of_the_table_has_its_outcome() {
    assert_eq!(CASES.len(), CASES_COUNT);
    let mut wrong = Vec::new();
    for text in CASES {
        let (given, expected) = text.split_once(" => ").unwrap();
        let (parameter, input, previous) = case(given);
        let outcome = resolve(&parameter, input.as_deref(), previous.as_deref());
        let good = match (&outcome, expected.strip_prefix('\'').and_then(|value| value.strip_suffix('\''))) {
            (Ok(resolved), Some(value)) => resolved.value == value,
            (Err(diagnostic), None) => format!("{} {}", diagnostic.summary, diagnostic.detail).contains(expected),
            _ => false,
        };
        if !good {
            wrong.push(format!("{text}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_type_has_its_form_types_and_the_first_is_the_default() {
    let table = [
        ("string", true, "radio dropdown"),
        ("number", true, "radio dropdown"),
        ("bool", true, "radio dropdown"),
        ("list(string)", true, "radio multi-select"),
        ("string", false, "input textarea"),
        ("number", false, "input slider"),
        ("bool", false, "checkbox switch"),
        ("list(string)", false, "tag-select"),
    ];
    for (kind, has_options, allowed) in table {
        for form_type in FORM_TYPES {
            let option = match kind {
                "number" => "1",
                "bool" => "true",
                "list(string)" if *form_type != "multi-select" => "[]",
                _ => "a",
            };
            let options = if has_options { vec![self::option("one", option)] } else { Vec::new() };
            let parameter = Parameter { form_type: (*form_type).into(), options, ..blank(kind) };
            let resolved = resolve(&parameter, None, None).map(|resolved| resolved.form_type).ok();
            let expected =
                if form_type.is_empty() { allowed.split(' ').next() } else { allowed.split(' ').find(|one| one == form_type) };
            assert_eq!(resolved.as_deref(), expected, "{kind} {has_options} {form_type}");
        }
    }
}

#[test]
fn an_error_about_the_default_points_at_it_and_one_about_the_input_does_not() {
    let parameter = Parameter { default: Some("x".into()), ..blank("number") };
    assert!(!resolve(&parameter, None, None).unwrap_err().path.is_empty());
    assert!(resolve(&parameter, Some("y"), None).unwrap_err().path.is_empty());
}
