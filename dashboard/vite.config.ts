// The dashboard is built into dist/ (or wherever --outDir says): index.html, and assets/ whose names change with their content.
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/** A running `berth server`, for `npm run dev` and `npm run preview`. */
const server = process.env.BERTH_URL ?? "http://127.0.0.1:7090";
/** What the server serves itself. The host stays as the browser sent it: the API compares it with the page's origin. */
const proxy = Object.fromEntries(
  ["/api", "/bin", "/healthz"].map((path) => [path, { target: server, changeOrigin: false, ws: true }]),
);

/** What the server says of every page too (crates/local/src/dashboard.rs, infra/edge.yaml). */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/** The pictures of the starter templates, by the path that each one's README gives its own: `/icon/aws.svg`. */
function icons(): Plugin {
  const home = new URL("../templates/", import.meta.url);
  const pictures = new Map<string, Buffer>();
  for (const starter of readdirSync(home)) {
    const path = /^icon: \/(icon\/[\w-]+\.svg)$/m.exec(readFileSync(new URL(`${starter}/README.md`, home), "utf8"))?.[1];
    if (path) pictures.set(path, readFileSync(new URL(`${starter}/icon.svg`, home)));
  }
  const name = "virtual:icons";
  return {
    name: "berth-icons",
    resolveId: (id) => (id === name ? `\0${name}` : null),
    load: (id) => (id === `\0${name}` ? `export default ${JSON.stringify([...pictures.keys()].map((path) => `/${path}`))}` : null),
    generateBundle() {
      for (const [fileName, source] of pictures) this.emitFile({ type: "asset", fileName, source });
    },
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const picture = pictures.get((request.url ?? "").slice(1));
        if (!picture) return next();
        response.setHeader("Content-Type", "image/svg+xml");
        response.end(picture);
      });
    },
  };
}

/** Each file a second time, compressed: for a server that does not compress. CloudFront does. */
function compressed(): Plugin {
  return {
    name: "berth-compressed",
    apply: (_, { mode }) => mode === "embed",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        for (const [fileName, output] of Object.entries(bundle)) {
          const source = gzipSync(output.type === "chunk" ? output.code : output.source, { level: 9 });
          this.emitFile({ type: "asset", fileName: `${fileName}.gz`, source });
        }
      },
    },
  };
}

export default defineConfig({
  plugins: [react(), icons(), compressed()],
  build: {
    target: ["chrome123", "firefox120", "safari17.5"],
    // A preload script in the page would be an inline one; the browsers above preload modules themselves.
    modulePreload: { polyfill: false },
    // Nothing as a data: URL, which the content security policy refuses.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  server: { proxy },
  preview: { proxy, headers: { "Content-Security-Policy": policy } },
});
