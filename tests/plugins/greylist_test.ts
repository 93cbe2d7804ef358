import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import type { TestServer } from "../../server/testing/mod.ts";
import { server, told } from "./authentication/rig.ts";

const mail = { from: "alice@example.net", to: "bob@example.org" } as const;
const attempt = async (receiving: TestServer, how: object = {}) =>
  told(await receiving.send({ ...mail, ...how })).slice(0, 9);

Deno.test("greylist: the first attempt is put off, a retry too soon as well, one after the wait passes", async () => {
  await using receiving = await server(["greylist"]);
  equal(
    told(await receiving.send(mail)),
    "451 4.7.1 Greylisted, please try again in 300 seconds",
  );
  await receiving.clock.advance("4m");
  equal(told(await receiving.send(mail)), "451 4.7.1 Greylisted, please try again in 60 seconds");
  await receiving.clock.advance("1m");
  equal(await attempt(receiving), "250 2.0.0");
  equal(await attempt(receiving), "250 2.0.0", "and from then on at once");
});

Deno.test("greylist: who retries from another address of its network passes, from another network not", async () => {
  await using receiving = await server(["greylist"]);
  await attempt(receiving, { ip: "192.0.2.1" });
  await attempt(receiving, { ip: "2001:db8::1" });
  await receiving.clock.advance("5m");
  equal(await attempt(receiving, { ip: "198.51.100.1" }), "451 4.7.1");
  equal(await attempt(receiving, { ip: "192.0.2.99" }), "250 2.0.0");
  equal(await attempt(receiving, { ip: "2001:db8::ffff:1" }), "250 2.0.0");
});

Deno.test("greylist: each sender and each recipient is put off for itself, a list's numbered return paths as one", async () => {
  await using receiving = await server(["greylist"]);
  await attempt(receiving, { from: "list-bounces-1234@example.net" });
  await receiving.clock.advance("5m");
  equal(await attempt(receiving, { from: "carol@example.net" }), "451 4.7.1");
  equal(
    await attempt(receiving, { from: "list-bounces-1234@example.net", to: "eve@example.org" }),
    "451 4.7.1",
  );
  equal(await attempt(receiving, { from: "list-bounces-977+x@Example.NET" }), "250 2.0.0");
  equal(await attempt(receiving, { from: "" }), "451 4.7.1");
});

Deno.test("greylist: a network whose triples passed often enough is put off no more", async () => {
  await using receiving = await server([["greylist", { trustAfter: 2 }]]);
  for (const from of ["a@example.net", "b@example.net"]) await attempt(receiving, { from });
  equal(await attempt(receiving, { from: "c@example.net" }), "451 4.7.1");
  await receiving.clock.advance("5m");
  for (const from of ["a@example.net", "b@example.net"]) {
    equal(await attempt(receiving, { from }), "250 2.0.0");
  }
  equal(await attempt(receiving, { from: "new@example.net" }), "250 2.0.0");
  equal(await attempt(receiving, { from: "new@example.net", ip: "198.51.100.1" }), "451 4.7.1");
});

Deno.test("greylist: what was not retried in time is forgotten, what passed is remembered as long as mail comes", async () => {
  await using receiving = await server([["greylist", { trustAfter: 0 }]]);
  await attempt(receiving);
  await receiving.clock.advance("49h");
  equal(await attempt(receiving), "451 4.7.1", "a retry two days later is a first attempt");
  await receiving.clock.advance("5m");
  equal(await attempt(receiving), "250 2.0.0");
  await receiving.clock.advance("30d");
  equal(await attempt(receiving), "250 2.0.0");
  await receiving.clock.advance("30d");
  equal(await attempt(receiving), "250 2.0.0", "60 days, but never 36 without mail");
  await receiving.clock.advance("37d");
  equal(await attempt(receiving), "451 4.7.1");
});

Deno.test("greylist: where spf says whose it is, a retry may come from any of the sender's networks", async () => {
  const zone = { "example.net": { TXT: ["v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 -all"] } };
  await using receiving = await server(["spf", "greylist"], zone);
  await attempt(receiving, { ip: "192.0.2.1" });
  await receiving.clock.advance("5m");
  equal(await attempt(receiving, { ip: "203.0.113.1" }), "451 4.7.1", "no pass: its network counts");
  equal(await attempt(receiving, { ip: "198.51.100.1" }), "250 2.0.0");
});

Deno.test("greylist: postmaster, abuse, trusted networks, users, and those whom the options name, are not put off", async () => {
  const options = { networks: ["203.0.113.0/24"], recipients: ["Info@example.org", "@open.example"] };
  await using receiving = await server([["greylist", options]], {}, { trustedNetworks: ["198.51.100.0/24"] });
  const sent = await receiving.send({
    ...mail,
    to: [
      "postmaster@example.org",
      "Abuse@example.org",
      "info@example.org",
      "info+x@example.org",
      "bob@example.org",
    ],
  });
  deepEqual(sent.recipients.map(({ reply }) => reply.code), [250, 250, 250, 250, 451]);
  equal(await attempt(receiving, { ip: "198.51.100.1" }), "250 2.0.0");
  equal(await attempt(receiving, { ip: "203.0.113.7" }), "250 2.0.0");
});

Deno.test("greylist: a store that fails puts off, and refuses nobody for good", async () => {
  await using receiving = await server(["greylist"]);
  receiving.stores = "fail";
  match(told(await receiving.send(mail)), /^451 4\.3\.0 /);
});

Deno.test("greylist: observed, it is noted and nobody is put off", async () => {
  await using receiving = await server([{ use: "greylist", observe: true }]);
  const sent = await receiving.send(mail);
  equal(sent.outcome, "accepted");
  ok(
    sent.said.some(({ plugin, hook }) => plugin === "greylist" && hook === "rcpt"),
    JSON.stringify(sent.said),
  );
});
