/** NSD, a real DNS server, with the zones of a test. */
import type { Folder } from "./folder.ts";
import { end, freePort, untilListening } from "./ports.ts";
import { spawn } from "./programs.ts";

/** One that runs. */
export interface Nsd extends AsyncDisposable {
  /** As `dns: { servers }` wants it. */
  readonly address: string;
}

/**
 * Starts one.
 *
 * @param zones Records by zone, as zone files hold them; `undefined`: a zone that NSD should have and hasn't, which is a
 *   SERVFAIL. Names outside of all zones are REFUSED.
 * @param prepare Called when the zone files are written, and not read yet.
 */
export async function startNsd(
  folder: Folder,
  zones: Readonly<Record<string, string | undefined>>,
  prepare?: () => Promise<void>,
): Promise<Nsd> {
  const port = freePort();
  const lines = [
    "server:",
    `  ip-address: 127.0.0.1@${port}`,
    '  username: ""', // as whom it was started
    '  chroot: ""',
    `  zonesdir: "${folder.path}"`,
    '  database: ""',
    `  pidfile: "${folder.at("nsd.pid")}"`,
    `  xfrdfile: "${folder.at("nsd.xfrd")}"`,
    `  zonelistfile: "${folder.at("nsd.zones")}"`,
    "  server-count: 1",
    "remote-control:",
    "  control-enable: no",
  ];
  for (const [zone, records] of Object.entries(zones)) {
    lines.push("zone:", `  name: "${zone}"`, `  zonefile: "${zone}.zone"`);
    if (records === undefined) continue;
    const head =
      `$ORIGIN ${zone}.\n$TTL 60\n@ SOA ns.${zone}. root.${zone}. 1 3600 600 86400 60\n@ NS ns.${zone}.\n`;
    await folder.write(`${zone}.zone`, head + records);
  }
  await prepare?.();
  const config = await folder.write("nsd.conf", `${lines.join("\n")}\n`);
  const child = spawn("/usr/sbin/nsd", ["-d", "-c", config], {
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  await untilListening(child, "nsd", port);
  return { address: `127.0.0.1:${port}`, [Symbol.asyncDispose]: () => end(child) };
}
