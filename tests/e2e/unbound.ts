/** Unbound, a real DNS server that validates, before an NSD whose zone is signed. */
import type { Folder } from "./folder.ts";
import { startNsd } from "./nsd.ts";
import { end, freePort, untilListening } from "./ports.ts";
import { run, spawn } from "./programs.ts";

/** Both, running. */
export interface SignedDns extends AsyncDisposable {
  /** The one that validates, as `dns: { servers }` wants it. */
  readonly validating: string;
  /** The one behind it, which only serves. */
  readonly plain: string;
}

/**
 * Starts them.
 *
 * @param zone Its name and records, to be signed.
 * @param below A zone below it that is not signed.
 * @param forge What someone changes about the signed zone's file: its signatures don't fit that.
 */
export async function startSignedDns(
  folder: Folder,
  zone: { readonly name: string; readonly records: string },
  below: { readonly name: string; readonly records: string },
  forge: (signed: string) => string,
): Promise<SignedDns> {
  await using undo = new AsyncDisposableStack();
  let anchor = "";
  const sign = async () => {
    const key = (await tool(folder, "ldns-keygen", ["-k", "-a", "ECDSAP256SHA256", zone.name])).trim();
    const file = folder.at(`${zone.name}.zone`);
    await tool(folder, "ldns-signzone", ["-n", "-f", file, file, key]);
    await Deno.writeTextFile(file, forge(await Deno.readTextFile(file)));
    anchor = folder.at(`${key}.key`);
  };
  const records = { [zone.name]: zone.records, [below.name]: below.records };
  const nsd = undo.use(await startNsd(folder, records, sign));
  const port = freePort();
  const config = await folder.write(
    "unbound.conf",
    [
      "server:",
      `  interface: 127.0.0.1@${port}`,
      "  do-daemonize: no",
      '  username: ""', // as whom it was started
      '  chroot: ""',
      `  directory: "${folder.path}"`,
      '  pidfile: ""',
      "  use-syslog: no",
      "  do-not-query-localhost: no",
      "  num-threads: 1",
      '  module-config: "validator iterator"',
      `  trust-anchor-file: "${anchor}"`,
      '  local-zone: "test." nodefault', // which it else says is empty (RFC 6761)
      "remote-control:",
      "  control-enable: no",
      ...[zone, below].flatMap(({ name }) => [
        "stub-zone:",
        `  name: "${name}"`,
        `  stub-addr: ${nsd.address.replace(":", "@")}`,
      ]),
      "",
    ].join("\n"),
  );
  const child = spawn("/usr/sbin/unbound", ["-d", "-c", config], {
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  undo.defer(() => end(child));
  await untilListening(child, "unbound", port);
  const all = undo.move();
  return {
    validating: `127.0.0.1:${port}`,
    plain: nsd.address,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function tool(folder: Folder, program: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, args, { cwd: folder.path });
  if (code !== 0) throw new Error(`${program}: ${stderr}`);
  return stdout;
}
