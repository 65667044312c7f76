"""`sam deploy` for the bed: the templates of infra/, the functions' zips, the stack."""

import copy
import io
import json
import os
import re
import subprocess
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

from cloud import REGION

ARTEFACTS = "berth-artefacts"
# Which program a function's zip holds, by the name of the zip or of the build's binary.
FUNCTION = re.compile(r"berth-(api|dispatch|reap|sweep)\b")
VERSION = "0.1.0"
DEPLOY_SECONDS = 120


class Stack:
    """The deployed stack, nested ones included."""

    def __init__(self, cloud, templates, binaries):
        self.cloud, self.templates, self.binaries = cloud, Path(templates), Path(binaries)
        self.name, self.environment = "berth", {}
        self.zips = {}

    def deploy(self, parameters, environment):
        """What the operator's guide says outside us-east-1: the certificate there, then the stack. `environment` has variables of
        functions that are other here than in the templates.
        """
        self.environment = environment
        self.s3 = self.cloud.client("s3")
        self.s3.create_bucket(Bucket=ARTEFACTS, CreateBucketConfiguration={"LocationConstraint": REGION})
        known = self.create(f"{self.name}-certificate", "certificate.yaml", parameters, "us-east-1")
        self.outputs = self.create(self.name, "template.yaml", {**parameters, **known}, REGION)

    def create(self, name, file, parameters, region):
        """Creates a stack of a template with those of the parameters that it has; its outputs."""
        template = self.package(self.templates / file)
        given = [{"ParameterKey": one, "ParameterValue": parameters[one]} for one in parameters if one in template["Parameters"]]
        formation = self.cloud.client("cloudformation", region)
        capabilities = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
        body = json.dumps(template)
        where = {"TemplateBody": body} if region != REGION else {"TemplateURL": self.upload(f"{name}.json", body.encode())}
        formation.create_stack(StackName=name, Parameters=given, Capabilities=capabilities, **where)
        deadline = time.monotonic() + DEPLOY_SECONDS
        while True:
            stack = formation.describe_stacks(StackName=name)["Stacks"][0]
            if stack["StackStatus"] == "CREATE_COMPLETE":
                return {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
            if "IN_PROGRESS" not in stack["StackStatus"] or time.monotonic() > deadline:
                events = formation.describe_stack_events(StackName=name)["StackEvents"]
                why = [
                    f"{one['LogicalResourceId']}: {one.get('ResourceStatusReason')}"
                    for one in events
                    if "FAILED" in one["ResourceStatus"]
                ]
                raise RuntimeError(f"the stack {name} is {stack['StackStatus']}: " + "; ".join(why))
            time.sleep(0.1)

    def package(self, file):
        """A template as plain CloudFormation, with everything that it names uploaded."""
        from samtranslator.translator.transform import transform
        from samtranslator.yaml_helper import yaml_parse

        template = yaml_parse(file.read_text())
        resources = template["Resources"]
        for name, resource in list(resources.items()):
            properties = resource.get("Properties", {})
            if unknown(resource):
                del resources[name]
            elif resource["Type"] == "AWS::Route53::RecordSetGroup":
                del resources[name]
                for number, record in enumerate(properties["RecordSets"]):
                    record["HostedZoneId"] = properties["HostedZoneId"]
                    resources[f"{name}{number}"] = {"Type": "AWS::Route53::RecordSet", "Properties": record}
            elif resource["Type"] == "AWS::CloudFormation::Stack":
                properties["TemplateURL"] = self.nested(file.parent / properties["TemplateURL"])
            elif resource["Type"] == "AWS::Serverless::Application":
                resource["Type"] = "AWS::CloudFormation::Stack"
                properties["TemplateURL"] = self.nested(file.parent / properties.pop("Location"))
            elif resource["Type"] == "AWS::Serverless::Function":
                properties["CodeUri"] = self.zip(name, resource)
                variables = properties.get("Environment", {}).get("Variables", {})
                variables.update({one: self.environment[one] for one in self.environment if one in variables})
        if "Transform" not in template:
            return template
        os.environ["AWS_DEFAULT_REGION"] = REGION
        return transform(copy.deepcopy(template), {}, SimpleNamespace(load=dict))

    def nested(self, file):
        return self.upload(f"{file.stem}.json", json.dumps(self.package(file)).encode())

    def upload(self, key, body):
        self.s3.put_object(Bucket=ARTEFACTS, Key=key, Body=body)
        return f"https://s3.{REGION}.amazonaws.com/{ARTEFACTS}/{key}"

    def zip(self, name, resource):
        """The zip of a function: its debug or release program as `bootstrap`, without what only a debugger reads."""
        found = FUNCTION.search(json.dumps(resource))
        if not found:
            raise RuntimeError(f"{name} does not say which program it runs")
        program = self.binaries / found.group()
        if not program.is_file():
            raise RuntimeError(f"{program} is not built; run `cargo xtask test`, which builds it first")
        key = f"{found.group()}.zip"
        if key not in self.zips:
            body = io.BytesIO()
            with zipfile.ZipFile(body, "w") as archive:
                entry = zipfile.ZipInfo("bootstrap")
                entry.external_attr = 0o755 << 16
                archive.writestr(entry, stripped(program))
            self.upload(key, body.getvalue())
            self.zips[key] = len(body.getvalue())
        return f"s3://{ARTEFACTS}/{key}"

    def publish(self, programs):
        """Puts the programs that people and workspaces download where the guide says; `programs` maps names to files."""
        for name, file in programs.items():
            key = f"releases/{VERSION}/bin/{name}"
            self.s3.put_object(Bucket=self.outputs["WebBucket"], Key=key, Body=stripped(self.binaries / file))

    def resources(self):
        """Every resource: `Nested.Logical` to what AWS calls it, or `Logical` in the outermost stack."""
        formation, found, waiting = self.cloud.client("cloudformation"), {}, [("", self.name)]
        while waiting:
            prefix, stack = waiting.pop()
            for one in formation.list_stack_resources(StackName=stack)["StackResourceSummaries"]:
                name = f"{prefix}{one['LogicalResourceId']}"
                if one["ResourceType"] == "AWS::CloudFormation::Stack":
                    waiting.append((f"{name}.", one["PhysicalResourceId"]))
                else:
                    found[name] = one["PhysicalResourceId"]
        return found


def stripped(program):
    """A program without what only a debugger reads."""
    file = Path(os.environ["TMPDIR"], program.name)
    subprocess.run(["strip", "-o", file, program], check=True)
    content = file.read_bytes()
    file.unlink()
    return content


def unknown(resource):
    """What MiniStack's CloudFormation does not know and no story needs: budgets, and alarms that compute."""
    return resource["Type"] == "AWS::Budgets::Budget" or (
        resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]
    )
