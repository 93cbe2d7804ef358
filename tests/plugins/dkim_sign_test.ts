import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readKey } from "../../plugins/authentication/keys.ts";
import { accept, definePlugin } from "../../server/plugin.ts";
import { mailboxes, type TestServer, testServer } from "../../server/testing/mod.ts";
import { keyFile, letter, newKey, results, server, signed } from "./authentication/rig.ts";

const trusted = { trustedNetworks: ["192.0.2.0/24"] };
const from = (author: string) => letter.replace("Alice <alice@example.net>", author);

/** `d=` and `s=` of each signature on what was delivered last, from the top. */
function signatures(server: TestServer): string[] {
  const [header = ""] = server.delivered.at(-1)!.content.split("\r\n\r\n");
  return [...header.replaceAll(/\r\n[ \t]/g, " ").matchAll(/^DKIM-Signature:.* d=([^;]+); s=([^;]+);/gm)].map(
    (
      [, domain, selector],
    ) => `${selector} ${domain}`,
  );
}

Deno.test("dkim-sign: all keys of the author's domain sign, the first on top; all verify", async () => {
  await using one = await keyFile("rsa");
  await using two = await keyFile("ed25519");
  const content = await signed([
    { domain: "example.net", selector: "r1", key: one.file },
    { domain: "example.net", selector: "e1", key: two.file },
    { domain: "example.com", selector: "x1", key: two.file },
  ]);
  await using receiving = await server(["dkim"], {
    ...one.dns("example.net", "r1"),
    ...two.dns("example.net", "e1"),
  });
  await receiving.send({ to: "bob@example.org", content });
  ok(
    /dkim=pass .*header.s=r1 header.a=rsa-sha256 .*dkim=pass .*header.s=e1 header.a=ed25519-sha256/.test(
      results(receiving),
    ),
    results(receiving),
  );
});

const hard: Record<string, string> = {
  "no body": letter.slice(0, letter.indexOf("\r\n\r\n") + 4),
  "a body of empty lines": `${letter.slice(0, letter.indexOf("\r\n\r\n") + 4)}\r\n\r\n\r\n`,
  "no empty line at all": letter.slice(0, letter.indexOf("\r\n\r\n") + 2),
  "a line without end": `${letter}the end`,
  "folded and doubled white space": letter.replace("A letter", "A \t letter\r\n\t of  two lines  "),
  "UTF-8 in fields": letter.replace("A letter", "Grüße — 你好"),
  "octets that are no UTF-8": letter.replace("A letter", "Gr\xfc\xdfe"),
  "several fields of one name": letter.replace("To:", "To: a@example.com\r\nTo:"),
  "white space before a colon": letter.replace("Subject:", "Subject \t:"),
  "empty fields": letter.replace("Subject: A letter", "Subject:\r\nCc: "),
  "a very long line": `${letter}${"x".repeat(100_000)}\r\n`,
  "a large body": `${letter}${"0123456789 abcdefghijklmnopqrstuvwxyz \t \r\n".repeat(50_000)}`,
  "dots at line starts": `${letter}.\r\n..\r\n.x\r\n`,
};

for (const [title, content] of Object.entries(hard)) {
  Deno.test(`dkim-sign: a message with ${title} is signed so that it verifies`, async () => {
    await using key = await keyFile();
    // Octets that are no UTF-8 can't go through text: signed and verified by one server's two plugins instead.
    const keys = [{ domain: "example.net", selector: "s1", key: key.file }];
    const bytes = title.startsWith("octets")
      ? Uint8Array.from(content, (char) => char.charCodeAt(0))
      : undefined;
    await using relay = await testServer({
      plugins: [
        ["dkim-sign", { keys }],
        definePlugin({ name: "any", setup: (on) => on("rcpt", () => accept()) }),
        mailboxes(["example.org"]),
      ],
      trustedNetworks: ["192.0.2.0/24"],
    });
    equal(
      (await relay.send({ from: "alice@example.net", to: "bob@away.example", content: bytes ?? content }))
        .outcome,
      "accepted",
    );
    await using receiving = await server(["dkim"], key.dns("example.net", "s1"));
    await receiving.send({ to: "bob@example.org", content: relay.sent[0]!.bytes });
    ok(results(receiving).includes("dkim=pass"), results(receiving));
  });
}

