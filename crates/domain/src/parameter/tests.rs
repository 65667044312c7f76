//! Which answers a build gets. The rules of single values are held by the provider's conformance table.

use super::*;
use proptest::prelude::*;

fn parameter(name: &str, kind: ParameterType) -> Parameter {
    Parameter {
        name: name.into(),
        display_name: String::new(),
        description: String::new(),
        kind,
        form_type: String::new(),
        mutable: false,
        default: None,
        icon: String::new(),
        options: Vec::new(),
        rule: ParameterRule::default(),
        ephemeral: false,
        order: 0,
    }
}

fn values(pairs: &[(&str, &str)]) -> Vec<ParameterValue> {
    pairs.iter().map(|&(name, value)| ParameterValue { name: name.into(), value: value.into() }).collect()
}

fn options(names: &[&str]) -> Vec<ParameterOption> {
    names.iter().map(|&name| ParameterOption { name: name.into(), value: name.into(), ..Default::default() }).collect()
}

fn given(given: &[ParameterValue]) -> Answers<'_> {
    Answers { given, ..Answers::default() }
}

fn words(errors: Vec<ParameterError>) -> Vec<String> {
    errors.iter().map(|error| format!("{}: {error}", error.field())).collect()
}

#[test]
fn a_number_keeps_its_bounds_and_the_authors_words() {
    let mut disk = parameter("disk", ParameterType::Number);
    disk.rule = ParameterRule {
        min: Some(10),
        max: Some(100),
        error: Some("{value} GB is outside {min}-{max}".into()),
        ..ParameterRule::default()
    };
    assert_eq!(disk.check("50", None), Ok(()));
    assert_eq!(disk.check("150", None).unwrap_err().to_string(), "150 GB is outside 10-100");
    assert_eq!(disk.check("many", None).unwrap_err().to_string(), "many GB is outside 10-100");
    disk.rule = ParameterRule { min: Some(10), monotonic: Some("increasing".into()), ..ParameterRule::default() };
    assert_eq!(disk.check("5", None).unwrap_err().to_string(), "5 is less than the minimum 10");
    assert!(disk.check("20", Some("30")).is_err());
    assert_eq!(disk.check("20", Some("unreadable")), Ok(()));
}

#[test]
fn a_number_is_whole_where_it_is_validated_and_finite_everywhere() {
    let mut cpus = parameter("cpus", ParameterType::Number);
    assert_eq!(cpus.check("1.5", None), Ok(()));
    for text in ["", "many", "NaN", "inf", "-infinity", "1e999"] {
        assert!(cpus.check(text, None).is_err(), "{text}");
    }
    cpus.rule.declared = true;
    assert_eq!(cpus.check("1.5", None).unwrap_err().to_string(), "\"1.5\" is not a whole number");
}

#[test]
fn an_immutable_answer_is_kept_and_cannot_change() {
    let region = [parameter("region", ParameterType::String)];
    assert_eq!(words(resolve(&region, Answers::default()).unwrap_err()), ["region: parameter \"region\" needs a value"]);
    let first = resolve(&region, given(&values(&[("region", "eu")]))).unwrap();
    let later = Answers { previous: Some(&first), ..Answers::default() };
    assert_eq!(resolve(&region, later).unwrap(), first);
    assert_eq!(resolve(&region, Answers { given: &first, ..later }).unwrap(), first, "the same value is no change");
    let other = values(&[("region", "us")]);
    let refused = words(resolve(&region, Answers { given: &other, ..later }).unwrap_err());
    assert_eq!(refused, ["region: parameter \"region\" cannot change after the first build"]);
    assert!(resolve(&region, Answers { preset: &other, ..later }).is_err(), "a preset does not change it either");
}

#[test]
fn a_value_that_a_newer_version_does_not_allow_is_asked_for_again_even_an_immutable_one() {
    let mut size = parameter("size", ParameterType::String);
    size.options = options(&["small", "large"]);
    let before = values(&[("size", "huge"), ("gone", "x")]);
    let later = Answers { previous: Some(&before), ..Answers::default() };
    let refused = words(resolve(std::slice::from_ref(&size), later).unwrap_err());
    assert_eq!(refused, ["size: parameter \"size\" needs another value than the one it has: \"huge\" is not one of small, large"]);
    let chosen = values(&[("size", "large")]);
    assert_eq!(resolve(&[size], Answers { given: &chosen, ..later }).unwrap(), chosen, "and what the version lacks is dropped");
}

