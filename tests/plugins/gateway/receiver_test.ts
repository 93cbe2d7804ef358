import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { readRetryAfter, Receiver, receiverOptions } from "../../../plugins/gateway/receiver.ts";
import { z } from "../../../server/plugin.ts";
import { FakeClock } from "../../../server/testing/clock.ts";
import { receiver } from "./http.ts";

const log = { debug() {}, info() {}, warning() {}, error() {} };
const host = () => ({ clock: new FakeClock(), log });
const post = { headers: {}, body: new Uint8Array(3) };
const never = new AbortController().signal;

async function posted(url: string, signal = never) {
  const one = await Receiver.open({ url, headers: { authorization: "Bearer x" } }, host());
  try {
    return await one.post(post, signal);
  } finally {
    one.close();
  }
}

Deno.test("gateway: an answer's first line of text is told, without control bytes; a body that goes on is left", async () => {
  await using server = receiver(() => new Response("No such\x1b box\r\nsecond", { status: 404 }));
  deepEqual(await posted(server.url), { kind: "answered", status: 404, text: "No such box" });
  equal(server.got[0]!.headers.get("authorization"), "Bearer x");
  server.answer = () =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new TextEncoder().encode("x".repeat(999))),
      }),
      { headers: { "content-type": "text/plain" } },
    );
  const answer = await posted(server.url);
  equal(answer.kind === "answered" && answer.text.length, 200);
});

Deno.test("gateway: redirects are not followed", async () => {
  await using server = receiver();
  server.answer = () => Response.redirect(server.url.replace("/mail", "/elsewhere"), 307);
  equal((await posted(server.url) as { status: number }).status, 307);
  deepEqual(server.got.map(({ path }) => path), ["/mail"]);
});

Deno.test("gateway: what can't be reached is told, and nothing of the URL but its host", async () => {
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  listener.close();
  const answer = await posted(`http://127.0.0.1:${listener.addr.port}/mail?token=hidden`);
  equal(answer.kind, "failed");
  match(answer.text, /refused/i);
  ok(!/hidden|mail/.test(answer.text), answer.text);
  const late = await posted("http://127.0.0.1:9/x", AbortSignal.abort(new Error("no answer within 30 s")));
  deepEqual(late, { kind: "failed", text: "no answer within 30 s" });
});

Deno.test("gateway: Retry-After is seconds or a date, and else nothing", () => {
  equal(readRetryAfter("120", 0), 120_000);
  equal(readRetryAfter("Wed, 21 Oct 2015 07:28:00 GMT", Date.UTC(2015, 9, 21, 7, 27)), 60_000);
  equal(readRetryAfter("Wed, 21 Oct 2015 07:28:00 GMT", Date.UTC(2020, 0, 1)), 0);
  for (const text of ["soon", "-1", "1e3", "2015-10-21", null]) equal(readRetryAfter(text, 0), undefined);
});

Deno.test("gateway: URLs and headers that can't be are refused before anything is sent", () => {
  const problems = (given: unknown) =>
    z.object(receiverOptions).safeParse(given).error?.issues.map(({ message }) => message) ?? [];
  deepEqual(problems({ url: "https://example.org/x?y" }), []);
  match(problems({ url: "ftp://example.org" })[0]!, /must begin with https/);
  match(problems({ url: "example.org" })[0]!, /no URL/);
  match(problems({ url: "https://a:b@example.org" })[0]!, /can't hold a password/);
  match(problems({ url: "https://x.example", headers: { "Webhook-Id": "1" } })[0]!, /writes itself/);
  match(problems({ url: "https://x.example", headers: { A: "b\r\nC: d" } })[0]!, /one line of ASCII/);
});

Deno.test("gateway: secrets are one or a file", async () => {
  const given = { url: "https://x.example", headers: {} };
  await rejects(Receiver.open({ ...given, secret: "a", secretFile: "/b" }, host()), /not both/);
  await rejects(Receiver.open({ ...given, secretFile: "/nowhere" }, host()), /secretFile: \/nowhere/);
  await rejects(Receiver.open({ ...given, ca: "/nowhere" }, host()), /ca: \/nowhere can't be read/);
});
