/**
 * A server in a process of its own whose descriptors listen_test.ts lets run out. Reads commands from stdin, one a
 * line: `fill` opens files until there is no descriptor left, `free` closes them; each is answered by a line. An error in
 * the log is a line as well.
 */
import { loadCertificates } from "../server/channel/certificates.ts";
import { systemClock } from "../server/clock.ts";
import { openListeners } from "../server/listen.ts";
import type { Log } from "../server/log.ts";
import { silentLog, testCertificate } from "./channel/fixtures.ts";

// The runtime panics where it first needs these with no descriptor left.
Deno.addSignalListener("SIGUSR2", () => {});

const log: Log = { ...silentLog, error: (event) => console.log(event) };
const listener = { address: "127.0.0.1", port: 0, role: "mx", protocol: "smtp" } as const;
const { open } = await openListeners({
  listeners: [{ ...listener, tls: "none" }, { ...listener, tls: "starttls" }],
  limits: { connections: 1000, connectionsPerIp: 1000 },
  certificates: await loadCertificates([testCertificate("mx.example.test")], { clock: systemClock, log }),
  serve: (channel) => channel.write(new TextEncoder().encode("220 hello\r\n")),
  refuse: () => new Uint8Array(),
  clock: systemClock,
  log,
  openFiles: 10_000,
});
console.log(open.map(({ port }) => port).join(" "));

const files: Deno.FsFile[] = [];
const input = Deno.stdin.readable.pipeThrough(new TextDecoderStream());
for await (const command of input) {
  if (command === "fill\n") {
    try {
      for (;;) files.push(Deno.openSync("/dev/null"));
    } catch {
      console.log("full");
    }
  } else {
    for (const file of files.splice(0)) file.close();
    console.log("free");
  }
}
Deno.exit();
