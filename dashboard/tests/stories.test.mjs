// The dashboard as a person meets it, from a deployment without users to one with a workspace that was stopped and started again.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test as nodeTest } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { berth, FIRST_LOAD_BYTES_MAX, open, PASSWORD, url } from "./harness.mjs";

const TEMPLATE = fileURLToPath(new URL("template", import.meta.url));
const TABLE = new URL("calls.txt", import.meta.url);

let story;
let page;

before(async () => {
  story = await open();
  page = story.page;
});
after(() => story.close());

/** One story after the other, on what the ones before left: after a failure the rest would only repeat it. */
let failed = false;
function test(name, tell) {
  nodeTest(name, async (context) => {
    if (failed) return context.skip("an earlier story failed");
    failed = true;
    await tell().catch((error) => story.failed(error));
    failed = false;
  });
}

const heading = (name) => page.getByRole("heading", { level: 1, name });
/** Words on the page, wherever they are first. */
const text = (words, options) => page.getByText(words, options).first();
const button = (name, options) => page.getByRole("button", { name, ...options });

test("whoever comes first makes the owner, and is in", async () => {
  story.expect(/401 .*\/users\/me$/);
  story.expect(/404 .*\/users\/first$/);
  await story.visit("setup", "/", () => heading("Welcome to Berth").waitFor());
  await page.getByLabel("E-mail address").fill("ada@example.com");
  assert.equal(await page.getByLabel("User name").inputValue(), "ada", "a name is suggested");
  await page.getByLabel("Password").fill(PASSWORD);
  await button("Make the first user").click();
  await heading("Workspaces").waitFor();
  await text("Push the first one from a terminal").waitFor();
});

test("pages go to browsers, files are kept while they are good, and programs get the API's answer", async () => {
  const get = (path, accept, headers = {}) => fetch(url + path, { headers: { accept, ...headers } });
  const first = await get("/@ada/dev", "text/html,*/*;q=0.8");
  assert.equal(first.status, 200);
  assert.match(first.headers.get("content-security-policy"), /^default-src 'none'; script-src 'self';/);
  assert.equal(first.headers.get("cache-control"), "no-cache");
  const again = await get("/workspaces", "text/html", { "if-none-match": first.headers.get("etag") });
  assert.equal(again.status, 304, "every page is the same file");
  const [script] = /\/assets\/index-[\w-]+\.js/.exec(await first.text());
  const file = await get(script, "*/*");
  assert.equal(file.headers.get("cache-control"), "public, max-age=31536000, immutable");
  assert.equal(file.headers.get("content-encoding"), "gzip");
  assert.equal((await get("/assets/none.js", "*/*")).status, 404);
  for (const [path, accept] of [
    ["/.well-known/oauth-authorization-server", "text/html"],
    ["/no/such/route", "application/json"],
    ["/api/v2/none", "text/html"],
  ]) {
    const answer = await get(path, accept);
    assert.equal(answer.status, 404, path);
    assert.match((await answer.json()).message, /no such route/, path);
  }
});

test("an empty deployment teaches the commands that fill it", async () => {
  await story.visit("workspaces-empty", "/workspaces", () => text("No workspaces yet").waitFor());
  await story.visit("templates-empty", "/templates", () => text("No templates yet").waitFor());
  await button("Copy the first command").click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "berth templates init --id local my-template");
});

test("a person signs out, mistypes, and comes back to the page that they wanted", async () => {
  story.expect(/401 .*\/users\/login$/);
  await button("Account of ada").click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await heading("Sign in to Berth").waitFor();
  await page.goto("/settings/tokens");
  await heading("Sign in to Berth").waitFor();
  await story.look("login");
  await page.getByLabel("E-mail address").fill("ada@example.com");
  await page.getByLabel("Password").fill("wrong");
  await button("Sign in").click();
  await page.getByRole("alert").getByText("password is wrong").waitFor();
  assert.equal(await page.getByLabel("E-mail address").inputValue(), "ada@example.com", "what was typed is kept");
  await page.getByLabel("Password").fill(PASSWORD);
  await button("Sign in").click();
  await heading("API tokens").waitFor();
  const cookie = (await story.context.cookies()).find(({ name }) => name === "coder_session_token");
  assert.ok(cookie?.httpOnly && cookie.sameSite === "Lax", "no script can read the session");
});

