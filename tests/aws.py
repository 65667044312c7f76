"""AWS on loopback for the stories: moto, corrected where it differs from AWS in a way that a template meets.

    aws.py serve
        Serves until standard input closes; prints its URL as the first line.
    aws.py call URL SERVICE OPERATION JSON
        One call by the AWS SDK, for example `ec2 describe_instances '{}'`; prints the answer as JSON.
"""

import base64
import json
import os
import sys
import time

REGION = "eu-central-1"


def image(identifier, owner, name, architecture, platform=None):
    """An image as its publisher offers it; moto's own list ends in 2022."""
    return {
        "ami_id": identifier,
        "name": name,
        "description": name,
        "owner_id": owner,
        "architecture": architecture,
        "platform": platform,
        "state": "available",
        "public": True,
        "image_location": f"{owner}/{name}",
        "image_type": "machine",
        "root_device_type": "ebs",
        "root_device_name": "/dev/sda1",
        "virtualization_type": "hvm",
        "hypervisor": "xen",
        "sriov": "simple",
    }


IMAGES = [
    image("ami-0beb000000000a001", "099720109477", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250601", "x86_64"),
    image("ami-0beb000000000a002", "099720109477", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-20250601", "arm64"),
    image("ami-0beb000000000a003", "801119661308", "Windows_Server-2022-English-Full-Base-2025.06.11", "x86_64", "windows"),
    image("ami-0beb000000000a004", "628277914472", "amzn-ec2-macos-15.5-20250601-000000-arm64", "arm64_mac"),
]


def serve():
    """Serves until standard input closes, so that no server outlives the story that started it."""
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models import amis
    from moto.ec2.responses.instances import InstanceResponse
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    amis.AMIS.extend(IMAGES)
    spread_changes()
    handler = InstanceResponse._dot_value_instance_attribute_handler
    parameter = InstanceResponse._get_param

    def modify(self):
        """ModifyInstanceAttribute for user data.

        On the wire the new user data is a blob: base64, once. moto's parser has already decoded it when this handler decodes it
        again, which fails for anything that is not base64 itself (InvalidUserData.Malformed). AWS takes it, from a stopped
        instance only:
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html
        """
        value = parameter(self, "UserData.Value")
        if value is None:
            return handler(self)
        instance = self.ec2_backend.get_instance(parameter(self, "InstanceId"))
        if instance.state != "stopped":
            message = f"The instance '{instance.id}' is not in the 'stopped' state."
            raise EC2ClientError("IncorrectInstanceState", message)
        encoded = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        self._get_param = lambda name, *rest: encoded if name == "UserData.Value" else parameter(self, name, *rest)
        try:
            return handler(self)
        finally:
            del self._get_param

    InstanceResponse._dot_value_instance_attribute_handler = modify
    one_at_a_time()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()


def spread_changes():
    """Route 53 changes its servers one after the other: a change is PENDING at first and INSYNC when all have it, a minute later at the
    most; here after a second. moto's are INSYNC at once.
    https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetChange.html
    """
    from moto.route53.responses import Route53

    changed, told, made = Route53.change_resource_record_sets, Route53.get_change, {}

    def change(self):
        answer = changed(self)
        identifier = f"C{len(made):013}"
        made[identifier] = time.monotonic()
        answer.result["ChangeInfo"].update(Id=f"/change/{identifier}", Status="PENDING")
        return answer

    def tell(self):
        answer = told(self)
        since = made.get(self._get_param("Id").rsplit("/", 1)[-1])
        if since is not None and time.monotonic() < since + 1:
            answer.result["ChangeInfo"]["Status"] = "PENDING"
        return answer

    Route53.change_resource_record_sets, Route53.get_change = change, tell


def one_at_a_time():
    """DynamoDB's requests, one after the other.

    moto looks at a condition and then writes, while another thread does the same: both of two transactions succeed that exclude each
    other. DynamoDB's are serializable:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html
    """
    import threading

    from moto.dynamodb.responses import DynamoHandler

    answer, lock = DynamoHandler.call_action, threading.Lock()

    def call_action(self):
        with lock:
            return answer(self)

    DynamoHandler.call_action = call_action


def call(url, service, operation, arguments):
    """One call by the AWS SDK."""
    import boto3

    sys.tracebacklimit = 0  # the SDK's own words are enough
    client = boto3.client(
        service, endpoint_url=url, region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    answer = getattr(client, operation)(**json.loads(arguments))
    answer.pop("ResponseMetadata", None)
    json.dump(answer, sys.stdout, default=str)


if __name__ == "__main__":
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "true"
    if sys.argv[1:] == ["serve"]:
        serve()
    elif len(sys.argv) == 6 and sys.argv[1] == "call":
        call(*sys.argv[2:])
    else:
        sys.exit(__doc__)
