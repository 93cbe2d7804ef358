import { deepStrictEqual as deepEqual, strictEqual as equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { readSecrets, signStream, signWhole } from "../../../plugins/gateway/sign.ts";

const whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

Deno.test("gateway: signatures are those that the library of Standard Webhooks wants", async () => {
  const now = Math.floor(Date.now() / 1000);
  const body = new TextEncoder().encode('{"a":"ä"}');
  const headers = await signWhole("msg_1", now, body, readSecrets(whsec));
  deepEqual(new Webhook(whsec).verify('{"a":"ä"}', headers), { a: "ä" });
  throws(() => new Webhook(whsec).verify('{"a":"b"}', headers), /No matching signature/);
  throws(() => new Webhook(whsec).verify('{"a":"ä"}', { ...headers, "webhook-id": "msg_2" }));
});

Deno.test("gateway: a stream, in whatever pieces, is signed as the whole; each secret gives a signature", async () => {
  const secrets = readSecrets(`${whsec}\n\na plain text of some length\n`);
  equal(secrets.length, 2);
  await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 50 })), async (pieces) => {
    const whole = new Uint8Array(pieces.flatMap((piece) => [...piece]));
    const streamed = await signStream("id", 5, ReadableStream.from(pieces), secrets);
    deepEqual(streamed, await signWhole("id", 5, whole, secrets));
    equal(streamed["webhook-signature"]!.split(" ").length, 2);
  }));
});

Deno.test("gateway: a secret that is none is told without being shown", () => {
  throws(() => readSecrets(" \n"), /no secret in it/);
  throws(() => readSecrets("short"), /the secret has 5 octets, and needs 16/);
  throws(
    () => readSecrets(`${whsec}\nwhsec_!!!`),
    /the secret in line 2 begins with whsec_ and is not base64/,
  );
});

Deno.test("gateway: without a secret there is no signature", async () => {
  deepEqual(await signStream("id", 5, ReadableStream.from([]), []), {
    "webhook-id": "id",
    "webhook-timestamp": "5",
  });
});
