/** msmtp, as `sendmail` of machines and of mutt. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { normalized } from "./client.ts";
import { type Door, Mailhost, noise, password } from "./mailhost.ts";
import { type Ended, run } from "./programs.ts";

/** As sendmail takes it: LF line ends; whole, so that nobody adds to it. */
const header = [
  "From: alice@example.test",
  "Date: Sat, 21 Nov 2026 22:00:00 +0000",
  "Message-ID: <1@client.test>",
  "Subject: by msmtp",
].join("\n");
const simple = Buffer.from(`${header}\n\n.\n..two\nend\n`);

interface How {
  readonly tls?: "starttls" | "implicit";
  readonly mechanism?: "plain" | "login";
  readonly password?: string;
  readonly content?: Uint8Array;
}

async function msmtp(host: Mailhost, door: Exclude<Door, "lmtp">, to: string, how: How = {}): Promise<Ended> {
  const word = await host.folder.write("password", how.password ?? password);
  const sender = how.mechanism ? "alice@example.test" : "bob@elsewhere.test";
  return await run("msmtp", [
    ...["--host=127.0.0.1", `--port=${host.port(door)}`, "--domain=client.test", `--from=${sender}`],
    ...(how.tls ? ["--tls=on", `--tls-trust-file=${host.certificate.cert}`] : ["--tls=off"]),
    ...(how.tls === "implicit" ? ["--tls-starttls=off"] : []),
    ...(how.mechanism
      ? [`--auth=${how.mechanism}`, "--user=alice@example.test", `--passwordeval=cat ${word}`]
      : []),
    ...["--", to],
  ], { stdin: how.content ?? simple });
}

Deno.test("msmtp delivers byte for byte through every door", async (t) => {
  await using host = await Mailhost.open();
  const ways: [name: string, door: Exclude<Door, "lmtp">, kind: RegExp, how: How][] = [
    ["plain", "mx", /with ESMTP id/, {}],
    ["starttls", "mx", /with ESMTPS /, { tls: "starttls" }],
    ["auth-plain", "submission", /with ESMTPSA /, { tls: "starttls", mechanism: "plain" }],
    ["auth-login", "implicit", /with ESMTPSA /, { tls: "implicit", mechanism: "login" }],
  ];
  for (const [name, door, kind, how] of ways) {
    await t.step(name, async () => {
      const { code, stderr } = await msmtp(host, door, `${name}@example.test`, how);
      equal(code, 0, stderr);
      const { received, content } = await host.message(name);
      match(received, kind);
      deepEqual(content.toString(), normalized(simple).toString());
    });
  }
});

Deno.test("msmtp with a wrong password is refused", async () => {
  await using host = await Mailhost.open();
  const how = { tls: "starttls", mechanism: "plain", password: "wrong" } as const;
  const { code, stderr } = await msmtp(host, "submission", "a@example.test", how);
  equal(code, 77, stderr); // sysexits: EX_NOPERM
  match(stderr, /535 5\.7\.8 /);
});

Deno.test("msmtp reports a refused recipient", async () => {
  await using host = await Mailhost.open();
  const { code, stderr } = await msmtp(host, "mx", "someone@other.test");
  equal(code, 65, stderr); // EX_DATAERR
  match(stderr, /550 5\.7\.1 /);
});

Deno.test("msmtp sends 30 MB", async () => {
  await using host = await Mailhost.open();
  const lines = noise(22).toString("base64").replace(/.{76}/g, "$&\n");
  const content = Buffer.from(`${header}\n\n${lines}\n`);
  ok(content.length > 30e6);
  const { code, stderr } = await msmtp(host, "mx", "large@example.test", { tls: "starttls", content });
  equal(code, 0, stderr);
  ok((await host.message("large")).content.equals(normalized(content)));
});
