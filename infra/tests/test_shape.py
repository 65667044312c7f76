"""What the deployment is made of, and what must be true of it whatever else changes."""

import re

import pytest

from stack import INFRA, ROOT, Deployment, references, source

# What costs money while nobody works, or hides what happens. There is always another way.
NEVER = ["AWS::EC2::NatGateway", "AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::EC2::EIP", "AWS::EC2::Instance", "AWS::RDS::DBInstance"]


def test_there_is_no_nat_no_load_balancer_and_no_machine(deployment):
    kinds = {resource.kind for resource in deployment.resources.values()}
    assert not kinds & set(NEVER)


def test_data_outlives_the_stack(deployment):
    for path in ["Data/Table", "Data/Bucket", "Data/BucketPolicy", "Data/WebBucket", "Data/Key"]:
        declaration = deployment.one(path).declaration
        assert declaration["DeletionPolicy"] in ("Retain", "RetainExceptOnCreate"), path
        assert declaration["UpdateReplacePolicy"] == "Retain", path
    table = deployment.one("Data/Table").properties
    assert table["DeletionProtectionEnabled"] and table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]


def test_kept_data_is_used_again_and_not_made_anew():
    deployment = Deployment(ExistingTable="berth-restored", ExistingBucket="kept-bucket", KmsKey="arn:aws:kms:eu-west-1:123456789012:key/" + "a" * 36)
    assert not deployment.of("AWS::DynamoDB::Table") and not deployment.of("AWS::KMS::Key")
    assert [one.name for one in deployment.of("AWS::S3::Bucket")] == ["WebBucket"]
    variables = deployment.one("Functions/Api").properties["Environment"]["Variables"]
    assert (variables["BERTH_TABLE"], variables["BERTH_BUCKET"]) == ("berth-restored", "kept-bucket")
    rows = deployment.one("Functions/StorePolicy").properties["PolicyDocument"]["Statement"][0]
    assert rows["Resource"].endswith(":table/berth-restored")


def test_the_table_is_the_one_that_the_store_draws(deployment):
    table = deployment.one("Data/Table").properties
    text = "".join((ROOT / "crates/store/src" / name).read_text() for name in ["table.rs", "table/schema.rs"])
    (index,) = table["GlobalSecondaryIndexes"]
    assert f'const INDEX: &str = "{index["IndexName"]}";' in text
    assert all(f'"{one["AttributeName"]}"' in text for one in table["AttributeDefinitions"])
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert 'attribute_name("ttl")' in text


def test_a_runaway_loop_is_capped(deployment):
    table = deployment.one("Data/Table").properties
    for capped in [table, *table["GlobalSecondaryIndexes"]]:
        assert capped["OnDemandThroughput"]["MaxWriteRequestUnits"] <= 1000
        assert capped["OnDemandThroughput"]["MaxReadRequestUnits"] <= 5000


