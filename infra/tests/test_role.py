"""Who may do what: each role holds what its code calls, on our own resources, and nothing else."""

import re

import botocore.session
import pytest

from policy import ADMINISTRATOR, can, listed, statements
from stack import ACCOUNT, INFRA, REGION, ROOT, Deployment, as_json

ROLES = [
    "Functions/ApiRole",
    "Functions/DispatchRole",
    "Functions/ReapRole",
    "Functions/SweepRole",
    "Relay/ExecutionRole",
    "Relay/TaskRole",
    "Runner/ExecutionRole",
    "Runner/TaskRole",
]

# Every action that a role of ours allows: where our code calls it (a file and what stands there), or which service does it for us.
CALLS = {
    "dynamodb:GetItem": ("crates/store/src", "get_item"),
    "dynamodb:BatchGetItem": ("crates/store/src", "batch_get_item"),
    "dynamodb:Query": ("crates/store/src", ".query()"),
    "dynamodb:UpdateItem": ("crates/store/src", "update_item"),
    "dynamodb:DeleteItem": ("crates/store/src", "delete_item"),
    "dynamodb:ConditionCheckItem": ("crates/store/src", "condition_check("),
    "s3:GetObject": ("crates/store/src", "get_object"),
    "s3:PutObject": ("crates/store/src", "put_object"),
    "s3:ListBucket": "S3: without it a missing key answers 403, not 404",
    "kms:Decrypt": "S3, to open an object",
    "kms:GenerateDataKey": "S3, to seal an object",
    "sqs:SendMessage": ("functions", "send_message"),
    "sqs:ReceiveMessage": "Lambda's event source",
    "sqs:DeleteMessage": "Lambda's event source",
    "sqs:GetQueueAttributes": "Lambda's event source",
    "ecs:RunTask": ("functions/dispatch/src", "run_task"),
    "ecs:UpdateService": ("functions", "update_service"),
    "iam:PassRole": "ECS, to start a task with its roles",
    "logs:CreateLogStream": "Lambda and Fargate, to write logs",
    "logs:PutLogEvents": "Lambda and Fargate, to write logs",
    "ecr:GetAuthorizationToken": "Fargate, to pull an image",
    "ecr:BatchCheckLayerAvailability": "Fargate, to pull an image",
    "ecr:BatchGetImage": "Fargate, to pull an image",
    "ecr:GetDownloadUrlForLayer": "Fargate, to pull an image",
    "route53:ChangeResourceRecordSets": ("relay/src", "change_resource_record_sets"),
    "route53:GetChange": ("relay/src", "get_change"),
    "ec2:DescribeNetworkInterfaces": ("relay/src", "Action=DescribeNetworkInterfaces"),
}

# Actions that are no operation of AWS's own API models, and what they stand for.
NO_OPERATION = {
    "dynamodb:ConditionCheckItem": "part of TransactWriteItems",
    "s3:ListBucket": "ListObjectsV2",
    "iam:PassRole": "asked where a role is handed on",
}

# Where AWS knows no narrower resource: aws service authorization reference, 2026-11.
EVERYTHING = {
    "ecr:GetAuthorizationToken": "the token is the account's, for all repositories",
    "ec2:DescribeNetworkInterfaces": "describing knows no resources",
}


def allowances(deployment):
    for role in ROLES:
        for statement in statements(deployment, role):
            if statement["Effect"] == "Allow":
                yield role, statement


def test_the_list_of_roles_is_the_list_of_roles(deployment):
    assert sorted(ROLES) == sorted(repr(role) for role in deployment.of("AWS::IAM::Role"))


