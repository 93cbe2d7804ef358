/** nodemailer, what applications send with. */
import { match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import nodemailer from "nodemailer";
import { attachment, type Door, Mailhost, noise, password } from "./mailhost.ts";

interface How {
  readonly door: Exclude<Door, "lmtp">;
  readonly starttls?: boolean;
  readonly mechanism?: "PLAIN" | "LOGIN";
  readonly pass?: string;
}

async function transport(host: Mailhost, { door, starttls = false, mechanism, pass = password }: How) {
  return nodemailer.createTransport({
    host: "127.0.0.1",
    port: host.port(door),
    name: "client.test",
    secure: door === "implicit",
    ignoreTLS: door !== "implicit" && !starttls,
    requireTLS: starttls,
    tls: { ca: await Deno.readTextFile(host.certificate.cert), servername: "mx.example.test" },
    ...(mechanism && { authMethod: mechanism, auth: { user: "alice@example.test", pass } }),
  });
}

Deno.test("nodemailer delivers through every door", async (t) => {
  await using host = await Mailhost.open();
  const ways: [name: string, kind: RegExp, how: How][] = [
    ["plain", /with ESMTP id/, { door: "mx" }],
    ["starttls", /with ESMTPS /, { door: "mx", starttls: true }],
    ["auth-plain", /with ESMTPSA /, { door: "submission", starttls: true, mechanism: "PLAIN" }],
    ["auth-login", /with ESMTPSA /, { door: "implicit", mechanism: "LOGIN" }],
  ];
  for (const [name, kind, how] of ways) {
    await t.step(name, async () => {
      const client = await transport(host, how);
      const text = "one\n.\n..two\n";
      const to = `${name}@example.test`;
      const sent = await client.sendMail({ from: "alice@example.test", to, subject: name, text });
      client.close();
      match(sent.response, /^250 2\.\d\.\d /);
      const { received, content } = await host.message(name);
      match(received, kind);
      ok(content.toString().endsWith("\r\n\r\none\r\n.\r\n..two\r\n"), content.toString());
    });
  }
});

Deno.test("nodemailer's blind copies stay blind", async () => {
  await using host = await Mailhost.open();
  const client = await transport(host, { door: "submission", starttls: true, mechanism: "PLAIN" });
  const raw =
    "From: alice@example.test\r\nTo: b@example.test\r\nBcc: c@example.test\r\nSubject: x\r\n\r\nx\r\n";
  await client.sendMail({ envelope: { from: "alice@example.test", to: ["b@example.test"] }, raw });
  client.close();
  const { content } = await host.message("b");
  ok(!/^Bcc:/m.test(content.toString()), content.toString());
});

Deno.test("nodemailer with a wrong password is refused", async (t) => {
  await using host = await Mailhost.open();
  for (const mechanism of ["PLAIN", "LOGIN"] as const) {
    await t.step(mechanism, async () => {
      const client = await transport(host, { door: "implicit", mechanism, pass: "wrong" });
      await rejects(client.verify(), { code: "EAUTH", responseCode: 535 });
      client.close();
    });
  }
});

Deno.test("nodemailer sends as nobody but the account", async () => {
  await using host = await Mailhost.open();
  const client = await transport(host, { door: "implicit", mechanism: "PLAIN" });
  const mail = { to: "b@example.test", subject: "x", text: "x" };
  await rejects(client.sendMail({ ...mail, from: "boss@example.test" }), { responseCode: 553 });
  const envelope = { from: "alice@example.test", to: ["b@example.test"] };
  await rejects(client.sendMail({ ...mail, from: "boss@example.test", envelope }), { responseCode: 550 });
  client.close();
  equal((await host.messages("b")).length, 0);
});

Deno.test("nodemailer sends an attachment of 30 MB", async () => {
  await using host = await Mailhost.open();
  const large = noise(30);
  const client = await transport(host, { door: "implicit", mechanism: "PLAIN" });
  await client.sendMail({
    from: "alice@example.test",
    to: "large@example.test",
    subject: "large",
    text: "see below",
    attachments: [{ filename: "large.bin", content: large }],
  });
  client.close();
  ok(attachment(await host.message("large")).equals(large));
});

Deno.test("nodemailer sends internationalized addresses and headers", async () => {
  await using host = await Mailhost.open();
  const client = await transport(host, { door: "mx", starttls: true });
  const to = "\u7528\u6237@example.test";
  const text = "Gr\u00fc\u00dfe";
  await client.sendMail({ from: "j\u00f6rg@elsewhere.test", to, subject: "\u00dcber", text });
  client.close();
  const { received, returnPath, content } = await host.message("\u7528\u6237");
  match(received, /with UTF8SMTPS .* for <\u7528\u6237@example\.test>/);
  equal(returnPath, "<j\u00f6rg@elsewhere.test>");
  match(content.toString(), /^From: j\u00f6rg@elsewhere\.test\r\nTo: \u7528\u6237@example\.test\r\n/);
});

Deno.test("nodemailer keeps one connection for many messages", async () => {
  await using host = await Mailhost.open();
  const client = nodemailer.createTransport({
    pool: true,
    maxConnections: 1,
    host: "127.0.0.1",
    port: host.port("mx"),
    ignoreTLS: true,
  });
  const mail = { from: "bob@elsewhere.test", to: "many@example.test", text: "x" };
  await Promise.all(Array.from({ length: 30 }, (_, i) => client.sendMail({ ...mail, subject: `${i}` })));
  client.close();
  equal((await host.messages("many")).length, 30);
});