#[test]
fn every_wrong_answer_is_reported_at_once() {
    let mut free = parameter("free", ParameterType::String);
    free.default = Some(String::new());
    let mut count = parameter("count", ParameterType::Number);
    count.default = Some("1".into());
    let needed = parameter("needed", ParameterType::Bool);
    let long = "x".repeat(PARAMETER_VALUE_BYTES_MAX + 1);
    let answers = values(&[("free", "a"), ("free", "b"), ("other", "1"), ("count", "many")]);
    let refused = words(resolve(&[free.clone(), count, needed], given(&answers)).unwrap_err());
    assert_eq!(
        refused,
        [
            "free: parameter \"free\" is given twice",
            "other: the template has no parameter \"other\"",
            "count: parameter \"count\": \"many\" is not a number",
            "needed: parameter \"needed\" needs a value",
        ]
    );
    let refused = resolve(&[free], given(&values(&[("free", &long)]))).unwrap_err();
    assert_eq!(refused, [ParameterError::TooLong("free".into())]);
}

#[test]
fn a_preset_wins_over_what_is_given_and_the_rest_falls_through() {
    let parameters = ["a", "b", "c", "d"].map(|name| {
        let mut one = parameter(name, ParameterType::String);
        (one.mutable, one.default) = (true, Some("default".into()));
        one
    });
    let (preset, given) = (values(&[("a", "preset"), ("unknown", "x")]), values(&[("a", "given"), ("b", "given")]));
    let previous = values(&[("a", "previous"), ("b", "previous"), ("c", "previous")]);
    let answers = Answers { preset: &preset, given: &given, previous: Some(&previous) };
    let resolved = resolve(&parameters, answers).unwrap();
    assert_eq!(resolved, values(&[("a", "preset"), ("b", "given"), ("c", "previous"), ("d", "default")]));
}

#[test]
fn an_ephemeral_value_holds_for_one_build() {
    let mut debug = parameter("debug", ParameterType::Bool);
    (debug.ephemeral, debug.mutable, debug.default) = (true, true, Some("false".into()));
    let once = values(&[("debug", "true")]);
    let parameters = [debug];
    assert_eq!(resolve(&parameters, given(&once)).unwrap(), once);
    let later = Answers { previous: Some(&once), ..Answers::default() };
    assert_eq!(resolve(&parameters, later).unwrap(), values(&[("debug", "false")]));
    assert_eq!(without_ephemeral(&parameters, &once), values(&[("debug", "false")]));
}

#[test]
fn a_list_is_checked_item_by_item_when_its_options_are_items() {
    let mut tools = parameter("tools", ParameterType::ListString);
    tools.options = options(&["git", "vim"]);
    tools.form_type = "multi-select".into();
    assert!(tools.takes_several());
    assert_eq!(tools.check(r#"["git","vim"]"#, None), Ok(()));
    assert_eq!(tools.check(r#"["emacs"]"#, None).unwrap_err().to_string(), "\"emacs\" is not one of git, vim");
    assert!(tools.check("git", None).is_err());
    tools.options = options(&[r#"["git"]"#, r#"["git","vim"]"#]);
    tools.form_type = "radio".into();
    assert!(!tools.takes_several());
    assert_eq!(tools.check(r#"["git","vim"]"#, None), Ok(()));
    assert!(tools.check(r#"["vim"]"#, None).is_err());
}

#[test]
fn a_rule_of_an_older_row_counts_as_declared_when_it_says_something() {
    let old: ParameterRule = serde_json::from_str(r#"{"regex":null,"error":null,"min":1,"max":null,"monotonic":null}"#).unwrap();
    assert!(old.is_declared());
    assert_eq!(old.bounds().as_deref(), Some("at least 1"));
    assert!(!ParameterRule::default().is_declared());
}

#[test]
fn a_long_value_is_cut_in_the_refusal() {
    let count = parameter("count", ParameterType::Number);
    assert!(count.check(&"é".repeat(10_000), None).unwrap_err().to_string().len() < 300);
}

proptest! {
    /// Whatever is resolved obeys its rules, and resolving again with nothing given changes nothing.
    #[test]
    fn what_is_resolved_is_allowed_and_stays(texts in prop::collection::vec("[a-z0-9.\\-]{0,4}", 3), mutable: bool) {
        let mut number = parameter("number", ParameterType::Number);
        (number.mutable, number.default) = (mutable, Some("3".into()));
        number.rule = ParameterRule { min: Some(0), max: Some(500), monotonic: Some("increasing".into()), ..ParameterRule::default() };
        let mut text = parameter("text", ParameterType::String);
        text.mutable = mutable;
        let parameters = [number, text];
        let [first, second, third] = texts.as_slice() else { unreachable!("three") };
        let answers = values(&[("number", first), ("text", second)]);
        let Ok(one) = resolve(&parameters, given(&answers)) else { return Ok(()) };
        prop_assert!(parameters.iter().zip(&one).all(|(parameter, value)| parameter.check(&value.value, None).is_ok()));
        let again = resolve(&parameters, Answers { previous: Some(&one), ..Answers::default() });
        prop_assert_eq!(again.as_ref(), Ok(&one));
        let changed = values(&[("text", third)]);
        let changed = resolve(&parameters, Answers { given: &changed, previous: Some(&one), ..Answers::default() });
        prop_assert_eq!(changed.is_ok(), mutable || third == second);
    }
}