def test_the_statements_of_every_role_have_been_reviewed(sleeping, same_as):
    text = "What every role may do (RelaySleeps=true). Review each change; written by `pytest infra/tests --write`.\n"
    for role in ROLES:
        properties = sleeping.one(role).properties
        trust = properties["AssumeRolePolicyDocument"]["Statement"]
        text += f"\n== {role}: {properties['Description']}\nassumed by {', '.join(one['Principal']['Service'] for one in trust)}\n"
        for one in statements(sleeping, role):
            text += f"{one['Effect'].lower()} {one['Sid']}\n"
            text += "".join(f"    {action}\n" for action in listed(one["Action"]))
            text += "".join(f"  on {resource}\n" for resource in listed(one["Resource"]))
            for operator, keys in one.get("Condition", {}).items():
                text += "".join(f"  if {operator} {key} {', '.join(map(str, listed(value)))}\n" for key, value in keys.items())
    same_as(INFRA / "tests" / "roles.txt", text)


def test_no_allowance_has_a_wildcard_for_an_action(sleeping):
    for role, statement in allowances(sleeping):
        for action in listed(statement["Action"]):
            assert re.fullmatch(r"[a-z0-9]+:[A-Za-z0-9]+", action), f"{role}: {action}"


def test_a_star_for_a_resource_stands_only_where_aws_has_no_other(sleeping):
    for role, statement in allowances(sleeping):
        if "*" in listed(statement["Resource"]):
            for action in listed(statement["Action"]):
                assert action in EVERYTHING, f"{role}: {action} on *"


def test_every_action_is_called_and_is_spelt_as_aws_spells_it(sleeping):
    allowed = {action for _, statement in allowances(sleeping) for action in listed(statement["Action"])}
    assert allowed == set(CALLS), "the table CALLS says who calls each action"
    for action, call in CALLS.items():
        assert is_an_operation(action) or action in NO_OPERATION, f"AWS has no operation {action}"
        if isinstance(call, tuple):
            folder, text = call
            assert any(text in path.read_text() for path in (ROOT / folder).rglob("*.rs")), f"{action}: nothing in {folder} calls {text}"


def operations(service):
    """The operations of a service in AWS's own API model."""
    return botocore.session.get_session().get_service_model(service).operation_names


def is_an_operation(action):
    service, operation = action.split(":")
    return operation in operations(service)


# Requests that our code can make and that nothing on AWS makes, or that IAM asks about under other names.
NOT_ASKED_FOR = {
    "dynamodb:CreateTable": "a laptop's table",
    "dynamodb:UpdateTimeToLive": "a laptop's table",
    "dynamodb:TransactWriteItems": "allowed by what it is made of",
    "s3:DeleteObject": "Blobs::delete, which only tests call",
}


@pytest.mark.parametrize(
    ("folder", "services"),
    [
        ("crates/store/src", ["dynamodb", "s3"]),
        ("functions/api/src", ["sqs", "s3"]),
        ("functions/dispatch/src", ["ecs"]),
        ("functions/sweep/src", ["sqs", "ecs"]),
        ("functions/reap/src", ["ecs", "sqs"]),
        ("relay/src", ["route53", "s3"]),
    ],
)
def test_every_request_that_code_makes_is_allowed_or_said_not_to_be(folder, services):
    texts = [path.read_text().split("#[cfg(test)]")[0] for path in (ROOT / folder).rglob("*.rs") if "tests" not in path.parts and path.name != "tests.rs"]
    called = set(re.findall(r"\.\s*([a-z0-9_]+)\(\)", "\n".join(texts)))
    for service in services:
        for operation in operations(service):
            if re.sub(r"(?<!^)([A-Z])", r"_\1", operation).lower() in called:
                assert f"{service}:{operation}" in CALLS | NOT_ASKED_FOR, f"{folder} calls {service}:{operation}"


def test_a_misspelt_action_is_found():
    assert is_an_operation("dynamodb:GetItem")
    assert not is_an_operation("dynamodb:GetItems")
    assert not is_an_operation("sqs:SendMesage")