test("a link to elsewhere does not leave after a sign-in", async () => {
  for (const evil of ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]) {
    await page.goto(`/login?redirect=${encodeURIComponent(evil)}`);
    await page.getByLabel("E-mail address").fill("ada@example.com");
    await page.getByLabel("Password").fill(PASSWORD);
    await button("Sign in").click();
    await heading("Workspaces").waitFor();
    assert.equal(new URL(page.url()).origin, url, evil);
  }
});

test("a page of another site cannot act with the cookie", async () => {
  const [{ value }] = (await story.context.cookies()).filter(({ name }) => name === "coder_session_token");
  const forge = (headers) =>
    fetch(`${url}/api/v2/users/me/keys`, { method: "POST", headers: { cookie: `coder_session_token=${value}`, ...headers } });
  assert.equal((await forge({ origin: "https://evil.example" })).status, 403);
  assert.equal((await forge({ "sec-fetch-site": "cross-site" })).status, 403);
  assert.equal((await forge({})).status, 403, "what does not say where it comes from is refused");
  assert.equal((await forge({ origin: url })).status, 201);
});

test("a pushed template shows what it is, asks and says", async () => {
  berth("login", url, "--first-user-email", "ada@example.com");
  berth("templates", "push", "harbour", "--directory", TEMPLATE, "--yes");
  await story.visit("templates", "/templates", () => page.getByRole("link", { name: "Harbour", exact: true }).waitFor());
  await story.visit("template", "/templates/harbour", () => page.getByRole("heading", { name: "Harbour", level: 2 }).waitFor());
  assert.equal(await page.locator("article script").count(), 0);
  await page.getByRole("cell", { name: "runs", exact: true }).waitFor();
  await story.visit("template-files", "/templates/harbour/files", () => text("every kind of question").waitFor());
  await button("README.md").click();
  await text("display_name: Harbour").waitFor();
  await story.visit("template-versions", "/templates/harbour/versions", () => text("Active", { exact: true }).waitFor());
  await button("Import log").click();
  await text("Plan: 8 to add").waitFor();
  await story.visit("template-variables", "/templates/harbour/variables", () => text("Who pays.").waitFor());
  await story.visit("template-settings", "/templates/harbour/settings", () => page.getByLabel("Description").waitFor());
});

test("settings that will not do are said where they are, and kept", async () => {
  story.expect(/400 .*\/templates\/[0-9a-f-]+$/);
  await page.getByLabel("Stop after", { exact: true }).fill("9");
  await page.getByLabel("Stop after at most").fill("2");
  await button("Save").click();
  await text("must not be longer than max_ttl_ms").waitFor();
  assert.equal(await page.getByLabel("Stop after", { exact: true }).inputValue(), "9");
  await page.getByLabel("Stop after at most").fill("12");
  await button("Save").click();
  await text("It holds from each workspace's next start on.").first().waitFor();
});

