"""What a program reads from its environment is what the template puts there: every variable, and none besides."""

import re

import pytest

from stack import ROOT

# A program: where its configuration is read, the resource that sets it, and variables that the template has no reason to set.
LAMBDA = "crates/lambda/src/lib.rs"
PROGRAMS = {
    "api": (["functions/api/src/config.rs", LAMBDA], "Functions/Api", set()),
    "dispatch": (["functions/dispatch/src/config.rs", LAMBDA], "Functions/Dispatch", set()),
    "reap": (["functions/reap/src/config.rs", LAMBDA], "Functions/Reap", set()),
    "sweep": (["functions/sweep/src/config.rs", LAMBDA], "Functions/Sweep", set()),
    # A relay without TLS is for test beds; the port of address discovery is the one that clients expect; a minute is right for records.
    "relay": (["relay/src/config.rs"], "Relay/TaskDefinition", {"BERTH_TLS", "BERTH_DISCOVERY_PORT", "BERTH_DNS_TTL"}),
}


def names(text):
    """The variables that a source file reads; its tests at the bottom do not count."""
    return set(re.findall(r'"(BERTH_[A-Z0-9_]+)"', text.split("#[cfg(test)]")[0]))


def variables(deployment, path):
    """The environment that a function or the one container of a task is started with."""
    properties = deployment.one(path).properties
    if "Environment" in properties:
        return properties["Environment"]["Variables"]
    (container,) = properties["ContainerDefinitions"]
    return {one["Name"]: one["Value"] for one in container["Environment"]}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_told_what_it_reads_and_nothing_else(sleeping, program):
    files, path, left_out = PROGRAMS[program]
    read = set().union(*(names((ROOT / file).read_text()) for file in files))
    told = {name for name in variables(sleeping, path) if name.startswith("BERTH_")}
    assert told == read - left_out, f"{path} against {files}"


def test_a_runner_is_told_by_the_dispatcher_and_by_its_image(deployment):
    # The job's own variables are in the task's override (functions/dispatch), so that the task definition holds no secret.
    assert set(variables(deployment, "Runner/TaskDefinition")) == {"BERTH_LOG"}


def test_the_container_that_the_dispatcher_overrides_is_in_the_task(deployment):
    (container,) = deployment.one("Runner/TaskDefinition").properties["ContainerDefinitions"]
    assert variables(deployment, "Functions/Dispatch")["BERTH_CONTAINER"] == container["Name"]


def test_two_origin_secrets_are_accepted_while_they_are_rotated():
    from stack import NEEDED, Deployment

    rotating = Deployment(PreviousOriginSecret="b" * 32)
    assert variables(rotating, "Functions/Api")["BERTH_ORIGIN_SECRETS"] == f"{NEEDED['OriginSecret']},{'b' * 32}"
    origins = {one["Id"]: one for one in rotating.one("Edge/Distribution").properties["DistributionConfig"]["Origins"]}
    assert origins["api"]["OriginCustomHeaders"] == [{"HeaderName": "x-berth-origin", "HeaderValue": NEEDED["OriginSecret"]}]
    assert all("OriginCustomHeaders" not in origin for name, origin in origins.items() if name != "api")
