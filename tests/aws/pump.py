"""Where Fargate would run a task: a process per container, its end told to ECS and, as AWS does, to EventBridge.

MiniStack keeps the records of clusters, services and tasks; it has no containers without Docker. The pump takes every task that it
places, starts the program that the container's image would start, and sets the task's state when the process ends. Faults are asked
for by command and happen once.
"""

import contextlib
import datetime
import http.server
import json
import os
import re
import secrets
import signal
import subprocess
import threading
from pathlib import Path

from cloud import ACCOUNT, REGION

# Limits of RunTask: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
STARTED_BY = re.compile(r"[A-Za-z0-9_/-]{0,128}")
CLIENT_TOKEN = re.compile(r"[!-~]{0,64}")
OVERRIDE_CHARACTERS = 8192
# How long a task role's credentials are good.
SESSION = datetime.timedelta(hours=6)
# How long a container that is asked to end may take when its definition does not say, in seconds.
STOP_SECONDS = 30
# What a process that SIGKILL ended is to ECS.
KILLED = 128 + signal.SIGKILL


class Pump:
    """All tasks of the bed.

    `images` maps a container's name to what its image does: a function from the environment that ECS gives to the program and the
    environment that it really gets here.
    """

    def __init__(self, cloud, place, images):
        self.cloud, self.place, self.images = cloud, Path(place, "tasks"), images
        self.place.mkdir()
        self.lock = threading.RLock()
        self.tasks = {}
        self.launches = {}
        self.refusals = []
        self.starts = []
        self.events = {}
        self.held = []
        self.closed = False
        self.roles = Roles(cloud)

    def install(self):
        """Puts the pump between ECS's API and its records."""
        from ministack.services import ecs

        self.ecs = ecs
        self.place_task, self.mark_stopped = ecs._run_task, ecs._mark_task_stopped
        ecs._run_task, ecs._mark_task_stopped = self.place_and_start, self.stop
        ecs._ACTION_MAP["RunTask"] = self.run_task

    # What ECS is asked.

    def run_task(self, data):
        """RunTask: refuses what AWS refuses, answers a repeated client token as the first time, then places and starts."""
        refused = self.refusal(data)
        if refused:
            return refused
        token, asked = data.get("clientToken"), json.dumps(data, sort_keys=True)
        with self.lock:
            if token and token in self.launches:
                before, answer = self.launches[token]
                if before == asked:
                    return answer
                return self.error(
                    "ConflictException", "The request was not idempotent: the client token was used with other parameters."
                )
            answer = self.ecs._run_task(data)
            if token and answer[0] == 200:
                self.launches[token] = (asked, answer)
            return answer

    def refusal(self, data):
        with self.lock:
            if self.refusals:
                fault = self.refusals.pop(0)
                if "code" in fault:
                    return self.error(fault["code"], fault["message"])
                cluster = f"arn:aws:ecs:{REGION}:{ACCOUNT}:container-instance/{secrets.token_hex(16)}"
                return self.answer(
                    {"tasks": [], "failures": [{"arn": cluster, "reason": fault["reason"], "detail": fault.get("detail", "")}]}
                )
        if not STARTED_BY.fullmatch(data.get("startedBy", "")):
            return self.error(
                "InvalidParameterException", "startedBy should be 128 letters, numbers, hyphens, slashes or underscores at most."
            )
        if not CLIENT_TOKEN.fullmatch(data.get("clientToken", "")):
            return self.error("InvalidParameterException", "Client token is invalid.")
        if len(json.dumps(data.get("overrides", {}))) > OVERRIDE_CHARACTERS:
            return self.error("InvalidParameterException", "Container Overrides length must be at most 8192.")
        definition = self.ecs._task_defs.get(self.ecs._resolve_td_key(data.get("taskDefinition", "")))
        network = data.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
        if definition and definition.get("networkMode") == "awsvpc" and not network.get("subnets"):
            return self.error(
                "InvalidParameterException", "Network Configuration must be provided when networkMode 'awsvpc' is specified."
            )
        names = {container["name"] for container in (definition or {}).get("containerDefinitions", [])}
        for override in data.get("overrides", {}).get("containerOverrides", []):
            if definition and override.get("name") not in names:
                return self.error(
                    "InvalidParameterException",
                    "Override for container named " + str(override.get("name")) + " is not a container in the TaskDefinition.",
                )
        return None

    def answer(self, body, status=200):
        return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(body).encode()

    def error(self, code, message):
        return self.answer({"__type": code, "message": message}, 400)

    def place_and_start(self, data):
        """Places a task, a service's too, and starts its container."""
        key = self.ecs._resolve_td_key(data.get("taskDefinition", ""))
        if not data.get("group") and key in self.ecs._task_defs:
            data = {**data, "group": "family:" + self.ecs._task_defs[key]["family"]}  # as ECS does; MiniStack leaves it out
        answer = self.place_task(data)
        if answer[0] == 200:
            for placed in json.loads(answer[2])["tasks"]:
                record = self.ecs._tasks[placed["taskArn"]]
                with self.lock:
                    # A service's task is never one that a story makes fail.
                    fault = self.starts.pop(0) if self.starts and not record["group"].startswith("service:") else None
                self.start(record, fault)
        return answer

    def stop(self, arn, record, reason, code, exit_code=None):
        """StopTask, and a service that scales in: asks the process to end. Its end is the task's."""
        with self.lock:
            task = self.tasks.get(arn)
        if task is None:
            return self.mark_stopped(arn, record, reason, code, exit_code)
        record["desiredStatus"] = "STOPPED"
        task.ask_to_end(reason, code)
        return True

    # Tasks.

    def start(self, record, fault):
        definition = self.ecs._task_defs[self.ecs._resolve_td_key(record["taskDefinitionArn"])]
        container = definition["containerDefinitions"][0]
        if fault and fault["start"] == "never":
            record["lastStatus"] = record["containers"][0]["lastStatus"] = "PROVISIONING"
            return
        if fault and fault["start"] == "fails":
            record["containers"][0]["reason"] = fault["reason"]
            self.over(record, fault["reason"], "TaskFailedToStart", None)
            return
        if container["name"] not in self.images:
            return
        task = Task(self, record, definition, container)
        with self.lock:
            self.tasks[record["taskArn"]] = task
        self.tell(record)
        task.run()

    def over(self, record, reason, code, exit_code):
        """The task is stopped, and EventBridge hears of it."""
        from ministack.core.responses import request_scope

        with self.lock:
            self.tasks.pop(record["taskArn"], None)
        if self.closed:
            return
        with request_scope(ACCOUNT, REGION):
            record["desiredStatus"] = "RUNNING"  # what says to MiniStack that it is active
            self.mark_stopped(record["taskArn"], record, reason, code, exit_code)
            group = record["group"]
            if group.startswith("service:"):
                cluster = record["clusterArn"].rsplit("/", 1)[-1]
                self.ecs._reconcile_service_tasks(cluster, f"{cluster}/{group.split(':', 1)[1]}")
        self.tell(record)

    def tell(self, record):
        """The event "ECS Task State Change", as often and as late as a fault says.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
        """
        detail = self.ecs._sanitize(record)
        detail["updatedAt"] = detail.get("stoppedAt") or detail.get("startedAt")
        event = {
            "Source": "aws.ecs",
            "DetailType": "ECS Task State Change",
            "Resources": [record["taskArn"]],
            "Detail": json.dumps(detail),
        }
        with self.lock:
            fault = self.events.get(job_of(record)) if record["lastStatus"] == "STOPPED" else None
            if fault == "hold":
                self.held.append((job_of(record), event))
        if fault not in ("lose", "hold"):
            self.deliver([event] * (2 if fault == "twice" else 1))

    def deliver(self, events):
        from ministack.core.responses import request_scope
        from ministack.services import eventbridge

        with request_scope(ACCOUNT, REGION):
            eventbridge._put_events({"Entries": events}, allow_aws_source=True)

    # What a story asks for.

    def list(self):
        """The tasks that run: job, task and process of each."""
        with self.lock:
            tasks = list(self.tasks.values())
        return [
            {"job": job_of(task.record), "arn": task.record["taskArn"], "container": task.name, "pid": task.process.pid}
            for task in tasks
            if task.process
        ]

    def all(self):
        """Every task there was, with the job it was for, in the order in which they were placed."""
        return [
            {
                "job": job_of(record),
                "status": record["lastStatus"],
                "group": record["group"],
                "reason": record["stoppedReason"],
                "startedBy": record["startedBy"],
            }
            for record in list(self.ecs._tasks._data.values())
        ]

    def release(self, job):
        """Delivers the events of a job that were held; gives how many."""
        with self.lock:
            events = [event for of, event in self.held if of == job]
            self.held = [one for one in self.held if one[0] != job]
        if events:
            self.deliver(events)
        return len(events)

    def kill_runner(self, job):
        """SIGKILL to the runner of a job, as the kernel does when memory is short; gives whether there was one."""
        with self.lock:
            found = [task for task in self.tasks.values() if job_of(task.record) == job]
        for task in found:
            task.kill()
        return bool(found)

    def close(self):
        """Ends every task at once."""
        self.closed = True
        with self.lock:
            tasks = list(self.tasks.values())
        for task in tasks:
            task.kill()


