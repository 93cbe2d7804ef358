import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { ClientSession, Envelope, ownMailParams } from "../server/envelope.ts";
import { memoryContent } from "../server/message/content.ts";
import { EditableMessage } from "../server/message/message.ts";
import type { Phases } from "../server/phases.ts";
import type { Json } from "../server/plugin.ts";
import { parseAddress } from "../server/smtp/address.ts";
import { originOf, traceOf } from "../server/trace.ts";

function phasesOf(session: ClientSession, facts: ReadonlyMap<object, ReadonlyMap<string, Json>>): Phases {
  const chain = {
    generation: { facts: { about: (one: object) => facts.get(one) ?? new Map<string, Json>() } },
  };
  return { session, chain } as unknown as Phases; // of all it has, the trace asks for these
}

function rig(header = "Message-ID: <1@x>\r\n") {
  const session = new ClientSession("S1", "submission", "smtp", {
    address: "192.0.2.7",
    network: "192.0.2.0/24",
    port: 1,
  });
  const envelope = new Envelope(
    "Q1",
    parseAddress("a@example.org")!,
    ownMailParams(false),
    () => Promise.resolve([]),
  );
  const content = memoryContent(new TextEncoder().encode(`${header}\r\nbody\r\n`));
  const message = new EditableMessage("Q1", content, () => {
    throw new Error("no body is replaced here");
  }, "mx.example.org");
  return { session, envelope, message };
}

Deno.test("trace: who brought it, in the clear or not, logged in or not", () => {
  const { session } = rig();
  deepEqual(originOf(phasesOf(session, new Map())), { ip: "192.0.2.7", protocol: "smtp" });
  session.helo = "client.example";
  session.tls = { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" };
  session.user = { name: "alice", sendAs: [] };
  deepEqual(originOf(phasesOf(session, new Map())), {
    ...{
      ip: "192.0.2.7",
      helo: "client.example",
      user: "alice",
      tls: "TLSv1.3 TLS_AES_256_GCM_SHA384",
      protocol: "smtp",
    },
  });
});

Deno.test("trace: facts of the session and of the transaction; nothing where there is nothing", () => {
  const { session, envelope, message } = rig();
  const facts = new Map<object, Map<string, Json>>([
    [session, new Map([["iprev", { result: "pass" }]])],
    [envelope, new Map<string, Json>([["__proto__", 1], ["spam", { score: 3 }]])],
  ]);
  deepEqual(traceOf(phasesOf(session, facts), envelope, message), {
    messageId: "<1@x>",
    facts: [["iprev", { result: "pass" }], ["__proto__", 1], ["spam", { score: 3 }]],
  });
  const bare = rig("Subject: x\r\n");
  deepEqual(traceOf(phasesOf(bare.session, new Map()), bare.envelope, bare.message), {});
});

Deno.test("trace: a thousand recipients, a long Message-ID and talkative plugins are some kilobytes, objections first", () => {
  const { session, envelope, message } = rig(`Message-ID: <${"x".repeat(5000)}>\r\n`);
  for (let i = 0; i < 1000; i++) envelope.said.push("rcpt relay accept", "resolve maildir accept");
  envelope.said.push(`rcpt greylist defer 4.7.1 ${"later ".repeat(200)}`);
  const facts = new Map<object, Map<string, Json>>([
    [envelope, new Map(Array.from({ length: 50 }, (_, i): [string, Json] => [`f${i}`, "x".repeat(i * 100)]))],
  ]);
  const trace = traceOf(phasesOf(session, facts), envelope, message);
  ok(JSON.stringify(trace).length < 20_000);
  ok(trace.said!.some((text) => text.startsWith("rcpt greylist defer 4.7.1 later")));
  equal(trace.said!.at(-1), "and 1937 more");
  equal(trace.messageId!.length, 301);
  equal(trace.facts![49]![1], "too long to be kept");
});