test("a workspace is asked for with a preset, changed answers and a plan before it is made", async () => {
  await story.visit("create", "/templates/harbour/workspace", () => page.getByLabel("Name", { exact: true }).waitFor());
  assert.ok(await page.getByRole("radio", { name: "Small" }).isChecked(), "the default preset is chosen");
  await page.getByLabel("Name", { exact: true }).fill("no good name");
  await text("Letters, digits and single hyphens, with none at an end.").waitFor();
  await page.getByLabel("Name", { exact: true }).fill("sea");
  await page.getByRole("radio", { name: "Large" }).check();
  assert.equal(await page.getByLabel("Disk").inputValue(), "80");
  await page.getByLabel("Disk").fill("120");
  await text("Must be 100 or less.").waitFor();
  assert.ok(await page.getByRole("radio", { name: "My own answers" }).isChecked(), "another answer is no preset");
  await button("Create workspace").click();
  await text("see the marked fields").waitFor();
  await page.getByLabel("Disk").fill("40");
  await page.getByRole("checkbox", { name: "Vim" }).uncheck();
  await page.getByLabel("Dotfiles").fill("ftp://old");
  await text("A dotfiles address begins with https://.").waitFor();
  await page.getByLabel("Dotfiles").fill("");
  await text("berth create sea --template harbour").waitFor();

  await button("Preview the plan").click();
  await text("Terraform plans").waitFor();
  await page.getByRole("list", { name: "Planned resources" }).getByText("berth_process.workspace").waitFor();
  await story.look("create-planned");
  await button("Create workspace").click();
});

test("the build is watched as it happens, until the agent is ready", async () => {
  await heading("sea").waitFor();
  const log = page.getByRole("log", { name: "Build log" });
  await log.getByText("laying cable one").waitFor();
  assert.equal(await log.getByText("laying cable three").count(), 0, "lines come while the build runs");
  await text("Applying").first().waitFor();
  await log.getByText("laying cable two").waitFor();
  await text("Ready").waitFor();
  await story.visit("workspace", "/@ada/sea", () => text("Ready", { exact: true }).waitFor());
  await text("40 GB for harbour").waitFor();
  assert.equal(await text("hunter2").count(), 0, "what is sensitive is not shown");
  const vscode = await page.getByRole("link", { name: "VS Code" }).getAttribute("href");
  assert.match(vscode, /^vscode:\/\/coder\.coder-remote\/open\?owner=ada&workspace=sea&agent=main&url=/);
  assert.ok(!vscode.includes("token"), "a link carries no secret");
  await button(/Start-up log/).click();
  await text("Installing git, node").waitFor();
});

test("what the page says to type works", async () => {
  const command = await text(/^berth ssh sea$/).textContent();
  const said = berth(...command.split(" ").slice(1), "--", "echo $CODER_WORKSPACE_NAME");
  assert.equal(said.trim(), "sea");
});

/** What the terminal shows, without the ends of its lines. */
const screen = () => page.evaluate(() => document.querySelector(".xterm-rows")?.textContent ?? "");
const shows = (words) => page.waitForFunction((words) => document.querySelector(".xterm-rows")?.textContent.includes(words), words);
const connected = () => page.getByRole("status").getByText("Connected", { exact: true }).waitFor();
async function type(line) {
  await page.keyboard.type(line);
  await page.keyboard.press("Enter");
}

test("what a template tells of the machine and the apps it has are on the workspace's page", async () => {
  await page.locator(".tile", { hasText: "Weather" }).filter({ hasText: "fair" }).waitFor();
  await page.getByRole("link", { name: "Team handbook" }).waitFor();
  await page.getByRole("heading", { name: "On board" }).waitFor();
});

test("a terminal in the browser is a shell in the workspace, and is there again after a reload", async () => {
  await page.getByRole("link", { name: "Open a terminal" }).click();
  await connected();
  await type("echo answer=$((6*7)) in $CODER_WORKSPACE_NAME");
  await shows("answer=42 in sea");
  await story.visit("terminal", "/@ada/sea/terminal", connected);
  await shows("answer=42 in sea");
  await type("echo again=$((6*8))");
  await shows("again=48");
});

test("a terminal has the size of its window, whatever that becomes", async () => {
  const size = async (name) => {
    await type(`echo ${name}:$(stty size):`);
    await page.waitForFunction(
      (name) => new RegExp(`${name}:\\d+ \\d+:`).test(document.querySelector(".xterm-rows").textContent),
      name,
    );
    const [, rows, columns] = new RegExp(`${name}:(\\d+) (\\d+):`).exec(await screen());
    assert.equal(Number(rows), await page.locator(".xterm-rows > div").count());
    return Number(columns);
  };
  const wide = await size("wide");
  await page.setViewportSize({ width: 700, height: 500 });
  const narrow = await size("narrow");
  assert.ok(narrow < wide && narrow > 40, `${wide}, then ${narrow}`);
  await page.setViewportSize({ width: 1280, height: 860 });
});

