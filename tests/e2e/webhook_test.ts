/** Mail posted to a receiver in another process, written for Node, that checks the signature by itself. */
import { match, ok, strictEqual as equal } from "node:assert/strict";
import { makeAuthority } from "./certificate.ts";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { freePort } from "./ports.ts";
import { ReceiverProcess } from "./receivers/process.ts";
import { ServerProcess } from "./server.ts";
import { deliver, writeSettings } from "./small_server.ts";

const secret = "a secret of some length";

Deno.test("webhook: a receiver over verified TLS has the message as JSON, signed", async () => {
  await using folder = await makeFolder();
  const authority = await makeAuthority(folder);
  const { cert, key } = await authority.certify("localhost");
  await using receiver = await ReceiverProcess.start("webhook.mjs", secret, cert, key);
  const secretFile = await folder.write("secret", `${secret}\n`);
  const url = `https://localhost:${receiver.port}/in`;
  const hook = { use: "webhook", with: { url, secretFile, domains: ["example.test"], ca: authority.cert } };
  const untrusting = {
    ...{ use: "webhook", as: "untrusting" },
    with: { url, secretFile, domains: ["other.test"] },
  };
  await using server = await ServerProcess.start(
    await writeSettings(folder, { plugins: [hook, untrusting] }),
  );
  await deliver(server.port(), "alice", "Hello");
  const got = await receiver.next();
  equal(got["is"], true);
  equal(got["fresh"], true);
  const { subject, envelope } = got["json"] as { subject: string; envelope: { to: string[] } };
  equal(subject, "Hello");
  equal(envelope.to[0], "alice@example.test");
  await server.logged("delivered");

  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.envelope("bob@elsewhere.test", "eve@other.test");
  await client.say("Subject: x\r\n\r\nHello.\r\n.");
  const { reply } = await server.logged("deferred", ({ transport }) => transport === "untrusting");
  match(String(reply), /certificate/i);
});

Deno.test("webhook: raw messages of 30 MB stream, signed", async () => {
  await using folder = await makeFolder();
  await using receiver = await ReceiverProcess.start("webhook.mjs", secret);
  const url = `http://127.0.0.1:${receiver.port}/in`;
  const hook = { use: "webhook", with: { url, secret, domains: ["example.test"], body: "raw" } };
  await using server = await ServerProcess.start(await writeSettings(folder, { plugins: [hook] }));
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.envelope("bob@elsewhere.test", "alice@example.test");
  const octets = 30 * 1024 * 1024;
  await client.say(`Subject: large\r\n\r\n${`${"x".repeat(78)}\r\n`.repeat(octets / 80)}.`);
  const got = await receiver.next();
  equal(got["is"], true);
  equal(got["type"], "message/rfc822");
  ok(Number(got["size"]) > octets);
  await server.logged("delivered");
});

Deno.test("webhook: what a receiver that is down hasn't taken survives kill -9, and keeps its key", async () => {
  await using folder = await makeFolder();
  const port = freePort();
  const url = `http://127.0.0.1:${port}/in`;
  const hook = { use: "webhook", with: { url, secret, domains: ["example.test"] } };
  const config = await writeSettings(folder, { plugins: [hook], outbound: { retry: ["1s"] } });
  {
    await using server = await ServerProcess.start(config);
    await deliver(server.port(), "alice", "Hello");
    await server.logged("deferred");
  }
  await using server = await ServerProcess.start(config);
  await server.logged("deferred");
  await using receiver = await ReceiverProcess.start("webhook.mjs", secret, "", "", String(port));
  const got = await receiver.next();
  equal(got["is"], true);
  await server.logged("delivered");
});
