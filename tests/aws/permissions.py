"""What ECS asks of a policy: MiniStack judges all its actions by the cluster alone.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
"""

import json

from cloud import ACCOUNT, REGION


def install():
    """Judges ECS's actions by the resources that AWS judges them by, and RunTask by iam:PassRole too."""
    from ministack.core import iam_actions, iam_evaluator

    resource, context, enforce = iam_actions.extract_resource_arn, iam_actions.request_tag_context, iam_evaluator.enforce

    def extract_resource_arn(service, method, path, headers, body, *rest):
        asked = fields(service, body)
        if asked is None:
            return resource(service, method, path, headers, body, *rest)
        return judged_by(asked)

    def request_tag_context(service, action, body, *rest):
        asked = fields(service, body)
        said = context(service, action, body, *rest)
        return said if asked is None else {**said, "ecs:cluster": arn("cluster", asked.get("cluster", "default"))}

    def enforce_too(key, action, service, region, resource_arn="*", service_context=None):
        denied = enforce(key, action, service, region, resource_arn, service_context)
        if action == "ecs:RunTask" and not denied:
            passed = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
            for role in roles(resource_arn):
                denied = denied or enforce(key, "iam:PassRole", "iam", region, role, passed)
        return denied

    iam_actions.extract_resource_arn, iam_actions.request_tag_context = extract_resource_arn, request_tag_context
    iam_evaluator.enforce = enforce_too


def fields(service, body):
    """What a request to ECS says; `None` for other services."""
    return json.loads(body or b"{}") if service == "ecs" else None


def arn(kind, name):
    return name if name.startswith("arn:") else f"arn:aws:ecs:{REGION}:{ACCOUNT}:{kind}/{name}"


def judged_by(asked):
    """The resource of an action by what it is asked; of several tasks or services the first."""
    cluster = asked.get("cluster", "default").rsplit("/", 1)[-1]
    if "taskDefinition" in asked and "service" not in asked:
        return arn("task-definition", asked["taskDefinition"])
    service = asked.get("service") or next(iter(asked.get("services", [])), None)
    if service:
        return arn("service", f"{cluster}/{service}" if not service.startswith("arn:") else service)
    task = asked.get("task") or next(iter(asked.get("tasks", [])), None)
    if task:
        return arn("task", f"{cluster}/{task}" if not task.startswith("arn:") else task)
    return arn("cluster", cluster)


def roles(definition):
    """The roles that a task of a definition runs with."""
    from ministack.services import ecs

    found = ecs._task_defs.get(ecs._resolve_td_key(definition)) or {}
    return [found[name] for name in ("taskRoleArn", "executionRoleArn") if found.get(name)]