test("what is in a terminal is found, copied, pasted, and coloured without breaking the page's rules", async () => {
  await type("printf '\\033[38;2;200;120;40mamber\\033[m \\033[31mred\\033[m\\n'; seq 3000; echo needle=$((6*9))");
  await shows("needle=54");
  await page.keyboard.press("Control+Shift+F");
  await page.getByLabel("Search in the terminal").fill("amber");
  await page.getByLabel("Search in the terminal").press("Enter");
  await shows("amber red");
  await story.accessible("a search in the terminal");
  const colour = await page.evaluate(() => {
    const spans = [...document.querySelectorAll(".xterm-rows span")];
    return getComputedStyle(spans.find((span) => span.textContent.startsWith("red"))).color;
  });
  assert.notEqual(colour, await page.evaluate(() => getComputedStyle(document.querySelector(".xterm-rows")).color));
  await page.getByLabel("Search in the terminal").press("Escape");
  await page.evaluate(() => navigator.clipboard.writeText("echo pasted=$((7*7))"));
  await page.keyboard.press("Control+Shift+V");
  await page.keyboard.press("Enter");
  await shows("pasted=49");
});

test("a program that says more than a screen can show is shown its end, and can be interrupted", async () => {
  await type("yes harbour");
  await shows("harbour");
  await page.keyboard.press("Control+C");
  await type("echo over=$((5*5))");
  await shows("over=25");
});

test("an app in the workspace opens at a host of its own", async () => {
  await type(
    "mkdir -p site && echo ahoy from $CODER_WORKSPACE_NAME > site/index.html && python3 -m http.server 3000 --bind 127.0.0.1 -d site &",
  );
  await shows("Serving HTTP");
  await page.goto("/@ada/sea");
  const opened = story.context.waitForEvent("page");
  await page.getByRole("link", { name: "Dev server" }).click();
  const app = await opened;
  await app.getByText("ahoy from sea").waitFor();
  assert.match(new URL(app.url()).hostname, /^web--.*sea--ada\.apps\.localhost$/);
  await app.close();
});

test("an app that is a command opens in a terminal, and a command of a link only when the person agrees", async () => {
  await page.goto("/@ada/sea");
  await page.getByRole("link", { name: "Log book" }).click();
  await heading("Log book").waitFor();
  await shows("all is well in sea");
  await type("exit");
  await text("What ran in this terminal has ended.").waitFor();
  await button("Open a new one").click();
  await connected();
  await page.goto(`/@ada/sea/terminal?command=${encodeURIComponent("echo linked=$((4*4)); exec sh")}`);
  await text("wants to run a command").waitFor();
  assert.ok(!(await screen()).includes("linked=16"));
  await button("Run it").click();
  await shows("linked=16");
});

test("a terminal says when its workspace stops, starts it again, and is a new one then", async () => {
  await page.goto("/@ada/sea/terminal");
  await connected();
  await shows("over=25");
  berth("stop", "sea", "--yes");
  await text("sea is stopped.").waitFor();
  await story.look("terminal-stopped");
  await button("Start", { exact: true }).click();
  await text("The terminal opens by itself.").waitFor();
  await connected();
  await type("echo anew=$((3*3))");
  await shows("anew=9");
  assert.ok(!(await screen()).includes("over=25"));
});

test("builds are kept with their logs, times and answers", async () => {
  await story.visit("builds", "/@ada/sea/builds", () => page.getByRole("link", { name: "Start (build 1)" }).waitFor());
  await story.visit("build", "/@ada/sea/builds/1", () => text("Where the time went").waitFor());
  await page.getByRole("row", { name: /terraform_data\.network\[0\]create/ }).waitFor();
  await text("Apply complete!").waitFor();
});