def test_roles_are_assumed_by_the_one_service_that_runs_the_code(deployment):
    for role in ROLES:
        (trust,) = deployment.one(role).properties["AssumeRolePolicyDocument"]["Statement"]
        expected = "lambda.amazonaws.com" if role.startswith("Functions/") else "ecs-tasks.amazonaws.com"
        assert trust["Principal"] == {"Service": expected}, role
        if not role.startswith("Functions/"):
            assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}, role


class Places:
    """The resources that the matrix asks about."""

    def __init__(self, deployment):
        outputs = deployment.outputs
        self.table = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{outputs['Table']}"
        self.index = f"{self.table}/index/gsi1"
        self.other_table = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/someone-elses"
        self.bucket = f"arn:aws:s3:::{outputs['Bucket']}"
        self.web = f"arn:aws:s3:::{outputs['WebBucket']}"
        self.key = outputs["Key"]
        self.queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue-queue"
        self.dead = f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue-deadletters"
        self.cluster = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/berth"
        self.task = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/berth/0123456789abcdef"
        self.runner = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/berth-runner:9"
        self.relay = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/berth-relay:9"
        self.service = f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/berth/berth-relay"
        self.zone = "arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ"
        self.runner_role = f"arn:aws:iam::{ACCOUNT}:role/berth/berth/Runner-TaskRole"
        self.api_role = f"arn:aws:iam::{ACCOUNT}:role/berth/berth/Functions-ApiRole"
        self.api = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:berth-api"
        self.logs = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/berth-api:log-stream:x"
        self.distribution = f"arn:aws:cloudfront::{ACCOUNT}:distribution/E123"
        self.viewer = f"arn:aws:cloudfront::{ACCOUNT}:function/berth-{REGION}-viewer"
        self.stack = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/berth/0"


