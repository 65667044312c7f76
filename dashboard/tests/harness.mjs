// What the stories share: a real browser at a real Berth, and what is asked of every page.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

/** The Berth under test, its command line, and where screenshots go; `tests/dashboard.rs` sets them. */
function setting(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run the stories with \`cargo xtask test -- dashboard\``);
  return value;
}
export const url = setting("BERTH_STORY_URL").replace(/\/$/, "");
const binary = setting("BERTH_STORY_BINARY");
const pictures = setting("BERTH_STORY_PICTURES");
export const PASSWORD = "correct horse battery staple";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** What a page may load before anything is done on it, in bytes after gzip; the terminal is not there yet. */
export const FIRST_LOAD_BYTES_MAX = 150_000;
/** https://web.dev/articles/cls: below this a page is good. */
const LAYOUT_SHIFT_MAX = 0.1;
/** Longer than anything here takes on a busy machine, in milliseconds. */
const PATIENCE_MS = Number(process.env.BERTH_STORY_PATIENCE_MS ?? 30_000);
const WIDE = { width: 1280, height: 860 };
const NARROW = { width: 390, height: 844 };

/** The command line, as the person who set Berth up. */
export function berth(...args) {
  return execFileSync(binary, args, {
    encoding: "utf8",
    env: { ...process.env, BERTH_FIRST_USER_PASSWORD: PASSWORD },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** A browser with one page that notes what goes wrong in it and what it asks for. */
export async function open() {
  const served = await fetch(url, { headers: { accept: "text/html" } });
  assert.ok(served.ok, await served.text());
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  const context = await browser.newContext({ viewport: WIDE, baseURL: url, permissions: ["clipboard-read", "clipboard-write"] });
  await context.addInitScript(() => {
    window.layoutShift = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.layoutShift += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  return new Story(browser, context, page);
}

class Story {
  problems = [];
  expected = [];
  calls = [];
  outside = [];
  table = {};

  constructor(browser, context, page) {
    Object.assign(this, { browser, context, page });
    page.on("pageerror", (error) => this.problems.push(`${page.url()}: ${error.stack}`));
    page.on("console", (message) => {
      if (message.type() !== "error" && message.type() !== "warning") return;
      const text = `${message.text()} ${message.location().url}`;
      if (!this.expected.some((pattern) => pattern.test(text))) this.problems.push(`${page.url()}: ${text}`);
    });
    page.on("request", (request) => {
      const { origin, pathname } = new URL(request.url());
      if (origin !== url && !request.url().startsWith("blob:")) this.outside.push(request.url());
      if (pathname.startsWith("/api/")) this.calls.push(`${request.method()} ${anonymous(pathname)}`);
    });
    page.on("websocket", (socket) => this.calls.push(`WS ${anonymous(new URL(socket.url()).pathname)}`));
  }

  /** An answer that the browser calls an error and the story wants: a refusal, or nobody signed in. */
  expect(pattern) {
    this.expected.push(pattern);
  }

  /** Loads a page afresh, waits for it, and asks of it what is asked of every page. */
  async visit(name, path, ready) {
    const { page } = this;
    // What the page before asks for late, a socket that is just being opened, is not this one's.
    await page.goto("about:blank");
    this.calls = [];
    await page.goto(path);
    await ready(page);
    await this.settle();
    const counts = new Map();
    for (const call of this.calls) counts.set(call, (counts.get(call) ?? 0) + 1);
    this.table[name] = [...counts].map(([call, count]) => (count > 1 ? `${call} x${count}` : call)).sort();
    assert.ok((await page.evaluate(() => window.layoutShift)) < LAYOUT_SHIFT_MAX, `${name} jumps while it loads`);
    await this.look(name);
  }

  /** Waits until no request is under way and none was for a moment. */
  async settle() {
    await this.page.waitForLoadState("networkidle");
    await this.page.evaluate(() => document.fonts.ready);
  }

  /** Wide and light, narrow and dark: accessible, within the screen, and kept as a picture. */
  async look(name) {
    mkdirSync(pictures, { recursive: true });
    const looks = [
      ["wide", WIDE, "light"],
      ["narrow", NARROW, "dark"],
    ];
    for (const [width, viewport, scheme] of looks) {
      await this.page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      await this.page.setViewportSize(viewport);
      await this.page.screenshot({ path: `${pictures}/${name}-${width}-${scheme}.png`, fullPage: true, animations: "disabled" });
      const overflow = await this.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(overflow <= 0, `${name} is ${overflow} px wider than the ${width} screen`);
      await this.accessible(`${name}, ${width}, ${scheme}`);
    }
    await this.page.setViewportSize(WIDE);
    await this.page.emulateMedia({ colorScheme: "light", reducedMotion: "no-preference" });
  }

  async accessible(where) {
    await this.page.evaluate(`if (!window.axe) { ${axe} }`);
    const { violations } = await this.page.evaluate(() =>
      window.axe.run({
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
        resultTypes: ["violations"],
      }),
    );
    const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    const told = serious.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`));
    assert.deepEqual(told, [], `${where}: axe finds`);
  }

  /** Adds to a failure what the page showed and said. */
  async failed(error) {
    mkdirSync(pictures, { recursive: true });
    await this.page.screenshot({ path: `${pictures}/failed.png` }).catch(() => undefined);
    const said = this.problems.join("\n");
    throw new Error(`${error.message}\nat ${this.page.url()}; see failed.png in ${pictures}\n${said}`, { cause: error });
  }

  async close() {
    await this.browser.close();
    assert.deepEqual(this.problems, [], "the browser's console is quiet");
    assert.deepEqual(this.outside, [], "nothing is fetched from elsewhere");
  }
}

function anonymous(path) {
  return path.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "ID");
}
