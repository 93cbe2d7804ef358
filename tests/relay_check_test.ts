import { match, strictEqual as equal } from "node:assert/strict";
import type { Generation, Instance, RegisteredTransport } from "../server/generation.ts";
import { accept, delivered, type Hooks, reject } from "../server/plugin.ts";
import { whyNoPostmaster, whyOpenRelay } from "../server/relay_check.ts";
import { FakeClock } from "../server/testing/clock.ts";

const instance = (handlers: { [K in keyof Hooks]?: Hooks[K] }): Instance => ({
  name: "mine",
  handlers,
  timeout: 1000,
  onError: "defer",
  roles: ["mx", "submission"],
  mechanisms: [],
  observe: false,
});

function generation(
  handlers: { [K in keyof Hooks]?: Hooks[K] },
  domains: readonly string[] = [],
): Generation {
  const by = instance(handlers);
  const box = { name: "box", by, deliver: () => Promise.resolve(delivered()), inline: true, batch: 1 };
  const onward = { name: "onward", by, route: () => undefined };
  return {
    number: 1,
    instances: [by],
    owners: new Map(domains.map((domain) => [domain, by])),
    transports: new Map<string, RegisteredTransport>([["box", box], ["onward", onward]]),
    dispose: () => Promise.resolve(),
  };
}

const clock = new FakeClock();

Deno.test("open relay: who accepts every recipient of every client is one, and is named", async () => {
  match((await whyOpenRelay(generation({ rcpt: () => accept() }), clock))!, /open relay: mine lets anybody/);
});

Deno.test("open relay: two slices of the Internet are one as well", async () => {
  const wide = generation({
    rcpt: ({ remote }) => /^(62|185)\./.test(remote.address) ? accept() : undefined,
  });
  match((await whyOpenRelay(wide, clock))!, /62\.1\.2\.3 and 185\.3\.4\.5/);
});

Deno.test("open relay: own networks, users and domains are none; neither is a sink that sends nothing on", async () => {
  const own = generation({
    rcpt: ({ remote, user }) => remote.address.startsWith("10.") || user ? accept() : undefined,
  });
  equal(await whyOpenRelay(own, clock), undefined);
  equal(
    await whyOpenRelay(generation({ resolve: () => accept({ via: { transport: "box" } }) }), clock),
    undefined,
  );
});

Deno.test("open relay: a relay of a plugin's for every domain is one, too", async () => {
  const all = generation({ resolve: () => accept({ via: { transport: "onward" } }) });
  match((await whyOpenRelay(all, clock))!, /open relay: mine lets anybody/);
});

Deno.test("open relay: a plugin that fails when it is asked relays for nobody", async () => {
  const broken = generation({
    rcpt() {
      throw new Error("no database");
    },
  });
  equal(await whyOpenRelay(broken, clock), undefined);
});

Deno.test("open relay: the plugins are told that it is a dry run", async () => {
  const told: boolean[] = [];
  await whyOpenRelay(
    generation({ rcpt: (_session, _rcpt, _transaction, { dryRun }) => void told.push(dryRun) }),
    clock,
  );
  equal(told.length > 0 && told.every(Boolean), true);
});

Deno.test("A01 an owned domain whose postmaster is refused is not started with", async () => {
  const none = generation({ resolve: () => reject("5.1.1", "No such user") }, ["example.org"]);
  match((await whyNoPostmaster(none, clock))!, /postmaster@example\.org is nobody's mailbox/);
  const silent = generation({ resolve: () => {} }, ["example.org"]);
  match((await whyNoPostmaster(silent, clock))!, /nobody's mailbox/);
});

Deno.test("A01 one whose postmaster has a mailbox is, and so is one that can't be asked now", async () => {
  const there = generation({
    resolve: ({ user }) => user === "postmaster" ? accept({ via: { transport: "box" } }) : undefined,
  }, ["example.org"]);
  equal(await whyNoPostmaster(there, clock), undefined);
  const down = generation({ resolve: () => Promise.reject(new Error("down")) }, ["example.org"]);
  equal(await whyNoPostmaster(down, clock), undefined);
});
