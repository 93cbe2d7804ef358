import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { dispositionOf, strictest } from "../../plugins/dmarc/disposition.ts";
import { type Dmarc, dmarc as fact } from "../../server/facts.ts";
import { definePlugin, delivered } from "../../server/plugin.ts";
import type { FakeName } from "../../server/testing/mod.ts";
import { letter, newKey, results, server, told } from "./authentication/rig.ts";
import { dkim, record } from "./authentication/signer.ts";

const key = createPrivateKey(newKey());
const policy = (terms: string): FakeName => ({ TXT: [`v=DMARC1; ${terms}`] });
const spf: FakeName = { TXT: ["v=spf1 ip4:192.0.2.1 -all"] };
const signing: FakeName = { TXT: [record(key)] };

/** Keeps what `dmarc` tells. */
function listener(into: Dmarc[]) {
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

const from = (...authors: string[]) =>
  letter.replace("From: Alice <alice@example.net>", authors.map((author) => `From: ${author}`).join("\r\n"));
const signedBy = (domain: string, content = letter) => dkim(content, { key, domain });

interface Case {
  readonly zone: Readonly<Record<string, FakeName>>;
  /** The envelope sender. */
  readonly sender?: string;
  readonly content?: string;
  /** Result and policy. */
  readonly found: string;
  /** What the client hears; absent: 250. */
  readonly code?: number;
  readonly title: string;
}

const reject = { "_dmarc.example.net": policy("p=reject") };
const refused = { code: 550, found: "fail reject" } as const;
const key1 = (domain: string) => ({ [`s1._domainkey.${domain}`]: signing });

const cases: readonly Case[] = [
  { title: "no record", zone: {}, found: "none none" },
  { title: "neither SPF nor DKIM, p=reject", zone: reject, ...refused },
  {
    title: "p=quarantine is delivered, where nothing else is said",
    zone: { "_dmarc.example.net": policy("p=quarantine") },
    found: "fail quarantine",
  },
  { title: "p=none", zone: { "_dmarc.example.net": policy("p=none") }, found: "fail none" },
  { title: "SPF aligned", zone: { ...reject, "example.net": spf }, found: "pass reject" },
  {
    title: "SPF aligned, relaxed",
    zone: { ...reject, "mail.example.net": spf },
    sender: "x@mail.example.net",
    found: "pass reject",
  },
  {
    title: "SPF of another domain",
    zone: { ...reject, "example.com": spf },
    sender: "x@example.com",
    ...refused,
  },
  {
    title: "SPF of a domain that only ends alike",
    zone: { ...reject, "badexample.net": spf },
    sender: "x@badexample.net",
    ...refused,
  },
  {
    title: "aspf=s: a subdomain is another domain",
    zone: { "_dmarc.example.net": policy("p=reject; aspf=s"), "mail.example.net": spf },
    sender: "x@mail.example.net",
    ...refused,
  },
  {
    title: "aspf=s: the very domain",
    zone: { "_dmarc.example.net": policy("p=reject; aspf=s"), "example.net": spf },
    found: "pass reject",
  },
  {
    title: "DKIM aligned",
    zone: { ...reject, ...key1("example.net") },
    content: signedBy("example.net"),
    found: "pass reject",
  },
  {
    title: "DKIM aligned, relaxed",
    zone: { ...reject, ...key1("mail.example.net") },
    content: signedBy("mail.example.net"),
    found: "pass reject",
  },
  {
    title: "adkim=s: a subdomain is another domain",
    zone: { "_dmarc.example.net": policy("p=reject; adkim=s"), ...key1("mail.example.net") },
    content: signedBy("mail.example.net"),
    ...refused,
  },
  {
    title: "DKIM of another domain",
    zone: { ...reject, ...key1("example.com") },
    content: signedBy("example.com"),
    ...refused,
  },
  {
    title: "DKIM aligned and broken",
    zone: { ...reject, ...key1("example.net") },
    content: signedBy("example.net").replace("Hello", "Hallo"),
    ...refused,
  },
  {
    title: "DKIM with l=, and more below",
    zone: { ...reject, ...key1("example.net") },
    content: `${
      dkim(letter, { key, tags: { l: "30" }, body: "Hello Bob,\r\n\r\nall is well.\r\n" })
    }Buy!\r\n`,
    ...refused,
  },
  { title: "a subdomain has its domain's p=", zone: reject, content: from("a@sub.example.net"), ...refused },
  {
    title: "sp= for a subdomain",
    zone: { "_dmarc.example.net": policy("p=reject; sp=none"), "sub.example.net": { A: ["192.0.2.9"] } },
    content: from("a@sub.example.net"),
    found: "fail none",
  },
  {
    title: "np= for a subdomain that isn't there",
    zone: { "_dmarc.example.net": policy("p=none; sp=none; np=reject") },
    content: from("a@sub.example.net"),
    ...refused,
  },
  {
    title: "a subdomain's own record",
    zone: { ...reject, "_dmarc.sub.example.net": policy("p=none") },
    content: from("a@sub.example.net"),
    found: "fail none",
  },
  {
    title: "t=y asks for one less",
    zone: { "_dmarc.example.net": policy("p=reject; t=y") },
    found: "fail quarantine",
  },
  {
    title: "two records are none",
    zone: { "_dmarc.example.net": { TXT: ["v=DMARC1; p=reject", "v=DMARC1; p=none"] } },
    found: "none none",
  },
  {
    title: "a record that isn't first of all v=DMARC1",
    zone: { "_dmarc.example.net": { TXT: ["p=reject; v=DMARC1"] } },
    found: "none none",
  },
  {
    title: "p= nobody knows, with rua: as none",
    zone: { "_dmarc.example.net": policy("p=bounce; rua=mailto:x@example.net") },
    found: "fail none",
  },
  {
    title: "psd=y ends the organisation above it",
    zone: { "_dmarc.net": policy("p=none; psd=y"), ...reject, "other.net": spf },
    sender: "x@other.net",
    ...refused,
  },
  // DNS that does not answer
  {
    title: "the record can't be asked for: nobody is refused",
    zone: { "_dmarc.example.net": "servfail" },
    found: "temperror none",
  },
  {
    title: "SPF can't be asked for, p=reject: later",
    zone: { ...reject, "example.net": "servfail" },
    found: "temperror reject",
    code: 451,
  },
  {
    title: "SPF of another domain can't be asked for: it fails",
    zone: { ...reject, "example.com": "servfail" },
    sender: "x@example.com",
    ...refused,
  },
  {
    title: "the aligned key can't be asked for, p=reject: later",
    zone: { ...reject, "s1._domainkey.example.net": "timeout" },
    content: signedBy("example.net"),
    found: "temperror reject",
    code: 451,
  },
  {
    title: "the aligned key can't be asked for, p=none",
    zone: { "_dmarc.example.net": policy("p=none"), "s1._domainkey.example.net": "timeout" },
    content: signedBy("example.net"),
    found: "temperror none",
  },
  {
    title: "the aligned key can't be asked for, and SPF passes",
    zone: { ...reject, "example.net": spf, "s1._domainkey.example.net": "timeout" },
    content: signedBy("example.net"),
    found: "pass reject",
  },
  {
    title: "another's key can't be asked for: it fails",
    zone: { ...reject, "s1._domainkey.example.com": "timeout" },
    content: signedBy("example.com"),
    ...refused,
  },
  // Authors
  {
    title: "two From fields of one domain",
    zone: reject,
    content: from("a@example.net", "b@example.net"),
    ...refused,
  },
  {
    title: "two From fields, of which one is forged",
    zone: { ...reject, "evil.example": spf },
    sender: "x@evil.example",
    content: from("a@evil.example", "b@example.net"),
    ...refused,
  },
  {
    title: "the same, the other way round",
    zone: { ...reject, "evil.example": spf },
    sender: "x@evil.example",
    content: from("b@example.net", "a@evil.example"),
    ...refused,
  },
  {
    title: "two authors in one field, of which one is forged",
    zone: { ...reject, "evil.example": spf },
    sender: "x@evil.example",
    content: from("a@evil.example, b@example.net"),
    ...refused,
  },
  {
    title: "two authors in a group",
    zone: { ...reject, "evil.example": spf },
    sender: "x@evil.example",
    content: from("us: a@evil.example, b@example.net;"),
    ...refused,
  },
  { title: "no From", zone: reject, content: letter.replace(/^From.*\r\n/, ""), found: "permerror none" },
  { title: "a From without an address", zone: reject, content: from("Alice"), found: "permerror none" },
  {
    title: "a From that only looks like one",
    zone: reject,
    content: from("<@>"),
    found: "permerror none",
    code: 550,
  },
  {
    title: "an address in a display name is not the author",
    zone: { ...reject, "evil.example": spf },
    sender: "x@evil.example",
    content: from('"ceo@example.net" <x@evil.example>'),
    found: "none none",
  },
  {
    title: "six authors of six domains",
    zone: {},
    content: from("a@a.example, b@b.example, c@c.example, d@d.example, e@e.example, f@f.example"),
    found: "none none",
    code: 550,
  },
  { title: "an address literal", zone: reject, content: from("a@[192.0.2.1]"), found: "none none" },
  {
    title: "the null sender: HELO's name is aligned",
    zone: { ...reject, "client.example.net": spf },
    sender: "",
    found: "pass reject",
  },
];

for (
  const { title, zone, content = letter, sender = "alice@example.net", found: wanted, code = 250 } of cases
) {
  Deno.test(`dmarc: RFC 9989: ${title}`, async () => {
    const found: Dmarc[] = [];
    await using receiving = await server(["spf", "dkim", "dmarc", listener(found)], zone);
    const sent = await receiving.send({ from: sender, to: "bob@example.org", content });
    equal(sent.reply.code, code, told(sent));
    await using reporting = await server(
      ["spf", "dkim", ["dmarc", { enforce: false }], listener(found)],
      zone,
    );
    equal((await reporting.send({ from: sender, to: "bob@example.org", content })).outcome, "accepted");
    deepEqual([...new Set(found.map(({ result, policy }) => `${result} ${policy}`))], [wanted]);
    ok(results(reporting).includes(`; dmarc=${wanted.split(" ")[0]}`), results(reporting));
  });
}

Deno.test("dmarc: what is said of it, and to whom", async () => {
  await using receiving = await server(["spf", "dkim", "dmarc"], {
    ...reject,
    "_dmarc.quiet.example": policy("p=quarantine"),
  });
  const sent = await receiving.send({ from: "x@evil.example", to: "bob@example.org", content: letter });
  equal(told(sent), "550 5.7.26 DMARC: example.net asks to refuse mail in its name that is not from it");
  await receiving.send({ from: "x@evil.example", to: "bob@example.org", content: from("a@quiet.example") });
  equal(
    results(receiving),
    "mx.example.org; spf=none smtp.mailfrom=evil.example; dkim=none; dmarc=fail header.from=quiet.example policy.dmarc=quarantine",
  );
});

Deno.test("dmarc: the strictest of several findings counts", () => {
  const finding = (text: string, domain: string) => {
    const [result, policy] = text.split(" ") as [Dmarc["result"], Dmarc["policy"]];
    return { result, policy, domain };
  };
  const inOrder = [
    "fail reject",
    "temperror reject",
    "fail quarantine",
    "temperror quarantine",
    "fail none",
    "temperror none",
    "permerror none",
    "none none",
    "pass reject",
  ].map((text) => finding(text, text));
  for (const [at, one] of inOrder.entries()) {
    for (const other of inOrder.slice(at)) {
      equal(strictest([other, one]), one, `${one.domain} over ${other.domain}`);
    }
  }
  equal(strictest([]), undefined);
  deepEqual(inOrder.map(dispositionOf), [
    "reject",
    "defer",
    "quarantine",
    "defer",
    "none",
    "none",
    "none",
    "none",
    "none",
  ]);
});

Deno.test("dmarc: what is to be quarantined goes to the transport it is told", async () => {
  const kept: string[] = [];
  const quarantine = definePlugin({
    name: "quarantine",
    setup(_on, _options, host) {
      host.transport("quarantine", (_message, [recipient]) => {
        kept.push(String(recipient));
        return Promise.resolve(delivered());
      });
    },
  });
  const zone = { "_dmarc.example.net": policy("p=quarantine") };
  await using receiving = await server(
    ["spf", "dkim", ["dmarc", { quarantine: "quarantine" }], quarantine],
    zone,
  );
  await receiving.send({
    from: "x@evil.example",
    to: ["bob@example.org", "carol@example.org"],
    content: letter,
  });
  deepEqual(kept, ["bob@example.org", "carol@example.org"]);
  equal(receiving.delivered.length, 0);
  await receiving.send({ from: "x@evil.example", to: "postmaster@example.org", content: letter });
  equal(receiving.delivered.length, 1);
});

Deno.test("dmarc: postmaster and abuse are reached; nobody else is with them", async () => {
  await using receiving = await server(["spf", "dkim", "dmarc"], reject);
  const send = (...to: string[]) => receiving.send({ from: "x@evil.example", to, content: letter });
  equal((await send("postmaster@example.org", "abuse@example.org")).outcome, "accepted");
  const mixed = await send("postmaster@example.org", "bob@example.org");
  deepEqual(mixed.recipients.map(({ reply }) => `${reply.code} ${reply.status}`), ["250 2.1.5", "452 4.5.3"]);
  equal((await send("bob@example.org", "postmaster@example.org")).reply.code, 550);
  ok(receiving.delivered.every(({ to }) => /^(postmaster|abuse)@/.test(to)));
});

Deno.test("dmarc: our users, our machines and mail of our own are not asked for", async () => {
  await using receiving = await server(["spf", "dkim", "dmarc"], reject, {
    trustedNetworks: ["192.0.2.0/24"],
  });
  equal(
    (await receiving.send({ to: ["bob@example.org", "postmaster@example.org"], content: letter })).outcome,
    "accepted",
  );
  await receiving.submit({ sender: "", recipients: ["bob@example.org"], content: letter });
  deepEqual(receiving.dns.asked, []);
});

Deno.test("dmarc: without spf and dkim above there is nothing to go by, which is said at start", async () => {
  const why = async (...plugins: string[]) => {
    try {
      await using _server = await server(plugins);
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };
  ok((await why("dmarc", "spf", "dkim")).includes("spf"), await why("dmarc", "spf", "dkim"));
  ok((await why("spf", "dmarc")).includes("dkim"));
  equal(await why("spf", "dkim", "dmarc"), "");
});

Deno.test("dmarc: where spf or dkim could not say anything, nobody is refused for good", async () => {
  const broken = definePlugin({
    name: "dkim",
    setup(on, _options, host) {
      host.provides({ fact: "dkim" });
      on("data", () => {
        throw new Error("no");
      });
    },
  });
  await using receiving = await server(["spf", { use: broken, onError: "skip" }, "dmarc"], reject);
  equal(
    (await receiving.send({ from: "x@evil.example", to: "bob@example.org", content: letter })).reply.code,
    451,
  );
});
