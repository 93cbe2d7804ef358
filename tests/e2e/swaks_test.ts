/** swaks, "the Swiss army knife for SMTP". */
import { match, ok, strictEqual as equal } from "node:assert/strict";
import { attachment, type Door, Mailhost, noise, password } from "./mailhost.ts";
import { type Ended, run } from "./programs.ts";

async function swaks(host: Mailhost, door: Door, to: string, ...more: string[]): Promise<Ended> {
  const where = door === "lmtp"
    ? ["--protocol", "LMTP", "--socket", host.socket]
    : ["--server", "127.0.0.1", "--port", String(host.port(door))];
  return await run("swaks", [
    ...where,
    ...["--from", more.includes("--auth-user") ? "alice@example.test" : "bob@elsewhere.test"],
    ...["--to", to, "--helo", "client.test", "--timeout", "30s", ...more],
  ]);
}

Deno.test("swaks delivers through every door", async (t) => {
  await using host = await Mailhost.open();
  const verified = ["--tls-verify", "--tls-ca-path", host.certificate.cert];
  const login = ["--auth-user", "alice@example.test", "--auth-password", password];
  const ways: [name: string, door: Door, kind: RegExp, args: string[]][] = [
    ["plain", "mx", /with ESMTP id/, []],
    ["helo", "mx", /with SMTP id/, ["--protocol", "SMTP"]],
    ["starttls", "mx", /with ESMTPS /, ["--tls", ...verified]],
    ["tls-1-2", "mx", /with ESMTPS \(TLSv1\.2 /, ["--tls", "--tls-protocol", "tlsv1_2", ...verified]],
    ["implicit", "implicit", /with ESMTPSA /, ["--tls-on-connect", ...verified, "--auth", "PLAIN", ...login]],
    ["auth-plain", "submission", /with ESMTPSA /, ["--tls", "--auth", "PLAIN", ...login]],
    ["auth-login", "submission", /with ESMTPSA /, ["--tls", "--auth", "LOGIN", ...login]],
    ["pipelined", "mx", /with ESMTP id/, ["--pipeline"]],
    ["lmtp", "lmtp", /with LMTP id/, []],
  ];
  for (const [name, door, kind, args] of ways) {
    await t.step(name, async () => {
      const to = `${name}@example.test`;
      const { code, stdout } = await swaks(host, door, to, ...args, "--header", `Subject: ${name}`);
      equal(code, 0, stdout);
      const { received, content } = await host.message(name);
      match(received, kind);
      match(received, new RegExp(`for <${to}>`));
      match(content.toString(), new RegExp(`^Subject: ${name}\r$`, "m"));
    });
  }
});

Deno.test("swaks pipelines a refused recipient among others", async () => {
  await using host = await Mailhost.open();
  const to = "one@example.test,nobody@other.test,two@example.test";
  const { code, stdout } = await swaks(host, "lmtp", to, "--pipeline");
  match(stdout, /550 5\.7\.1 /);
  equal(code, 0, stdout);
  for (const user of ["one", "two"]) {
    await host.server.logged("delivered", ({ to }) => to === `${user}@example.test`);
    equal((await host.messages(user)).length, 1);
  }
});

Deno.test("swaks with a wrong password is refused", async (t) => {
  await using host = await Mailhost.open();
  for (const mechanism of ["PLAIN", "LOGIN"]) {
    await t.step(mechanism, async () => {
      const wrong = [
        "--tls",
        "--auth",
        mechanism,
        "--auth-user",
        "alice@example.test",
        "--auth-password",
        "x",
      ];
      const { code, stdout } = await swaks(host, "submission", "a@example.test", ...wrong);
      equal(code, 28, stdout); // swaks: "error during AUTH"
      match(stdout, /535 5\.7\.8 /);
    });
  }
});

Deno.test("swaks is not let in without TLS, and relays nothing as a stranger", async () => {
  await using host = await Mailhost.open();
  const plain = ["--auth", "PLAIN", "--auth-user", "alice@example.test", "--auth-password", password];
  const clear = await swaks(host, "submission", "a@example.test", ...plain);
  ok(clear.code !== 0);
  ok(!/^ -> AUTH/m.test(clear.stdout), "a password was sent in the clear");
  const relayed = await swaks(host, "mx", "someone@other.test");
  equal(relayed.code, 24, relayed.stdout); // swaks: "no recipients accepted"
  match(relayed.stdout, /550 5\.7\.1 /);
});

Deno.test("swaks sends an attachment of 30 MB", async () => {
  await using host = await Mailhost.open();
  const large = noise(30);
  const path = await host.folder.write("large.bin", large);
  const { code, stdout, stderr } = await swaks(
    host,
    "mx",
    "large@example.test",
    "--attach",
    `@${path}`,
    "-S",
  );
  equal(code, 0, stdout + stderr);
  ok(attachment(await host.message("large")).equals(large));
});

Deno.test("swaks to an alias reaches who stands behind it", async () => {
  await using host = await Mailhost.open();
  const { code, stdout } = await swaks(host, "mx", "Sales+spring@Example.TEST");
  equal(code, 0, stdout);
  equal((await host.message("alice")).deliveredTo, "alice@example.test");
});
