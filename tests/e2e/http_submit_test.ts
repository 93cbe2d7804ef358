/** Mail from an application by HTTP, with curl; what becomes of it told to a receiver in another process. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { makeAuthority } from "./certificate.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { onlyMessage, readMaildir } from "./mailbox.ts";
import { freePort } from "./ports.ts";
import { run } from "./programs.ts";
import { ReceiverProcess } from "./receivers/process.ts";
import { ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

const key = "c2VjcmV0IG9mIHRoZSBzaG9wIGFwcGxpY2F0aW9u";

async function keysIn(folder: Folder): Promise<string> {
  // As the page says.
  const { stdout } = await run("sh", ["-c", `printf %s "${key}" | sha256sum`]);
  return await folder.write(
    "keys.yaml",
    `shop: { sha256: ${stdout.split(" ")[0]}, from: ["*@example.test"] }\n`,
  );
}

async function curl(...args: string[]): Promise<{ status: number; body: Record<string, unknown> }> {
  const { stdout, stderr, code } = await run("curl", ["-sS", "-w", "\n%{http_code}", ...args]);
  equal(code, 0, stderr);
  const [body = "", status = ""] = stdout.split(/\n(?=[0-9]+$)/);
  return { status: Number(status), body: JSON.parse(body) };
}

const bearer = ["-H", `Authorization: Bearer ${key}`];
const json = ["-H", "Content-Type: application/json"];
const hello = JSON.stringify({
  from: "shop@example.test",
  to: "alice@example.test",
  subject: "Hi",
  text: "Hello.",
});

Deno.test("http-submit: curl over TLS; a message and its key survive kill -9", async () => {
  await using folder = await makeFolder();
  const authority = await makeAuthority(folder);
  const { cert, key: keyFile } = await authority.certify("localhost");
  const [port, keys] = [freePort(), await keysIn(folder)];
  const submit = { use: "http-submit", with: { port, keys, cert, key: keyFile } };
  const config = await writeSettings(folder, { plugins: [submit, maildir] });
  const url = `https://localhost:${port}/messages`;
  const send = () =>
    curl("--cacert", authority.cert, ...bearer, ...json, "-H", "Idempotency-Key: order-17", "-d", hello, url);
  let id: unknown;
  {
    await using server = await ServerProcess.start(config);
    const { status, body } = await send();
    equal(status, 202);
    id = body["id"];
    const refused = await curl("--cacert", authority.cert, ...json, "-d", hello, url);
    equal(refused.status, 401);
    ok(!server.stderr.includes(key));
  }
  await using server = await ServerProcess.start(config);
  const { status, body } = await send();
  deepEqual([status, body["id"]], [202, id]);
  const message = await folder.write("message.eml", "From: <eve@example.test>\nSubject: raw\n\nRaw.\n");
  const raw = await curl(
    ...bearer,
    ...["--cacert", authority.cert, "-H", "Content-Type: message/rfc822", "--data-binary", `@${message}`],
    `${url}?from=eve@example.test&to=bob@example.test`,
  );
  equal(raw.status, 202);
  await server.logged("delivered", ({ to }) => to === "bob@example.test");
  match((await onlyMessage(mailboxOf(folder, "bob"))).content.toString(), /Subject: raw\n[^]*\n\nRaw\.\n$/);
  equal((await readMaildir(mailboxOf(folder, "alice"))).length, 1);
  equal(await server.stop(), 0);
});

Deno.test("http-submit: a reload takes the listener over", async () => {
  await using folder = await makeFolder();
  const [port, keys] = [freePort(), await keysIn(folder)];
  const submit = { use: "http-submit", with: { port, keys } };
  await using server = await ServerProcess.start(await writeSettings(folder, { plugins: [submit, maildir] }));
  const send = () => curl(...bearer, ...json, "-d", hello, `http://127.0.0.1:${port}/messages`);
  equal((await send()).status, 202);
  server.signal("SIGHUP");
  await server.logged("reloaded");
  equal(server.log.filter(({ event }) => event === "taking mail over HTTP").length, 2);
  equal((await send()).status, 202);
});

Deno.test("http-submit: a port that is taken refuses to start, with a sentence; check doesn't ask for it", async () => {
  await using folder = await makeFolder();
  using taken = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const [{ port }, keys] = [taken.addr as Deno.NetAddr, await keysIn(folder)];
  const submit = { use: "http-submit", with: { port, keys } };
  const config = await writeSettings(folder, { plugins: [submit, maildir] });
  await using server = ServerProcess.spawn(config);
  equal(await server.ended, 1);
  match(server.stderr, /http-submit can't run: can't listen on 127\.0\.0\.1, port/);
});

Deno.test("events: a receiver that is down while mail is delivered, and a server that is killed meanwhile, miss none", async () => {
  await using folder = await makeFolder();
  const [port, hookPort, keys] = [freePort(), freePort(), await keysIn(folder)];
  const secret = "a secret of some length";
  const submit = { use: "http-submit", with: { port, keys } };
  const url = `http://127.0.0.1:${hookPort}/`;
  const events = { use: "events", with: { url, secret, kinds: ["accepted", "delivered"] } };
  const config = await writeSettings(folder, { plugins: [submit, events, maildir] });
  const ids: unknown[] = [];
  {
    await using server = await ServerProcess.start(config);
    for (let i = 0; i < 3; i++) {
      ids.push((await curl(...bearer, ...json, "-d", hello, `http://127.0.0.1:${port}/messages`)).body["id"]);
    }
    for (const id of ids) await server.logged("delivered", (line) => line["id"] === id);
  }
  await using server = await ServerProcess.start(config);
  await server.logged("events are not taken");
  await using receiver = await ReceiverProcess.start("webhook.mjs", secret, "", "", String(hookPort));
  const told = new Set<string>();
  while (told.size < 6) {
    const got = await receiver.next();
    equal(got["is"], true);
    for (const { kind, id } of (got["json"] as { events: Record<string, string>[] }).events) {
      told.add(`${kind} ${id}`);
    }
  }
  deepEqual([...told].sort(), ids.flatMap((id) => [`accepted ${id}`, `delivered ${id}`]).sort());
});
