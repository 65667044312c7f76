//! Answers without a terminal: what is taken, what is refused, and what the refusal says to type.

use super::*;
use berth_wire::template::{Preset, PresetParameter};
use uuid::Uuid;

fn asked(name: &str, kind: &str, default: Option<&str>) -> RichParameter {
    RichParameter {
        name: name.into(),
        display_name: String::new(),
        description: String::new(),
        description_plaintext: String::new(),
        kind: kind.into(),
        form_type: String::new(),
        mutable: true,
        default_value: default.unwrap_or_default().into(),
        icon: String::new(),
        options: Vec::new(),
        validation_error: String::new(),
        validation_regex: String::new(),
        validation_min: (kind == "number").then_some(1),
        validation_max: (kind == "number").then_some(8),
        validation_monotonic: String::new(),
        required: default.is_none(),
        ephemeral: false,
    }
}

fn parameters() -> Vec<Parameter> {
    known(&[asked("cpu", "number", None), asked("zone", "string", None), asked("region", "string", Some("eu"))]).unwrap()
}

fn flags(parameter: &[&str]) -> ParameterFlags {
    ParameterFlags { parameter: parameter.iter().map(|&flag| flag.to_owned()).collect(), ..ParameterFlags::default() }
}

fn asking(parameters: &[Parameter]) -> Asking<'_> {
    Asking { parameters, previous: None, preset: &[], yes: true, always: false, ephemeral: false }
}

fn given(flags: &ParameterFlags) -> Outcome<Given> {
    flags.given(&Environment::default())
}

fn complete_with(parameter: &[&str]) -> Outcome<Vec<ParameterValue>> {
    asking(&parameters()).complete(given(&flags(parameter))?, Printer::new(true))
}

fn values(pairs: &[(&str, &str)]) -> Vec<ParameterValue> {
    pairs.iter().map(|&(name, value)| ParameterValue { name: name.into(), value: value.into() }).collect()
}

#[test]
fn all_missing_answers_are_named_at_once_with_their_flags() {
    let failure = complete_with(&[]).unwrap_err();
    assert_eq!(failure.to_string(), "2 parameters need a value: cpu, zone");
    assert_eq!(failure.next(), Some("--parameter cpu=1 --parameter zone=VALUE"));
    assert_eq!(failure.exit_code(), 2);
    let failure = complete_with(&["cpu=9"]).unwrap_err();
    assert_eq!(failure.to_string(), "parameter \"cpu\": 9 is more than the maximum 8; parameter \"zone\" needs a value");
    assert_eq!(failure.next(), Some("--parameter cpu=1 --parameter zone=VALUE"));
    assert_eq!(complete_with(&["cpu=1"]).unwrap_err().to_string(), "parameter \"zone\" needs a value");
}

#[test]
fn an_answer_that_will_not_do_is_refused_before_anything_is_sent() {
    assert_eq!(complete_with(&["cpu"]).unwrap_err().to_string(), "--parameter \"cpu\" has no value");
    let failure = complete_with(&["cpus=2", "cpu=1", "zone=a"]).unwrap_err();
    assert_eq!(
        (failure.to_string().as_str(), failure.next()),
        ("the template has no parameter \"cpus\"", Some("it has cpu, zone, region"))
    );
}

#[test]
fn an_immutable_parameter_is_refused_by_name() {
    let mut parameters = parameters();
    parameters[2].mutable = false;
    let previous = values(&[("cpu", "2"), ("zone", "a"), ("region", "eu")]);
    let asking = Asking { previous: Some(&previous), ..asking(&parameters) };
    let failure = asking.complete(given(&flags(&["region=us"])).unwrap(), Printer::new(true)).unwrap_err();
    assert_eq!(failure.to_string(), "parameter \"region\" cannot change after the first build");
    assert_eq!(failure.next(), Some("leave region away; another value needs a new workspace"));
}

