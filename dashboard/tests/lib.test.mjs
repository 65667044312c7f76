// The rules that need no page: where a link may lead, how an archive is read, what an answer must be.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const load = async (name) => (await runnerImport(fileURLToPath(new URL(`../src/lib/${name}.ts`, import.meta.url)))).module;

test("a sign-in leads to a path of the dashboard, whatever a link says", async () => {
  const { safePath } = await load("redirect");
  for (const path of ["/cli-auth", "/workspaces?q=owner%3Ame", "/@ada/dev#log"]) assert.equal(safePath(path), path);
  const evil = [
    undefined,
    "",
    "workspaces",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
  ];
  evil.push(
    "javascript:alert(1)",
    "/\t/evil.example",
    "/ /evil.example",
    "/%0a/../..//evil.example",
    "/..//evil.example",
    "/x/../..//evil.example",
  );
  for (const path of evil) assert.match(safePath(path), /^\/(?![/\\])/, path);
});

test("an app's address opens a page or a known program, and nothing else", async () => {
  const { safeExternal } = await load("redirect");
  for (const address of ["https://example.com/a", "vscode://x/open"]) assert.equal(safeExternal(address), address);
  for (const address of [
    "javascript:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "blob:x",
    "",
    "no address",
    "JAVASCRIPT:alert(1)",
  ]) {
    assert.equal(safeExternal(address), undefined, address);
  }
});

test("a template's archive is read as tar wrote it", async () => {
  const { files } = await load("tar");
  const home = mkdtempSync(join(tmpdir(), "berth-tar-"));
  const long = `${"deep-".repeat(30)}file.tf`;
  try {
    writeFileSync(join(home, "main.tf"), "# größe\n");
    writeFileSync(join(home, long), "long");
    writeFileSync(join(home, "picture.png"), Buffer.from([0x89, 0x50, 0, 0xff]));
    for (const format of ["ustar", "pax"]) {
      const names = format === "pax" ? ["main.tf", long, "picture.png"] : ["main.tf", "picture.png"];
      execFileSync("tar", ["-C", home, `--format=${format}`, "-cf", join(home, "a.tar"), ...names]);
      const bytes = readFileSync(join(home, "a.tar"));
      const archive = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
      const read = files(archive);
      assert.deepEqual(new Set(read.map(({ path }) => path)), new Set(names), format);
      assert.equal(read.find(({ path }) => path === "main.tf").text, "# größe\n");
      assert.equal(read.find(({ path }) => path === "picture.png").text, undefined, "what is not text is not shown as text");
      for (let cut = 0; cut < archive.byteLength; cut += 97) files(archive.slice(0, cut));
    }
  } finally {
    rmSync(home, { recursive: true });
  }
});

test("a schedule that the form makes is one that the form reads", async () => {
  const { formatAutostart, parseAutostart, describeAutostart } = await load("schedule");
  for (let days = 1; days < 128; days += 1) {
    const when = { time: "07:05", zone: "Europe/Berlin", days: [0, 1, 2, 3, 4, 5, 6].filter((day) => days & (1 << day)) };
    assert.deepEqual(parseAutostart(formatAutostart(when)), when);
  }
  assert.equal(describeAutostart("CRON_TZ=UTC 30 9 * * 1-5"), "09:30, Monday to Friday (UTC)");
  for (const more of ["*/5 * * * *", "CRON_TZ=UTC 0 9 1 * *", "CRON_TZ=UTC 0 9-10 * * 1", ""])
    assert.equal(parseAutostart(more), undefined, more);
});

test("an answer is judged as the server judges it, and no more strictly", async () => {
  const { problem, given, initialAnswers, quoted } = await load("parameters");
  const number = {
    name: "disk",
    type: "number",
    default_value: "10",
    validation_min: 10,
    validation_max: 20,
    validation_monotonic: "increasing",
  };
  assert.equal(problem(number, "15", "12"), undefined);
  assert.match(problem(number, "9"), /10 or more/);
  assert.match(problem(number, "21"), /20 or less/);
  assert.match(problem(number, "11", "12"), /only grow/);
  assert.match(problem(number, "ten"), /a number/);
  assert.equal(problem({ ...number, validation_error: "between {min} and {max}, not {value}" }, "9"), "between 10 and 20, not 9");
  assert.match(problem({ name: "x", type: "string", required: true, default_value: "" }, ""), /needed/);
  const pattern = { name: "x", type: "string", default_value: "", validation_regex: "^a+$", validation_error: "only a" };
  assert.equal(problem(pattern, "aab"), "only a");
  assert.equal(
    problem({ ...pattern, validation_regex: "(?P<x>a)" }, "b"),
    undefined,
    "a pattern that only the server knows is left to it",
  );
  const once = { name: "debug", type: "bool", default_value: "false", ephemeral: true };
  assert.deepEqual(
    initialAnswers(
      [number, once],
      [
        { name: "disk", value: "12" },
        { name: "debug", value: "true" },
      ],
    ),
    { disk: "12", debug: "false" },
  );
  assert.deepEqual(given([number, once], { disk: "12", debug: "false" }), [{ name: "disk", value: "12" }]);
  assert.equal(quoted("it's"), `'it'\\''s'`);
});

test("a long paste is cut between characters", async () => {
  const { pieces } = await load("terminal");
  assert.deepEqual(pieces(""), []);
  assert.deepEqual(pieces("ls\r"), ["ls\r"]);
  for (const text of ["x".repeat(200_000), `x${"\u{1f6a2}".repeat(80_000)}`]) {
    assert.equal(pieces(text).join(""), text);
    for (const piece of pieces(text)) assert.ok(piece.isWellFormed() && piece.length <= 64 * 1024);
  }
});

test("a terminal's place and links are read with care", async () => {
  const { placeOf, safePage } = await load("terminal");
  assert.deepEqual(placeOf("dev"), { name: "dev", agent: undefined });
  assert.deepEqual(placeOf("dev.main"), { name: "dev", agent: "main" });
  assert.equal(safePage("https://example.com/a"), "https://example.com/a");
  for (const address of ["javascript:alert(1)", "vscode://x", "file:///etc/passwd", "data:text/html,x", "no address"]) {
    assert.equal(safePage(address), undefined, address);
  }
});

test("an app's button leads where the app is", async () => {
  const { grouped, wayTo } = await load("apps");
  const app = {
    slug: "web",
    url: "http://localhost:3000",
    external: false,
    command: "",
    subdomain_name: "",
    hidden: false,
    group: "",
  };
  const way = (changes, host = "*.apps.example.com:8443") => wayTo({ ...app, ...changes }, host, "https://berth.example.com/");
  assert.deepEqual(way({ subdomain_name: "web--dev--ada" }), {
    kind: "host",
    address: "https://web--dev--ada.apps.example.com:8443/",
  });
  assert.deepEqual(way({ subdomain_name: "web--dev--ada" }, ""), { kind: "port", port: "3000" });
  assert.deepEqual(way({ command: "htop" }), { kind: "terminal", slug: "web" });
  assert.deepEqual(way({ external: true, url: "https://x.example/" }), { kind: "external", address: "https://x.example/" });
  assert.deepEqual(way({ external: true, url: "javascript:alert(1)" }), { kind: "none" });
  const groups = grouped([{ ...app, group: "Tools" }, app, { ...app, hidden: true }, { ...app, slug: "b" }]);
  assert.deepEqual(
    groups.map(([heading, apps]) => [heading, apps.length]),
    [
      ["", 2],
      ["Tools", 1],
    ],
  );
});
