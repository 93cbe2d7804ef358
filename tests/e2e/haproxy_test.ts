/** HAProxy in front, which says by the PROXY protocol whose connections it passes on. */
import { match, strictEqual as equal } from "node:assert/strict";
import { makeCertificate } from "./certificate.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { readMaildir } from "./mailbox.ts";
import { end, freePort, untilListening } from "./ports.ts";
import { run, spawn } from "./programs.ts";
import { ServerProcess } from "./server.ts";

const address = "127.0.0.1";

/** Clients bind this address, so that theirs is not the proxy's. */
const clientAddress = "127.0.0.9";

const settings = {
  hostname: "mx.example.test",
  state: "./state",
  listen: [{ port: 0, address }, { port: 0, address, tls: "none" }, { port: 0, address, tls: "implicit" }],
  tls: { cert: "cert.pem", key: "key.pem" },
  log: { format: "json", level: "debug" },
  proxies: { haproxy: [address] },
  plugins: [
    { use: "maildir", with: { domains: ["example.test"], users: "any", path: "./mail/{domain}/{user}" } },
  ],
};

const doors = ["starttls", "none", "implicit"];
const versions = {
  "send-proxy": "v1",
  "send-proxy-v2": "v2",
  "send-proxy-v2 proxy-v2-options crc32c": "v2-crc32c",
};

interface Way {
  readonly name: string;
  readonly tls: string;
  readonly port: number;
}

/** A proxy for each listener and version, which looks at the listener's health, too. */
async function startProxy(
  folder: Folder,
  server: ServerProcess,
): Promise<{ child: Deno.ChildProcess; ways: Way[] }> {
  const ways: Way[] = [];
  let text =
    "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n";
  for (const [door, tls] of doors.entries()) {
    for (const [option, version] of Object.entries(versions)) {
      const [name, port] = [`${tls}-${version}`, freePort()];
      ways.push({ name, tls, port });
      const check = version === "v2" ? " check inter 200" : "";
      text += `listen ${name}\n  bind ${address}:${port}\n  server mx ${address}:${
        server.port(door)
      } ${option}${check}\n`;
    }
  }
  const config = await folder.write("haproxy.cfg", text);
  const child = spawn("haproxy", ["-db", "-q", "-f", config], {
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  await untilListening(child, "haproxy", ways.at(-1)!.port);
  return { child, ways };
}

Deno.test("R03 HAProxy in front: PROXY v1, v2 and v2 with a checksum, with and without TLS", async (t) => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  await makeCertificate(folder, "mx.example.test");
  const admin = freePort();
  const config = await folder.write(
    "postrider.yaml",
    JSON.stringify({ ...settings, admin: { address, port: admin } }),
  );
  const server = undo.use(await ServerProcess.start(config, { listeners: doors.length }));
  const { child, ways } = await startProxy(folder, server);
  undo.defer(() => end(child));
  for (const { name, tls, port } of ways) {
    await t.step(name, async () => {
      const encrypt = { starttls: ["--tls"], none: [], implicit: ["--tls-on-connect"] }[tls]!;
      const { code, stdout } = await run("swaks", [
        ...["--server", address, "--port", String(port), "--local-interface", clientAddress],
        ...[
          "--from",
          "bob@elsewhere.test",
          "--to",
          `${name}@example.test`,
          "--helo",
          "client.test",
          ...encrypt,
        ],
      ]);
      equal(code, 0, stdout);
      const [message] = await readMaildir(folder.at("mail", "example.test", name));
      match(message!.received, /^from client\.test \(\[127\.0\.0\.9\]\)/);
      match(message!.received, tls === "none" ? /with ESMTP id/ : /with ESMTPS /);
    });
  }
  await t.step("the server itself looks at its listeners as a proxy would", async () => {
    const answer = await fetch(`http://${address}:${admin}/healthz`);
    equal(answer.status, 200, await answer.text());
  });
  await t.step("connections that don't begin with it are closed", async () => {
    for (const door of doors.keys()) {
      const conn = await Deno.connect({ hostname: address, port: server.port(door) });
      await conn.write(new TextEncoder().encode("EHLO client.test\r\n"));
      const heard = await new Response(conn.readable).text().catch(() => ""); // a reset
      equal(heard, "", `listener ${door} spoke to a proxy that had not sent its header`);
    }
  });
});

Deno.test("R03 a client that is no proxy and says PROXY is told that it is no command", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  await makeCertificate(folder, "mx.example.test");
  const others = { ...settings, listen: settings.listen.slice(1, 2), proxies: { haproxy: ["192.0.2.1"] } };
  const config = await folder.write("postrider.yaml", JSON.stringify(others));
  const server = undo.use(await ServerProcess.start(config));
  const conn = await Deno.connect({ hostname: address, port: server.port() });
  const lines = conn.readable.pipeThrough(new TextDecoderStream()).getReader();
  match((await lines.read()).value!, /^220 /);
  await conn.write(new TextEncoder().encode("PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n"));
  match((await lines.read()).value!, /^500 5\.5\.1 /);
  conn.close();
  const { ip } = await server.logged("connected");
  equal(ip, address);
});
