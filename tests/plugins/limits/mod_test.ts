import { match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { logins, mailboxes } from "../../../server/testing/mod.ts";
import type { TestServer } from "../../../server/testing/mod.ts";
import { server, told } from "../authentication/rig.ts";

const mail = { from: "alice@example.net", to: "bob@example.org" } as const;
const off = { connections: { address: "off", network: "off" } } as const;

async function greeting(
  receiving: TestServer,
  ip = "192.0.2.1",
  role: "mx" | "submission" = "mx",
): Promise<number> {
  const client = receiving.connect({ ip, role });
  const { code } = await client.reply();
  client.close();
  await client.closed;
  return code;
}

Deno.test("limits: connections of an address: so many at once, then as many as its rate gives back", async () => {
  await using receiving = await server([["limits", { connections: { address: "3/1m", network: "off" } }]]);
  for (let i = 0; i < 3; i++) equal(await greeting(receiving), 220);
  equal(await greeting(receiving), 421);
  equal(await greeting(receiving, "192.0.2.2"), 220, "its neighbour is another");
  await receiving.clock.advance("19s");
  equal(await greeting(receiving), 421);
  await receiving.clock.advance("1s");
  equal(await greeting(receiving), 220, "a third of the minute: one of three");
  equal(await greeting(receiving), 421);
  await receiving.clock.advance("10m");
  for (let i = 0; i < 3; i++) equal(await greeting(receiving), 220);
  equal(await greeting(receiving), 421, "a bucket holds no more than its size");
});

Deno.test("limits: connections of a /24 and a /64; whoever the network's bucket refuses costs his own nothing", async () => {
  await using receiving = await server([["limits", { connections: { address: "1/1h", network: "2/1m" } }]]);
  equal(await greeting(receiving, "2001:db8::1"), 220);
  equal(await greeting(receiving, "2001:db8::2"), 220);
  equal(await greeting(receiving, "2001:db8::3"), 421);
  equal(await greeting(receiving, "2001:db8:0:1::3"), 220);
  await receiving.clock.advance("1m");
  equal(await greeting(receiving, "2001:db8::3"), 220);
});

Deno.test("limits: twenty connections at the same moment get no more than there is", async () => {
  await using receiving = await server([["limits", { connections: { address: "5/1m", network: "off" } }]]);
  const codes = await Promise.all(Array.from({ length: 20 }, () => greeting(receiving)));
  equal(codes.filter((code) => code === 220).length, 5);
});

Deno.test("limits: it stands above all others; below spf only where domains are counted, which that proves", async () => {
  {
    await using receiving = await server([["limits", {}], logins(), "spf"]);
    equal((await receiving.send(mail)).outcome, "accepted");
  }
  const byDomain = ["limits", { messages: { senderDomain: "2/1h" } }] as const;
  await rejects(server([byDomain, "spf"]), /limits needs the fact "spf" from spf/);
});

Deno.test("limits: messages and recipients of strangers by address, of users by account", async () => {
  const limits = { ...off, messages: { address: "2/1h", account: "3/1h" }, recipients: { account: "5/1h" } };
  await using receiving = await server([["limits", limits], logins()]);
  for (let i = 0; i < 2; i++) equal((await receiving.send(mail)).outcome, "accepted");
  equal(
    told(await receiving.send(mail)),
    "451 4.7.0 Too many messages from your address, please try again later",
  );
  const alice = { ...mail, user: "alice@example.org" };
  for (let i = 0; i < 2; i++) equal((await receiving.send(alice)).outcome, "accepted");
  const sent = await receiving.send({
    ...alice,
    to: ["a", "b", "c", "d"].map((one) => `${one}@example.org`),
  });
  equal(sent.recipients.map(({ reply }) => reply.code).join(), "250,250,250,451");
  equal(
    told(await receiving.send({ ...alice, user: "Alice@Example.org" })),
    "451 4.7.0 Too many messages from this account, please try again later",
  );
  equal((await receiving.send({ ...alice, user: "carol@example.org" })).outcome, "accepted");
});

Deno.test("limits: a sender's domain is counted where it is proven: forged mail uses up nothing of its owner's", async () => {
  const zone = { "example.net": { TXT: ["v=spf1 ip4:198.51.100.1 -all"] } };
  await using receiving = await server(
    ["spf", ["limits", { ...off, messages: { senderDomain: "2/1h" } }]],
    zone,
  );
  for (let i = 0; i < 5; i++) {
    equal((await receiving.send({ ...mail, ip: "203.0.113.1" })).outcome, "accepted");
  }
  const own = { ...mail, ip: "198.51.100.1" };
  for (let i = 0; i < 2; i++) equal((await receiving.send(own)).outcome, "accepted");
  match(told(await receiving.send(own)), /^451 4\.7\.0 Too many messages from this sender's domain/);
});

Deno.test("limits: what was used up stays used up over a reload", async () => {
  const plugins = [["limits", { connections: { address: "2/1h", network: "off" } }]] as const;
  await using receiving = await server(plugins);
  for (let i = 0; i < 2; i++) equal(await greeting(receiving), 220);
  await receiving.reload([...plugins, mailboxes(["example.org"])]);
  equal(await greeting(receiving), 421);
});

Deno.test("limits: a store that fails makes nobody wait, what is in memory still counts", async () => {
  await using receiving = await server([["limits", { connections: { address: "2/1h", network: "off" } }]]);
  receiving.stores = "fail";
  for (let i = 0; i < 2; i++) equal(await greeting(receiving), 220);
  equal(await greeting(receiving), 421);
  equal(receiving.log.entries.filter(({ event }) => /counted in memory only/.test(event)).length, 1);
});

Deno.test("limits: trusted networks, exempt ones and mail of our own are not counted", async () => {
  const limits = { connections: { address: "1/1h", network: "1/1h" }, exempt: ["203.0.113.0/24"] };
  await using receiving = await server([["limits", limits]], {}, { trustedNetworks: ["198.51.100.0/24"] });
  for (const ip of ["203.0.113.1", "198.51.100.1"]) {
    for (let i = 0; i < 3; i++) equal(await greeting(receiving, ip), 220);
  }
});

const guarded = ["limits", { ...off, logins: { failures: "3/10m", ban: "1h" } }] as const;
const people = logins(["alice@example.org", "carol@example.org"]);

async function login(receiving: TestServer, user: string, ip = "192.0.2.1"): Promise<number> {
  const client = receiving.connect({ ip, role: "submission", tls: "implicit" });
  try {
    const greeting = await client.reply();
    if (greeting.code !== 220) return greeting.code;
    await client.command("EHLO client.example");
    const said = await client.login(user, "x");
    if (said.code === 235) await client.command("MAIL FROM:<alice@example.org>");
    return said.code;
  } finally {
    client.close();
    await client.closed;
  }
}

async function guess(receiving: TestServer, times: number): Promise<void> {
  for (let i = 0; i < times; i++) equal(await login(receiving, `guess${i}@example.org`), 535);
}

Deno.test("U04 limits: a network that fails to log in too often is banned, for its time, from logging in only", async () => {
  await using receiving = await server([guarded, people]);
  await guess(receiving, 4);
  equal(await login(receiving, "alice@example.org"), 421, "refused at the greeting");
  equal(await login(receiving, "alice@example.org", "192.0.2.200"), 421, "its /24 as well");
  equal((await receiving.send({ ...mail, ip: "192.0.2.1" })).outcome, "accepted", "mail still comes in");
  await receiving.clock.advance("59m");
  equal(await login(receiving, "alice@example.org"), 421);
  await receiving.clock.advance("1m");
  equal(await login(receiving, "alice@example.org"), 235);
});

Deno.test("U04 limits: nobody can lock an owner out: neither elsewhere nor where he is at home", async () => {
  await using receiving = await server([guarded, people]);
  equal(await login(receiving, "Alice@example.org".toLowerCase()), 235);
  await guess(receiving, 4);
  equal(await login(receiving, "guess@example.org"), 454, "the guesser is banned");
  equal(await login(receiving, "carol@example.org"), 454, "and who was never here");
  equal(await login(receiving, "alice@example.org"), 235, "not who logs in from here");
  equal(await login(receiving, "carol@example.org", "198.51.100.1"), 235, "and nobody elsewhere");
});

Deno.test("U04 limits: a ban doesn't feed itself, and outlives a reload", async () => {
  await using receiving = await server([guarded, people]);
  equal(await login(receiving, "alice@example.org"), 235);
  await guess(receiving, 4);
  await receiving.reload([guarded, people, mailboxes(["example.org"])]);
  for (let i = 0; i < 30; i++) equal(await login(receiving, "guess@example.org"), 454);
  await receiving.clock.advance("1h");
  await guess(receiving, 3);
  ok(receiving.log.entries.filter(({ event }) => /network banned/.test(event)).length === 1);
});

Deno.test("limits: it offers no AUTH where nobody is there to log anybody in", async () => {
  await using receiving = await server([guarded]);
  const client = receiving.connect({ role: "submission", tls: "implicit" });
  const { lines } = await client.command("EHLO client.example");
  equal(lines.some((line) => line.startsWith("AUTH")), false);
});

Deno.test("limits: observed, it refuses nobody", async () => {
  const limits = { connections: { address: "1/1h", network: "off" } };
  await using receiving = await server([{ use: "limits", with: limits, observe: true }]);
  for (let i = 0; i < 3; i++) equal(await greeting(receiving), 220);
});

Deno.test("limits: what is no rate is refused with an example", async () => {
  for (const bad of ["60", "60/m", "0/1m", "1.5/1m", "-1/1m", "60/1ms", "60 / 1m"]) {
    await rejects(server([["limits", { messages: { account: bad } }]]), /not a rate such as 60\/1m/, bad);
  }
});