test("answers, schedule and name are changed where they are", async () => {
  await story.visit("parameters", "/@ada/sea/parameters", () => text("cannot change any more").waitFor());
  assert.ok(await page.getByRole("radio", { name: "Europe" }).isDisabled(), "what is immutable stays");
  await page.getByLabel("Disk").fill("20");
  await text("Can only grow: it is 40 now.").waitFor();
  await story.visit("workspace-settings", "/@ada/sea/settings", () => text("Start by itself").waitFor());
  await page.getByLabel("Start on a schedule").check();
  await page.getByLabel("Time zone").fill("Middle/Earth");
  story.expect(/400 .*\/autostart$/);
  await button("Save").first().click();
  await text("is not a time zone").waitFor();
  await page.getByLabel("Time zone").fill("Europe/Berlin");
  await button("Save").first().click();
  await text("It starts by this schedule from now on.").first().waitFor();
  await page.goto("/@ada/sea");
  await text("09:00, Monday to Friday (Europe/Berlin)").waitFor();
});

test("workspaces are found, and stopped and started together", async () => {
  story.expect(/400 .*\/workspaces\?/);
  await story.visit("workspaces", "/workspaces", () => page.getByRole("link", { name: "sea" }).waitFor());
  await page.getByLabel("Search workspaces").fill("colour:red");
  await button("Search").click();
  await text("is not a search key").waitFor();
  assert.equal(await page.getByLabel("Search workspaces").inputValue(), "colour:red");
  await page.getByLabel("Search workspaces").fill("owner:me name:se");
  await button("Search").click();
  await page.getByLabel("Choose sea").check();
  await button("Stop 1").click();
  await text("1 workspace is being stopped.").first().waitFor();
  const row = page.getByRole("row", { name: /sea/ });
  await row.getByText("Stopped").waitFor();
  await row.getByRole("button", { name: "Start sea" }).click();
  await row.getByText("Starting").waitFor();
  await row.getByText("Running").waitFor();
});

test("a stop on the workspace's page is seen there, and by keyboard alone", async () => {
  await page.goto("/@ada/sea");
  await button("Stop", { exact: true }).focus();
  await page.keyboard.press("Enter");
  await text("This workspace is stopped").waitFor();
  await story.look("workspace-stopped");
  await button("More for sea").focus();
  await page.keyboard.press("Enter");
  await page.getByRole("menuitem", { name: "Delete" }).waitFor();
  await story.accessible("a menu");
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Delete sea?" });
  await dialog.waitFor();
  await story.accessible("a dialog");
  assert.ok(await dialog.getByRole("button", { name: "Delete workspace" }).isDisabled());
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
});

test("a build that fails says why, and can be tried again", async () => {
  berth("create", "wreck", "--template", "harbour", "--parameter", "region=eu", "--yes");
  await page.goto("/@ada/wreck/parameters");
  await page.getByLabel("Dotfiles").fill("https://sink");
  await button("Save and start").click();
  await text("The last start failed.").waitFor();
  await page.getByRole("log", { name: "Build log" }).getByText("the ship sank").first().waitFor();
  await story.look("workspace-failed");
  await button("Try again").waitFor();
  await button("More for wreck").click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await page.getByLabel(/Type wreck to confirm/).fill("wreck");
  await button("Delete workspace").click();
  await text("This workspace is deleted").waitFor();
});

