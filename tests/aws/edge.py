"""The one address that people and agents know, in the role of CloudFront.

MiniStack's own CloudFront answers what the distribution sends to functions and buckets: it applies the distribution's policies and
viewer functions. What the distribution sends to the relay goes straight there, websockets included, which MiniStack has not. Such a
behavior's viewer function is run here, since MiniStack knows no `selectRequestOriginById`.
"""

import asyncio
import json
import re
import threading

from cloud import free_port

# The longest head of a request, in bytes: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html
HEAD_BYTES_MAX = 32 * 1024
CHUNK_BYTES = 64 * 1024
# What a viewer says about its own address or the way it came is replaced, as CloudFront does.
REPLACED = {b"host", b"connection", b"cloudfront-viewer-address", b"x-forwarded-proto", b"x-forwarded-for"}


def regular(pattern):
    """A CloudFront path pattern as a regular expression: `*` is any number of characters, `?` is one."""
    words = {"*": ".*", "?": "."}
    return re.compile("/?" + "".join(words.get(character, re.escape(character)) for character in pattern.lstrip("/")))


class Edge:
    """A proxy on loopback before the deployed distribution. One request for each connection."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"

    def start(self, cloud, relay):
        """Reads the distribution and serves it in the background; returns when it listens."""
        client = cloud.client("cloudfront")
        summary = client.list_distributions()["DistributionList"]["Items"][0]
        answer = client.get_distribution_config(Id=summary["Id"])
        distribution = answer["DistributionConfig"]
        hosts = {origin["Id"]: origin["DomainName"] for origin in distribution["Origins"]["Items"]}
        self.cloud = (("127.0.0.1", cloud.port), summary["DomainName"])
        self.behaviors, others = [], []
        for behavior in distribution["CacheBehaviors"].get("Items", []):
            host = hosts[behavior["TargetOriginId"]]
            if host.startswith("relay."):
                # A relay without a name, as the bed's is, answers to addresses of loopback.
                upstream = (("127.0.0.1", relay), f"127.0.0.1:{relay}")
                self.behaviors.append((regular(behavior["PathPattern"]), upstream, viewer_function(client, behavior)))
            else:
                others.append(behavior)
        for origin in distribution["Origins"]["Items"]:
            if "CustomOriginConfig" in origin:  # the defaults, which CloudFront would have said
                origin["CustomOriginConfig"] = {"HTTPPort": 80, "HTTPSPort": 443, **origin["CustomOriginConfig"]}
        # What a viewer function takes away from the relay is MiniStack's to answer, by the other behaviors.
        distribution["CacheBehaviors"] = {"Quantity": len(others), "Items": others}
        client.update_distribution(Id=summary["Id"], IfMatch=answer["ETag"], DistributionConfig=distribution)
        listening = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve(listening)), name="edge", daemon=True).start()
        listening.wait()

    async def serve(self, listening):
        server = await asyncio.start_server(self.handle, "127.0.0.1", self.port, limit=HEAD_BYTES_MAX)
        listening.set()
        await server.serve_forever()

    async def handle(self, reader, writer):
        upstream = None
        try:
            line, *headers = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
            viewer = writer.get_extra_info("peername")
            address, host = await self.route(line, headers, viewer)
            from_there, upstream = await asyncio.open_connection(*address)
            upstream.write(head(line, headers, host, viewer))
            await asyncio.gather(splice(reader, upstream), splice(from_there, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            if upstream is None:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        finally:
            for one in (writer, upstream):
                if one:
                    one.close()

    async def route(self, line, headers, viewer):
        """Whom a request is for: the relay where a behavior of its and that one's viewer function say so."""
        method, target, _ = line.decode("latin-1").split(" ")
        path, _, query = target.partition("?")
        for pattern, upstream, code in self.behaviors:
            if pattern.fullmatch(path):
                request = {
                    "method": method,
                    "uri": path,
                    "querystring": fields(query.split("&"), "="),
                    "headers": fields(headers, ":"),
                }
                chosen = await run_viewer_function(code, {"viewer": {"ip": viewer[0]}, "request": request}) if code else None
                return self.cloud if chosen == "api" else upstream
        return self.cloud


def fields(items, separator):
    """Headers or a query as a viewer function sees them."""
    texts = (item.decode("latin-1") if isinstance(item, bytes) else item for item in items)
    pairs = (text.partition(separator) for text in texts if text)
    return {name.lower() if separator == ":" else name: {"value": value.strip()} for name, _, value in pairs}


def viewer_function(client, behavior):
    """The source of a behavior's viewer function."""
    for association in behavior.get("FunctionAssociations", {}).get("Items", []):
        name = association["FunctionARN"].rsplit("/", 1)[-1]
        return client.get_function(Name=name, Stage="LIVE")["FunctionCode"].read().decode()
    return None


async def run_viewer_function(code, event):
    """Runs a viewer function; the origin that it chose, if it did."""
    body = re.sub(r"^import cf from 'cloudfront';", "", code)
    program = (
        f"let chosen; const cf = {{ selectRequestOriginById: (id) => {{ chosen = id; }} }};\n{body}\nhandler({json.dumps(event)});"
    )
    node = await asyncio.create_subprocess_exec("node", "-", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    said, _ = await node.communicate((program + "\nconsole.log(JSON.stringify(chosen ?? null));").encode())
    return json.loads(said)


def head(line, headers, host, viewer):
    """The head of the request to an origin."""
    named = [(header.split(b":")[0].lower(), header) for header in headers]
    upgrade = any(name == b"upgrade" for name, _ in named)
    ours = [
        f"Host: {host}",
        f"Connection: {'Upgrade' if upgrade else 'close'}",
        f"CloudFront-Viewer-Address: {viewer[0]}:{viewer[1]}",
        f"X-Forwarded-For: {viewer[0]}",
        "X-Forwarded-Proto: https",
    ]
    kept = [header for name, header in named if name not in REPLACED]
    return b"\r\n".join([line, *kept, *(one.encode() for one in ours), b"", b""])


async def splice(reader, writer):
    """Carries bytes until their end, and the end too."""
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()
