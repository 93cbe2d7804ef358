/**
 * `deno task bundle [PLUGIN…]`: all of the server in one JavaScript file, `dist/postrider.js`, with its packages, its Workers and
 * the bundled plugins in it; plugins of your own too, which a configuration then names as `use: greylist`.
 * `deno run -A dist/postrider.js serve --config FILE` needs nothing else. Plugins by path (`use: ./greylist.ts`) work with it: for
 * those that say `import … from "postrider"` the `deno.json` beside it makes that mean this very file.
 */
import { basename, dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import manifest from "../deno.json" with { type: "json" };
import { registerPlugins, root } from "./entry.ts";

const output = `${root}dist/postrider.js`;

/** What `postrider` and `postrider/facts` export, and the command line of mod.ts, which runs here as it does there. */
const entry = `${registerPlugins(Deno.args)}
export * from "./mod.ts";
export * from "./server/facts.ts";
`;

/** CommonJS packages ask for the runtime's own modules by `require`. */
const banner =
  `import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);`;

/** A Worker's code is a `data:` URL, which lies nowhere. */
const workerBanner = `import { createRequire as __createRequire } from "node:module";
const require = __createRequire("file:///"), __dirname = "/", __filename = "/worker.js";`;

const common = {
  bundle: true,
  format: "esm",
  platform: "node",
  target: "esnext",
  charset: "utf8",
  legalComments: "eof",
  logLevel: "warning",
  loader: { ".wasm": "binary" },
} satisfies esbuild.BuildOptions;

/** The packages in a folder where esbuild finds them: Deno's own cache has a form that it does not know. */
async function installPackages(folder: string): Promise<string> {
  const { imports } = manifest;
  const packages = Object.entries(imports).filter(([, to]) => to.startsWith("npm:"));
  const config = { imports: Object.fromEntries(packages), nodeModulesDir: "auto" };
  await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify(config));
  await Deno.copyFile(`${root}/deno.lock`, `${folder}/deno.lock`);
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["install", "--quiet"],
    cwd: folder,
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("The packages could not be installed: see above.");
  return `${folder}/node_modules`;
}

const workerUrl = /new URL\("(\.\/[a-z_]+_worker\.ts)", import\.meta\.url\)/;
/** In the bundle the server's frames are all in one file, and what lies beside that is not the server's. */
const serverFolder = 'new URL("../", import.meta.url).href';

/** Rewrites what depends on where a module's file lies: there is but one file. */
function oneFile(nodePaths: string[]): esbuild.Plugin {
  return {
    name: "one-file",
    setup(build) {
      build.onResolve({ filter: /^file:/ }, ({ path }) => ({ path: fileURLToPath(path) }));
      build.onLoad({ filter: /\/(?:server|plugins)\/.*\.ts$/ }, async ({ path }) => {
        const source = await Deno.readTextFile(path);
        if (!source.includes("import.meta.url")) return undefined;
        let contents = source.replace(serverFolder, "import.meta.url");
        const worker = workerUrl.exec(contents);
        if (worker) {
          const code = await bundleWorker(resolve(dirname(path), worker[1]!), nodePaths);
          contents = contents.replace(worker[0], () => `new URL(${JSON.stringify(dataUrl(code))})`);
        }
        const left = contents.match(
          /new URL\([^)]*import\.meta\.url\)/,
        );
        if (left) throw new Error(`${path}: ${left[0]} would point to nowhere in a bundle.`);
        return { contents, loader: "ts" };
      });
    },
  };
}

/** 7-Zip looks for its WebAssembly beside its code, where there is none: here it is given that. */
const sevenZip: esbuild.Plugin = {
  name: "7z-wasm",
  setup(build) {
    build.onResolve({ filter: /^7z-wasm$/ }, ({ path }) => ({ path, namespace: "7z-wasm" }));
    build.onLoad({ filter: /^/, namespace: "7z-wasm" }, () => ({
      contents: `import SevenZip from "7z-wasm/7zz.umd.js";
import wasmBinary from "7z-wasm/7zz.wasm";
export default (options) => SevenZip({ wasmBinary, ...options });`,
      resolveDir: root,
    }));
  },
};

async function bundleWorker(path: string, nodePaths: string[]): Promise<Uint8Array> {
  const { outputFiles } = await esbuild.build({
    ...common,
    entryPoints: [path],
    nodePaths,
    banner: { js: workerBanner },
    plugins: [sevenZip],
    minifyWhitespace: true,
    write: false,
  });
  return outputFiles[0]!.contents;
}

function dataUrl(code: Uint8Array): string {
  return `data:text/javascript;base64,${code.toBase64()}`;
}

async function bundle(nodePaths: string[]): Promise<void> {
  await esbuild.build({
    ...common,
    stdin: { contents: entry, resolveDir: root, sourcefile: "postrider.ts", loader: "ts" },
    outfile: output,
    nodePaths,
    banner: { js: banner },
    alias: { "postrider": `${root}mod.ts`, "postrider/facts": `${root}server/facts.ts` },
    plugins: [oneFile(nodePaths)],
  });
  const self = `./${basename(output)}`;
  await Deno.writeTextFile(
    `${dirname(output)}/deno.json`,
    `${JSON.stringify({ imports: { "postrider": self, "postrider/facts": self }, lock: false }, null, 2)}\n`,
  );
}

const folder = await Deno.makeTempDir({ prefix: "postrider-bundle-" });
try {
  await bundle([await installPackages(folder)]);
  const { size } = await Deno.stat(output);
  console.log(`${output}: ${Math.round(size / 1024)} KiB`);
} finally {
  await esbuild.stop();
  await Deno.remove(folder, { recursive: true });
}
