import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { iprev } from "../../server/facts.ts";
import { definePlugin } from "../../server/plugin.ts";
import { results, server, told } from "./authentication/rig.ts";

const mail = { from: "alice@example.net", to: "bob@example.org" } as const;
const strict = ["fcrdns", { refuse: ["fail", "permerror"] }] as const;
const many = Array.from({ length: 40 }, (_, i) => `n${i}.example.net`);
const zone = {
  "192.0.2.1": { PTR: ["other.example.net", "mx.example.net"] },
  "mx.example.net": { A: ["192.0.2.1"], AAAA: ["2001:0DB8:0::1"] },
  "other.example.net": { A: ["192.0.2.9"] },
  "2001:db8::1": { PTR: ["mx.example.net"] },
  "192.0.2.2": { PTR: ["mx.example.net"] },
  "192.0.2.4": "servfail",
  "192.0.2.5": { PTR: ["down.example.net"] },
  "down.example.net": "timeout",
  "192.0.2.6": { PTR: many },
} as const;

for (
  const [ip, result, reply] of [
    ["192.0.2.1", "pass", "250"],
    ["2001:db8::1", "pass", "250"],
    ["192.0.2.2", "fail", "550 5.7.25 No name of 192.0.2.2 in the DNS leads back to it"],
    ["192.0.2.3", "permerror", "550 5.7.25 192.0.2.3 has no name in the DNS"],
    ["192.0.2.4", "temperror", "250"],
    ["192.0.2.5", "temperror", "250"],
  ] as const
) {
  Deno.test(`fcrdns: ${ip}: ${result}, noted in Authentication-Results and told to plugins below`, async () => {
    const found: unknown[] = [];
    const listener = definePlugin({
      name: "listener",
      setup(on, _options, host) {
        const of = host.needs(iprev);
        on("rcpt", (session) => void found.push(of(session)));
      },
    });
    await using noting = await server(["fcrdns", listener], zone);
    equal((await noting.send({ ...mail, ip })).outcome, "accepted", "by itself it refuses nothing");
    const name = result === "pass" ? { name: "mx.example.net" } : {};
    deepEqual(found, [{ result, ...name }]);
    const comment = result === "pass" ? " (mx.example.net)" : "";
    const written = ip.includes(":") ? `"${ip}"` : ip;
    equal(results(noting), `mx.example.org; iprev=${result}${comment} policy.iprev=${written}`);

    await using refusing = await server([strict], zone);
    equal(told(await refusing.send({ ...mail, ip })).slice(0, reply.length), reply);
  });
}

Deno.test("fcrdns: who has many names makes us look up ten", async () => {
  await using receiving = await server([strict], zone);
  equal((await receiving.send({ ...mail, ip: "192.0.2.6" })).outcome, "refused");
  equal(new Set(receiving.dns.asked.filter((one) => /^A /.test(one))).size, 10);
});

Deno.test("fcrdns: postmaster and abuse are reached; trusted networks are not looked up; observed, nobody is refused", async () => {
  await using receiving = await server([strict], zone, { trustedNetworks: ["192.0.2.2"] });
  await receiving.send({ ...mail, ip: "192.0.2.2" });
  deepEqual(receiving.dns.asked, []);
  const to = ["postmaster@example.org", "abuse@example.org", "bob@example.org"];
  const sent = await receiving.send({ ...mail, to, ip: "192.0.2.3" });
  deepEqual(sent.recipients.map(({ reply }) => reply.code), [250, 250, 550]);
  await using observing = await server([{ use: strict[0], with: strict[1], observe: true }], zone);
  equal((await observing.send({ ...mail, ip: "192.0.2.3" })).outcome, "accepted");
});
