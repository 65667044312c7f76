//! Parameters on a terminal and without one: what is asked, what is refused while it is typed, what is sent.

use crate::{
    Person,
    deployment::{Deployment, Story},
};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// How long the screen may take to show something.
const PATIENCE: Duration = Duration::from_secs(30);
const PRESET: &str = "00000000-0000-7000-8000-0000000000aa";

/// `berth` in a real terminal; afterwards the exit code is on its screen as `code=...`.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn start(person: &Person, line: &str) -> Self {
        // A terminal that closes takes its socket with it: the next one has its own.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let terminal = Self { socket: person.home().join(format!("tmux{}", COUNT.fetch_add(1, Ordering::Relaxed))) };
        let (home, berth) = (person.home().display(), env!("CARGO_BIN_EXE_berth"));
        let run = format!("env -i HOME={home} TERM=screen-256color LANG=C.UTF-8 {berth} {line}; echo code=$?; exec cat");
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "50", &run]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux").arg("-S").arg(&self.socket).args(arguments).env("LANG", "C.UTF-8").output().unwrap();
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen shows it.
    #[track_caller]
    fn shows(&self, text: &str) -> &Self {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if screen.contains(text) {
                return self;
            }
            assert!(started.elapsed() < PATIENCE, "{text:?} is not on the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn types(&self, keys: &[&str]) -> &Self {
        self.tmux(&[&["send-keys"], keys].concat());
        self
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}

fn parameter(name: &str, kind: &str, more: Value) -> Value {
    let mut parameter = json!({"name": name, "display_name": "", "description": "", "description_plaintext": "", "type": kind,
        "form_type": "", "mutable": true, "default_value": "", "icon": "", "options": [], "required": true, "ephemeral": false});
    let more = more.as_object().unwrap().clone();
    parameter.as_object_mut().unwrap().extend(more);
    parameter
}

fn option(name: &str, value: &str) -> Value {
    json!({"name": name, "description": "", "value": value, "icon": ""})
}

fn all_kinds() -> Value {
    json!([
        parameter(
            "disk",
            "number",
            json!({"display_name": "Disk in GB", "description_plaintext": "How much room there is.",
            "validation_min": 10, "validation_max": 100, "validation_error": "{value} GB will not do", "required": false, "default_value": "50"})
        ),
        parameter(
            "region",
            "string",
            json!({"options": [option("Europe", "eu"), option("America", "us"), option("Asia", "as")],
            "required": false, "default_value": "us"})
        ),
        parameter(
            "tools",
            "list(string)",
            json!({"form_type": "multi-select", "options": [option("Git", "git"), option("Vim", "vim")],
            "required": false, "default_value": "[\"vim\"]"})
        ),
        parameter("gpu", "bool", json!({})),
        parameter("name", "string", json!({"validation_regex": "^[a-z]+$", "validation_error": "lower case only"})),
        parameter("tags", "list(string)", json!({"form_type": "tag-select", "required": false, "default_value": "[]"})),
        parameter("script", "string", json!({"form_type": "textarea", "required": false, "default_value": ""})),
    ])
}

fn story(parameters: Value) -> Story {
    Story { has_users: true, job: ("succeeded", ""), workspace: "running", parameters, ..Story::default() }
}

fn created(deployment: &Deployment) -> Vec<String> {
    let sent = deployment.heard().into_iter().find_map(|heard| heard.strip_prefix("create ").map(str::to_owned)).unwrap();
    let values: Vec<Value> = serde_json::from_str(sent.split(" preset ").next().unwrap()).unwrap();
    values.iter().map(|value| format!("{}={}", value["name"].as_str().unwrap(), value["value"].as_str().unwrap())).collect()
}

#[test]
fn every_kind_of_question_is_answered_on_a_terminal() {
    let deployment = Deployment::tell(story(all_kinds()));
    let person = Person::new().signed_in(&deployment.url);
    let terminal = Terminal::start(&person, "create dev -t linux");
    // Refused while it is typed, in the author's words; Ctrl-U clears the line, as in a shell.
    terminal
        .shows("How much room there is.")
        .shows("? Disk in GB (10 to 100) [50]:")
        .types(&["500"])
        .shows("<- 500 GB will not do");
    terminal.types(&["Enter", "C-u"]).types(&["6", "4", "BSpace", "0", "Enter"]);
    // The default is where the list starts; one up from it.
    terminal.shows("? region:").shows("> America").types(&["Up"]).shows("> Europe").types(&["Enter"]);
    terminal.shows("? tools:").shows("[x] Vim").types(&["Space"]).shows("[x] Git").types(&["Enter"]);
    terminal.shows("? gpu (yes/no):").types(&["Enter"]).shows("<- an answer is needed").types(&["maybe", "Enter"]);
    terminal.shows("<- yes or no?").types(&["C-w"]).types(&["y", "Enter"]);
    terminal.shows("? name:").types(&["Ada", "Enter"]).shows("<- lower case only").types(&["C-a", "Delete", "a", "Enter"]);
    terminal.shows("? tags (separated by commas):").types(&["a, b", "Enter"]);
    terminal.shows("? script (an empty line ends it):").types(&["one", "Enter", "two", "Enter", "Enter"]);
    terminal.shows("PARAMETER").shows("code=0");
    let expected =
        ["disk=60", "gpu=true", "name=ada", "region=eu", r#"tags=["a","b"]"#, r#"tools=["git","vim"]"#, "script=one\ntwo"];
    let mut sent = created(&deployment);
    sent.sort_by_key(|pair| (pair.starts_with("script"), pair.clone()));
    assert_eq!(sent, expected);
}

#[test]
fn an_empty_line_takes_what_is_offered_and_ctrl_c_leaves_nothing_behind() {
    let deployment = Deployment::tell(story(all_kinds()));
    let person = Person::new().signed_in(&deployment.url);
    let terminal = Terminal::start(&person, "create dev -t linux --parameter name=ada --parameter-default disk=70");
    terminal.shows("? Disk in GB (10 to 100) [70]:").types(&["Enter"]).shows("? region:").types(&["Enter"]);
    terminal.shows("? tools:").types(&["Enter"]).shows("? gpu (yes/no):").types(&["C-c"]).shows("code=130");
    assert!(deployment.heard().is_empty(), "{:?}", deployment.heard());
    drop(terminal);
    let terminal = Terminal::start(&person, "create dev -t linux");
    terminal.shows("? Disk").types(&["Enter"]).shows("? region:").types(&["C-c"]).shows("code=130");
    assert!(deployment.heard().is_empty(), "{:?}", deployment.heard());
}

#[test]
fn a_preset_is_chosen_from_a_list_and_its_answers_are_not_asked_for() {
    let parameters = json!([
        parameter("cpu", "number", json!({"required": false, "default_value": "1"})),
        parameter("region", "string", json!({"required": false, "default_value": "us"})),
    ]);
    let preset = |id: &str, name: &str, cpu: &str, default: bool| {
        json!({"ID": id, "Name": name, "Default": default, "DesiredPrebuildInstances": null, "Description": "for builds", "Icon": "",
            "Parameters": [{"Name": "cpu", "Value": cpu}]})
    };
    let presets = json!([preset(&PRESET.replace("aa", "bb"), "Small", "2", false), preset(PRESET, "Large", "8", true)]);
    let deployment = Deployment::tell(Story { presets, ..story(parameters) });
    let person = Person::new().signed_in(&deployment.url);
    let terminal = Terminal::start(&person, "create dev -t linux");
    terminal.shows("? Preset:").shows("> Large - for builds").types(&["Enter"]).shows("The preset Large answers cpu.");
    terminal.shows("? region [us]:").types(&["Enter"]).shows("code=0");
    assert_eq!(deployment.heard()[0], format!(r#"create [{{"name":"region","value":"us"}}] preset "{PRESET}""#));
    drop(terminal);

    // Without anyone to ask the default one is taken, unless something else was typed.
    let sent = |line: &str| {
        deployment.forget();
        let seen = person.types(line);
        assert_eq!(seen.code, 0, "{seen:?}");
        deployment.heard()[0].clone()
    };
    assert_eq!(sent("create dev -t linux -y"), format!(r#"create null preset "{PRESET}""#));
    assert_eq!(sent("create dev -t linux -y --preset none"), "create null");
    assert_eq!(sent("create dev -t linux -y --parameter cpu=4"), r#"create [{"name":"cpu","value":"4"}]"#);
    let seen = person.types("create dev -t linux -y --preset Huge");
    assert_eq!((seen.code, seen.stderr.as_str()), (2, "error: the template has no preset \"Huge\"\nhint: it has Small, Large\n"));
}

#[test]
fn what_is_missing_without_a_terminal_is_said_in_one_line_to_paste() {
    let deployment = Deployment::tell(story(all_kinds()));
    let person = Person::new().signed_in(&deployment.url);
    let seen = person.types("create dev -t linux");
    assert_eq!(
        (seen.code, seen.stderr.as_str()),
        (2, "error: 2 parameters need a value: gpu, name\nhint: --parameter gpu=true --parameter name=VALUE\n")
    );
    assert!(deployment.heard().is_empty());
    std::fs::write(person.home().join("answers.yaml"), "gpu: true\nname: ada\ntags: [x, y]\n").unwrap();
    let file = person.home().join("answers.yaml").display().to_string();
    let seen = person.types(&format!("create dev -t linux --rich-parameter-file {file} --parameter name=bob"));
    assert_eq!(seen.code, 0, "{seen:?}");
    assert_eq!(created(&deployment), ["gpu=true", "name=bob", r#"tags=["x","y"]"#]);
}

#[test]
fn a_restart_with_an_answer_that_will_not_do_stops_nothing() {
    let parameters =
        json!([parameter("region", "string", json!({"mutable": false})), parameter("cpu", "number", json!({"validation_max": 8}))]);
    let answers = json!([{"name": "region", "value": "eu"}, {"name": "cpu", "value": "2"}]);
    let deployment = Deployment::tell(Story { answers, ..story(parameters) });
    let person = Person::new().signed_in(&deployment.url);
    for (line, error) in [
        ("restart dev -y --parameter region=us", "parameter \"region\" cannot change after the first build"),
        ("restart dev -y --parameter cpu=9", "parameter \"cpu\": 9 is more than the maximum 8"),
        ("start dev -y --parameter gpu=1", "the template has no parameter \"gpu\""),
        ("update dev -y --build-option region=us", "parameter \"region\" cannot change after the first build"),
    ] {
        let seen = person.types(line);
        assert_eq!(seen.code, 2, "{line}: {seen:?}");
        assert!(seen.stderr.contains(&format!("error: {error}\nhint: ")), "{line}: {}", seen.stderr);
    }
    assert!(deployment.heard().is_empty());
    let terminal = Terminal::start(&person, "start dev --always-prompt");
    terminal.shows("? cpu (at most 8) [2]:").types(&["4", "Enter"]).shows("code=0");
    assert!(deployment.heard()[0].ends_with(r#"[{"name":"cpu","value":"4"}]"#), "{:?}", deployment.heard());
    assert!(person.types("show dev").stdout.contains("cpu        2"), "{}", person.types("show dev").stdout);
}
