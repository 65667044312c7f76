"""The templates are what CloudFormation takes. SAM's translation is linted, because the linter alone misses what SAM makes of a template."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cfnlint.api import lint
from samtranslator.model.exceptions import InvalidDocumentException

from stack import INFRA, ROOT, TEMPLATES, source, translated

# Both kinds of region: the one that makes CloudFront's certificate, and the others.
REGIONS = ["us-east-1", "eu-west-1"]
# Paths of nested templates, which `sam` replaces by where it uploads them.
IGNORED = {"W3002"}


def findings(template):
    matches = lint(json.dumps(translated(template)), regions=REGIONS)
    return [f"{match.rule.id} {match.message}" for match in matches if match.rule.id not in IGNORED]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_translated_and_linted_without_findings(name):
    assert findings(source(name)) == []


def test_every_nested_template_is_linted():
    nested = {one["Properties"]["TemplateURL"] for one in source("template.yaml")["Resources"].values()}
    assert nested | {"template.yaml", "registry.yaml", "certificate.yaml"} == set(TEMPLATES)


def sam(*arguments):
    program = Path(sys.executable).parent / "sam"
    environment = {**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-west-1"}
    return subprocess.run([program, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("arguments", [[], ["--lint"]])
def test_sam_validates_what_samconfig_names(arguments):
    answer = sam("validate", *arguments)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "is a valid SAM Template" in answer.stdout


@pytest.mark.parametrize("environment", ["default", "dev", "prod"])
def test_samconfig_knows_the_stacks(environment):
    answer = sam("validate", "--config-env", environment)
    assert answer.returncode == 0, answer.stdout + answer.stderr


# Bugs, planted: what the tests of this folder are for must be seen by them.


def planted(name, change):
    template = source(name)
    change(template)
    return template


def the_queue_is_visible_again_too_soon(template):
    template["Resources"]["Queue"] = {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 10}}
    template["Resources"]["Dispatch"]["Properties"]["Events"]["Jobs"]["Properties"]["Queue"] = {"Fn::GetAtt": ["Queue", "Arn"]}


def a_runtime_that_is_not(template):
    template["Globals"]["Function"]["Runtime"] = "provided.al2032"


def the_url_leads_to_the_function_that_leads_to_the_url(template):
    variables = template["Resources"]["Api"]["Properties"]["Environment"]["Variables"]
    variables["BERTH_ACCESS_URL"] = {"Fn::GetAtt": ["ApiUrl", "FunctionUrl"]}


def an_attribute_that_is_not(template):
    template["Outputs"]["ApiFunction"]["Value"] = {"Fn::GetAtt": ["Api", "Adress"]}


def a_property_that_is_not(template):
    template["Resources"]["ApiLogs"]["Properties"]["RetentionDays"] = 3


@pytest.mark.parametrize(
    ("bug", "rule"),
    [
        (the_queue_is_visible_again_too_soon, "E3505"),
        (a_runtime_that_is_not, "E3030"),
        (the_url_leads_to_the_function_that_leads_to_the_url, "E3004"),
        (an_attribute_that_is_not, "E6101"),
        (a_property_that_is_not, "E3002"),
    ],
)
def test_a_planted_bug_is_found(bug, rule):
    found = findings(planted("functions.yaml", bug))
    assert any(one.startswith(rule) for one in found), found


def test_an_unknown_policy_template_is_found():
    def bug(template):
        api = template["Resources"]["Api"]["Properties"]
        del api["Role"]
        api["Policies"] = [{"DynamoDBCrudPolice": {"TableName": "t"}}]

    with pytest.raises(InvalidDocumentException, match="Policy at index 0 .* is not valid"):
        translated(planted("functions.yaml", bug))


def test_sizes_that_fargate_does_not_have_are_found():
    def bug(template):
        template["Resources"]["TaskDefinition"]["Properties"].update(Cpu="256", Memory="8192")

    assert any(one.startswith("E3047") for one in findings(planted("relay.yaml", bug)))


def test_a_parameter_that_a_nested_template_does_not_have_is_found():
    def bug(template):
        template["Resources"]["Edge"]["Properties"]["Parameters"]["Domian"] = "x"

    # The linter reads nested files from beside the template.
    path = INFRA / ".planted.yaml"
    path.write_text(json.dumps(planted("template.yaml", bug)))
    try:
        answer = subprocess.run([Path(sys.executable).parent / "cfn-lint", path], capture_output=True, text=True, timeout=120)
    finally:
        path.unlink()
    assert "E3043" in answer.stdout
