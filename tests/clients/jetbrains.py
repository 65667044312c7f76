"""What JetBrains' IDEs do: upload a worker by sftp, start it, and let it call back through a forward of a port that the server chooses on localhost."""

import os
import socket
import threading

import reach

directory = os.environ["DIR"]
WORKER = b"""import socket, sys
stream = socket.create_connection(("localhost", int(sys.argv[1])))
stream.sendall(b"worker calls\\n")
print("worker heard", stream.makefile().readline().strip())
sys.exit(7)
""" + b"# padding, so that the upload takes many packets\n" * 50_000

client = reach.paramiko_client()
files = client.open_sftp()
files.mkdir(f"{directory}/dist")
with files.open(f"{directory}/dist/worker.py.part", "wb") as upload:
    upload.set_pipelined(True)
    upload.write(WORKER)
files.chmod(f"{directory}/dist/worker.py.part", 0o755)
files.posix_rename(f"{directory}/dist/worker.py.part", f"{directory}/dist/worker.py")
print("uploaded", files.stat(f"{directory}/dist/worker.py").st_size, oct(files.stat(f"{directory}/dist/worker.py").st_mode))

transport = client.get_transport()
port = transport.request_port_forward("localhost", 0)
print("a port was chosen:", port > 1023)


def answer():
    channel = transport.accept(30)
    print("ide heard", channel.makefile().readline().strip())
    channel.sendall(b"ide answers\n")


answering = threading.Thread(target=answer)
answering.start()
_, output, errors = client.exec_command(f"python3 {directory}/dist/worker.py {port}")
answering.join()
print(output.read().decode(), errors.read().decode(), output.channel.recv_exit_status())
transport.cancel_port_forward("localhost", port)
try:
    socket.create_connection(("127.0.0.1", port))
    print("the port still listens")
except ConnectionRefusedError:
    print("the port is closed")
client.close()
