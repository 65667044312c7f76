//! Signing in and out, and what is said when it fails.

use crate::{
    Person,
    deployment::{Deployment, Story, TOKEN},
};
use std::{fs, os::unix::fs::PermissionsExt};

fn with_users() -> Deployment {
    Deployment::tell(Story { has_users: true, ..Story::default() })
}

#[test]
fn the_first_login_makes_the_first_user_and_logout_forgets_the_session() {
    let deployment = Deployment::tell(Story::default());
    let person = Person::new();
    let line = format!("login {} --first-user-username ada --first-user-email ada@example.com", deployment.url);
    let seen = person.types_with_input(&line, "correct horse\n");
    assert_eq!((seen.code, seen.stdout.as_str()), (0, ""), "{seen:?}");
    assert_eq!(deployment.heard(), ["first user ada"]);
    let session = person.home().join(".config/berth/session");
    assert_eq!(fs::read_to_string(&session).unwrap(), TOKEN);
    assert_eq!(fs::metadata(&session).unwrap().permissions().mode() & 0o777, 0o600);
    let who = person.types("whoami -o json");
    let who: serde_json::Value = serde_json::from_str(&who.stdout).unwrap();
    assert_eq!((&who["username"], &who["url"]), (&"ada".into(), &deployment.url.as_str().into()));
    assert_eq!(person.types("login token").stdout, format!("{TOKEN}\n"));
    assert_eq!(person.types("logout -y").code, 0);
    assert!(!session.exists());
    let seen = person.types("whoami");
    assert_eq!(seen.stderr, format!("error: you are not signed in to {0}\nhint: `berth login {0}`\n", deployment.url));
}

#[test]
fn a_wrong_password_or_token_leaves_nothing_behind() {
    let (deployment, person) = (with_users(), Person::new());
    let seen = person.types_with_input(&format!("login {} --email ada@example.com", deployment.url), "wrong\n");
    assert_eq!(seen.code, 1);
    let expected = "error: the e-mail address or the password is wrong\nhint: check e-mail address and password and try again\n";
    assert_eq!(seen.stderr, expected);
    let seen = person.types(&format!("login {} --token nonsense", deployment.url));
    assert_eq!(seen.code, 1);
    assert!(seen.stderr.starts_with("error: the token is not valid here, or not any more\nhint: "), "{}", seen.stderr);
    assert!(!person.home().join(".config").exists());
}

#[test]
fn a_token_from_the_environment_becomes_the_session_as_ides_want_it() {
    let (deployment, person) = (with_users(), Person::new());
    let words = ["login", "--use-token-as-session", &deployment.url];
    let output = person
        .command(&words)
        .env("CODER_SESSION_TOKEN", TOKEN)
        .env("CODER_CONFIG_DIR", person.home().join("ide"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(person.home().join("ide/session")).unwrap(), TOKEN);
    assert_eq!(fs::read_to_string(person.home().join("ide/url")).unwrap().trim(), deployment.url);
}

#[test]
fn a_stored_session_is_not_sent_to_another_deployment() {
    let (deployment, person) = (with_users(), Person::new().signed_in("https://elsewhere.example"));
    let seen = person.types(&format!("whoami --url {}", deployment.url));
    assert_eq!(seen.code, 1);
    assert!(seen.stderr.starts_with("error: you are not signed in to "), "{}", seen.stderr);
}

#[test]
fn a_deployment_that_does_not_answer_is_named() {
    let person = Person::new();
    let seen = person.types("login http://127.0.0.1:1 --email ada@example.com");
    assert_eq!(seen.code, 1);
    let expected = "error: cannot reach Berth at http://127.0.0.1:1: connection refused\n\
                    hint: is the address right and Berth running? `berth server` runs one on this machine\n";
    assert_eq!(seen.stderr, expected);
}

#[test]
fn a_session_that_is_over_says_how_to_get_a_new_one() {
    let (deployment, person) = (with_users(), Person::new());
    let output =
        person.command(&["whoami"]).env("BERTH_URL", &deployment.url).env("BERTH_SESSION_TOKEN", "old-token").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "error: you are not signed in\nhint: sign in again: `berth login`\n");
}
