import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { type Spf, spf as fact } from "../../server/facts.ts";
import { definePlugin } from "../../server/plugin.ts";
import { results, server, told } from "./authentication/rig.ts";
import { spfCases } from "./authentication/spf_cases.ts";

/** Keeps what `spf` tells. */
function listener(into: Spf[]) {
  return definePlugin({
    name: "listener",
    setup(on, _options, host) {
      const of = host.needs(fact);
      on("data", (_session, _message, transaction) => {
        const told = of(transaction);
        if (told) into.push(told);
      });
    },
  });
}

for (
  const { title, zone, result, from = "alice@example.com", ip = "192.0.2.1", helo = "client.example" }
    of spfCases
) {
  Deno.test(`spf: RFC 7208 ${title}: ${result}`, async () => {
    const found: Spf[] = [];
    await using receiving = await server(["spf", listener(found)], zone);
    const sent = await receiving.send({ from, to: "bob@example.org", ip, helo });
    equal(sent.outcome, "accepted", "spf refuses nothing unless it is told to");
    equal(found[0]?.result, result, receiving.dns.asked.join("\n"));
    const identity = from === "" ? `smtp.helo=` : `smtp.mailfrom=`;
    ok(results(receiving).startsWith(`mx.example.org; spf=${result} ${identity}`), results(receiving));
  });
}

const zone = {
  "example.com": { TXT: ["v=spf1 ip4:203.0.113.1 -all exp=why.example.com"] },
  "why.example.com": { TXT: ["Ask %{o} for help, %{i}"] },
  "soft.example": { TXT: ["v=spf1 ~all"] },
  "broken.example": { TXT: ["v=spf1 foo"] },
  "down.example": "servfail",
} as const;
const strict = ["spf", { refuse: ["fail", "softfail", "permerror"] }] as const;

Deno.test("spf: what it is told to refuse it refuses at RCPT, with the owner's explanation, said to be his", async () => {
  await using receiving = await server([strict], zone);
  const to = "bob@example.org";
  equal(
    told(await receiving.send({ from: "a@example.com", to })),
    "550 5.7.23 SPF: example.com does not send from 192.0.2.1; example.com explains: Ask example.com for help, 192.0.2.1",
  );
  equal(
    told(await receiving.send({ from: "a@soft.example", to })),
    "550 5.7.23 SPF: soft.example does not send from 192.0.2.1",
  );
  equal(
    told(await receiving.send({ from: "a@broken.example", to })),
    "550 5.7.24 SPF: the record of broken.example can't be used: its owner has to mend it",
  );
});

Deno.test("spf: DNS that does not answer is no refusal, neither for good nor for now", async () => {
  await using receiving = await server([strict], zone);
  equal((await receiving.send({ from: "a@down.example", to: "bob@example.org" })).outcome, "accepted");
});

Deno.test("spf: postmaster and abuse are reached by everybody", async () => {
  await using receiving = await server([strict], zone);
  const sent = await receiving.send({
    from: "a@example.com",
    to: ["postmaster@example.org", "bob@example.org", "Abuse@example.org"],
  });
  deepEqual(sent.recipients.map(({ reply }) => reply.code), [250, 550, 250]);
});

Deno.test("spf: trusted networks, users and mail of our own are not looked at", async () => {
  await using receiving = await server([strict], zone, { trustedNetworks: ["192.0.2.0/24"] });
  equal((await receiving.send({ from: "a@example.com", to: "bob@example.org" })).outcome, "accepted");
  await receiving.submit({
    sender: "a@example.com",
    recipients: ["bob@example.org"],
    content: "Subject: x\r\n\r\n",
  });
  deepEqual(receiving.dns.asked, []);
});

Deno.test("spf: two transactions of one session don't mix", async () => {
  await using receiving = await server([strict], zone);
  const client = receiving.connect();
  await client.reply();
  await client.command("EHLO client.example");
  await client.command("MAIL FROM:<a@example.com>");
  equal((await client.command("RCPT TO:<bob@example.org>")).code, 550);
  await client.command("RSET");
  await client.command("MAIL FROM:<a@nowhere.example>");
  equal((await client.command("RCPT TO:<bob@example.org>")).code, 250);
});
