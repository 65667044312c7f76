//! Instances that prove themselves by what AWS says of them. Here AWS is a key of ours, which is told to the verifier as AWS's are.

use super::fixture::{AGENT_ENDPOINT, World, up};
use crate::InstanceKeys;
use base64::{Engine, engine::general_purpose::STANDARD};
use berth_domain::{AgentId, Role};
use berth_store::JobId;
use ring::{
    rand::SystemRandom,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use uuid::Uuid;

const PATH: &str = "/api/v2/workspaceagents/aws-instance-identity";
const MANIFEST: &str = "/api/v2/workspaceagents/me/manifest";
const INSTANCE: &str = "i-0123456789abcdef0";
const ARN: &str = "arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789abcdef0";

struct Cloud {
    world: World,
    aws: RsaKeyPair,
    ada: String,
    workspace: Value,
    agent: AgentId,
}

/// A world whose one workspace runs on an instance.
async fn cloud() -> Cloud {
    let key: String = include_str!("instance/key.b64").split_whitespace().collect();
    let aws = RsaKeyPair::from_pkcs8(&STANDARD.decode(key).unwrap()).unwrap();
    let public = aws.public_key().as_ref().to_vec();
    let world = World::with(|config| config.instance_keys = InstanceKeys::of_one("eu-central-1", &public)).await;
    let (admin, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let workspace = world.workspace(&ada, &template, "dev").await;
    let agent = AgentId(Uuid::new_v4());
    let cloud = Cloud { world, aws, ada, workspace, agent };
    cloud.built(&cloud.workspace["latest_build"], (INSTANCE, ARN)).await;
    cloud
}

/// A tag, a length, and the rest.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, high, low][..], content].concat()
}

impl Cloud {
    /// The build ends with an agent on this machine.
    async fn built(&self, build: &Value, (instance, arn): (&str, &str)) {
        let mut finish = up(self.agent, "none");
        let agent = &mut finish["resources"][0]["agents"][0];
        (agent["token"], agent["auth"]) = (Value::Null, json!("aws-instance-identity"));
        (agent["instance_id"], agent["instance_arn"]) = (json!(instance), json!(arn));
        self.world.run(JobId::Build(build["id"].as_str().unwrap().parse().unwrap()), finish).await;
    }

    async fn build(&self, transition: &str) -> Value {
        let builds = format!("/api/v2/workspaces/{}/builds", self.workspace["id"].as_str().unwrap());
        self.world.by(&self.ada).post(&builds, json!({ "transition": transition })).await.is(201)
    }

    /// What AWS says of the instance, with some of it changed.
    fn document(&self, change: &[(&str, Value)]) -> String {
        let mut document = json!({
            "accountId": "123456789012", "architecture": "x86_64", "instanceId": INSTANCE, "instanceType": "t3.large",
            "pendingTime": self.world.now(), "region": "eu-central-1", "version": "2017-09-30",
        });
        for (field, value) in change {
            document[field] = value.clone();
        }
        document.to_string()
    }

    /// PKCS #7 signed data without attributes, base64 in lines.
    fn sign(&self, document: &str) -> String {
        let mut signature = vec![0; self.aws.public().modulus_len()];
        self.aws.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), document.as_bytes(), &mut signature).unwrap();
        let object = |last: &[u8]| der(0x06, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01][..], last].concat());
        let sha256 = der(0x30, &der(0x06, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01]));
        let content = der(0x30, &[object(&[7, 1]), der(0xa0, &der(0x04, document.as_bytes()))].concat());
        let signer = der(
            0x30,
            &[vec![0x02, 1, 1], der(0x30, &[]), sha256.clone(), der(0x30, &object(&[1, 1])), der(0x04, &signature)].concat(),
        );
        let data = der(0x30, &[vec![0x02, 1, 1], der(0x31, &sha256), content, der(0x31, &signer)].concat());
        let text = STANDARD.encode(der(0x30, &[object(&[7, 2]), der(0xa0, &data)].concat()));
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\n")
    }

    async fn ask(&self, document: &str, signature: &str) -> super::fixture::Answer {
        self.world.nobody().post(PATH, json!({ "document": document, "signature": signature })).await
    }

    /// A token for a document that is signed as it is.
    async fn introduced(&self, document: &str) -> super::fixture::Answer {
        self.ask(document, &self.sign(document)).await
    }

    async fn hello(&self, token: &str) -> u16 {
        let hello = json!({ "endpoint_id": AGENT_ENDPOINT, "version": "v0" });
        self.world.by(token).post(MANIFEST, hello).await.status.as_u16()
    }

    /// The detail of a refusal.
    async fn refused(&self, document: &str) -> String {
        let answer = self.introduced(document).await.is(401);
        assert_eq!(answer["message"], "the instance identity is not accepted");
        answer["detail"].as_str().unwrap_or_default().to_owned()
    }
}

fn token(answer: super::fixture::Answer) -> String {
    answer.is(200)["session_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_boot_gets_one_token_which_nobody_has_seen_before_and_the_next_boot_another() {
    let cloud = cloud().await;
    let document = cloud.document(&[]);
    let first = token(cloud.introduced(&document).await);
    assert_eq!(cloud.hello(&first).await, 200);
    assert!(cloud.refused(&document).await.contains("has had its token"));
    assert_eq!(cloud.hello(&first).await, 200, "asking in vain takes nothing away");

    cloud.world.pass(60);
    let second = token(cloud.introduced(&cloud.document(&[])).await);
    assert_ne!(first, second);
    assert_eq!((cloud.hello(&first).await, cloud.hello(&second).await), (403, 200));
    assert!(cloud.refused(&document).await.contains("has had its token"), "an earlier boot is good for nothing any more");
}

#[tokio::test]
async fn of_many_that_show_one_boot_at_once_one_gets_a_token() {
    let cloud = cloud().await;
    let document = cloud.document(&[]);
    let answers = futures_util::future::join_all((0..20).map(|_| cloud.introduced(&document))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 200 | 401)));
}

