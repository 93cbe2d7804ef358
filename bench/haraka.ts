/** Haraka, from npm: its outbound queue, sending everything on to one place. */
import { join } from "node:path";
import { type CountingSink, freePort, Missing, type Peer, spawn } from "./peers.ts";

/** The version that is measured; some of the ones it asks for are pinned to what the registry has. */
const version = "3.3.4";
const manifest = { private: true, overrides: { "encoding-japanese": "2.2.0", libqp: "2.1.1" } };

/** Milliseconds for its installation. */
const patience = 90_000;

/** Relays for everybody on loopback, asks nobody's DNS, and sends to one port. `exports.name` would be the plugin's own. */
const plugin = (port: number) =>
  `"use strict";
exports.register = function () {
  this.register_hook("lookup_rdns", "localhost");
  this.register_hook("connect", "trust");
  this.register_hook("rcpt", "yes");
  this.register_hook("get_mx", "mx");
};
exports.localhost = (next) => next(OK, "localhost");
exports.trust = (next, connection) => { connection.relaying = true; next(); };
exports.yes = (next) => next(OK);
exports.mx = (next) => next(OK, { priority: 0, exchange: "127.0.0.1", port: ${port} });
`;

async function install(folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(join(folder, "package.json"), JSON.stringify(manifest));
  const args = ["install", "--no-audit", "--no-fund", "--loglevel=error", `Haraka@${version}`];
  const signal = AbortSignal.timeout(patience);
  let why: string;
  try {
    const { success, stderr } = await new Deno.Command("npm", { args, cwd: folder, signal }).output();
    if (success) return;
    why = signal.aborted ? "it took too long" : new TextDecoder().decode(stderr).trim().split("\n")[0]!;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    why = "there is no npm";
  }
  throw new Missing(`not installed: ${why}`);
}

/** Installs and starts it. @throws {Missing} when it can't be had here. */
export async function startHaraka(folder: string, sink: CountingSink): Promise<Peer> {
  const own = join(folder, "haraka");
  await install(own);
  const package_ = join(own, "node_modules/Haraka");
  const home = join(own, "home");
  const config = join(home, "config");
  for (const name of ["config", "plugins", "queue"]) await Deno.mkdir(join(home, name), { recursive: true });
  // With a folder of its own it doesn't fall back to its own defaults, and fails without them.
  for await (const { name, isFile } of Deno.readDir(join(package_, "config"))) {
    if (isFile) await Deno.copyFile(join(package_, "config", name), join(config, name));
  }
  const port = freePort();
  const files = {
    me: "mx.example.test\n",
    host_list: "",
    "smtp.ini": `listen=127.0.0.1:${port}\nnodes=0\n`,
    "log.ini": "[main]\nlevel=notice\n",
    "outbound.ini": "enable_tls=false\nlocal_mx_ok=true\nconcurrency_max=100\n",
    plugins: "bench\n",
  };
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(join(config, name), text);
  await Deno.writeTextFile(join(home, "plugins/bench.js"), plugin(sink.port));
  try {
    const peer = await spawn(
      "Haraka",
      port,
      ["node", join(package_, "bin/haraka"), "-c", home],
      join(own, "log"),
    );
    return { ...peer, name: `Haraka ${version}`, sink, queue: [join(home, "queue")] };
  } catch (error) {
    throw new Missing(`does not start: ${(error as Error).message.replaceAll(/\s+/g, " ")}`);
  }
}
