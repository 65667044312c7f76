"""AWS on loopback: MiniStack within this process, corrected where it differs from AWS in a way that Berth meets.

What is corrected, and why, is in README.md.
"""

import asyncio
import json
import os
import socket
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

REGION = "eu-central-1"
# MiniStack's account.
ACCOUNT = "000000000000"
# A root key of MiniStack's: what the operator deploys with. The functions and tasks get their roles' own.
OPERATOR = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
# What a Lambda invocation may carry and answer, in bytes:
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
PAYLOAD_BYTES_MAX = 6 * 1024 * 1024
# How long MiniStack may take to answer at first, in seconds.
START_SECONDS = 60


def free_port():
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cloud:
    """MiniStack, listening on loopback only. Every request is signed, and allowed by the caller's policies or refused."""

    def __init__(self, place):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        scratch = Path(place, "tmp")
        scratch.mkdir()
        # A function's process inherits this environment: what Lambda would give, and what MiniStack needs.
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        os.environ.clear()
        os.environ.update(
            keep, TMPDIR=str(scratch), AUTH="true", BIND_HOST="127.0.0.1", GATEWAY_PORT=str(self.port), MINISTACK_REGION=REGION
        )
        os.environ.update(OPERATOR, AWS_ENDPOINT_URL=self.url, LOG_LEVEL="INFO", ECR_REAP_INTERVAL_SECONDS="3600")
        tempfile.tempdir = str(scratch)

    def start(self):
        """Serves in the background; returns when it answers."""
        import hypercorn.asyncio
        import hypercorn.config
        import ministack.app

        self.correct()
        config = hypercorn.config.Config()
        config.bind = [f"127.0.0.1:{self.port}"]
        config.loglevel = "WARNING"

        async def serve():
            await hypercorn.asyncio.serve(ministack.app.app, config, shutdown_trigger=asyncio.Event().wait)

        threading.Thread(target=lambda: asyncio.run(serve()), name="cloud", daemon=True).start()
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def correct(self):
        """Where MiniStack is kinder or slower than AWS, and where loopback without TLS counts as TLS."""
        import ministack.app
        from ministack.core import lambda_runtime
        from ministack.services import lambda_svc

        # It waits 50 ms after each call for lines that the function may log. Later lines then stand beside a later call.
        lambda_runtime.ProvidedWorker._drain_stderr_bounded = lambda worker, **_: worker._drain_stderr()
        dispatch = lambda_svc._execute_function_dispatch

        def within_limits(func, config, event, *rest):
            if len(json.dumps(event)) > PAYLOAD_BYTES_MAX:
                return {"body": {"statusCode": 413, "body": "Request Entity Too Large"}}
            result = dispatch(func, config, event, *rest)
            if len(json.dumps(result.get("body"))) > PAYLOAD_BYTES_MAX:
                text = f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_BYTES_MAX} bytes)."
                return {
                    "error": True,
                    "body": {"errorMessage": text, "errorType": "Function.ResponseSizeTooLarge"},
                    "log": result.get("log", ""),
                }
            return result

        lambda_svc._execute_function_dispatch = within_limits
        pin = ministack.app.pin_request_origin
        ministack.app.pin_request_origin = lambda address, _: pin(address, True)

    def client(self, service, region=REGION, credentials=None):
        """A service's client with somebody's credentials: the operator's unless others are given."""
        import boto3

        return boto3.client(service, endpoint_url=self.url, region_name=region, **(credentials or {}))
