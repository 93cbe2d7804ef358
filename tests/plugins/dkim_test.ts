import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { type Dkim, dkim as fact } from "../../server/facts.ts";
import { definePlugin } from "../../server/plugin.ts";
import type { FakeName } from "../../server/testing/mod.ts";
import { keyFile, letter, newKey, results, server, signed } from "./authentication/rig.ts";
import { dkim, type How, record } from "./authentication/signer.ts";

for (const type of ["rsa", "ed25519"] as const) {
  Deno.test(`dkim: what dkim-sign signs with ${type} passes, folded as it is`, async () => {
    await using key = await keyFile(type);
    const content = await signed([{ domain: "example.net", selector: "s1", key: key.file }]);
    await using receiving = await server(["dkim"], key.dns("example.net", "s1"));
    await receiving.send({ to: "bob@example.org", content });
    const found = results(receiving);
    ok(
      found.startsWith("mx.example.org; dkim=pass header.d=example.net header.i=@example.net header.s=s1"),
      found,
    );
  });
}

const ed = createPrivateKey(newKey("ed25519"));
const rsa = createPrivateKey(newKey("rsa"));
const short = createPrivateKey(newKey("rsa", 768));
const name = "s1._domainkey.example.net";
const at = (txt: string): Record<string, FakeName> => ({ [name]: { TXT: [txt] } });

interface Case {
  readonly how?: Partial<How>;
  /** The record, where it isn't the plain one. */
  readonly dns?: Record<string, FakeName>;
  /** What becomes of the signed message on its way. */
  readonly change?: (signed: string) => string;
  readonly content?: string;
}

const past = { t: "1000000", x: "1000100" };

