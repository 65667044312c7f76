"""What it costs, worked out from the template: nothing but the relay is billed by the hour, and docs/cost.md says the rest."""

import re

import pytest

from price import BY_THE_HOUR, BY_THE_MONTH, BY_USE, FREE, FREE_EGRESS_GB, HOURS, MINUTES, PRICES, cost, task
from stack import ROOT, Deployment

# What a developer does in a month. Measured where it says so, else a guess on the high side.
DAYS = 21
CALLS = 400 * DAYS  # of the API
CALL_SECONDS = 0.015
CALL_READS, CALL_WRITES = 3, 0.2
BUILDS = 2.2 * DAYS
BUILD_SECONDS = 150
BUILD_CALLS = 120  # log batches, heartbeats, states
BUILD_WRITES = 150
BUILD_BLOBS = 10  # puts; twice as many gets
RELAYED_GB = 0.5
LOG_KB = 1.0  # a line or two per call
ROWS_GB, BLOBS_GB = 0.005, 0.02

IDLE_BLOBS_GB = 0.3  # releases and images
SWEEP_SECONDS, SWEEP_LOG_KB = 0.01, 0.7
POLLS = 650_000  # of an idle event source: Lambda's pollers, 20 s each, observed


class Bill:
    """One month, line by line."""

    def __init__(self, deployment, developers):
        self.lines = {}
        self._fixed(deployment)
        self._idle(deployment)
        if developers:
            self._work(deployment, developers)

    def add(self, line, dollars):
        self.lines[line] = self.lines.get(line, 0.0) + dollars

    @property
    def total(self):
        return sum(self.lines.values())

    def _fixed(self, deployment):
        relay = deployment.one("Relay/TaskDefinition").properties
        hours = awake(deployment)
        self.add("relay and its address", task(int(relay["Cpu"]), int(relay["Memory"]), hours))
        self.add("key", cost("kms key", len(deployment.of("AWS::KMS::Key"))))
        self.add("alarms", cost("alarm", sum(metrics(alarm) for alarm in deployment.of("AWS::CloudWatch::Alarm"))))
        self.add("hosted zone (yours)", cost("hosted zone", 1))

    def _idle(self, deployment):
        memory = int(deployment.one("Functions/Sweep").properties["MemorySize"]) / 1024
        self.add("sweep", cost("lambda request", MINUTES / 1e6) + cost("lambda arm", MINUTES * SWEEP_SECONDS * memory))
        self.add("sweep", cost("dynamodb read", MINUTES / 1e6) + cost("logs", MINUTES * SWEEP_LOG_KB / 1e6))
        self.add("queue", cost("sqs", POLLS / 1e6))
        self.add("storage", cost("s3 storage", IDLE_BLOBS_GB) + cost("ecr storage", IDLE_BLOBS_GB))

    def _work(self, deployment, developers):
        memory = int(deployment.one("Functions/Api").properties["MemorySize"]) / 1024
        builds = BUILDS * developers
        calls = CALLS * developers + BUILD_CALLS * builds
        self.add("API", cost("lambda request", calls / 1e6) + cost("lambda arm", calls * CALL_SECONDS * memory))
        self.add("API", cost("cloudfront request", calls / 1e6) + cost("cloudfront function", calls / 1e6) + cost("logs", calls * LOG_KB / 1e6))
        reads, writes = calls * CALL_READS, CALLS * developers * CALL_WRITES + builds * BUILD_WRITES
        self.add("table", cost("dynamodb read", reads / 1e6) + cost("dynamodb write", writes / 1e6))
        self.add("table", (PRICES["dynamodb storage"][0] + PRICES["dynamodb pitr"][0]) * ROWS_GB * developers)
        self.add("storage", cost("s3 storage", BLOBS_GB * developers) + cost("s3 put", builds * BUILD_BLOBS / 1e6))
        self.add("storage", cost("s3 get", 2 * builds * BUILD_BLOBS / 1e6) + cost("kms request", 3 * builds * BUILD_BLOBS / 1e6))
        runner = deployment.one("Runner/TaskDefinition").properties
        self.add("builds", task(int(runner["Cpu"]), int(runner["Memory"]), builds * BUILD_SECONDS / 3600))
        self.add("traffic", cost("egress", max(0.0, RELAYED_GB * developers - FREE_EGRESS_GB)))


def metrics(alarm):
    """An alarm is billed by the metrics that it looks at."""
    return max(1, sum("MetricStat" in one for one in alarm.properties.get("Metrics", [])))


def awake(deployment):
    """How many hours a month the relay is there: all of them, or while people work."""
    sleeps = deployment.one("Functions/Sweep").properties["Environment"]["Variables"]["BERTH_RELAY_SERVICE"] != ""
    return 9 * DAYS if sleeps else HOURS


def test_every_kind_of_resource_is_looked_up(deployment):
    kinds = {resource.kind for resource in deployment.resources.values()} | {one.kind for one in Deployment(OperatorEmail="a@b.c").resources.values()}
    assert kinds <= BY_THE_HOUR | BY_THE_MONTH | BY_USE | FREE, "look up how the new kind is billed (price.py)"


