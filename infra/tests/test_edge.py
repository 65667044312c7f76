"""Which origin answers which path: CloudFront's behaviours and functions, tried with every route that the API has."""

import json
import re

import pytest
from py_mini_racer import MiniRacer

from policy import like
from stack import REGION, ROOT, Deployment

ROUTES = re.findall(r'\b(get|post|put|patch|delete)\(\w+, "([^"]+)"', (ROOT / "functions/api/src/route.rs").read_text())
VIEWER = "203.0.113.7"
SOCKET = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}


class Edge:
    """CloudFront, as far as it decides who answers."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.configuration = deployment.one("Edge/Distribution").properties["DistributionConfig"]

    def behaviour(self, path):
        """The first behaviour whose pattern is the path, or the default one."""
        for behaviour in self.configuration["CacheBehaviors"]:
            # In a pattern of CloudFront a path begins with its slash, and `*` crosses slashes.
            if like(behaviour["PathPattern"], path):
                return behaviour
        return self.configuration["DefaultCacheBehavior"]

    def ask(self, method, path, query=(), headers=()):
        """The origin that answers, the path that it is asked for, and the headers that it gets; or None for a method that is refused."""
        behaviour = self.behaviour(path)
        if method not in behaviour["AllowedMethods"]:
            return None
        (association,) = behaviour["FunctionAssociations"]
        name = association["FunctionARN"].split(".")[0].removeprefix("edge-")
        (function,) = [one for one in self.deployment.of("AWS::CloudFront::Function") if one.name.lower() == name]
        request = {
            "method": method,
            "uri": path,
            "querystring": {name: {"value": value} for name, value in dict(query).items()},
            "headers": {name: {"value": value} for name, value in dict(headers).items()},
            "cookies": {},
        }
        chosen, request = run(function.properties["FunctionCode"], request)
        return chosen or behaviour["TargetOriginId"], request["uri"], {name: one["value"] for name, one in request["headers"].items()}


def run(code, request):
    """Runs a viewer-request function in a real JavaScript engine; what CloudFront's module does is noted."""
    engine = MiniRacer()
    code = code.replace("import cf from 'cloudfront';", "var chosen = null; var cf = { selectRequestOriginById: function (id) { chosen = id; } };")
    event = json.dumps({"version": "1.0", "viewer": {"ip": VIEWER}, "request": request})
    program = f"{code}\nvar request = handler({event}); JSON.stringify([typeof chosen === 'undefined' ? null : chosen, request])"
    return json.loads(engine.eval(program))


@pytest.fixture(scope="module")
def edge(deployment):
    return Edge(deployment)


def filled(path):
    return re.sub(r"\{\w+\}", "0190a6a0-0000-7000-8000-000000000001", path)


def is_live(path):
    return re.search(r"/(logs|watch|watch-ws|pty)$", path) is not None


def test_the_api_has_routes_to_try():
    assert len(ROUTES) > 80
    assert sum(is_live(path) for method, path in ROUTES if method == "get") >= 6


# The API's plain pages are for a laptop's server without the dashboard, whose own pages these are.
PAGES = ("/login", "/cli-auth")
# Files and sockets have their own tests below.
PLAIN = [
    (method, path)
    for method, path in ROUTES
    if not path.startswith(("/bin/", "/icon/")) and path not in PAGES and not re.search("/watch(-ws)?$", path)
]


@pytest.mark.parametrize(("method", "path"), PLAIN)
def test_a_plain_request_reaches_the_api_by_every_route(edge, method, path):
    origin, asked, headers = edge.ask(method.upper(), filled(path))
    assert (origin, asked) == ("api", filled(path))
    assert headers["x-berth-viewer"] == VIEWER


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "get" and is_live(path)])
def test_a_socket_reaches_the_relay(edge, path):
    query = {"follow": ""} if path.endswith("/logs") else {}
    assert edge.ask("GET", filled(path), query, SOCKET)[0] == "relay"


def test_a_followed_log_without_a_socket_reaches_the_relay_too(edge):
    assert edge.ask("GET", filled("/api/v2/workspacebuilds/{build}/logs"), {"follow": "true"})[0] == "relay"


def test_a_list_of_lines_is_the_apis_so_that_it_is_there_while_the_relay_sleeps(edge):
    assert edge.ask("GET", filled("/api/v2/workspacebuilds/{build}/logs"), {"after": "12"})[0] == "api"


def test_lines_that_agents_and_runners_send_go_to_the_api(edge):
    assert edge.ask("PATCH", "/api/v2/workspaceagents/me/logs")[0] == "api"
    assert edge.ask("POST", filled("/api/v2/runner/jobs/{job}/logs"))[0] == "api"
    # Whatever a sender adds to it.
    assert edge.ask("POST", filled("/api/v2/runner/jobs/{job}/logs"), {"follow": ""}, SOCKET)[0] == "api"