const cases: Record<string, Record<string, Case>> = {
  pass: {
    "RFC 6376 §3.4 relaxed/relaxed": {},
    "§3.4 simple/simple": { how: { canonicalization: "simple/simple" } },
    "§3.4 relaxed/simple": { how: { canonicalization: "relaxed/simple" } },
    "§3.4 simple/relaxed": { how: { canonicalization: "simple/relaxed" } },
    "§3.4.3 an empty body, simple": {
      content: letter.slice(0, letter.indexOf("\r\n\r\n") + 4),
      how: { canonicalization: "relaxed/simple" },
    },
    "§3.4.4 an empty body, relaxed": { content: letter.slice(0, letter.indexOf("\r\n\r\n") + 4) },
    "§3.4.2 a field folded on its way": {
      change: (text) => text.replace("Subject: A letter", "SUBJECT:\tA\r\n  letter  "),
    },
    "§3.4.4 white space at line ends changed on its way": {
      change: (text) => text.replace("well. \r\n", "well.\t\r\n\r\n\r\n"),
    },
    "§3.5 i= of a subdomain": { how: { tags: { i: "alice@mail.example.net" } } },
    "§3.5 l= of the whole body": { how: { tags: { l: `${"Hello Bob,\r\n\r\nall is well.\r\n".length}` } } },
    "§3.5 x= to come": { how: { tags: { t: "1000000", x: "999999999999" } } },
    "§3.6.1 s=email": { dns: at(record(ed, "v=DKIM1; s=email")) },
    "§3.6.1 s=*": { dns: at(record(ed, "v=DKIM1; s=*")) },
    "§3.6.1 h=sha1:sha256": { dns: at(record(ed, "v=DKIM1; h=sha1:sha256")) },
    "§3.6.1 t=s with i= of the very domain": {
      how: { tags: { i: "alice@example.net" } },
      dns: at(record(ed, "v=DKIM1; t=s")),
    },
    "§3.6.1 no v=": { dns: at(record(ed, "n=note")) },
    "§3.6.1 tags nobody knows": { dns: at(record(ed, "v=DKIM1; zz=1")), how: { tags: { zz: "1" } } },
    "§5.4 a field that isn't there": { how: { fields: ["from", "x-none", "subject"] } },
    "RFC 8463 ed25519-sha256": { how: { key: ed } },
    "RFC 8301 rsa-sha256": { how: { key: rsa }, dns: at(record(rsa)) },
    "D05 white space before the colon of another field": {
      content: letter.replace("Subject:", "Subject :"),
      how: { fields: ["from", "to"] },
    },
  },
  fail: {
    "§6.1.3 another body": { change: (text) => text.replace("Hello", "Hallo") },
    "§6.1.3 another subject": { change: (text) => text.replace("A letter", "A bill") },
    "§6.1.3 another author": { change: (text) => text.replace("alice@", "eve@") },
    "§8.15 a second From, where From is named twice": {
      how: { fields: ["from", "from", "subject"] },
      change: (text) => text.replace("From:", "From: eve@evil.example\r\nFrom:"),
    },
    "§6.1.2 another key": { dns: at(record(createPrivateKey(newKey("ed25519")))) },
    "§3.4.3 a line more, simple": {
      how: { canonicalization: "simple/simple" },
      change: (text) => `${text}.\r\n`,
    },
  },
  neutral: {
    "§3.5 v=2": { how: { tags: { v: "2" } } },
    "§3.5 no v=": { how: { tags: { v: undefined } } },
    "§3.5 no d=": { how: { tags: { d: undefined } } },
    "§3.5 a= nobody knows": { how: { tags: { a: "ed25519-sha512" } } },
    "§3.5 c= nobody knows": { how: { tags: { c: "nowsp/nowsp" } } },
    "§3.5 q= nobody knows": { how: { tags: { q: "http" } } },
    "§3.2 a tag twice": { how: { tags: { zz: "1; zz=2" } } },
    "§3.5 i= of another domain": { how: { tags: { i: "alice@example.com" } } },
    "§3.5 i= of a domain that only ends alike": { how: { tags: { i: "alice@badexample.net" } } },
    "§3.5 x= over": { how: { tags: past } },
    "§3.5 x= before t=": { how: { tags: { t: "2000000000", x: "1999999999" } } },
    "§5.4 From isn't signed": { how: { fields: ["to", "subject"] } },
    "§3.6.1 a key of v=DKIM2": { dns: at(record(ed, "v=DKIM2")) },
    "§3.6.1 v= not first": { dns: at(record(ed, "n=1; v=DKIM1")) },
    "§3.6.1 a key for something else": { dns: at(record(ed, "v=DKIM1; s=tlsrpt")) },
    "§3.6.1 a key for sha1 only": { dns: at(record(ed, "v=DKIM1; h=sha1")) },
    "§3.6.1 t=s with i= of a subdomain": {
      how: { tags: { i: "alice@mail.example.net" } },
      dns: at(record(ed, "v=DKIM1; t=s")),
    },
    "§3.6.1 a revoked key": { dns: at("v=DKIM1; k=ed25519; p=") },
    "§3.6.1 a key that is none": { dns: at("v=DKIM1; k=rsa; p=AAAA") },
    "§3.6.1 a key of another kind": { dns: at(record(rsa)) },
    "§6.1.2 no key": { dns: {} },
    "§6.1.2 a record that is none": { dns: at("hello") },
  },
  policy: {
    "RFC 8301 §3.2 a key of 768 bits": { how: { key: short }, dns: at(record(short)) },
    "RFC 8301 §3.1 rsa-sha1": { how: { key: rsa, hash: "sha1" }, dns: at(record(rsa)) },
    "§8.2 l= less than the body": {
      how: { tags: { l: "12" }, body: "Hello Bob,\r\n" },
    },
    "§8.2 a body that goes on behind l=": {
      how: { tags: { l: `${"Hello Bob,\r\n\r\nall is well.\r\n".length}` } },
      change: (text) => `${text.trimEnd()}\r\nBuy now!\r\n`,
    },
  },
  temperror: {
    "§6.1.2 DNS says SERVFAIL": { dns: { [name]: "servfail" } },
    "§6.1.2 DNS refuses": { dns: { [name]: "refused" } },
    "§6.1.2 DNS does not answer": { dns: { [name]: "timeout" } },
    "§6.1.2 DNS can't be reached": { dns: { [name]: "network" } },
  },
};

/** Keeps what `dkim` tells. */
function listener(into: Dkim[]) {
  return definePlugin({
    name: "listener",
    setup(on, _options, host) {
      const of = host.needs(fact);
      on("data", (_session, _message, transaction) => void into.push(...of(transaction) ?? []));
    },
  });
}