def test_buckets_are_private_versioned_encrypted_and_speak_tls_only(deployment):
    policies = {one.properties["Bucket"]: one.properties["PolicyDocument"]["Statement"] for one in deployment.of("AWS::S3::BucketPolicy")}
    for bucket in deployment.of("AWS::S3::Bucket"):
        properties = bucket.properties
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}, bucket
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}, bucket
        assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"], bucket
        statements = policies[f"data-{bucket.name.lower()}"]
        denials = [one for one in statements if one["Effect"] == "Deny" and one["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}]
        assert denials and denials[0]["Action"] == "s3:*" and len(denials[0]["Resource"]) == 2, bucket


def test_uploads_go_after_a_day_and_states_stay_a_year(deployment):
    rules = {one["Id"]: one for one in deployment.one("Data/Bucket").properties["LifecycleConfiguration"]["Rules"]}
    assert rules["uploads"]["ExpirationInDays"] == 1 and rules["uploads"]["Prefix"] == "uploads/"
    assert rules["states"]["NoncurrentVersionExpiration"]["NoncurrentDays"] >= 365 and "ExpirationInDays" not in rules["states"]
    # A rule for everything would take signing keys and states with it.
    assert all(one.get("Prefix") or set(one) == {"Id", "Status", "AbortIncompleteMultipartUpload"} for one in rules.values())
    assert not any(one.get("Prefix", "x").startswith("keys") for one in rules.values())


def test_a_message_is_not_handled_twice_at_once_and_a_bad_one_ends_in_the_dead_letters(deployment):
    queue = deployment.one("Queue/Queue").properties
    (source_of_events,) = deployment.of("AWS::Lambda::EventSourceMapping")
    assert queue["VisibilityTimeout"] >= 6 * deployment.one("Functions/Dispatch").properties["Timeout"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 5
    assert source_of_events.properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source_of_events.properties["ScalingConfig"]["MaximumConcurrency"] >= 2
    alarms = [one.properties for one in deployment.of("AWS::CloudWatch::Alarm")]
    assert any(one.get("Dimensions") == [{"Name": "QueueName", "Value": "queue-deadletters"}] for one in alarms)


def test_the_api_answers_before_cloudfront_gives_up(deployment):
    origins = deployment.one("Edge/Distribution").properties["DistributionConfig"]["Origins"]
    (api,) = [one for one in origins if one["Id"] == "api"]
    assert deployment.one("Functions/Api").properties["Timeout"] < api["CustomOriginConfig"]["OriginReadTimeout"]


def test_the_url_is_open_and_guarded_by_the_secret(deployment):
    (url,) = deployment.of("AWS::Lambda::Url")
    assert url.properties["AuthType"] == "NONE"
    actions = {one.properties["Action"] for one in deployment.of("AWS::Lambda::Permission") if one.properties.get("Principal") == "*"}
    # Since October 2025 a public URL needs both.
    assert actions == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert deployment.one("Functions/Api").properties["Environment"]["Variables"]["BERTH_ORIGIN_SECRETS"]


def test_secrets_are_not_shown(deployment):
    for name, secrets in {"template.yaml": 2, "functions.yaml": 2, "edge.yaml": 1}.items():
        parameters = source(name)["Parameters"]
        assert sum(one.get("NoEcho") is True for one in parameters.values()) == secrets
        assert all(one.get("NoEcho") for parameter, one in parameters.items() if "Secret" in parameter)


def test_functions_are_of_one_architecture_and_so_are_the_tasks():
    for architecture, cpu in {"arm64": "ARM64", "x86_64": "X86_64"}.items():
        deployment = Deployment(Architecture=architecture)
        assert {tuple(one.properties["Architectures"]) for one in deployment.of("AWS::Lambda::Function")} == {(architecture,)}
        assert {one.properties["RuntimePlatform"]["CpuArchitecture"] for one in deployment.of("AWS::ECS::TaskDefinition")} == {cpu}


def test_every_log_ends_up_in_a_group_that_forgets():
    deployment = Deployment(LogRetentionDays=7)
    groups = {one.properties["LogGroupName"]: one.properties["RetentionInDays"] for one in deployment.of("AWS::Logs::LogGroup")}
    assert set(groups.values()) == {"7"}
    for function in deployment.of("AWS::Lambda::Function"):
        assert function.properties["LoggingConfig"] == {"LogFormat": "JSON", "LogGroup": f"/aws/lambda/{function.properties['FunctionName']}"}
        assert function.properties["LoggingConfig"]["LogGroup"] in groups
    for task in deployment.of("AWS::ECS::TaskDefinition"):
        (container,) = task.properties["ContainerDefinitions"]
        assert container["LogConfiguration"]["Options"]["awslogs-group"] in groups


def test_tasks_cannot_write_to_their_image_and_get_fargates_longest_time_to_end(deployment):
    for task in deployment.of("AWS::ECS::TaskDefinition"):
        (container,) = task.properties["ContainerDefinitions"]
        assert container["ReadonlyRootFilesystem"] is True, task
        assert container["StopTimeout"] == 120, task
        assert not container.get("Privileged") and "Add" not in container["LinuxParameters"]["Capabilities"], task
        # Secrets come with the job or from the bucket.
        assert "Secrets" not in container, task


# Docker's and Fargate's default capabilities.
DEFAULT = {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}


@pytest.mark.parametrize(("task", "image", "kept"), [("Runner", "runner-image/Dockerfile", {"CHOWN", "KILL", "SETGID", "SETUID"}), ("Relay", "relay/Dockerfile", {"NET_BIND_SERVICE"})])
def test_a_task_keeps_the_capabilities_that_its_image_asks_for_and_is_nobodys_root(deployment, task, image, kept):
    (container,) = deployment.one(f"{task}/TaskDefinition").properties["ContainerDefinitions"]
    assert DEFAULT - set(container["LinuxParameters"]["Capabilities"]["Drop"]) == kept
    dockerfile = (ROOT / image).read_text()
    (asked,) = re.findall(r"setcap (cap_[a-z_,]+)=", dockerfile)
    assert {name.removeprefix("cap_").upper() for name in asked.split(",")} == kept
    users = re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)
    assert users and re.match(r"[1-9][0-9]*(:|$)", users[-1]), "a numeric user that is not root"


def test_the_relay_is_up_before_the_one_before_it_goes(deployment):
    service = deployment.one("Relay/Service").properties
    assert service["DeploymentConfiguration"]["MinimumHealthyPercent"] == 100
    assert service["DeploymentConfiguration"]["MaximumPercent"] == 200
    # An update of the stack must not wake it, nor send it to sleep.
    assert "DesiredCount" not in service


def test_the_relay_starts_after_the_api_that_it_asks_and_is_named_before(sleeping):
    stacks = source("template.yaml")["Resources"]
    assert stacks["Relay"]["DependsOn"] == "Edge"
    # Functions, and so the API, must not wait for a relay that waits for them.
    assert not any("Relay" in set(references(stacks[name]["Properties"])) for name in ("Functions", "Edge", "Runner"))
    name = sleeping.one("Functions/Dispatch").properties["Environment"]["Variables"]["BERTH_RELAY_SERVICE"]
    assert name == sleeping.one("Relay/Service").properties["ServiceName"]


def test_builds_are_never_dialled_and_the_relay_only_where_it_listens(deployment):
    assert "SecurityGroupIngress" not in deployment.one("Network/RunnerSecurityGroup").properties
    ingress = deployment.one("Network/RelaySecurityGroup").properties["SecurityGroupIngress"]
    assert {(one["IpProtocol"], one["FromPort"], one["ToPort"]) for one in ingress} == {("tcp", 443, 443), ("udp", 7842, 7842)}


def test_a_vpc_of_the_operators_is_used():
    deployment = Deployment(VpcId="vpc-0abc", SubnetIds="subnet-1,subnet-2", AssignPublicIp="DISABLED")
    assert not deployment.of("AWS::EC2::VPC") and not deployment.of("AWS::EC2::Subnet")
    variables = deployment.one("Functions/Dispatch").properties["Environment"]["Variables"]
    assert (variables["BERTH_SUBNETS"], variables["BERTH_ASSIGN_PUBLIC_IP"]) == ("subnet-1,subnet-2", "DISABLED")
    assert deployment.one("Relay/Service").properties["NetworkConfiguration"]["AwsvpcConfiguration"]["Subnets"] == ["subnet-1", "subnet-2"]
    assert {one.properties["VpcId"] for one in deployment.of("AWS::EC2::SecurityGroup")} == {"vpc-0abc"}


def test_only_task_ends_of_our_own_builds_wake_the_reaper(deployment):
    (rule,) = [one for one in deployment.of("AWS::Events::Rule") if "EventPattern" in one.properties]
    detail = rule.properties["EventPattern"]["detail"]
    task = deployment.one("Runner/TaskDefinition").properties
    assert detail["lastStatus"] == ["STOPPED"] and detail["group"] == [f"family:{task['Family']}"]
    assert detail["clusterArn"] == [deployment.one("Functions/Dispatch").properties["Environment"]["Variables"]["BERTH_CLUSTER"]]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("Domain", "https://berth.example.com"),
        ("Domain", "berth.example.com."),
        ("Domain", "Berth.example.com"),
        ("OriginSecret", "short"),
        ("OriginSecret", "a" * 32 + ","),
        ("ZoneId", "/hostedzone/Z0123456789ABCDEFGHIJ"),
        ("CertificateArn", "arn:aws:acm:eu-west-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"),
        ("Architecture", "amd64"),
        ("KmsKey", "alias/berth"),
        ("Version", "../0.1.0"),
    ],
)
def test_a_parameter_that_cannot_work_is_refused_before_anything_is_made(parameter, value):
    with pytest.raises(ValueError, match=parameter):
        Deployment(**{parameter: value})