Deno.test("dkim-sign: what is added below From, Subject and their like breaks the signature", async () => {
  await using key = await keyFile();
  const content = await signed([{ domain: "example.net", selector: "s1", key: key.file }]);
  await using receiving = await server(["dkim"], key.dns("example.net", "s1"));
  for (
    const field of [
      "From: eve@evil.example",
      "Subject: Pay",
      "Reply-To: eve@evil.example",
      "Content-Type: text/html",
      "Cc: all@example.org",
    ]
  ) {
    await receiving.send({ to: "bob@example.org", content: `${field}\r\n${content}` });
    ok(results(receiving).includes("dkim=fail"), field);
  }
  await receiving.send({ to: "bob@example.org", content: `X-Added: on its way\r\n${content}` });
  ok(results(receiving).includes("dkim=pass"));
});

Deno.test("dkim-sign: by the domain in From; a subdomain by the nearest above it", async () => {
  await using key = await keyFile();
  const keys = ["example.net", "sub.example.net"].map((domain) => ({
    domain,
    selector: "s1",
    key: key.file,
  }));
  await using signing = await server([["dkim-sign", { keys }]], {}, trusted);
  const wanted: Record<string, string[]> = {
    "a@example.net": ["s1 example.net"],
    "A <a@EXAMPLE.net>": ["s1 example.net"],
    "a@mx.example.net": ["s1 example.net"],
    "a@deep.sub.example.net": ["s1 sub.example.net"],
    '"a@b" <a@sub.example.net>': ["s1 sub.example.net"],
    "a@badexample.net": [],
    "a@net": [],
    "a@example.com": [],
    "nobody": [],
  };
  for (const [author, expected] of Object.entries(wanted)) {
    await signing.send({ to: "bob@example.org", content: from(author) });
    deepEqual(signatures(signing), expected, author);
  }
});

Deno.test("dkim-sign: a stranger who writes in our name does not get our signature", async () => {
  await using key = await keyFile();
  const options = {
    keys: [{ domain: "example.net", selector: "s1", key: key.file }],
    networks: ["198.51.100.7"],
  };
  await using signing = await server([["dkim-sign", options]]);
  await signing.send({ to: "bob@example.org", content: letter });
  deepEqual(signatures(signing), []);
  await signing.send({ to: "bob@example.org", content: letter, ip: "198.51.100.7" });
  deepEqual(signatures(signing), ["s1 example.net"]);
});

Deno.test("dkim-sign: two From fields, or none, are not vouched for", async () => {
  await using key = await keyFile();
  const keys = [{ domain: "example.net", selector: "s1", key: key.file }];
  await using signing = await server([["dkim-sign", { keys }]], {}, trusted);
  await signing.send({ to: "bob@example.org", content: `From: bob@example.net\r\n${letter}` });
  deepEqual(signatures(signing), []);
  await signing.send({ to: "bob@example.org", content: letter.replace(/^From.*\r\n/, "") });
  deepEqual(signatures(signing), []);
});

Deno.test("dkim-sign: our users' mail, mail of our own and reports to senders are signed", async () => {
  await using key = await keyFile();
  const keys = [{ domain: "example.org", selector: "s1", key: key.file }];
  const login = definePlugin({
    name: "login",
    setup(on) {
      on("auth", (_session, { user }) => accept({ user }));
      on("rcpt", (session) => session.user ? accept() : undefined);
    },
  });
  await using signing = await server([login, ["dkim-sign", { keys }]], {}, {
    smtp: () => ({ verdict: "reject", status: "5.1.1", text: "No" }),
  });
  await signing.submit({
    sender: "",
    recipients: ["bob@example.org"],
    content: "From: list@example.org\r\n\r\nHello.\r\n",
  });
  deepEqual(signatures(signing), ["s1 example.org"]);
  const user = { name: "alice@example.org", password: "x" };
  await signing.send({
    from: "alice@example.org",
    to: "carol@away.example",
    user,
    content: from("alice@example.org"),
  });
  await signing.settled();
  ok(signing.delivered.at(-1)!.content.includes("Final-Recipient"));
  deepEqual(signatures(signing), ["s1 example.org"], "a bounce from the host's name");
});