S3 = {"kms_viaservice": f"s3.{REGION}.amazonaws.com"}
TASKS = {"iam_passedtoservice": "ecs-tasks.amazonaws.com"}
OURS = {"ecs_cluster": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/berth"}
ELSEWHERE = {"ecs_cluster": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/other"}


def record(*names, kind="A"):
    return {
        "route53_changeresourcerecordsetsnormalizedrecordnames": list(names),
        "route53_changeresourcerecordsetsrecordtypes": [kind],
    }


MATRIX = [
    # role, what, on what (a place, or a place and what is below it), condition keys, may
    ("Api", "dynamodb:GetItem", "table", {}, True),
    ("Api", "dynamodb:Query", "index", {}, True),
    ("Api", "dynamodb:Scan", "table", {}, False),
    ("Api", "dynamodb:PutItem", "table", {}, False),
    ("Api", "dynamodb:DeleteTable", "table", {}, False),
    ("Api", "dynamodb:GetItem", "other_table", {}, False),
    ("Api", "s3:GetObject", "bucket/keys/1", {}, True),
    ("Api", "s3:PutObject", "bucket/state/w/b/1", {}, True),
    ("Api", "s3:PutObject", "bucket/uploads/1", {}, True),
    ("Api", "s3:GetObject", "bucket/relay/account", {}, False),
    ("Api", "s3:DeleteObject", "bucket/state/w/b/1", {}, False),
    ("Api", "s3:DeleteObjectVersion", "bucket/state/w/b/1", {}, False),
    ("Api", "s3:PutObject", "web/releases/1/bin/berth-linux-amd64", {}, False),
    ("Api", "kms:Decrypt", "key", S3, True),
    ("Api", "kms:Decrypt", "key", {}, False),
    ("Api", "kms:ScheduleKeyDeletion", "key", {}, False),
    ("Api", "sqs:SendMessage", "queue", {}, True),
    ("Api", "sqs:ReceiveMessage", "queue", {}, False),
    ("Api", "ecs:RunTask", "runner", OURS, False),
    ("Api", "iam:PassRole", "runner_role", TASKS, False),
    ("Dispatch", "dynamodb:UpdateItem", "table", {}, True),
    ("Dispatch", "s3:GetObject", "bucket/item/1/2", {}, True),
    ("Dispatch", "s3:GetObject", "bucket/keys/1", {}, False),
    ("Dispatch", "s3:GetObject", "bucket/state/w/b/1", {}, False),
    ("Dispatch", "sqs:ReceiveMessage", "queue", {}, True),
    ("Dispatch", "sqs:SendMessage", "queue", {}, False),
    ("Dispatch", "sqs:ReceiveMessage", "dead", {}, False),
    ("Dispatch", "ecs:RunTask", "runner", OURS, True),
    ("Dispatch", "ecs:RunTask", "runner", ELSEWHERE, False),
    ("Dispatch", "ecs:RunTask", "relay", OURS, False),
    ("Dispatch", "ecs:RegisterTaskDefinition", "runner", {}, False),
    ("Dispatch", "ecs:UpdateService", "service", {}, True),
    ("Dispatch", "iam:PassRole", "runner_role", TASKS, True),
    ("Dispatch", "iam:PassRole", "runner_role", {"iam_passedtoservice": "ec2.amazonaws.com"}, False),
    ("Dispatch", "iam:PassRole", "api_role", TASKS, False),
    ("Reap", "dynamodb:UpdateItem", "table", {}, True),
    ("Reap", "s3:GetObject", "bucket/keys/1", {}, False),
    ("Reap", "sqs:SendMessage", "queue", {}, False),
    ("Reap", "ecs:StopTask", "task", {}, False),
    ("Sweep", "dynamodb:Query", "index", {}, True),
    ("Sweep", "sqs:SendMessage", "queue", {}, True),
    ("Sweep", "ecs:UpdateService", "service", {}, True),
    ("Sweep", "ecs:RunTask", "runner", OURS, False),
    ("Sweep", "s3:GetObject", "bucket/keys/1", {}, False),
    ("Relay", "s3:PutObject", "bucket/relay/leader", {}, True),
    ("Relay", "s3:GetObject", "bucket/keys/1", {}, False),
    ("Relay", "s3:GetObject", "bucket/state/w/b/1", {}, False),
    ("Relay", "s3:ListBucket", "bucket", {"s3_prefix": "relay/"}, True),
    ("Relay", "s3:ListBucket", "bucket", {"s3_prefix": "state/"}, False),
    ("Relay", "dynamodb:GetItem", "table", {}, False),
    ("Relay", "sqs:SendMessage", "queue", {}, False),
    ("Relay", "route53:ChangeResourceRecordSets", "zone", record("relay.berth.example.com"), True),
    ("Relay", "route53:ChangeResourceRecordSets", "zone", record(r"\052.apps.berth.example.com"), True),
    ("Relay", "route53:ChangeResourceRecordSets", "zone", record("_acme-challenge.apps.berth.example.com", kind="TXT"), True),
    ("Relay", "route53:ChangeResourceRecordSets", "zone", record("berth.example.com"), False),
    ("Relay", "route53:ChangeResourceRecordSets", "zone", record("relay.berth.example.com", "example.com"), False),
    ("Relay", "route53:ChangeResourceRecordSets", "zone", record("relay.berth.example.com", kind="NS"), False),
    ("Relay", "route53:ChangeResourceRecordSets", "zone", {}, False),
]


@pytest.mark.parametrize(("role", "action", "place", "context", "may"), MATRIX)
def test_a_role_may_do_what_its_code_does_and_no_more(sleeping, role, action, place, context, may):
    path = "Relay/TaskRole" if role == "Relay" else f"Functions/{role}Role"
    assert can(statements(sleeping, path), action, on(sleeping, place), **context) == may


def on(deployment, place):
    name, slash, below = place.partition("/")
    return getattr(Places(deployment), name) + slash + below


def test_a_relay_that_never_sleeps_is_nobodys_to_stop(deployment):
    for role in ("Functions/DispatchRole", "Functions/SweepRole"):
        assert not can(statements(deployment, role), "ecs:UpdateService", on(deployment, "service"))


# What a template could try, were the operator to attach AdministratorAccess to the runner.
REACHES = [
    ("dynamodb:GetItem", "table", {}),
    ("dynamodb:Query", "index", {}),
    ("dynamodb:DeleteTable", "table", {}),
    ("s3:GetObject", "bucket/state/w/b/1", {}),
    ("s3:GetObject", "bucket/keys/1", {}),
    ("s3:ListBucket", "bucket", {}),
    ("s3:PutObject", "web/releases/1/bin/berth-agent-linux-amd64", {}),
    ("kms:Decrypt", "key", S3),
    ("kms:CreateGrant", "key", {}),
    ("kms:PutKeyPolicy", "key", {}),
    ("sqs:SendMessage", "queue", {}),
    ("sqs:ReceiveMessage", "dead", {}),
    ("ecs:RunTask", "runner", OURS),
    ("ecs:DescribeTasks", "task", {}),
    ("ecs:ExecuteCommand", "task", {}),
    ("ecs:UpdateService", "service", {}),
    ("lambda:GetFunction", "api", {}),
    ("lambda:UpdateFunctionCode", "api", {}),
    ("logs:GetLogEvents", "logs", {}),
    ("cloudformation:UpdateStack", "stack", {}),
    ("iam:PutRolePolicy", "runner_role", {}),
    ("iam:DeleteRolePolicy", "runner_role", {}),
    ("iam:PassRole", "api_role", {"iam_passedtoservice": "lambda.amazonaws.com"}),
    ("sts:AssumeRole", "api_role", {}),
    ("route53:ChangeResourceRecordSets", "zone", record("berth.example.com")),
    ("route53:ChangeResourceRecordSets", "zone", record("x.example.com", "relay.berth.example.com")),
    ("cloudfront:UpdateFunction", "viewer", {}),
    ("cloudfront:UpdateDistribution", "distribution", {"aws_resourcetag_berth_deployment": "berth"}),
]


@pytest.mark.parametrize(("action", "place", "context"), REACHES)
def test_nothing_of_berth_is_reached_from_a_build_even_by_an_administrator(deployment, action, place, context):
    own = statements(deployment, "Runner/TaskRole")
    assert not can(own, action, on(deployment, place), **context)
    assert can(ADMINISTRATOR, action, on(deployment, place), **context), "the question itself is a good one"
    assert not can(own + ADMINISTRATOR, action, on(deployment, place), **context)


def test_a_build_may_do_in_the_account_what_the_operator_attached(deployment):
    own = statements(deployment, "Runner/TaskRole")
    for action, resource, context in [
        ("ec2:RunInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*", {}),
        ("dynamodb:GetItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/someone-elses", {}),
        ("route53:ChangeResourceRecordSets", on(deployment, "zone"), record("dev.example.com")),
        ("ecs:RunTask", f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/workspace:1", ELSEWHERE),
    ]:
        assert not can(own, action, resource, **context), "by itself it may do nothing"
        assert can(own + ADMINISTRATOR, action, resource, **context)


def test_policies_that_the_operator_names_are_attached_to_the_builds_alone():
    arn = "arn:aws:iam::aws:policy/AmazonEC2FullAccess"
    deployment = Deployment(RunnerPolicyArns=arn)
    holders = [repr(role) for role in deployment.of("AWS::IAM::Role") if arn in role.properties.get("ManagedPolicyArns", [])]
    assert holders == ["Runner/TaskRole"]


def test_the_amazons_key_needs_no_permission():
    deployment = Deployment(KmsKey="aws")
    actions = {action for _, statement in allowances(deployment) for action in listed(statement["Action"])}
    assert not any(action.startswith("kms:") for action in actions)
    assert not deployment.of("AWS::KMS::Key")
    assert as_json(deployment.one("Functions/Api").properties).count('"BERTH_KMS_KEY": ""') == 1
