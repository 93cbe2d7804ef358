/** A port of HTTP in a process of its own, whose descriptors run out for a moment; descriptors_test.ts reads what it prints. */
import { Listener } from "../plugins/http_submit/listener.ts";
import { AdminServer } from "../server/admin/server.ts";
import { systemClock as clock } from "../server/clock.ts";
import type { Log } from "../server/log.ts";
import type { Host } from "../server/plugin.ts";

const noted = Promise.withResolvers<void>();
const again = Promise.withResolvers<void>();
const log = { error: () => noted.resolve(), info: () => again.resolve() } as unknown as Log & Host["log"];

const opened = {
  async "http-submit"() {
    const here = () => Promise.resolve(new Response("here"));
    const listener = await Listener.open({ address: "127.0.0.1", port: 0 }, { clock, log }, here);
    return { port: listener.addr.port, close: () => listener.shutdown() };
  },
  admin() {
    const metrics = { contentType: "text/plain", text: () => Promise.resolve("here") };
    const health = { reasons: () => Promise.resolve([]) };
    return Promise.resolve(
      new AdminServer({ address: "127.0.0.1", port: 0, log, clock, metrics, health }),
    );
  },
};
const server = await opened[Deno.args[0] as keyof typeof opened]();
const url = `http://127.0.0.1:${server.port}/metrics`;
await (await fetch(url)).text(); // what the client needs is there

const files: Deno.FsFile[] = [];
try {
  for (;;) files.push(Deno.openSync("/dev/null"));
} catch { /* there are no more */ }
files.pop()!.close(); // one for the connection's other end
// It may be reset before we hear that it was there.
const connection = await Deno.connect({ hostname: "127.0.0.1", port: server.port }).catch(() => {});
await noted.promise;
connection?.close();
for (const file of files) file.close();
await again.promise;
console.log(await (await fetch(url)).text());
await server.close();
