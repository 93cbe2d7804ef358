import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { listings } from "../../../server/facts.ts";
import { definePlugin } from "../../../server/plugin.ts";
import { server, told } from "../authentication/rig.ts";

const mail = { from: "alice@example.net", to: "bob@example.org" } as const;
const zone = {
  "1.2.0.192.zen.spamhaus.org": { A: ["127.0.0.2"], TXT: ["See https://check.example/192.0.2.1"] },
  "2.2.0.192.zen.spamhaus.org": { A: ["127.255.255.254"] },
  "3.2.0.192.zen.spamhaus.org": { A: ["127.0.0.4"] },
  "3.2.0.192.list.dnswl.org": { A: ["127.0.5.2"] },
  "4.2.0.192.zen.spamhaus.org": "servfail",
  "5.2.0.192.zen.spamhaus.org": { A: ["127.0.0.4"] },
  "5.2.0.192.list.dnswl.org": { A: ["127.0.0.255"] },
  [`1.${"0.".repeat(23)}8.b.d.0.1.0.0.2.zen.spamhaus.org`]: { A: ["127.0.0.3"] },
} as const;

Deno.test("dnsbl: without options: who is listed by Spamhaus is refused, with what the list says of it", async () => {
  await using receiving = await server(["dnsbl"], zone);
  equal(
    told(await receiving.send({ ...mail, ip: "192.0.2.1" })),
    "550 5.7.1 192.0.2.1 is listed by zen.spamhaus.org: See https://check.example/192.0.2.1",
  );
  equal(
    told(await receiving.send({ ...mail, ip: "2001:db8::1" })),
    "550 5.7.1 2001:db8::1 is listed by zen.spamhaus.org",
  );
  equal((await receiving.send({ ...mail, ip: "192.0.2.77" })).outcome, "accepted");
});

Deno.test("dnsbl: an allow list weighs against a block list, its errors don't", async () => {
  await using receiving = await server(["dnsbl"], zone);
  equal((await receiving.send({ ...mail, ip: "192.0.2.3" })).outcome, "accepted");
  equal((await receiving.send({ ...mail, ip: "192.0.2.5" })).outcome, "refused");
});

Deno.test("dnsbl: a list that refuses to answer lists nobody, and the operator is told once", async () => {
  await using receiving = await server(["dnsbl"], zone);
  for (let i = 0; i < 2; i++) {
    equal((await receiving.send({ ...mail, ip: "192.0.2.2" })).outcome, "accepted");
  }
  equal(receiving.log.entries.filter(({ event }) => /refuses to answer/.test(event)).length, 1);
});

Deno.test("dnsbl: DNS trouble is no listing, neither for good nor for now", async () => {
  await using receiving = await server(["dnsbl"], zone);
  equal((await receiving.send({ ...mail, ip: "192.0.2.4" })).outcome, "accepted");
});

const weighed = ["dnsbl", {
  lists: [
    { zone: "one.example", weight: 2 },
    { zone: "two.example", weight: 3 },
    { zone: "two.example", weight: 1, answers: ["127.0.0.9-10"] },
  ],
  deferAt: 2,
  rejectAt: 6,
}] as const;

Deno.test("dnsbl: weights add up to a deferral, or to a refusal; codes count as they are told to", async () => {
  await using receiving = await server([weighed], {
    "1.2.0.192.one.example": { A: ["127.0.0.2"] },
    "2.2.0.192.one.example": { A: ["127.0.0.2"] },
    "2.2.0.192.two.example": { A: ["127.0.0.2"] },
    "3.2.0.192.one.example": { A: ["127.0.0.2"] },
    "3.2.0.192.two.example": { A: ["127.0.0.2", "127.0.0.9"] },
  });
  equal(
    told(await receiving.send({ ...mail, ip: "192.0.2.1" })),
    "451 4.7.1 192.0.2.1 is listed by one.example; please try again later",
  );
  match(told(await receiving.send({ ...mail, ip: "192.0.2.2" })), /^451 .* one\.example, two\.example;/);
  match(
    told(await receiving.send({ ...mail, ip: "192.0.2.3" })),
    /^550 5\.7\.1 .* one\.example, two\.example$/,
  );
});

Deno.test("dnsbl: postmaster and abuse are reached, by a client that is listed too; users and trusted networks are not looked up", async () => {
  await using receiving = await server(["dnsbl"], zone, { trustedNetworks: ["192.0.2.1/32"] });
  await receiving.send({ ...mail, ip: "192.0.2.1" });
  deepEqual(receiving.dns.asked, []);
  const sent = await receiving.send({
    ...mail,
    ip: "192.0.2.5",
    to: ["postmaster@example.org", "abuse@example.org", "bob@example.org"],
  });
  deepEqual(sent.recipients.map(({ reply }) => reply.code), [250, 250, 550]);
});

Deno.test("dnsbl: plugins below learn of the listings", async () => {
  const found: unknown[] = [];
  const listener = definePlugin({
    name: "listener",
    setup(on, _options, host) {
      const of = host.needs(listings);
      on("rcpt", (session) => void found.push(of(session)));
    },
  });
  await using receiving = await server([weighed, listener], {
    "1.2.0.192.one.example": { A: ["127.0.0.2"] },
  });
  await receiving.send({ ...mail, to: "postmaster@example.org", ip: "192.0.2.1" });
  deepEqual(found, [[{ list: "one.example", answer: "127.0.0.2" }]]);
});

Deno.test("dnsbl: observed, it refuses nobody", async () => {
  await using receiving = await server([{ use: "dnsbl", observe: true }], zone);
  const sent = await receiving.send({ ...mail, ip: "192.0.2.1" });
  equal(sent.outcome, "accepted");
  ok(sent.said.some(({ plugin }) => plugin === "dnsbl"));
});

Deno.test("dnsbl: options that can't be meant are refused with the reason", async () => {
  await rejects(server([["dnsbl", { lists: [{ zone: "localhost" }] }]]), /is no DNS zone/);
  await rejects(
    server([["dnsbl", { lists: [{ zone: "a.example", answers: ["2-8"] }] }]]),
    /no answer of a list/,
  );
});
