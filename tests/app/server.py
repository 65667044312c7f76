"""A web app as a developer runs one: says what it got, takes uploads, and echoes what comes by websocket. python3 server.py PORT"""

import base64
import hashlib
import http.server
import json
import struct
import sys

ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.socket()
            return
        self.answer({"path": self.path, "headers": [[name, value] for name, value in self.headers.items()]})

    def do_POST(self):
        left, digest, size = int(self.headers["Content-Length"]), hashlib.sha256(), 0
        while left:
            part = self.rfile.read(min(left, 1 << 20))
            if not part:
                return
            left, size = left - len(part), size + len(part)
            digest.update(part)
        self.answer({"size": size, "sha256": digest.hexdigest()})

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "berth_app=forged")
        self.send_header("Set-Cookie", "own=1; Path=/")
        self.end_headers()
        self.wfile.write(body)

    def socket(self):
        digest = hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + ACCEPT_SUFFIX).digest()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            length = head[1] & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self.rfile.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.rfile.read(8))
            mask = self.rfile.read(4)
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            size = bytes([length]) if length < 126 else b"\x7e" + struct.pack(">H", length)
            self.wfile.write(head[:1] + size + payload)
            if head[0] & 0x0F == 8:
                return

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), App).serve_forever()