for (const [result, table] of Object.entries(cases)) {
  for (const [title, { how, dns, change, content = letter }] of Object.entries(table)) {
    Deno.test(`dkim: ${result}: ${title}`, async () => {
      const found: Dkim[] = [];
      await using receiving = await server(["dkim", listener(found)], dns ?? at(record(how?.key ?? ed)));
      const made = dkim(content, { key: ed, ...how });
      const sent = await receiving.send({ to: "bob@example.org", content: change ? change(made) : made });
      equal(sent.outcome, "accepted", "dkim refuses nothing");
      deepEqual(found.map((one) => one.result), [result]);
      ok(results(receiving).startsWith(`mx.example.org; dkim=${result}`), results(receiving));
    });
  }
}

Deno.test("dkim: RFC 8463 §A, the RFC's own message", async () => {
  const content = [
    "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;",
    " d=football.example.com; i=@football.example.com;",
    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :",
    " subject : date : message-id : from : subject : date;",
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;",
    " b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus",
    " Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==",
    "From: Joe SixPack <joe@football.example.com>",
    "To: Suzie Q <suzie@shopping.example.net>",
    "Subject: Is dinner ready?",
    "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)",
    "Message-ID: <20030712040037.46341.5F8J@football.example.com>",
    "",
    "Hi.",
    "",
    "We lost the game.  Are you hungry yet?",
    "",
    "Joe.",
    "",
  ].join("\r\n");
  await using receiving = await server(["dkim"], {
    "brisbane._domainkey.football.example.com": {
      TXT: ["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="],
    },
  });
  await receiving.send({ to: "bob@example.org", content });
  ok(results(receiving).includes("dkim=pass header.d=football.example.com"), results(receiving));
});

Deno.test("dkim: a message without a signature", async () => {
  await using receiving = await server(["dkim"]);
  await receiving.send({ to: "bob@example.org", content: letter });
  equal(results(receiving), "mx.example.org; dkim=none");
});

Deno.test("dkim: each of several signatures has its result", async () => {
  await using receiving = await server(["dkim"], {
    ...at(record(ed)),
    "s2._domainkey.example.com": "servfail",
  });
  const twice = dkim(dkim(letter, { key: ed }), { key: ed, domain: "example.com", selector: "s2" });
  await receiving.send({ to: "bob@example.org", content: twice });
  ok(
    /; dkim=temperror \(.*\) header.d=example.com .*; dkim=pass header.d=example.net /.test(
      results(receiving),
    ),
  );
});

Deno.test("dkim: of very many signatures ten are looked at: no more lookups, no more results", async () => {
  await using receiving = await server(["dkim"]);
  let content = letter;
  for (let n = 0; n < 40; n++) content = dkim(content, { key: ed, selector: `n${n}` });
  await receiving.send({ to: "bob@example.org", content });
  equal(receiving.dns.asked.length, 10);
  equal(results(receiving).match(/dkim=/g)?.length, 10);
});

Deno.test("dkim: one reading of a header: what the server takes for the body is signed as body", async () => {
  await using receiving = await server(["dkim"], at(record(ed)));
  // Others go on reading fields behind such a line; a From that stands there is none here.
  const content = dkim(letter, { key: ed }).replace("From:", "no field\r\nFrom:");
  await receiving.send({ to: "bob@example.org", content });
  ok(!results(receiving).includes("dkim=pass"), results(receiving));
});

Deno.test("dkim: a large message is read in pieces", async () => {
  const content = `${letter}${"0123456789 abcdefghijklmnopqrstuvwxyz\r\n".repeat(50_000)}`;
  await using receiving = await server(["dkim"], at(record(ed)));
  await receiving.send({ to: "bob@example.org", content: dkim(content, { key: ed }) });
  ok(results(receiving).includes("dkim=pass"), results(receiving));
});

Deno.test("dkim: plugins above may edit: what was received is verified", async () => {
  const edits = definePlugin({
    name: "edits",
    setup(on) {
      on("data", (_session, message) => message.replaceHeader("Subject", "Changed"));
    },
  });
  await using receiving = await server([edits, "dkim"], at(record(ed)));
  await receiving.send({ to: "bob@example.org", content: dkim(letter, { key: ed }) });
  ok(results(receiving).includes("dkim=pass"));
});

Deno.test("dkim: our users' mail and our machines' is not looked at", async () => {
  await using receiving = await server(["dkim"], at(record(ed)), { trustedNetworks: ["192.0.2.0/24"] });
  await receiving.send({ to: "bob@example.org", content: dkim(letter, { key: ed }) });
  equal(results(receiving), "");
  deepEqual(receiving.dns.asked, []);
});
