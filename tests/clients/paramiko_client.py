"""paramiko: commands, signals, streams, terminals, files."""

import os

import reach

directory = os.environ["DIR"]
client = reach.paramiko_client()
transport = client.get_transport()

for command in ("exit 0", "exit 42", "kill -9 $$", "echo out; echo err >&2; exit 3"):
    _, output, errors = client.exec_command(command)
    print(command, "|", output.read(), errors.read(), output.channel.recv_exit_status())

source, output, _ = client.exec_command("wc -c; echo more")
source.write(b"x" * 5_000_000)
source.channel.shutdown_write()
print(output.read())

channel = transport.open_session()
channel.get_pty("vt100", 91, 37)
channel.exec_command("stty -echo size; echo $TERM; trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 0.05; done")
found = b""
while b"ready" not in found:
    found += channel.recv(100)
channel.resize_pty(100, 50)
while chunk := channel.recv(1000):
    found += chunk
print(found, channel.recv_exit_status())

channel = transport.open_session()
channel.set_environment_variable("LC_WISH", "granted")
channel.exec_command("echo $LC_WISH")
print(channel.makefile().read())

channel = transport.open_session()
try:
    channel.invoke_subsystem("nonsense")
    print("a subsystem that does not exist started")
except Exception as error:
    print(type(error).__name__, error)

files = client.open_sftp()
data = os.urandom(3_000_000)
with files.open(f"{directory}/a", "wb") as file:
    file.write(data)
with files.open(f"{directory}/a", "rb") as file:
    file.prefetch()
    print("same" if file.read() == data else "different")
with files.open(f"{directory}/a", "r+b") as file:
    file.seek(10)
    file.write(b"0123456789")
    file.truncate(100)
    file.utime((1, 2))
    file.chmod(0o604)
    print(file.stat().st_size, file.stat().st_mtime, oct(file.stat().st_mode))
with files.open(f"{directory}/a", "ab") as file:
    file.write(b"more")
print(files.stat(f"{directory}/a").st_size)
files.symlink("a", f"{directory}/l")
print(files.readlink(f"{directory}/l"), oct(files.lstat(f"{directory}/l").st_mode), sorted(files.listdir(directory))[:2])
files.mkdir(f"{directory}/d", 0o700)
print(oct(files.stat(f"{directory}/d").st_mode))
attempts = {
    "stat of nothing": lambda: files.stat(f"{directory}/nothing"),
    "open of nothing": lambda: files.open(f"{directory}/nothing"),
    "exclusive open of what is there": lambda: files.open(f"{directory}/a", "wx"),
    "mkdir of what is there": lambda: files.mkdir(f"{directory}/d"),
    "rename onto what is there": lambda: files.rename(f"{directory}/a", f"{directory}/d"),
    "rmdir of a file": lambda: files.rmdir(f"{directory}/a"),
    "remove of a directory": lambda: files.remove(f"{directory}/d"),
    "readlink of a file": lambda: files.readlink(f"{directory}/a"),
    "listing of a file": lambda: files.listdir(f"{directory}/a"),
    "a file below a file": lambda: files.stat(f"{directory}/a/b"),
    "write to a device that is full": lambda: files.open("/dev/full", "wb", 0).write(b"x"),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name, "worked")
    except Exception as error:
        print(name, type(error).__name__, getattr(error, "errno", None))
files.posix_rename(f"{directory}/a", f"{directory}/l")
print(files.normalize(f"{directory}/../{os.path.basename(directory)}/./l") == f"{directory}/l", files.normalize(".") != "")
client.close()
