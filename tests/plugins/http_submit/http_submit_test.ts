import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { digest } from "../../../plugins/http_submit/idempotency.ts";
import { defer, definePlugin, reject } from "../../../server/plugin.ts";
import { mailboxes, type TestPlugin, testServer } from "../../../server/testing/mod.ts";

const least = { from: "shop@example.org", to: "bob@example.org", subject: "Hello", text: "Hello." };

/** A server that takes mail over HTTP, and what sends it some. */
async function start(options: Record<string, unknown> = {}, more: readonly TestPlugin[] = []) {
  const folder = await Deno.makeTempDir();
  const hash = await digest(new TextEncoder().encode("the-key"));
  const keys = `${folder}/keys.yaml`;
  await Deno.writeTextFile(
    keys,
    `shop: { sha256: ${hash}, from: [shop@example.org], hourly: 8, recipients: 3 }\n`,
  );
  const plugins = [
    ["http-submit", { port: 0, keys, ...options }],
    ...more,
    mailboxes(["example.org"]),
  ] as const;
  const server = await testServer({ plugins });
  const port = () => server.log.of("taking mail over HTTP").at(-1)!.fields["port"];
  const post = async (
    body: unknown,
    { headers = {}, query = "", path = "/messages", ...init }: RequestInit & {
      headers?: Record<string, string>;
      query?: string;
      path?: string;
    } = {},
  ) => {
    const response = await fetch(`http://127.0.0.1:${port()}${path}${query}`, {
      method: "POST",
      headers: { authorization: "Bearer the-key", "content-type": "application/json", ...headers },
      body: typeof body === "string" || body instanceof ReadableStream ? body : JSON.stringify(body),
      ...init,
    });
    const answer = await response.json() as { id?: string; detail?: string; errors?: unknown };
    return { status: response.status, headers: response.headers, ...answer };
  };
  return {
    server,
    post,
    plugins,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

Deno.test("http-submit: a message is in the queue before it is answered, and goes through the plugins", async () => {
  const seen: string[] = [];
  const sees = definePlugin({
    name: "sees",
    setup(on) {
      on("data", ({ protocol }, message) => void seen.push(`${protocol} ${message.headers.get("subject")}`));
    },
  });
  await using rig = await start({}, [sees]);
  const { status, id } = await rig.post(least);
  equal(status, 202);
  ok(id);
  await rig.server.settled();
  deepEqual(seen, ["internal Hello"]);
  equal(rig.server.delivered[0]!.to, "bob@example.org");
  match(rig.server.delivered[0]!.content, /^Message-ID: </m);
});

Deno.test("http-submit: a whole message keeps its octets, and only the key's authors may stand in it", async () => {
  await using rig = await start();
  const raw = (text: string, query = "?from=shop@example.org&to=bob@example.org") =>
    rig.post(text, { query, headers: { "content-type": "message/rfc822" } });
  equal((await raw("From: Shop <shop@example.org>\r\nSubject: x\r\n\r\nbody\r\n")).status, 202);
  await rig.server.settled();
  match(rig.server.delivered[0]!.content, /Subject: x\r\n[^]*\r\n\r\nbody\r\n$/);
  for (
    const [text, status, why] of [
      ["From: eve@example.org\r\n\r\n", 403, /may not send as eve@/],
      ["From: shop@example.org, eve@example.org\r\n\r\n", 403, /eve@/],
      ["From: shop@example.org\r\nSender: eve@example.org\r\n\r\n", 403, /eve@/],
      ["From: shop@example.org\r\nFrom: eve@example.org\r\n\r\n", 400, /several From/],
      ["From: shop@example.org\rFrom: eve@example.org\r\n\r\n", 400, /several From/],
      ["From: =?utf-8?q?eve=40example.org?=\r\n\r\n", 400, /need an address/],
      ["From: shop@example.org, Eve\r\n\r\n", 400, /need an address/],
      ["Subject: x\r\n\r\n", 400, /no From/],
      ["x".repeat(300_000), 400, /header is longer/],
    ] as const
  ) {
    const answer = await raw(text);
    equal(answer.status, status, text.slice(0, 50));
    match(answer.detail!, why);
  }
  equal((await raw("From: shop@example.org\r\n\r\n", "?from=eve@example.org&to=b@c.d")).status, 403);
  match((await raw("x", "")).detail!, /needs its envelope/);
});

Deno.test("http-submit: who has no key, or asks for what isn't there, is told so", async () => {
  await using rig = await start();
  const unknown = await rig.post(least, { headers: { authorization: "Bearer wrong" } });
  equal(unknown.status, 401);
  equal(unknown.headers.get("www-authenticate"), 'Bearer realm="mail"');
  equal((await rig.post(least, { path: "/" })).status, 404);
  equal((await rig.post(least, { method: "PUT" })).status, 405);
  equal((await rig.post(least, { headers: { "content-type": "text/xml" } })).status, 415);
  equal((await rig.post({ ...least, from: "eve@example.org" })).status, 403);
  equal((await rig.post({ ...least, envelopeFrom: "eve@example.org" })).status, 403);
  const many = await rig.post({ ...least, to: ["a", "b", "c", "d"].map((user) => `${user}@example.org`) });
  match(many.detail!, /4 recipients; this key may have 3/);
  const invalid = await rig.post({ ...least, to: "nobody" });
  equal(invalid.status, 400);
  equal(invalid.headers.get("content-type"), "application/problem+json");
  ok(Array.isArray(invalid.errors));
  equal(rig.server.delivered.length, 0);
  ok(!JSON.stringify(rig.server.log.entries).includes("the-key"), "keys stay out of the log");
});

Deno.test("http-submit: an Idempotency-Key is answered as before, also after a reload; for another message it is refused", async () => {
  await using rig = await start();
  const headers = { "idempotency-key": '"order-17"' };
  const first = await rig.post(least, { headers });
  await rig.server.reload(rig.plugins);
  const second = await rig.post(least, { headers: { "idempotency-key": "order-17" } });
  deepEqual([second.status, second.id], [202, first.id]);
  equal(second.headers.get("idempotent-replayed"), "true");
  equal((await rig.post({ ...least, text: "Other." }, { headers })).status, 422);
  await rig.server.settled();
  equal(rig.server.delivered.length, 1);
});

Deno.test("http-submit: an Idempotency-Key may be known for weeks", async () => {
  await using rig = await start({ remember: "60d" });
  const headers = { "idempotency-key": "once" };
  const first = await rig.post(least, { headers });
  equal(first.status, 202);
  await rig.server.clock.advance("59d");
  equal((await rig.post(least, { headers })).id, first.id);
});

Deno.test("http-submit: two requests with one Idempotency-Key at a time are one message", async () => {
  const held = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  const slow = definePlugin({
    name: "slow",
    setup: (on) => on("data", () => (arrived.resolve(), held.promise)),
  });
  await using rig = await start({}, [slow]);
  const headers = { "idempotency-key": "a" };
  const first = rig.post(least, { headers });
  await arrived.promise;
  const second = await rig.post(least, { headers });
  equal(second.status, 409);
  ok(second.headers.get("retry-after"));
  held.resolve();
  equal((await first).status, 202);
});

Deno.test("http-submit: what plugins refuse is a refusal, what they defer may come again under its key", async () => {
  let says = defer("4.3.0", "Not now");
  const moody = definePlugin({
    name: "moody",
    setup: (on) =>
      on("data", () => mood === "good" ? undefined : mood === "no" ? reject("5.7.1", "Never") : says),
  });
  let mood: "good" | "no" | "later" = "later";
  await using rig = await start({}, [moody]);
  const headers = { "idempotency-key": "a" };
  const later = await rig.post(least, { headers });
  equal(later.status, 503);
  match(later.detail!, /Not now/);
  mood = "no";
  const never = await rig.post(least, { headers });
  equal(never.status, 422);
  match(never.detail!, /Never/);
  mood = "good";
  equal((await rig.post(least, { headers })).status, 202);
  says = defer("4.3.0", "");
  rig.server.disk = "fails";
  equal((await rig.post(least)).status, 503);
  equal((await rig.post({ ...least, to: "nobody@unknown.example.org" })).status, 503);
});

Deno.test("http-submit: a key that has used up its hour waits for the next", async () => {
  await using rig = await start();
  for (let i = 0; i < 8; i++) equal((await rig.post(least)).status, 202);
  const ninth = await rig.post(least);
  equal(ninth.status, 429);
  ok(Number(ninth.headers.get("retry-after")) <= 3600);
  await rig.server.clock.advance(3_600_000);
  equal((await rig.post(least)).status, 202);
});

Deno.test(
  "http-submit: bodies that are too large, too slow or break off take nothing down",
  async () => {
    await using rig = await start({ max: "64KiB", timeLimit: "10s" });
    const large = { ...least, text: "x".repeat(70_000) };
    equal((await rig.post(large)).status, 413);
    const endless = ReadableStream.from((async function* () {
      for (;;) yield await Promise.resolve(new Uint8Array(16 * 1024).fill(32));
    })());
    equal((await rig.post(endless)).status, 413);
    const begun = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<void>();
    const slow = ReadableStream.from((async function* () {
      yield new TextEncoder().encode("{");
      begun.resolve();
      await ended.promise;
    })());
    const late = rig.post(slow);
    await begun.promise;
    let isOver = false;
    void late.finally(() => isOver = true);
    while (!isOver) { // when its time begins, only the server knows
      await rig.server.clock.advance("10s");
      await new Promise((resolve) => setTimeout(resolve));
    }
    equal((await late).status, 408);
    ended.resolve();
    equal((await rig.post("[".repeat(60_000))).status, 400);
    equal((await rig.post(least)).status, 202);
  },
);

Deno.test("http-submit: large messages are composed in the thread", async () => {
  await using rig = await start();
  const content = new Uint8Array(200_000).toBase64();
  equal((await rig.post({ ...least, attachments: [{ filename: "a", content }] })).status, 202);
  await rig.server.settled();
  ok(rig.server.delivered[0]!.content.length > 260_000);
});

Deno.test("http-submit: mistakes in its options are told at the start", async () => {
  await rejects(start({ address: "0.0.0.0" }), /API keys in the clear/);
  await rejects(start({ cert: "/a" }), /needs both/);
  await rejects(start({ keys: "/nowhere/keys.yaml" }), /keys\.yaml/);
});
