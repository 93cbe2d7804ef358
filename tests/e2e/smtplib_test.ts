/** Python's smtplib. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { type Door, Mailhost, noise, password } from "./mailhost.ts";
import { run } from "./programs.ts";
import { root } from "./server.ts";

interface Job {
  readonly door: Door;
  readonly starttls?: boolean;
  readonly recipients: readonly string[];
  readonly sender?: string;
  readonly content?: Uint8Array;
  readonly user?: string;
  readonly password?: string;
  readonly mechanism?: "PLAIN" | "LOGIN";
  readonly utf8?: boolean;
  readonly attempts?: boolean;
}

interface Result {
  readonly refused?: Record<string, [code: number, text: string]>;
  readonly code?: number;
  readonly text?: string;
  readonly attempts?: [code: number, text: string][];
}

const simple = Buffer.from("Subject: by smtplib\r\n\r\nHello.\r\n.\r\n..\r\nEnd\r\n");

async function smtplib(host: Mailhost, job: Job): Promise<Result> {
  const { content = simple, ...rest } = job;
  const text = JSON.stringify({
    sender: "bob@elsewhere.test",
    ...(job.user && { sender: `${job.user}@example.test`, password, mechanism: "PLAIN" }),
    ...rest,
    ...(job.user && { user: `${job.user}@example.test` }),
    content: Buffer.from(content).toString("base64"),
    ca: host.certificate.cert,
    ...(job.door === "lmtp" ? { socket: host.socket } : { port: host.port(job.door) }),
  });
  const { code, stdout, stderr } = await run("python3", [join(root, "tests/e2e/clients/smtp.py")], {
    stdin: text,
  });
  equal(code, 0, stderr);
  return JSON.parse(stdout);
}

Deno.test("smtplib delivers byte for byte through every door", async (t) => {
  await using host = await Mailhost.open();
  const ways: [name: string, kind: RegExp, job: Omit<Job, "recipients">][] = [
    ["plain", /with ESMTP id/, { door: "mx" }],
    ["starttls", /with ESMTPS \(TLSv1\.3 cipher \S+\) id/, { door: "mx", starttls: true }],
    ["plain-password", /with ESMTPSA /, { door: "submission", starttls: true, user: "alice" }],
    ["login", /with ESMTPSA /, { door: "implicit", user: "alice", mechanism: "LOGIN" }],
    ["lmtp", /with LMTP id/, { door: "lmtp" }],
  ];
  for (const [name, kind, job] of ways) {
    await t.step(name, async () => {
      const recipients = [`${name}@example.test`];
      deepEqual(await smtplib(host, { ...job, recipients }), { refused: {} });
      const { content, received, deliveredTo } = await host.message(name);
      match(received, kind);
      equal(deliveredTo, `${name}@example.test`);
      if (!job.user) return deepEqual(content, simple);
      // A submitted message without them gets a Message-ID and a Date (RFC 6409 §8).
      const text = content.toString();
      match(text, /^Message-ID: <\S+@mx\.example\.test>\r\n/m);
      match(text, /^Date: \w{3}, /m);
      equal(text.replace(/^(?:Date|Message-ID): .*\r\n/gm, ""), simple.toString());
    });
  }
});

Deno.test("smtplib over LMTP learns what became of each recipient", async () => {
  await using host = await Mailhost.open();
  const { refused } = await smtplib(host, { door: "lmtp", recipients: ["one@example.test", "x@other.test"] });
  deepEqual(Object.keys(refused!), ["x@other.test"]);
  equal(refused!["x@other.test"]![0], 550);
  equal((await host.messages("one")).length, 1);
});

Deno.test("smtplib with wrong passwords is told so twice, and shown the door at the third", async () => {
  await using host = await Mailhost.open("carol");
  const { attempts } = await smtplib(host, {
    door: "implicit",
    user: "carol",
    password: "wrong",
    attempts: true,
    recipients: [],
  });
  deepEqual(attempts!.map(([code]) => code), [535, 535, 421]);
  match(attempts![0]![1], /^5\.7\.8 /);
  // What failed was the pair of network and account: somebody else gets in.
  deepEqual(await smtplib(host, { door: "implicit", user: "alice", recipients: ["ok@example.test"] }), {
    refused: {},
  });
});

Deno.test("smtplib submits nothing without a password", async () => {
  await using host = await Mailhost.open();
  const { code, text } = await smtplib(host, {
    door: "submission",
    starttls: true,
    recipients: ["a@example.test"],
  });
  equal(code, 530);
  match(text!, /^5\.7\.0 /);
});

Deno.test("smtplib sends 30 MB", async () => {
  await using host = await Mailhost.open();
  const lines = noise(22).toString("base64").replace(/.{76}/g, "$&\r\n");
  const content = Buffer.from(`Subject: large\r\n\r\n${lines}\r\n`);
  ok(content.length > 30e6);
  deepEqual(
    await smtplib(host, { door: "mx", starttls: true, content, recipients: ["large@example.test"] }),
    {
      refused: {},
    },
  );
  const delivered = (await host.message("large")).content;
  ok(delivered.equals(content), `${delivered.length} octets were kept of ${content.length}`);
});

Deno.test("smtplib sends internationalized addresses and headers", async () => {
  await using host = await Mailhost.open();
  const content = Buffer.from(
    "From: J\u00f6rg <j\u00f6rg@b\u00fccher.test>\r\nTo: \u7528\u6237@example.test\r\nSubject: \u00dcbergr\u00f6\u00dfe \ud83d\udce8\r\n\r\nGr\u00fc\u00dfe\r\n",
  );
  const job = {
    door: "mx",
    utf8: true,
    content,
    sender: "j\u00f6rg@b\u00fccher.test",
    recipients: ["\u7528\u6237@example.test"],
  } as const;
  deepEqual(await smtplib(host, job), { refused: {} });
  const message = await host.message("\u7528\u6237");
  match(message.received, /with UTF8SMTP id \S+ for <\u7528\u6237@example\.test>/);
  match(message.returnPath, /^<j\u00f6rg@/);
  match(message.content.toString(), /^Subject: \u00dcbergr\u00f6\u00dfe \ud83d\udce8\r$/m);
});
