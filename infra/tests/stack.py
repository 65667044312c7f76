"""The templates as CloudFormation would see them: translated by SAM, nested stacks joined, parameters put in, functions worked out.

`Deployment(parameters)` holds every resource of the deployment with its properties resolved. Values that only AWS knows (an ARN, an id)
become ones of the right shape, the same each time.
"""

import copy
import json
import re
from pathlib import Path

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

INFRA = Path(__file__).resolve().parent.parent
ROOT = INFRA.parent
TEMPLATES = sorted(path.name for path in INFRA.glob("*.yaml"))
ACCOUNT, REGION = "123456789012", "eu-west-1"

# What an operator must say, and in a region other than us-east-1.
NEEDED = {
    "Domain": "berth.example.com",
    "ZoneId": "Z0123456789ABCDEFGHIJ",
    "OriginSecret": "a" * 64,
    "CertificateArn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/11111111-2222-3333-4444-555555555555",
    "RunnerImage": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/berth/runner@sha256:{'1' * 64}",
    "RelayImage": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/berth/relay@sha256:{'2' * 64}",
}

PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "berth",
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/berth/0",
}
NOTHING = object()


def source(name):
    """A template as it is written."""
    return yaml_parse((INFRA / name).read_text())


def translated(template):
    """What the SAM transform makes of a template; raises what it does not understand."""
    template = copy.deepcopy(template)
    if "Transform" not in template:
        return template
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # `sam` puts the place of the upload here.
            resource["Properties"]["CodeUri"] = "s3://artifacts-of-sam/code"
    return transform(template, {}, ManagedPolicies())


class ManagedPolicies:
    """SAM asks AWS for these names; our templates use none."""

    def load(self):
        return {}


class Resource:
    """One resource of the deployment."""

    def __init__(self, stack, name, kind, properties, declaration):
        self.stack, self.name, self.kind, self.properties, self.declaration = stack, name, kind, properties, declaration

    def __repr__(self):
        return f"{self.stack}/{self.name}"


class Deployment:
    """Every resource of the root template and of the templates nested in it."""

    def __init__(self, **parameters):
        self.resources, self.outputs, self.environments = {}, {}, {}
        given = {name: str(value) for name, value in {**NEEDED, **parameters}.items()}
        self.outputs = self._stack("template.yaml", "Root", given)

    def of(self, kind):
        """The resources of one type."""
        return [resource for resource in self.resources.values() if resource.kind == kind]

    def one(self, path):
        """The resource at "Functions/Api"."""
        return self.resources[path]

    def _stack(self, template, stack, given):
        document = translated(source(template))
        scope = Scope(stack, document, given)
        for name in scope.order():
            declaration = document["Resources"][name]
            if not scope.holds(declaration.get("Condition")):
                continue
            properties = scope.resolve(declaration.get("Properties", {}))
            if declaration["Type"] == "AWS::CloudFormation::Stack":
                outputs = self._stack(properties["TemplateURL"], name, properties.get("Parameters", {}))
                scope.nested[name] = outputs
            else:
                resource = Resource(stack, name, declaration["Type"], properties, declaration)
                self.resources[f"{stack}/{name}"] = resource
        outputs = document.get("Outputs", {})
        return {name: scope.resolve(output["Value"]) for name, output in outputs.items() if scope.holds(output.get("Condition"))}


class Scope:
    """What names mean inside one stack."""

    def __init__(self, stack, document, given):
        self.stack, self.document, self.nested = stack, document, {}
        self.parameters = {}
        for name, declaration in document.get("Parameters", {}).items():
            value = given.get(name, declaration.get("Default"))
            if value is None:
                raise KeyError(f"{stack}: the parameter {name} is not given")
            self.parameters[name] = self._checked(name, declaration, value)
        unknown = set(given) - set(self.parameters)
        if unknown:
            raise KeyError(f"{stack}: no parameters {sorted(unknown)}")

    def _checked(self, name, declaration, value):
        text = value if isinstance(value, str) else ",".join(value) if isinstance(value, list) else str(value)
        pattern, allowed = declaration.get("AllowedPattern"), declaration.get("AllowedValues")
        if pattern and not re.fullmatch(pattern, text):
            raise ValueError(f"{self.stack}: {name}={text!r} is not {pattern}")
        if allowed and text not in [str(one) for one in allowed]:
            raise ValueError(f"{self.stack}: {name}={text!r} is none of {allowed}")
        lists = declaration["Type"] == "CommaDelimitedList" or declaration["Type"].startswith("List<")
        return text.split(",") if lists else text

    def order(self):
        """Nested stacks after those whose outputs they take; the rest as written."""
        resources, done = self.document["Resources"], []

        def visit(name, above):
            if name in above:
                raise ValueError(f"{self.stack}: {' -> '.join([*above, name])} is a circle")
            if name in done:
                return
            for other in references(resources[name].get("Properties", {})):
                if other in resources and resources[other]["Type"] == "AWS::CloudFormation::Stack":
                    visit(other, [*above, name])
            done.append(name)

        for name in resources:
            visit(name, [])
        return done

    def holds(self, condition):
        return condition is None or self.resolve(self.document["Conditions"][condition])

    def resolve(self, value):
        if isinstance(value, list):
            resolved = [self.resolve(one) for one in value]
            return [one for one in resolved if one is not NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), = value.items()
            if name == "Condition" and isinstance(argument, str):
                return self.holds(argument)
            if name == "Ref" or name.startswith("Fn::"):
                return getattr(self, "_" + name.removeprefix("Fn::").lower())(argument)
        resolved = {name: self.resolve(one) for name, one in value.items()}
        return {name: one for name, one in resolved.items() if one is not NOTHING}

    def _ref(self, name):
        if name == "AWS::NoValue":
            return NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        return self._made(name, "Ref")

    def _getatt(self, argument):
        name, attribute = argument.split(".", 1) if isinstance(argument, str) else (argument[0], ".".join(argument[1:]))
        if name in self.nested:
            return self.nested[name][attribute.removeprefix("Outputs.")]
        return self._made(name, attribute)

    def _made(self, name, attribute):
        kind = self.document["Resources"][name]["Type"]
        shown = self.resolve(self.document["Resources"][name].get("Properties", {})) if kind not in CIRCULAR else {}
        return made(kind, f"{self.stack}-{name}", attribute, shown)

    def _sub(self, argument):
        text, given = argument if isinstance(argument, list) else (argument, {})

        def value(match):
            name = match.group(1)
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in given:
                return str(self.resolve(given[name]))
            found = self._getatt(name) if "." in name else self._ref(name)
            return ",".join(found) if isinstance(found, list) else str(found)

        return re.sub(r"\$\{([^}]+)\}", value, text)

    def _if(self, argument):
        condition, then, otherwise = argument
        return self.resolve(then if self.holds(condition) else otherwise)

    def _equals(self, argument):
        left, right = (self.resolve(one) for one in argument)
        return str(left) == str(right)

    def _not(self, argument):
        return not self.resolve(argument[0])

    def _and(self, argument):
        return all(self.resolve(one) for one in argument)

    def _or(self, argument):
        return any(self.resolve(one) for one in argument)

    def _join(self, argument):
        return argument[0].join(str(one) for one in self.resolve(argument[1]))

    def _split(self, argument):
        return self.resolve(argument[1]).split(argument[0])

    def _select(self, argument):
        return self.resolve(argument[1])[int(self.resolve(argument[0]))]

    def _findinmap(self, argument):
        name, first, second = (self.resolve(one) for one in argument)
        return self.document["Mappings"][name][first][second]

    def _getazs(self, _):
        return [f"{REGION}{zone}" for zone in "abc"]


