"""Whether a role may do something: what IAM would answer, for the parts of IAM that our policies use.

An explicit denial wins, an allowance comes next, and everything else is refused. A condition operator that is not known here is an error,
so that a new one is not taken for true.
"""

import re

ADMINISTRATOR = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]


def statements(deployment, role):
    """All statements of a role: its own, and those of the managed policies of ours that are attached."""
    properties = deployment.one(role).properties
    found = [one for policy in properties.get("Policies", []) for one in policy["PolicyDocument"]["Statement"]]
    ours = {one.name: one for one in deployment.of("AWS::IAM::ManagedPolicy")}
    for arn in properties.get("ManagedPolicyArns", []):
        name = arn.rsplit("/", 1)[-1].split("-")[-1]
        if name in ours:
            found += ours[name].properties["PolicyDocument"]["Statement"]
    return found


def can(statements, action, resource, **context):
    """Whether the statements allow an action on a resource. Condition keys are given with `:` and `/` as `_`, and `.` left out."""
    fitting = [one for one in statements if fits(one, action, resource, context)]
    denied = any(one["Effect"] == "Deny" for one in fitting)
    return not denied and any(one["Effect"] == "Allow" for one in fitting)


def fits(statement, action, resource, context):
    if not any(like(one, action, fold=True) for one in listed(statement["Action"])):
        return False
    if not any(like(one, resource) for one in listed(statement["Resource"])):
        return False
    return all(holds(operator, key, wanted, context) for operator, keys in statement.get("Condition", {}).items() for key, wanted in keys.items())


def holds(operator, key, wanted, context):
    there = context.get(re.sub("[:/-]", "_", key).lower())
    wanted = [str(one) for one in listed(wanted)]
    if operator == "Null":
        return [str(there is None).lower()] == wanted
    if operator == "Bool":
        return there is not None and [str(there).lower()] == wanted
    quantifier, _, comparison = operator.rpartition(":")
    compare = {"StringEquals": lambda a, b: a == b, "ArnEquals": like, "StringLike": like, "ArnLike": like}[comparison]
    values = listed(there) if there is not None else []
    matches = [any(compare(one, value) for one in wanted) for value in values]
    if quantifier == "ForAllValues":
        return all(matches)
    if quantifier == "ForAnyValue":
        return any(matches)
    assert quantifier == "", operator
    return len(matches) == 1 and matches[0]


def like(pattern, text, fold=False):
    """Whether the pattern with its `*` and `?` is the text."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


def listed(value):
    return value if isinstance(value, list) else [value]
