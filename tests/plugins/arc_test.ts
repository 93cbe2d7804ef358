import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { type Arc, arc as fact } from "../../server/facts.ts";
import { accept, definePlugin } from "../../server/plugin.ts";
import { type FakeName, mailboxes, type TestPlugin, testServer } from "../../server/testing/mod.ts";
import { type KeyFile, keyFile, letter, newKey, results, server } from "./authentication/rig.ts";
import { arc, dkim, record } from "./authentication/signer.ts";

const key = createPrivateKey(newKey());
const rsa = createPrivateKey(newKey("rsa"));
const zone = (domain: string, txt = record(key)): Record<string, FakeName> => ({
  [`s1._domainkey.${domain}`]: { TXT: [txt] },
});
const set = (i: number, cv = i === 1 ? "none" : "pass", dmarc = "pass") => ({
  i,
  cv,
  results: `mx.list.example; spf=pass smtp.mailfrom=example.net; dmarc=${dmarc} header.from=example.net`,
});
const how = { key, domain: "list.example" };
/** A message with this many good sets on it. */
const chained = (sets: number, content = letter) => {
  let text = content;
  for (let i = 1; i <= sets; i++) text = arc(text, set(i), how);
  return text;
};

function listener(into: Arc[]) {
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

/** All that the published suite's validation part asks about: RFC 8617 §4 and §5.2. */
const cases: Record<string, Record<string, string | [content: string, zone: Record<string, FakeName>]>> = {
  none: { "no set": letter },
  pass: {
    "§5.2 one set": chained(1),
    "§5.2 three sets": chained(3),
    "§4.2.1 fifty sets": chained(50),
    "§5.2 a key of RSA": [
      arc(letter, set(1), { key: rsa, domain: "list.example" }),
      zone("list.example", record(rsa)),
    ],
    "§5.2 an old message signature may be broken": arc(chained(1).replace("Hello", "Hallo"), set(2), how),
    "§5.2 simple/simple in the message signature": arc(letter, set(1), {
      ...how,
      canonicalization: "simple/simple",
    }),
    "§5.1 folded on its way": chained(2).replaceAll("; d=", ";\r\n\td="),
    "§4.1.2 From, Subject and DKIM-Signature signed": arc(dkim(letter, { key }), set(1), {
      ...how,
      fields: ["from", "subject", "dkim-signature"],
    }),
    "§4.1.3 tags nobody knows": arc(letter, { ...set(1), seal: { zz: "1" } }, how),
  },
  fail: {
    "§5.2 another body": chained(2).replace("Hello", "Hallo"),
    "§5.2 another subject": chained(2).replace("A letter", "A bill"),
    "§5.2 other results": chained(2).replace(
      "i=1; mx.list.example; spf=pass",
      "i=1; mx.list.example; spf=fail",
    ),
    "§5.2 another seal": chained(2).replace(
      /(ARC-Seal: i=1;.* b=)(.)/,
      (_, before: string, first: string) => before + (first === "A" ? "B" : "A"),
    ),
    "§5.2 step 2 the newest says cv=fail": arc(chained(1), set(2, "fail"), how),
    "§5.2 step 3 the first says cv=pass": arc(letter, set(1, "pass"), how),
    "§5.2 step 3 the second says cv=none": arc(chained(1), set(2, "none"), how),
    "§5.2 step 3 cv= nobody knows": arc(letter, set(1, "maybe"), how),
    "§5.2 step 3 no seal": chained(1).replace(/^ARC-Seal:.*\r\n/m, ""),
    "§5.2 step 3 no message signature": chained(1).replace(/^ARC-Message-Signature:.*\r\n/m, ""),
    "§5.2 step 3 no results": chained(1).replace(/^ARC-Authentication-Results:.*\r\n/m, ""),
    "§5.2 step 3 a set is missing": chained(3).replaceAll(/^ARC-[A-Za-z-]+: i=2;.*\r\n/gm, ""),
    "§5.2 step 3 the first is missing": chained(2).replaceAll(/^ARC-[A-Za-z-]+: i=1;.*\r\n/gm, ""),
    "§5.2 step 3 a field twice": chained(1).replace(/^ARC-Authentication-Results:.*\r\n/m, "$&$&"),
    "§4.2.1 instance 0": chained(1).replaceAll("i=1;", "i=0;"),
    "§4.2.1 instance 51": arc(chained(50), set(51), how),
    "§4.2.1 an instance that is no number": chained(1).replaceAll("i=1;", "i=a;"),
    "§4.1.3 h= in the seal": arc(letter, { ...set(1), seal: { h: "from" } }, how),
    "§4.1.2 the message signature signs seals": arc(chained(1), set(2), {
      ...how,
      fields: ["from", "arc-seal"],
    }),
    "§4.1.2 the message signature does not sign From": arc(letter, set(1), { ...how, fields: ["subject"] }),
    "§4.1.3 no a=": chained(1).replace(/(ARC-Seal: i=1;) a=[^;]*;/, "$1"),
    "§4.1.3 a= nobody knows": chained(1).replace(/(ARC-Seal: i=1;) a=[^;]*;/, "$1 a=ed25519-sha512;"),
    "§4.1.2 no bh=": chained(1).replace(/(ARC-Message-Signature:.*?) bh=[^;]*;/, "$1"),
    "§5.2 no key": [chained(1), {}],
    "§5.2 a revoked key": [chained(1), zone("list.example", "v=DKIM1; p=")],
    "§5.2 another key": [chained(1), zone("list.example", record(createPrivateKey(newKey())))],
  },
  temperror: {
    "DNS does not answer": [chained(1), { "s1._domainkey.list.example": "timeout" }],
    "DNS says SERVFAIL": [chained(2), { "s1._domainkey.list.example": "servfail" }],
  },
};

for (const [result, table] of Object.entries(cases)) {
  for (const [title, given] of Object.entries(table)) {
    Deno.test(`arc: RFC 8617 ${title}: ${result}`, async () => {
      const [content, dns] = typeof given === "string" ? [given, zone("list.example")] : given;
      const found: Arc[] = [];
      await using receiving = await server(["arc", listener(found)], dns);
      equal((await receiving.send({ to: "bob@example.org", content })).outcome, "accepted");
      equal(found[0]?.result, result, results(receiving));
      ok(results(receiving).startsWith(`mx.example.org; arc=${result}`), results(receiving));
    });
  }
}

Deno.test("arc: who has sealed it, and what the first of them found, are told", async () => {
  const found: Arc[] = [];
  const content = arc(arc(letter, set(1, "none", "pass"), how), set(2, "pass", "fail"), {
    key,
    domain: "other.example",
  });
  await using receiving = await server(["arc", listener(found)], {
    ...zone("list.example"),
    ...zone("other.example"),
  });
  await receiving.send({ to: "bob@example.org", content });
  deepEqual(found, [{ result: "pass", sealers: ["list.example", "other.example"], dmarc: "pass" }]);
});

// ── Believing ──────────────────────────────────────────────────────────────────────────────────────

const reject = { "_dmarc.example.net": { TXT: ["v=DMARC1; p=reject"] } };
const believing = (
  ...trustedSealers: string[]
): readonly TestPlugin[] => ["spf", "dkim", "arc", ["dmarc", { trustedSealers }]];

Deno.test("arc: dmarc believes a trusted forwarder that it was right before, and says why", async () => {
  await using receiving = await server(believing("list.example"), { ...zone("list.example"), ...reject });
  const content = chained(1, letter.replace("Subject: ", "Subject: [list] "));
  equal(
    (await receiving.send({ from: "x@list.example", to: "bob@example.org", content })).outcome,
    "accepted",
  );
  ok(
    results(receiving).includes(
      'dmarc=fail reason="passed before it was forwarded, says a trusted ARC seal" header.from=example.net',
    ),
  );
});

for (
  const [title, content, trusted] of [
    ["a sealer nobody trusts", chained(1), "other.example"],
    ["a trusted sealer that it was wrong before", arc(letter, set(1, "none", "fail"), how), "list.example"],
    ["a broken chain", chained(1).replace("Hello", "Hallo"), "list.example"],
    [
      "a chain with one sealer nobody trusts in it",
      arc(arc(letter, set(1), { key, domain: "evil.example" }), set(2), how),
      "list.example",
    ],
    ["a message without a chain", letter, "list.example"],
  ] as const
) {
  Deno.test(`arc: dmarc does not believe ${title}`, async () => {
    const dns = { ...zone("list.example"), ...zone("evil.example"), ...reject };
    await using receiving = await server(believing(trusted), dns);
    equal((await receiving.send({ from: "x@list.example", to: "bob@example.org", content })).reply.code, 550);
  });
}

// ── Sealing ────────────────────────────────────────────────────────────────────────────────────────

/** Forwards what comes for anybody to another server. */
const forward = definePlugin({
  name: "forward",
  setup(on, _options, host) {
    host.owns(["example.org"]);
    on(
      "resolve",
      ({ domain, user }) =>
        domain === "example.org" && user !== "here" ? accept({ to: [`${user}@away.example`] }) : undefined,
    );
    on("rcpt", () => accept());
  },
});

async function forwarded(
  own: KeyFile,
  content: string,
  dns: Record<string, FakeName>,
  to = "bob@example.org",
): Promise<string | undefined> {
  const seal = { domain: "example.org", selector: "a1", key: own.file };
  await using between = await testServer({
    plugins: [
      "spf",
      "dkim",
      ["arc", { seal }],
      ["dmarc", { enforce: false }],
      forward,
      mailboxes(["here@example.org"]),
    ],
    dns,
  });
  const sent = await between.send({ from: "alice@example.net", to, content });
  equal(sent.outcome, "accepted");
  return between.sent[0]?.content;
}

for (const type of ["ed25519", "rsa"] as const) {
  for (const before of [0, 1, 3]) {
    Deno.test(`arc: what is forwarded with ${before} sets on it is sealed with ${type}, and the chain passes`, async () => {
      await using own = await keyFile(type);
      const dns = {
        ...zone("list.example"),
        ...own.dns("example.org", "a1"),
        "example.net": { TXT: ["v=spf1 ip4:192.0.2.1 -all"] },
        ...reject,
      };
      const content = (await forwarded(own, chained(before), dns))!;
      equal(content.match(/^ARC-Seal:/gm)?.length, before + 1);
      ok(content.includes(`ARC-Authentication-Results: i=${before + 1}; mx.example.org; spf=pass`), content);
      const found: Arc[] = [];
      await using receiving = await server(["arc", listener(found)], dns);
      await receiving.send({ to: "carol@example.org", content });
      const sealers = [...Array.from({ length: before }, () => "list.example"), "example.org"];
      deepEqual(found, [{ result: "pass", sealers, dmarc: "pass" }], results(receiving));
    });
  }
}

Deno.test("arc: §5.1.2 a broken chain is sealed as broken, once", async () => {
  await using own = await keyFile();
  const dns = { ...zone("list.example"), ...own.dns("example.org", "a1") };
  const once = (await forwarded(own, chained(2).replace("Hello", "Hallo"), dns))!;
  ok(/^ARC-Seal: i=3; a=ed25519-sha256; t=[0-9]+; cv=fail; d=example.org;/m.test(once), once);
  const twice = (await forwarded(own, once.replace(/^[^]*?(?=ARC-Seal)/, ""), dns))!;
  equal(twice.match(/^ARC-Seal:/gm)?.length, 3);
});

Deno.test("arc: where DNS does not answer nothing is sealed, so that nothing wrong is said", async () => {
  await using own = await keyFile();
  const content = (await forwarded(own, chained(1), { "s1._domainkey.list.example": "timeout" }))!;
  equal(content.match(/^ARC-Seal:/gm)?.length, 1);
});

Deno.test("arc: fifty sets are all there can be", async () => {
  await using own = await keyFile();
  const content = (await forwarded(own, chained(50), zone("list.example")))!;
  equal(content.match(/^ARC-Seal:/gm)?.length, 50);
});

Deno.test("arc: what stays here is not sealed", async () => {
  await using own = await keyFile();
  const seal = { domain: "example.org", selector: "a1", key: own.file };
  await using receiving = await server([["arc", { seal }]]);
  await receiving.send({ to: "bob@example.org", content: letter });
  ok(!receiving.delivered[0]!.content.includes("ARC-Seal"));
});