# Not looked into to name them: what they hold may lead back to them.
CIRCULAR = {"AWS::S3::BucketPolicy", "AWS::CloudFront::Distribution", "AWS::SQS::Queue", "AWS::Lambda::Function"}


def made(kind, name, attribute, properties):
    """What AWS would say of a resource: of the right shape, and the same each time."""
    place = f"{REGION}:{ACCOUNT}"
    lower = name.lower()
    arns = {
        "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{place}:table/{lower}",
        "AWS::S3::Bucket": f"arn:aws:s3:::{lower}",
        "AWS::KMS::Key": f"arn:aws:kms:{place}:key/00000000-0000-0000-0000-{len(name):012d}",
        "AWS::SQS::Queue": f"arn:aws:sqs:{place}:{lower}",
        "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role{properties.get('Path', '/')}{name}",
        "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{ACCOUNT}:policy{properties.get('Path', '/')}{name}",
        "AWS::ECS::Cluster": f"arn:aws:ecs:{place}:cluster/{properties.get('ClusterName', name)}",
        "AWS::ECS::TaskDefinition": f"arn:aws:ecs:{place}:task-definition/{properties.get('Family', name)}:7",
        "AWS::ECS::Service": f"arn:aws:ecs:{place}:service/{properties.get('Cluster')}/{properties.get('ServiceName', name)}",
        "AWS::Logs::LogGroup": f"arn:aws:logs:{place}:log-group:{properties.get('LogGroupName', name)}:*",
        "AWS::Lambda::Function": f"arn:aws:lambda:{place}:function:{name}",
        "AWS::Events::Rule": f"arn:aws:events:{place}:rule/{properties.get('Name', name)}",
        "AWS::CertificateManager::Certificate": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/{lower}",
        "AWS::SNS::Topic": f"arn:aws:sns:{place}:{properties.get('TopicName', name)}",
    }
    by_arn = {"AWS::IAM::ManagedPolicy", "AWS::ECS::TaskDefinition", "AWS::ECS::Service", "AWS::SNS::Topic", "AWS::CertificateManager::Certificate"}
    if attribute == "Arn" or (attribute == "Ref" and kind in by_arn):
        return arns[kind]
    if kind == "AWS::SQS::Queue":
        return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{lower}" if attribute == "Ref" else lower
    if attribute == "Ref":
        own = {"AWS::ECS::Cluster": "ClusterName", "AWS::Logs::LogGroup": "LogGroupName"}.get(kind)
        return properties.get(own, lower) if own else lower
    if attribute == "FunctionUrl":
        return f"https://{lower}.lambda-url.{REGION}.on.aws/"
    if (kind, attribute) == ("AWS::ECS::Service", "Name"):
        return properties["ServiceName"]
    return f"{lower}.{attribute.lower()}"


def references(value):
    """The logical names that a value refers to."""
    if isinstance(value, list):
        for one in value:
            yield from references(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name == "Ref":
                yield one
            elif name == "Fn::GetAtt":
                yield one.split(".")[0] if isinstance(one, str) else one[0]
            elif name == "Fn::Sub":
                yield from (found.split(".")[0] for found in re.findall(r"\$\{([^}!]+)\}", one[0] if isinstance(one, list) else one))
            else:
                yield from references(one)


def as_json(value):
    """A value as text that a person can read a difference of."""
    return json.dumps(value, indent=2, sort_keys=True)
