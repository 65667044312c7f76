"""One channel's consumer stops; another channel of the same connection must not notice."""

import os
import socket
import subprocess
import time

host = os.environ["HOST"]
PATIENCE = 30


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


unread = socket.create_server(("127.0.0.1", 0))
forward = free_port()
master = subprocess.Popen(
    ["ssh", "-N", "-M", "-S", "control", "-L", f"{forward}:127.0.0.1:{unread.getsockname()[1]}", host], stdin=subprocess.DEVNULL
)
for _ in range(PATIENCE * 20):
    if os.path.exists("control"):
        break
    time.sleep(0.05)
flood = socket.create_connection(("127.0.0.1", forward))
consumer, _ = unread.accept()
flood.settimeout(2)
sent = 0
try:
    while sent < 64 << 20:
        sent += flood.send(bytes(1 << 16))
    print("the flood went through though nobody reads")
except TimeoutError:
    print("the flood stands")
for number in range(10):
    found = subprocess.run(
        ["ssh", "-S", "control", host, f"echo {number}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=PATIENCE, text=True
    )
    print(found.returncode, found.stdout, end="")
flood.shutdown(socket.SHUT_WR)
received = 0
while chunk := consumer.recv(1 << 16):
    received += len(chunk)
print("all came" if received == sent else f"{received} of {sent} came")
subprocess.run(["ssh", "-S", "control", "-O", "exit", host], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
master.wait(PATIENCE)
