import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mailboxes, testServer } from "../../../server/testing/mod.ts";
import { type Got, json, receiver } from "../gateway/http.ts";

const secret = "a secret of some length";

const signatureOf = ({ headers, body }: Got) =>
  "v1," + createHmac("sha256", secret)
    .update(`${headers.get("webhook-id")}.${headers.get("webhook-timestamp")}.`).update(body).digest(
      "base64",
    );

Deno.test("webhook: mail of its domains is posted, signed, from the queue", async () => {
  await using hook = receiver();
  await using server = await testServer({
    plugins: [["webhook", {
      url: hook.url,
      secret,
      domains: ["example.org"],
      recipients: ["tickets@example.com"],
    }]],
  });
  await server.send({ to: "alice+x@example.org", headers: { Subject: "Hello" } });
  await server.settled(); // two posts may overtake each other
  await server.send({ to: "Tickets@example.com" });
  equal((await server.send({ to: "bob@example.com" })).outcome, "refused");
  await server.settled();
  equal((await server.queue()).length, 0);
  equal(hook.got.length, 2);
  const [got] = hook.got;
  equal(got!.headers.get("webhook-signature"), signatureOf(got!));
  equal(Number(got!.headers.get("webhook-timestamp")), Math.floor(server.clock.now() / 1000));
  equal(got!.headers.get("idempotency-key"), `"${got!.headers.get("webhook-id")}"`);
  equal(got!.headers.get("content-type"), "application/json");
  const { kind, envelope, subject, headers } = json(got!) as Record<string, Record<string, unknown>[]>;
  deepEqual({ kind, envelope, subject }, {
    kind: "message",
    envelope: { from: "sender@example.net", to: ["alice+x@example.org"], original: "alice+x@example.org" },
    subject: "Hello",
  } as unknown);
  equal(headers![0]!["name"], "Received");
});

Deno.test("webhook: what isn't taken is tried again under the same key, not before Retry-After is over", async () => {
  await using hook = receiver((_got, count) =>
    count === 1 ? new Response(null, { status: 503, headers: { "retry-after": "1800" } }) : new Response("ok")
  );
  await using server = await testServer({
    plugins: [["webhook", { url: hook.url, domains: ["example.org"] }]],
    outbound: { retry: ["1m", "1h"] },
  });
  await server.send({ to: "alice@example.org" });
  await server.settled();
  match((await server.queue())[0]!.recipients[0]!.reply!, /503/);
  await server.clock.advance("29m");
  await server.settled();
  equal(hook.got.length, 1);
  await server.clock.advance("1m");
  await server.settled();
  equal(hook.got.length, 2);
  equal(hook.got[0]!.headers.get("idempotency-key"), hook.got[1]!.headers.get("idempotency-key"));
  equal((await server.queue()).length, 0);
});

Deno.test("webhook: a receiver that says nothing is left after the time limit, and the mail stays", async () => {
  const asked = Promise.withResolvers<void>();
  const silence = Promise.withResolvers<Response>();
  await using hook = receiver(() => (asked.resolve(), silence.promise));
  await using server = await testServer({
    plugins: [["webhook", { url: hook.url, domains: ["example.org"], timeLimit: "5s" }]],
  });
  await server.send({ to: "alice@example.org" });
  await asked.promise;
  await server.clock.advance("5s");
  await server.settled();
  match((await server.queue())[0]!.recipients[0]!.reply!, /no answer within 5 s/);
  ok(!JSON.stringify(server.log.entries).includes("hidden"), "the URL's query stays out of the log");
  silence.resolve(new Response());
});

Deno.test("webhook: before the reply, the receiver's answer is the client's", async () => {
  await using hook = receiver(() => new Response("No such ticket", { status: 404 }));
  await using server = await testServer({
    plugins: [["webhook", { url: hook.url, domains: ["example.org"], beforeReply: true }]],
  });
  const sent = await server.send({ to: "alice@example.org" });
  equal(sent.reply.text, "No such ticket");
  hook.answer = () => new Response(null, { status: 500 });
  equal((await server.send({ to: "alice@example.org" })).reply.code, 451);
  hook.answer = () => new Response();
  equal((await server.send({ to: "alice@example.org" })).reply.code, 250);
  equal((await server.queue()).length, 0);
});

Deno.test("webhook: raw is the message as it is, streamed and signed", async () => {
  await using hook = receiver();
  await using server = await testServer({
    plugins: [["webhook", { url: hook.url, secret, domains: ["example.org"], body: "raw" }]],
  });
  await server.send({
    to: "alice@example.org",
    from: "bob@example.net",
    content: `Subject: x\r\n\r\n${"y\r\n".repeat(200_000)}`,
  });
  await server.settled();
  const [got] = hook.got;
  equal(got!.headers.get("content-type"), "message/rfc822");
  equal(got!.headers.get("webhook-signature"), signatureOf(got!));
  match(new TextDecoder().decode(got!.body), /^Received: [^]*Subject: x\r\n\r\ny\r\n/);
  const about = JSON.parse(got!.headers.get("postrider-envelope")!);
  equal(about.envelope.to[0], "alice@example.org");
});

Deno.test("webhook: a copy of mail for others is posted; one that is refused tells nobody", async () => {
  await using hook = receiver(() => new Response("no", { status: 400 }));
  await using server = await testServer({
    plugins: [
      {
        use: "webhook",
        as: "watch",
        with: { url: hook.url, copy: { of: "incoming", domains: ["example.org"] } },
      },
      mailboxes(["example.org", "example.com"]),
    ],
  });
  const sent = await server.send({ from: "bob@example.net", to: ["alice@example.org", "eve@example.com"] });
  await server.send({ to: "eve@example.com" });
  await server.settled();
  equal(server.delivered.length, 3);
  equal(hook.got.length, 1);
  const body = json(hook.got[0]!) as { kind: string; of: string; envelope: unknown; client: unknown };
  equal(body.kind, "copy");
  deepEqual(body.envelope, { from: "bob@example.net", to: ["alice@example.org", "eve@example.com"] });
  deepEqual(body.client, { ip: "192.0.2.1", helo: "client.example.net", user: null });
  equal(sent.outcome, "accepted");
  equal((await server.queue()).length, 0);
  deepEqual(server.delivered.filter(({ to }) => to === "bob@example.net"), []);
});

Deno.test("webhook: a large message is told by its header", async () => {
  await using hook = receiver();
  await using server = await testServer({
    plugins: [["webhook", { url: hook.url, domains: ["example.org"], max: "1KiB" }]],
  });
  await server.send({ to: "a@example.org", content: `Subject: big\r\n\r\n${"x\r\n".repeat(2000)}` });
  await server.settled();
  const body = json(hook.got[0]!) as { parsed: string; headers: { name: string; value: string }[] };
  equal(body.parsed, "too large");
  deepEqual(body.headers.at(-1), { name: "Subject", value: "big" });
});

Deno.test("webhook: mistakes in its options are told at the start", async () => {
  const url = "https://x.example";
  await rejects(testServer({ plugins: [["webhook", {}]] }), /url/);
  await rejects(
    testServer({ plugins: [["webhook", { url, recipients: ["a+b@x.example"] }]] }),
    /without a \+tag/,
  );
  await rejects(testServer({ plugins: [["webhook", { url, secret: "short" }]] }), /needs 16/);
});