def test_only_the_relay_and_its_address_are_billed_by_the_hour(deployment):
    assert [repr(one) for kind in BY_THE_HOUR for one in deployment.of(kind)] == ["Relay/Service"]
    assert deployment.one("Relay/Service").properties["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "ENABLED"
    # A VPC endpoint of another type, provisioned capacity or concurrency, or insights would be billed by the hour too.
    assert {one.properties["VpcEndpointType"] for one in deployment.of("AWS::EC2::VPCEndpoint")} == {"Gateway"}
    assert {one.properties["BillingMode"] for one in deployment.of("AWS::DynamoDB::Table")} == {"PAY_PER_REQUEST"}
    assert not any("ProvisionedConcurrencyConfig" in one.properties for one in deployment.of("AWS::Lambda::Function"))
    assert not deployment.of("AWS::Lambda::Version") and not deployment.of("AWS::Lambda::Alias")
    assert deployment.one("Runner/Cluster").properties["ClusterSettings"] == [{"Name": "containerInsights", "Value": "disabled"}]


def test_what_has_a_price_by_the_month_is_the_key_and_the_alarms(deployment):
    kinds = {one.kind for one in deployment.resources.values()}
    assert kinds & BY_THE_MONTH == {"AWS::KMS::Key", "AWS::CloudWatch::Alarm"}
    assert len(deployment.of("AWS::KMS::Key")) == 1
    assert sum(metrics(alarm) for alarm in deployment.of("AWS::CloudWatch::Alarm")) <= 10, "the first ten are free"


def test_an_idle_month_is_below_fifteen_dollars(deployment):
    assert Bill(deployment, 0).total < 15


def test_an_idle_month_with_a_relay_that_sleeps_all_of_it_is_about_two_dollars():
    bill = Bill(Deployment(RelaySleeps="true"), 0)
    assert bill.total - bill.lines["relay and its address"] < 2.5
    bill = Bill(Deployment(RelaySleeps="true", KmsKey="aws"), 0)
    assert bill.total - bill.lines["relay and its address"] < 1.6


def test_a_build_of_ninety_seconds_costs_less_than_a_tenth_of_a_cent(deployment):
    runner = deployment.one("Runner/TaskDefinition").properties
    assert task(int(runner["Cpu"]), int(runner["Memory"]), 90 / 3600) < 0.001


@pytest.mark.parametrize("developers", [10, 100, 1000])
def test_the_work_costs_less_per_head_than_a_cup_of_coffee(developers):
    deployment = sized(developers)
    assert (Bill(deployment, developers).total - Bill(deployment, 0).total) / developers < 0.50


def sized(developers):
    """The relay that so many developers need: bandwidth sizes it."""
    return Deployment(RelayCpu=1024, RelayMemory=2048) if developers >= 1000 else Deployment()


def test_the_guide_says_what_comes_out(same_as):
    same_as(ROOT / "docs" / "cost.md", document())


def document():
    columns = {"idle": (Deployment(), 0), "idle, asleep": (Deployment(RelaySleeps="true"), None)}
    columns |= {f"{developers:,} developers": (sized(developers), developers) for developers in (10, 100, 1000)}
    bills = {name: Bill(deployment, developers or 0) for name, (deployment, developers) in columns.items()}
    # Nobody works in that month: the relay is never woken.
    bills["idle, asleep"].lines["relay and its address"] = 0.0
    lines = list(dict.fromkeys(line for bill in bills.values() for line in bill.lines))
    text = "# What it costs\n\n"
    text += "Written by `infra/tests/test_cost.py` from the template and one table of prices; a test compares it. US dollars a month in us-east-1, the control\n"
    text += "plane only: workspaces cost what their own resources cost. No free tier is counted but that of traffic (100 GB).\n\n"
    text += "| | " + " | ".join(bills) + " |\n|---" + "|---:" * len(bills) + "|\n"
    for line in lines:
        text += f"| {line} | " + " | ".join(f"{bill.lines.get(line, 0.0):.2f}" for bill in bills.values()) + " |\n"
    text += "| **together** | " + " | ".join(f"**{bill.total:.2f}**" for bill in bills.values()) + " |\n\n"
    text += "With 1,000 developers the relay has 1 vCPU and 2 GB (`RelayCpu=1024 RelayMemory=2048`).\n\n"
    text += "## What to turn\n"
    text += "| parameter | saves |\n|---|---|\n"
    text += f"| `RelaySleeps=true` | about ${relay(HOURS) - relay(9 * DAYS):.2f} where people work nine hours on 21 days; a start after a pause waits a minute or two |\n"
    text += "| `RelayCapacity=FARGATE_SPOT` | more than half of the relay's processor and memory; AWS may move it with two minutes' notice |\n"
    text += f"| `KmsKey=aws` | ${PRICES['kms key'][0]:.2f}; the key is then Amazon's, and S3's permissions alone protect states |\n"
    text += "| `RunnerCapacity=FARGATE_SPOT` | about two thirds of the builds; a build that AWS ends fails, with its state kept |\n\n"
    text += "## What a developer does in a month\n"
    text += f"{DAYS} days; {CALLS:,} calls of the API at {CALL_SECONDS * 1000:.0f} ms; {BUILDS:.0f} builds of {BUILD_SECONDS} s, each with {BUILD_CALLS} calls, {BUILD_WRITES} write units and "
    text += f"{BUILD_BLOBS} blobs;\n{RELAYED_GB} GB through the relay; {ROWS_GB * 1000:.0f} MB of rows and {BLOBS_GB * 1000:.0f} MB of blobs. While nobody works: one sweep a minute, "
    text += "which reads one unit and writes nothing,\nand Lambda's own polling of the queue.\n\n"
    text += "## Prices\n| what | dollars | per | source |\n|---|---:|---|---|\n"
    text += "".join(f"| {name} | {price:.10f}".rstrip("0") + f" | {unit} | {origin} |\n" for name, (price, unit, origin) in PRICES.items())
    return re.sub(r"(\d)\. \|", r"\1 |", text)


def relay(hours):
    return task(256, 512, hours)