test("users and tokens are made, and a token is shown once", async () => {
  await story.visit("users", "/users", () => text("ada@example.com").waitFor());
  await button("New user").click();
  const dialog = page.getByRole("dialog", { name: "New user" });
  await dialog.getByLabel("E-mail address").fill("grace@example.com");
  await dialog.getByLabel("Password").fill(PASSWORD);
  await story.look("user-new");
  await dialog.getByRole("button", { name: "Make user" }).click();
  await text("grace can sign in now.").first().waitFor();
  await text("grace@example.com").waitFor();

  await story.visit("tokens", "/settings/tokens", () => text("No tokens").waitFor());
  await page.getByLabel("Name").fill("ci");
  await button("Make token").click();
  const token = await page.locator("code.secret").textContent();
  const me = await fetch(`${url}/api/v2/users/me`, { headers: { "Coder-Session-Token": token } });
  assert.equal((await me.json()).username, "ada");
  await button("Delete ci").click();
  await button("Delete token").click();
  await text("No tokens").waitFor();
  const refused = await fetch(`${url}/api/v2/users/me`, { headers: { "Coder-Session-Token": token } });
  assert.equal(refused.status, 401, "a deleted token is useless at once");
});

test("the pages around it", async () => {
  await story.visit("account", "/settings/account", () => text("Password now").waitFor());
  await story.visit("command-line", "/settings/command-line", () => text("berth config-ssh").waitFor());
  await story.visit("health", "/health", () => text("Live news").waitFor());
  await story.visit("cli-auth", "/cli-auth", () => button("Make a token").waitFor());
  await button("Make a token").click();
  await page.locator("code.secret").waitFor();
  await story.visit("missing", "/no/such/page", () => heading("There is no such page").waitFor());
});

test("a session that ended elsewhere leads to the sign-in, and back to where the person was going", async () => {
  story.expect(/401 .*\/templates/);
  await page.goto("/workspaces");
  await heading("Workspaces").waitFor();
  const { value } = (await story.context.cookies()).find(({ name }) => name === "coder_session_token");
  const headers = { "Coder-Session-Token": value };
  const ended = await fetch(`${url}/api/v2/users/me/keys/${value.split("-")[0]}`, { method: "DELETE", headers });
  assert.equal(ended.status, 204);
  await page.getByRole("link", { name: "Templates" }).click();
  await heading("Sign in to Berth").waitFor();
  await page.getByLabel("E-mail address").fill("ada@example.com");
  await page.getByLabel("Password").fill(PASSWORD);
  await button("Sign in").click();
  await heading("Templates").waitFor();
});

test("the theme that a person chooses stays", async () => {
  await page.goto("/workspaces");
  await button("Account of ada").click();
  await page.getByRole("menuitem", { name: "Theme: system" }).click();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await page.reload();
  assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), "dark");
});

test("a first load is small", async () => {
  const loaded = [];
  const note = async (response) => {
    const { pathname } = new URL(response.url());
    if (!pathname.startsWith("/api/")) loaded.push([pathname, gzipSync(await response.body(), { level: 9 }).length]);
  };
  const fresh = await story.browser.newContext({ storageState: await story.context.storageState() });
  const first = await fresh.newPage();
  const notes = [];
  first.on("response", (response) => notes.push(note(response)));
  await first.goto(`${url}/workspaces`);
  await first.getByRole("link", { name: "sea" }).waitFor();
  await first.waitForLoadState("networkidle");
  await Promise.all(notes);
  await fresh.close();
  const bytes = loaded.reduce((sum, [, size]) => sum + size, 0);
  console.log(`first load: ${bytes} bytes in ${loaded.length} files`);
  assert.ok(bytes <= FIRST_LOAD_BYTES_MAX, `${bytes} bytes: ${JSON.stringify(loaded, null, 1)}`);
});

test("each page asks the API no more than it needs", async () => {
  const table = Object.entries(story.table)
    .map(([name, calls]) => `${name}\n${calls.map((call) => `  ${call}\n`).join("")}`)
    .join("\n");
  if (process.env.BERTH_STORY_ACCEPT) writeFileSync(TABLE, table);
  assert.equal(
    table,
    readFileSync(TABLE, "utf8"),
    "run the story with BERTH_STORY_ACCEPT=1 if that is meant, and say why in the commit",
  );
});