Deno.test("dkim-sign: edits of plugins above are signed", async () => {
  await using key = await keyFile();
  const edit = definePlugin({
    name: "edit",
    setup(on) {
      on("data", (_session, message) => message.replaceHeader("Subject", "Changed"));
    },
  });
  const keys = [{ domain: "example.net", selector: "s1", key: key.file }];
  await using signing = await server([edit, ["dkim-sign", { keys }]], {}, trusted);
  await signing.send({ to: "bob@example.org", content: letter });
  const content = signing.delivered[0]!.content;
  await using receiving = await server(["dkim"], key.dns("example.net", "s1"));
  await receiving.send({ to: "bob@example.org", content });
  ok(results(receiving).includes("dkim=pass"), content);
});

// ── Keys ───────────────────────────────────────────────────────────────────────────────────────────

Deno.test("dkim-sign: a new key in the file signs from the next second on; a broken one leaves the old in force", async () => {
  await using key = await keyFile("ed25519");
  const keys = [{ domain: "example.net", selector: "s1", key: key.file }];
  await using signing = await server([["dkim-sign", { keys }]], {}, trusted);
  const algorithm = async () => {
    await signing.clock.advance("2s");
    await signing.send({ to: "bob@example.org", content: letter });
    return /^DKIM-Signature:.* a=([a-z0-9-]+);/m.exec(
      signing.delivered.at(-1)!.content.replaceAll("\r\n ", " "),
    )?.[1];
  };
  equal(await algorithm(), "ed25519-sha256");
  await Deno.writeTextFile(key.file, newKey("rsa"));
  equal(await algorithm(), "rsa-sha256");
  await Deno.writeTextFile(key.file, "broken");
  equal(await algorithm(), "rsa-sha256");
  ok(signing.log.of("file can't be read, its last good content stays in force")[0]);
});

const pem = (
  key: { export(how: { type: "pkcs1" | "pkcs8" | "sec1"; format: "pem" }): string | { toString(): string } },
  type: "pkcs1" | "pkcs8" | "sec1" = "pkcs8",
) => String(key.export({ type, format: "pem" }));

Deno.test("dkim-sign: keys as OpenSSL and opendkim-genkey write them are read", async () => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  for (const type of ["pkcs1", "pkcs8"] as const) {
    const { algorithm, bits } = await readKey("k.pem", pem(privateKey, type));
    deepEqual([algorithm, bits], ["rsa-sha256", 2048]);
  }
  equal((await readKey("k.pem", newKey("ed25519"))).algorithm, "ed25519-sha256");
});

const bad: Record<string, [text: string, why: RegExp]> = {
  "nothing": ["", /k\.pem: this is no key/],
  "text": ["hello", /k\.pem: this is no key/],
  "a public key": [
    String(generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "pem" })),
    /k\.pem: this is a public key/,
  ],
  "half a key": [newKey().slice(0, 60) + "\n-----END PRIVATE KEY-----\n", /k\.pem: the key can't be read/],
  "a key for something else": [
    pem(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey),
    /k\.pem: this is a key of type ec/,
  ],
  "a key of 512 bits": [newKey("rsa", 512), /k\.pem: an RSA key of 512 bits is worth nothing/],
};

for (const [title, [text, why]] of Object.entries(bad)) {
  Deno.test(`dkim-sign: a file with ${title} is said to be so`, () => rejects(readKey("k.pem", text), why));
}

Deno.test("dkim-sign: at start, what is wrong with the keys is said with the file", async () => {
  await using key = await keyFile();
  const one = { domain: "example.net", selector: "s1", key: key.file };
  const start = async (keys: unknown) => await server([["dkim-sign", { keys }]]);
  await rejects(start([{ ...one, key: "/nowhere/k.pem" }]), /\/nowhere\/k\.pem: there is no such file/);
  await rejects(start([one, one]), /s1\._domainkey\.example\.net stands in `keys` twice/);
  await rejects(start([]), /there is nothing to sign with/);
  await rejects(start([{ ...one, domain: "example" }]), /"example" is not a domain such as example\.org/);
  await rejects(start([{ ...one, selector: "a b" }]), /"a b" is not a selector such as s2026/);
  await using short = await keyFile("rsa", 1024);
  await using weak = await start([{ ...one, key: short.file }]);
  ok(weak.log.of("a short RSA key: make one of 2048 bits")[0]);
});
