import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { server, told } from "./authentication/rig.ts";

const mail = { from: "alice@example.net", to: "bob@example.org" } as const;
const all = ["helo", {
  refuse: ["bare-address", "wrong-literal", "no-domain", "unknown"],
  ours: ["MX.example.org", "example.org."],
}] as const;
const zone = {
  "host.example.net": { A: ["203.0.113.7"] },
  "mail.example.net": { MX: [{ preference: 0, host: "host.example.net" }] },
  "down.example.net": "servfail",
} as const;

for (
  const [helo, refused] of [
    ["host.example.net", ""],
    ["Mail.Example.NET.", ""],
    ["down.example.net", ""],
    ["[192.0.2.1]", ""],
    ["192.0.2.1", "You greeted with an IP address: use your name, or write the address in brackets"],
    ["2001:db8::1", "You greeted with an IP address: use your name, or write the address in brackets"],
    ["[192.0.2.2]", "You greeted with an address that is not yours"],
    ["[nonsense]", "You greeted with an address that is not yours"],
    ["[IPv6:2001:db8::1]", "You greeted with an address that is not yours"],
    ["localhost", "You greeted with a name that is not a fully qualified domain"],
    ["a..example", "You greeted with a name that is not a fully qualified domain"],
    ["nowhere.example", "You greeted with a name that the DNS does not know"],
    ["mx.example.org", "You greeted with a name of ours"],
    ["EXAMPLE.ORG.", "You greeted with a name of ours"],
  ] as const
) {
  Deno.test(`helo: ${helo}: ${refused || "passes"}`, async () => {
    await using receiving = await server([all], zone);
    const sent = await receiving.send({ ...mail, helo });
    if (refused) equal(told(sent), `550 5.7.1 ${refused}`);
    else equal(sent.outcome, "accepted");
  });
}

Deno.test("helo: an IPv6 literal of the client's own, however it is written, passes", async () => {
  await using receiving = await server([all], zone);
  const sent = await receiving.send({ ...mail, helo: "[ipv6:2001:DB8:0:0::1]", ip: "2001:db8::1" });
  equal(sent.outcome, "accepted");
});

Deno.test("helo: by default only a bare address is refused (RFC 5321 §4.1.4), and nothing is looked up", async () => {
  await using receiving = await server(["helo"]);
  for (const helo of ["localhost", "[192.0.2.9]", "nowhere.example"]) {
    equal((await receiving.send({ ...mail, helo })).outcome, "accepted", helo);
  }
  equal((await receiving.send({ ...mail, helo: "192.0.2.1" })).outcome, "refused");
  deepEqual(receiving.dns.asked, []);
});

Deno.test("helo: the last greeting of a session counts", async () => {
  await using receiving = await server([all], zone);
  const client = receiving.connect();
  await client.command("EHLO nowhere.example");
  await client.command("EHLO host.example.net");
  await client.command("MAIL FROM:<alice@example.net>");
  equal((await client.command("RCPT TO:<bob@example.org>")).code, 250);
});

Deno.test("helo: postmaster and abuse are reached, trusted networks may call themselves anything, observed nobody is refused", async () => {
  await using receiving = await server([all], zone, { trustedNetworks: ["198.51.100.0/24"] });
  const to = ["postmaster@example.org", "abuse@example.org", "bob@example.org"];
  const sent = await receiving.send({ ...mail, to, helo: "localhost" });
  deepEqual(sent.recipients.map(({ reply }) => reply.code), [250, 250, 550]);
  equal((await receiving.send({ ...mail, helo: "localhost", ip: "198.51.100.1" })).outcome, "accepted");
  await using observing = await server([{ use: all[0], with: all[1], observe: true }], zone);
  equal((await observing.send({ ...mail, helo: "localhost" })).outcome, "accepted");
});