def job_of(record):
    """The job's id in a task's overrides."""
    for override in record["overrides"].get("containerOverrides", []):
        for variable in override.get("environment", []):
            if variable["name"] == "BERTH_JOB_ID":
                return variable["value"]
    return None


class Task:
    """One container as a process in a session of its own."""

    def __init__(self, pump, record, definition, container):
        self.pump, self.record, self.container, self.name = pump, record, container, container["name"]
        self.role = definition.get("taskRoleArn")
        self.process = None
        self.reason, self.code = "Essential container in task exited", "EssentialContainerExited"

    def run(self):
        program, variables = self.pump.images[self.name](self.variables())
        identifier = self.record["taskArn"].rsplit("/", 1)[-1]
        log = open(Path(self.pump.place, f"{self.name}-{identifier}.log"), "wb")
        self.process = subprocess.Popen(
            [program], env=variables, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        threading.Thread(target=self.wait, name=identifier, daemon=True).start()

    def variables(self):
        """What ECS sets: the definition's environment, the override's over it, and where the role's credentials are."""
        variables = {one["name"]: one["value"] for one in self.container.get("environment", [])}
        for override in self.record["overrides"].get("containerOverrides", []):
            if override.get("name") == self.name:
                variables.update({one["name"]: one["value"] for one in override.get("environment", [])})
        if self.role:
            variables.update(self.pump.roles.variables(self.role))
        return variables

    def wait(self):
        status = self.process.wait()
        self.kill()
        code = 128 - status if status < 0 else status
        self.pump.over(self.record, self.reason, self.code, code)

    def ask_to_end(self, reason, code):
        """SIGTERM now, SIGKILL after the definition's stop timeout."""
        self.reason, self.code = reason, code
        self.signal(signal.SIGTERM)
        timer = threading.Timer(self.container.get("stopTimeout", STOP_SECONDS), self.kill)
        timer.daemon = True
        timer.start()

    def kill(self):
        """What is left of the container ends with it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Roles:
    """The credentials of task roles, from an endpoint such as the one that each Fargate task has.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
    """

    def __init__(self, cloud):
        self.cloud, self.sessions = cloud, {}
        roles = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                found = roles.sessions.get(self.path)
                right = found and secrets.compare_digest(self.headers.get("Authorization") or "", found["authorization"])
                body = json.dumps(found["credentials"] if right else {"message": "Unauthorized"}).encode()
                self.send_response(200 if right else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 3600}, daemon=True).start()

    def session(self, role):
        """A new session of a role, as an SDK takes it."""
        from ministack.services import sts

        key, secret, token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(40)
        name = role.rsplit("/", 1)[-1]
        who = {"Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{key.lower()}", "UserId": f"{name}:{key.lower()}"}
        sts.register_session(key, {**who, "SecretAccessKey": secret, "SessionToken": token})
        return {"aws_access_key_id": key, "aws_secret_access_key": secret, "aws_session_token": token}

    def variables(self, role):
        """A new session of a role, and what tells an SDK where it is."""
        key, secret, token = self.session(role).values()
        ends = datetime.datetime.now(datetime.timezone.utc) + SESSION
        credentials = {"AccessKeyId": key, "SecretAccessKey": secret, "Token": token, "RoleArn": role}
        credentials["Expiration"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
        path, authorization = f"/v2/credentials/{secrets.token_hex(16)}", secrets.token_hex(16)
        self.sessions[path] = {"credentials": credentials, "authorization": authorization}
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self.server.server_address[1]}{path}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": authorization,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.cloud.url,
        }
