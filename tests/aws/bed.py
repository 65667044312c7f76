"""The AWS shape on this machine: the templates of infra/ deployed to MiniStack, the real functions, runners and relay.

    bed.py BINARIES TEMPLATES [PARAMETER=VALUE...]
        Prints one line of JSON when the deployment answers, then answers commands: a line of JSON in, a line of JSON out. Ends, and
        ends everything that it started, when standard input closes or on SIGTERM.

Commands, by "do":
    call         one call by the AWS SDK: "service", "operation", "arguments"
    may          the same with the credentials of a "role": whether AWS lets it, as the error's code or null
    sweep        the schedule's minute is over
    tasks        the tasks that run, and all there were
    refuse       the next RunTask fails: "reason" for its failures list, or "code" and "message" for an error
    start        the next task does not start: "how" is "never", or "fails" with "reason"
    events       what becomes of the stopped event of "job": "fault" is "lose", "twice", "hold", or null for once and at once
    release      delivers what was held of "job"; gives how many
    kill         kills the runner of "job"
    logs         the last lines of functions, runners and relay
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import permissions
from cloud import Cloud, free_port
from deploy import VERSION, Stack
from edge import Edge
from pump import Pump

DOMAIN = "berth.test"
# The last bytes of each log that `logs` gives.
LOG_BYTES = 6000


class Bed:
    def __init__(self, place, binaries, templates, parameters):
        self.parameters = parameters
        self.place, self.binaries = Path(place), Path(binaries)
        self.cloud = Cloud(place)
        self.edge = Edge()
        self.relay_port = free_port()
        self.relay_url = f"http://127.0.0.1:{self.relay_port}/"
        self.pump = Pump(self.cloud, place, {"runner": self.runner, "relay": self.relay})
        self.stack = Stack(self.cloud, templates, binaries)
        self.workspaces = self.place / "workspaces"

    def start(self):
        """Everything up; what a story must know."""
        self.cloud.start()
        self.pump.install()
        permissions.install()
        zone = self.cloud.client("route53").create_hosted_zone(Name=DOMAIN, CallerReference="bed")["HostedZone"]["Id"]
        parameters = {
            "Domain": DOMAIN,
            "ZoneId": zone.rsplit("/", 1)[-1],
            "Architecture": "x86_64",
            "OriginSecret": "anOriginSecretOfTheBed0123456789abcd",
            "Version": VERSION,
            "RunnerImage": "berth-runner",
            "RelayImage": "berth-relay",
            **self.parameters,
        }
        self.stack.deploy(parameters, {"BERTH_ACCESS_URL": self.edge.url, "BERTH_RELAY_URL": self.relay_url})
        self.stack.publish({"berth-linux-amd64": "berth", "berth-agent-linux-amd64": "berth-agent"})
        self.edge.start(self.cloud, self.relay_port)
        return {
            "url": self.edge.url,
            "relay_url": self.relay_url,
            "cloud_url": self.cloud.url,
            "place": str(self.place),
            "workspaces": str(self.workspaces),
            "outputs": self.stack.outputs,
            "resources": self.stack.resources(),
            "zips": self.stack.zips,
        }

    def runner(self, variables):
        """The runner's image. A workspace is a directory and processes here, and a cancel is noticed within a second: as in laptop mode."""
        variables.pop("BERTH_TERRAFORM_USER", None)  # no such user here
        home = Path(tempfile.mkdtemp(prefix="runner-", dir=self.place))
        return self.binaries / "berth-runner", {
            "PATH": f"{self.binaries}:{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            **variables,
            "BERTH_HEARTBEAT_SECONDS": "1",
            "BERTH_PROCESS_ROOT": str(self.workspaces),
            "BERTH_AGENT_BINARY": str(self.binaries / "berth-agent"),
        }

    def relay(self, variables):
        """The relay's image, without TLS and at an address of loopback."""
        return self.binaries / "berth-relay", {
            "PATH": os.environ["PATH"],
            **variables,
            "BERTH_TLS": "off",
            "BERTH_ACCESS_URL": self.edge.url,
            "BERTH_LISTEN": f"127.0.0.1:{self.relay_port}",
            "BERTH_HEALTH_LISTEN": "127.0.0.1:0",
        }

    def answer(self, command):
        return getattr(self, "do_" + command.pop("do"))(**command)

    def do_call(self, service, operation, arguments):
        answer = getattr(self.cloud.client(service), operation)(**arguments)
        answer.pop("ResponseMetadata", None)
        return answer

    def do_may(self, role, service, operation, arguments):
        from botocore.exceptions import ClientError

        try:
            getattr(self.cloud.client(service, credentials=self.pump.roles.session(role)), operation)(**arguments)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return None

    def do_sweep(self):
        """What the schedule's rule does, now, and to its end. Meanwhile MiniStack fires the rule itself every minute."""
        events, functions = self.cloud.client("events"), self.cloud.client("lambda")
        for rule in events.list_rules()["Rules"]:
            if "ScheduleExpression" in rule:
                for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
                    said = functions.invoke(FunctionName=target["Arn"], Payload=target.get("Input", "{}"))
                    if "FunctionError" in said:
                        raise RuntimeError(said["Payload"].read().decode())

    def do_tasks(self):
        return {"running": self.pump.list(), "all": self.pump.all()}

    def do_refuse(self, **fault):
        self.pump.refusals.append(fault)

    def do_start(self, how, reason=""):
        self.pump.starts.append({"start": how, "reason": reason})

    def do_events(self, job, fault):
        self.pump.events[job] = fault

    def do_release(self, job):
        return self.pump.release(job)

    def do_kill(self, job):
        return self.pump.kill_runner(job)

    def do_logs(self):
        """Logs as an operator would read them in CloudWatch, and the tasks'."""
        found = {}
        logs = self.cloud.client("logs")
        for group in logs.describe_log_groups()["logGroups"]:
            name = group["logGroupName"]
            lines = logs.filter_log_events(logGroupName=name, limit=10000)["events"]
            found[name] = "\n".join(line["message"].rstrip() for line in lines)[-LOG_BYTES:]
        for file in sorted(self.pump.place.iterdir()):
            found[file.name] = file.read_text(errors="replace")[-LOG_BYTES:]
        return found

    def close(self):
        self.pump.close()
        end_processes_of(self.place)


def end_processes_of(place):
    """Ends what was started for this bed and is nobody's child any more: agents and what runs in workspaces, functions."""
    text = str(place).encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text in (entry / "environ").read_bytes() or text in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                continue


def serve(place, binaries, templates, *parameters):
    bed = Bed(place, os.path.abspath(binaries), os.path.abspath(templates), dict(one.split("=", 1) for one in parameters))
    # What MiniStack prints is not an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        print(json.dumps({"ready": bed.start()}), file=answers, flush=True)
        for line in sys.stdin:
            try:
                answer = {"answer": bed.answer(json.loads(line))}
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer, default=str), file=answers, flush=True)
    finally:
        bed.close()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    home, code = tempfile.mkdtemp(prefix="berth-bed-"), 0
    try:
        serve(home, *sys.argv[1:])
    except Exception:
        traceback.print_exc()
        code = 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
        os._exit(code)  # MiniStack's threads do not end by themselves