def test_every_parameter_is_explained_and_grouped():
    template = source("template.yaml")
    grouped = [name for group in template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(template["Parameters"])
    unexplained = [name for name, one in template["Parameters"].items() if "Description" not in one and "AllowedValues" not in one]
    assert unexplained == []


def test_alarms_say_where_to_read_on(deployment):
    guide = (ROOT / "docs/operator.md").read_text().lower()
    for alarm in deployment.of("AWS::CloudWatch::Alarm"):
        (heading,) = re.findall(r"Troubleshooting: (.+)$", alarm.properties["AlarmDescription"])
        assert re.search(rf"^### {re.escape(heading.lower())}$", guide, re.MULTILINE), heading


def test_the_guide_names_outputs_and_parameters_that_are_there():
    guide, template = (ROOT / "docs/operator.md").read_text(), source("template.yaml")
    outputs = set(re.findall(r"OutputKey=='(\w+)'", guide))
    given = set(re.findall(r"\b([A-Z][A-Za-z]+)=", " ".join(re.findall(r"sam deploy --parameter-overrides (.+)", guide))))
    assert len(outputs) >= 2 and outputs <= set(template["Outputs"])
    assert len(given) >= 6 and given <= set(template["Parameters"])


def test_files_name_only_files_that_are_there():
    for path in INFRA.glob("*.yaml"):
        for name in re.findall(r"\b(?:docs|crates|infra)/[\w/]+\.\w+", path.read_text()):
            assert (ROOT / name).exists(), f"{path.name} names {name}"