#[tokio::test]
async fn whatever_differs_from_the_machine_that_was_built_is_refused() {
    let cloud = cloud().await;
    let with = |field: &str, value: Value| cloud.document(&[(field, value)]);
    assert!(cloud.refused(&with("accountId", json!("999999999999"))).await.contains("not the one"));
    assert!(cloud.refused(&with("instanceId", json!("i-0fedcba9876543210"))).await.contains("no running workspace"));
    assert_eq!(cloud.refused(&with("region", json!("us-east-1"))).await, "", "no key of that region is known here");
    let at = |seconds: i64| with("pendingTime", json!(cloud.world.now() + jiff::SignedDuration::from_secs(seconds)));
    assert!(cloud.refused(&at(-2 * 3600 - 1)).await.contains("too long ago"));
    assert!(cloud.refused(&at(301)).await.contains("too long ago"));
    for missing in ["accountId", "instanceId", "region", "pendingTime"] {
        assert_eq!(cloud.refused(&with(missing, Value::Null)).await, "", "{missing}");
    }
    token(cloud.introduced(&at(-3600)).await);
}

#[tokio::test]
async fn the_region_of_the_machine_counts_and_not_only_that_of_the_key() {
    let cloud = cloud().await;
    let start = cloud.build("start").await;
    cloud.built(&start, (INSTANCE, &ARN.replace("eu-central-1", "eu-west-1"))).await;
    assert!(cloud.refused(&cloud.document(&[])).await.contains("not the one"));
    let start = cloud.build("start").await;
    cloud.built(&start, (INSTANCE, "")).await;
    assert!(cloud.refused(&cloud.document(&[])).await.contains("not the one"), "a machine of which nothing is known is nobody's");
}

#[tokio::test]
async fn a_signature_is_good_for_its_own_document_only() {
    let cloud = cloud().await;
    let (document, other) = (cloud.document(&[]), cloud.document(&[("accountId", json!("1"))]));
    for (document, signature) in [
        (other.as_str(), cloud.sign(&document)),
        (format!("{document} ").as_str(), cloud.sign(&document)),
        (document.as_str(), String::new()),
        (document.as_str(), "not base64!".to_owned()),
        (document.as_str(), STANDARD.encode(b"0\x80")),
        ("", cloud.sign("")),
        (document.as_str(), "A".repeat(20_000)),
    ] {
        let answer = cloud.ask(document, &signature).await.is(401);
        assert_eq!((&answer["message"], &answer["detail"]), (&json!("the instance identity is not accepted"), &Value::Null));
    }
    token(cloud.introduced(&document).await);
}

#[tokio::test]
async fn a_token_lives_as_long_as_its_build_and_survives_another_apply() {
    let cloud = cloud().await;
    let first = token(cloud.introduced(&cloud.document(&[])).await);
    let start = cloud.build("start").await;
    cloud.built(&start, (INSTANCE, ARN)).await;
    assert_eq!(cloud.hello(&first).await, 200, "the machine was not started anew");

    let stop = cloud.build("stop").await;
    let stopped = JobId::Build(stop["id"].as_str().unwrap().parse().unwrap());
    cloud.world.run(stopped, json!({ "outcome": { "kind": "succeeded" } })).await;
    assert!(matches!(cloud.hello(&first).await, 401 | 403));
    cloud.world.pass(60);
    assert!(cloud.refused(&cloud.document(&[])).await.contains("no running workspace"));
    let start = cloud.build("start").await;
    cloud.built(&start, (INSTANCE, ARN)).await;
    cloud.world.pass(60);
    assert_eq!(cloud.hello(&token(cloud.introduced(&cloud.document(&[])).await)).await, 200);
}

#[tokio::test]
async fn nobody_takes_anothers_instance_also_while_it_is_stopped() {
    let cloud = cloud().await;
    let stop = cloud.build("stop").await;
    let stopped = JobId::Build(stop["id"].as_str().unwrap().parse().unwrap());
    cloud.world.run(stopped, json!({ "outcome": { "kind": "succeeded" } })).await;
    let eve = cloud.world.user("eve", &[]).await;
    let workspace = cloud.world.workspace(&eve, cloud.workspace["template_id"].as_str().unwrap(), "trap").await;
    let job = JobId::Build(workspace["latest_build"]["id"].as_str().unwrap().parse().unwrap());
    let mut finish = up(AgentId(Uuid::new_v4()), "none");
    let agent = &mut finish["resources"][0]["agents"][0];
    (agent["token"], agent["auth"]) = (Value::Null, json!("aws-instance-identity"));
    (agent["instance_id"], agent["instance_arn"]) = (json!(INSTANCE), json!(ARN));
    let (session, _) = cloud.world.claim(job).await;
    let refused = cloud.world.by(&session).post(&format!("/api/v2/runner/jobs/{}/finish", job.uuid()), finish).await;
    assert!(refused.status.is_client_error(), "{refused:?}");
    assert!(cloud.refused(&cloud.document(&[])).await.contains("no running workspace"));
}
