/** Debian's clamd, with a signature of the tests' own. */
import type { Folder } from "./folder.ts";
import { end, freePort, untilListening } from "./ports.ts";
import { spawn } from "./programs.ts";

/** What it takes for malware. */
export const malware = "POSTRIDER-TEST-MALWARE-4711";
/** Octets of the largest message it looks through. */
export const streamMax = 1024 * 1024;

/** One that runs. */
export interface Clamd extends AsyncDisposable {
  /** The same daemon, by TCP and by its Unix socket. */
  readonly addresses: readonly [tcp: string, unix: string];
}

/** Starts one that knows one signature. */
export async function startClamd(folder: Folder): Promise<Clamd> {
  const hex = [...new TextEncoder().encode(malware)].map((octet) => octet.toString(16).padStart(2, "0"));
  const database = folder.at("signatures");
  await Deno.mkdir(database);
  await Deno.writeTextFile(`${database}/test.ndb`, `Postrider.Test:0:*:${hex.join("")}\n`);
  const port = freePort();
  const socket = folder.at("clamd.sock");
  const config = await folder.write(
    "clamd.conf",
    [
      "Foreground yes",
      `DatabaseDirectory ${database}`,
      `LocalSocket ${socket}`,
      "TCPAddr 127.0.0.1",
      `TCPSocket ${port}`,
      `StreamMaxLength ${streamMax}`,
      "",
    ].join("\n"),
  );
  const child = spawn("/usr/sbin/clamd", ["-c", config], { stdin: "null", stdout: "null", stderr: "null" });
  await untilListening(child, "clamd", port);
  return { addresses: [`127.0.0.1:${port}`, socket], [Symbol.asyncDispose]: () => end(child) };
}
