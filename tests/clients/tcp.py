"""A service that reads to the end of its input and answers with its length and digest, and its client.

    tcp.py serve [PATH]              serves on a free port, which it prints, or on a Unix socket
    tcp.py ask PORT-OR-PATH BYTES    sends, half closes, prints the answer
    tcp.py refuses PORT              says whether nothing listens
    tcp.py occupy                    listens on a port of both loopback addresses, which it prints
    tcp.py free                      prints a port that nobody uses
"""

import hashlib
import socket
import sys
import threading


def serve(path=None):
    if path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
    else:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    print(path or listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()


def answer(stream):
    digest, length = hashlib.sha256(), 0
    while chunk := stream.recv(1 << 16):
        digest.update(chunk)
        length += len(chunk)
    stream.sendall(f"{length} {digest.hexdigest()}\n".encode())
    stream.close()


def connect(where):
    if where.startswith("/"):
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(where)
        return stream
    return socket.create_connection(("127.0.0.1", int(where)))


def ask(where, length):
    stream = connect(where)
    stream.sendall(bytes(number % 251 for number in range(1000)) * (int(length) // 1000))
    stream.shutdown(socket.SHUT_WR)
    print(stream.makefile().read(), end="")


def refuses(port):
    try:
        connect(port)
        print("listens")
    except ConnectionRefusedError:
        print("refuses")


def occupy():
    first = socket.create_server(("127.0.0.1", 0))
    port = first.getsockname()[1]
    second = socket.create_server(("::1", port), family=socket.AF_INET6) if socket.has_ipv6 else None
    print(port, flush=True)
    threading.Event().wait()
    first.close(), second and second.close()


def free():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        print(listener.getsockname()[1])


{"serve": serve, "ask": ask, "refuses": refuses, "occupy": occupy, "free": free}[sys.argv[1]](*sys.argv[2:])
