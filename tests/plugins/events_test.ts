import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { Webhook } from "standardwebhooks";
import { accept, defer, definePlugin, reject } from "../../server/plugin.ts";
import { mailboxes, testServer } from "../../server/testing/mod.ts";
import { type Got, json, receiver } from "./gateway/http.ts";

const whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const anywhere = definePlugin({ name: "anywhere", setup: (on) => on("rcpt", () => accept()) });

/** What was told, in order. */
const told = (got: readonly Got[]) => got.flatMap((one) => json(one)["events"] as Record<string, string>[]);

/** A receiver, and a promise of so many events there. */
function counting() {
  const waiting: { count: number; resolve: () => void }[] = [];
  let count = 0;
  const hook = receiver((got) => {
    if (refuses.on) return new Response("busy", { status: 503 });
    count += (json(got)["events"] as unknown[]).length;
    for (const one of waiting) if (count >= one.count) one.resolve();
    return new Response(null, { status: 204 });
  });
  const refuses = { on: false };
  const until = (wanted: number) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.push({ count: wanted, resolve });
    if (count >= wanted) resolve();
    return promise;
  };
  return { hook, until, refuses };
}

Deno.test("events: what becomes of mail is posted, signed, in order, in batches", async () => {
  const { hook, until } = counting();
  await using _ = hook;
  await using server = await testServer({
    plugins: [["events", { url: hook.url, secret: whsec }], anywhere, mailboxes(["example.org"])],
    smtp: ({ to }) => to[0] === "x@gone.example" ? reject("5.1.1", "No such user") : defer("4.2.2", "Full"),
  });
  await server.clock.advance("1s"); // its first look is at where the history ends
  await server.send({ from: "bob@example.org", to: "alice@example.org" });
  await server.send({ from: "bob@example.org", to: ["x@gone.example"] });
  await server.send({ from: "bob@example.org", to: ["x@full.example"] });
  await server.settled();
  await server.clock.advance("1s");
  await until(4); // the report to bob is mail, too
  const events = told(hook.got);
  deepEqual(
    events.filter(({ sender }) => sender !== "").map(({ kind, recipient }) => [kind, recipient]),
    [["delivered", "alice@example.org"], ["bounced", "x@gone.example"], ["deferred", "x@full.example"]],
  );
  match(events.at(-1)!["nextAttempt"]!, /^20\d\d-.*Z$/);
  const headers = Object.fromEntries(hook.got[0]!.headers);
  const seconds = Number(headers["webhook-timestamp"]);
  const body = new TextDecoder().decode(hook.got[0]!.body);
  // The library compares with the machine's clock; the server's is the test's.
  const signed = new Webhook(whsec).sign(headers["webhook-id"]!, new Date(seconds * 1000), body);
  equal(headers["webhook-signature"], signed);
});

Deno.test("events: a receiver that is down costs mail nothing, and misses nothing; a new generation goes on where the last one was", async () => {
  const { hook, until, refuses } = counting();
  await using _ = hook;
  const plugins = [
    ["events", { url: hook.url, kinds: ["delivered"], batch: 2, domains: ["example.org"] }],
    mailboxes(["example.org", "example.com"]),
  ] as const;
  await using server = await testServer({ plugins });
  await server.clock.advance("1s");
  refuses.on = true;
  for (let i = 0; i < 5; i++) await server.send({ to: `user${i}@example.org` });
  await server.send({ to: "eve@example.com" });
  equal(server.delivered.length, 6);
  await server.clock.advance("10m");
  await server.reload(plugins);
  refuses.on = false;
  for (let seconds = 0; seconds < 5; seconds++) await server.clock.advance("1s");
  await until(5);
  const taken = told(hook.got.slice(-3)).map(({ recipient }) => recipient);
  deepEqual(taken, [0, 1, 2, 3, 4].map((i) => `user${i}@example.org`));
  ok(server.log.of("events are not taken").length <= 2, "a receiver that is down is not a line a second");
});

Deno.test("events: mistakes in its options are told at the start", async () => {
  await rejects(testServer({ plugins: [["events", { url: "https://x.example", kinds: [] }]] }), /kinds/);
  await rejects(testServer({ plugins: [["events", { url: "x" }]] }), /no URL/);
});