#[test]
fn a_kept_value_that_the_version_does_not_allow_is_named_with_a_flag() {
    let parameters = parameters();
    let previous = values(&[("cpu", "64"), ("zone", "a"), ("region", "eu"), ("gone", "x")]);
    let asking = Asking { previous: Some(&previous), ..asking(&parameters) };
    let failure = asking.complete(Given::default(), Printer::new(true)).unwrap_err();
    assert_eq!(failure.to_string(), "parameter \"cpu\" needs another value than the one it has: 64 is more than the maximum 8");
    assert_eq!(failure.next(), Some("--parameter cpu=1"));
}

#[test]
fn a_value_may_hold_an_equals_sign_and_defaults_are_left_to_the_server() {
    assert_eq!(
        complete_with(&["cpu=2", "zone=z", "region=a=b,c"]).unwrap(),
        values(&[("cpu", "2"), ("region", "a=b,c"), ("zone", "z")])
    );
    assert_eq!(complete_with(&["cpu=2", "zone=z"]).unwrap().len(), 2);
}

#[test]
fn what_scripts_quote_for_coder_is_understood() {
    let quoted = given(&flags(&[r#""tags=[""a"",""b""]""#, r#""one=1","two=2""#])).unwrap();
    let read: Vec<_> = quoted.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(read, ["one=1", r#"tags=["a","b"]"#, "two=2"]);
    let variable = Environment::of(&[("CODER_RICH_PARAMETER", "a=1,\"b=2,3\""), ("CODER_RICH_PARAMETER_DEFAULT", "c=4")]);
    let read = flags(&["a=5"]).given(&variable).unwrap();
    assert_eq!((read.values["a"].as_str(), read.values["b"].as_str(), read.defaults["c"].as_str()), ("5", "2,3", "4"));
}

#[test]
fn a_flag_wins_over_the_file_and_a_default_stands_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("answers.yaml");
    std::fs::write(&path, "cpu: 4\nzone: file\n").unwrap();
    let flags = ParameterFlags {
        rich_parameter_file: Some(path),
        parameter_default: vec!["region=us".into(), "zone=never".into()],
        ..flags(&["cpu=2"])
    };
    let answers = asking(&parameters()).complete(given(&flags).unwrap(), Printer::new(true)).unwrap();
    assert_eq!(answers, values(&[("cpu", "2"), ("region", "us"), ("zone", "file")]));
}

#[test]
fn a_named_preset_wins_and_a_default_one_gives_way() {
    let preset = |name: &str, default| Preset {
        id: Uuid::from_u128(7),
        name: name.into(),
        parameters: vec![PresetParameter { name: "cpu".into(), value: "8".into() }],
        default,
        ..Preset::default()
    };
    let presets = [preset("Large", true)];
    let printer = Printer::new(true);
    let mut answers = given(&flags(&["cpu=2"])).unwrap();
    let named = choose(&presets, Some("Large"), &mut answers, None, printer).unwrap();
    assert_eq!((named.id, named.values.len(), answers.values["cpu"].as_str()), (Some(Uuid::from_u128(7)), 1, "2"));
    assert_eq!(choose(&presets, None, &mut answers, None, printer).unwrap(), Choice::default(), "what was typed counts");
    assert_eq!(answers.values["cpu"], "2");
    let mut nothing = Given::default();
    assert!(choose(&presets, None, &mut nothing, None, printer).unwrap().id.is_some());
    assert_eq!(choose(&presets, Some("none"), &mut nothing, None, printer).unwrap(), Choice::default());
    let failure = choose(&presets, Some("Huge"), &mut nothing, None, printer).unwrap_err();
    assert_eq!((failure.to_string().as_str(), failure.next()), ("the template has no preset \"Huge\"", Some("it has Large")));
}

#[test]
fn an_example_can_be_pasted_into_a_shell() {
    let mut tools = known(&[asked("tools", "list(string)", None)]).unwrap().remove(0);
    let option = |value: &str| parameter::ParameterOption { name: value.into(), value: value.into(), ..Default::default() };
    (tools.options, tools.form_type) = (vec![option("git")], "multi-select".into());
    assert_eq!(example(&tools), r#"'["git"]'"#);
    let mut name = known(&[asked("name", "string", None)]).unwrap().remove(0);
    name.options = vec![option("it's")];
    assert_eq!(example(&name), r"'it'\''s'");
}