def test_who_asks_is_said_by_the_edge_and_not_by_the_client(edge):
    for path in ["/api/v2/users/login", "/healthz", filled("/api/v2/workspacebuilds/{build}/logs")]:
        method = "POST" if path.endswith("login") else "GET"
        assert edge.ask(method, path, headers={"x-berth-viewer": "198.51.100.1"})[2]["x-berth-viewer"] == VIEWER


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/", "/index.html"),
        ("/workspaces", "/index.html"),
        ("/@ada/dev", "/index.html"),
        ("/setup", "/index.html"),
        ("/login", "/index.html"),
        ("/cli-auth", "/index.html"),
        ("/settings/tokens", "/index.html"),
        ("/health", "/index.html"),
        ("/templates/aws-linux", "/index.html"),
        ("/assets/index-1a2b.js", "/assets/index-1a2b.js"),
        ("/icon/aws.svg", "/icon/aws.svg"),
        ("/bin/berth-agent-linux-arm64", "/bin/berth-agent-linux-arm64"),
        ("/bin/coder-windows-amd64.exe", "/bin/berth-windows-amd64.exe"),
    ],
)
def test_pages_and_files_are_of_the_release(edge, path, file):
    assert edge.ask("GET", path)[:2] == ("web", f"/releases/0.1.0{file}")
    assert edge.ask("POST", path) is None


def test_another_release_is_another_thing_to_cache():
    edge = Edge(Deployment(Version="0.2.0-abc"))
    assert edge.ask("GET", "/bin/berth-linux-amd64")[1] == "/releases/0.2.0-abc/bin/berth-linux-amd64"
    # What is before it in the origin would not be part of the key that CloudFront caches by.
    assert not any("OriginPath" in origin for origin in edge.configuration["Origins"])


def test_every_page_of_the_dashboard_is_served(edge):
    """Each address that the dashboard's router knows, opened by itself."""
    router = (ROOT / "dashboard/src/router.tsx").read_text()
    paths = re.findall(r'getParentRoute: \(\) => (?:root|inside),\s+path: "([^"]+)"', router)
    assert len(paths) > 10
    for path in paths:
        assert edge.ask("GET", path.replace("{$owner}", "ada").replace("$", ""))[0] == "web", path


def headers(deployment, name):
    (policy,) = [one for one in deployment.of("AWS::CloudFront::ResponseHeadersPolicy") if one.name == name]
    return policy.properties["ResponseHeadersPolicyConfig"]


def test_a_page_is_asked_for_each_time_and_a_file_of_its_release_once(deployment):
    def caching(name):
        return headers(deployment, name)["CustomHeadersConfig"]["Items"][0]["Value"]

    assert (caching("WebHeaders"), caching("AssetHeaders")) == ("no-cache", "public, max-age=31536000, immutable")


def test_a_page_may_load_the_same_here_as_on_a_laptop(deployment):
    policy = headers(deployment, "WebHeaders")["SecurityHeadersConfig"]["ContentSecurityPolicy"]["ContentSecurityPolicy"]
    laptop = (ROOT / "crates/local/src/dashboard.rs").read_text()
    told = re.search(r'const POLICY: &str = "(.*?)";', laptop, re.DOTALL)
    assert policy == re.sub(r"\\\s+", "", told.group(1))
    assert "unsafe" not in policy and "*" not in policy


def test_names_are_free_for_a_stack_of_the_same_name_in_another_region(deployment):
    for kind in ("AWS::CloudFront::Function", "AWS::CloudFront::ResponseHeadersPolicy", "AWS::CloudFront::OriginAccessControl"):
        assert all(REGION in json.dumps(one.properties) for one in deployment.of(kind)), kind


def test_nothing_that_the_api_answers_is_cached(edge):
    disabled, optimized = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "658327ea-f89d-4fab-a63d-7e88639e58f6"
    behaviours = [*edge.configuration["CacheBehaviors"], edge.configuration["DefaultCacheBehavior"]]
    for behaviour in behaviours:
        web = behaviour["TargetOriginId"] == "web"
        assert behaviour["CachePolicyId"] == (optimized if web else disabled)
        assert behaviour["ViewerProtocolPolicy"] in ("https-only", "redirect-to-https")
        # A secret sent by http is not to be redirected as if nothing had happened.
        if behaviour.get("PathPattern", "").startswith("/api/"):
            assert behaviour["ViewerProtocolPolicy"] == "https-only"


def test_the_names_are_cloudfronts_and_the_relays_are_left_to_the_relay(deployment):
    (group,) = deployment.of("AWS::Route53::RecordSetGroup")
    assert {(one["Name"], one["Type"]) for one in group.properties["RecordSets"]} == {("berth.example.com", "A"), ("berth.example.com", "AAAA")}
    assert not deployment.of("AWS::Route53::RecordSet")
