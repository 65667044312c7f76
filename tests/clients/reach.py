"""How the Python libraries reach a host of the person's SSH configuration."""

import os
import shlex
import subprocess
import tempfile

import asyncssh
import paramiko

HOST = os.environ["HOST"]


def found():
    """The options that `ssh` would use, as it says itself."""
    lines = subprocess.run(["ssh", "-G", HOST], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    options = {}
    for line in lines:
        name, _, value = line.partition(" ")
        options.setdefault(name, value)
    options["name"] = options.get("hostkeyalias", options["hostname"])
    options["proxycommand"] = options["proxycommand"].replace("%h", options["hostname"])
    return options


def key(options):
    """The person's key. Where the way to the host has proven who they are, any key will do, and a library that never asks without one needs one."""
    if os.path.exists(options["identityfile"]):
        return options["identityfile"]
    path = os.path.join(tempfile.mkdtemp(), "any")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def paramiko_client():
    options = found()
    client = paramiko.SSHClient()
    client.load_host_keys(shlex.split(options["userknownhostsfile"])[0])
    client.connect(
        options["name"],
        username=options["user"],
        key_filename=key(options),
        sock=paramiko.ProxyCommand(options["proxycommand"]),
        look_for_keys=False,
        allow_agent=False,
    )
    return client


def asyncssh_client():
    options = found()
    return asyncssh.connect(
        options["name"],
        username=options["user"],
        proxy_command=options["proxycommand"],
        known_hosts=shlex.split(options["userknownhostsfile"])[0],
        client_keys=[key(options)],
        config=None,
    )
