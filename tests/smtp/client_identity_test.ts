/** XCLIENT and XFORWARD: every attribute the server knows, harmless and short. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { type ClientIdentity, xclientCommand, xforwardCommands } from "../../server/smtp/client_identity.ts";

const client: ClientIdentity = {
  address: "192.0.2.7",
  port: 4711,
  helo: "client.example",
  protocol: "ESMTP",
  login: "alice@example.org",
  id: "1M",
};
const all = new Set(["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "IDENT", "SOURCE", "DESTADDR"]);

Deno.test("each attribute that is offered is told, unknown ones as such", () => {
  equal(
    xclientCommand(client, all),
    "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=client.example LOGIN=alice@example.org\r\n",
  );
  const nobody = { ...client, address: "unix", port: 0, helo: undefined, login: undefined };
  equal(
    xclientCommand(nobody, all),
    "XCLIENT NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] PROTO=ESMTP HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]\r\n",
  );
  equal(
    xclientCommand({ ...client, address: "2001:db8::1" }, new Set(["ADDR"])),
    "XCLIENT ADDR=IPV6:2001:db8::1\r\n",
  );
  equal(xclientCommand(client, new Set()), undefined);
  deepEqual(xforwardCommands(client, all), [
    "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=client.example IDENT=1M SOURCE=REMOTE\r\n",
  ]);
  deepEqual(xforwardCommands(client, new Set(["X"])), []);
});

Deno.test("O08 whatever a client calls itself, it is lines of attributes, at most 512 octets each", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 600 }), (text) => {
    const strange = { ...client, helo: text, login: text, id: text };
    const lines = [...xforwardCommands(strange, all), xclientCommand(strange, new Set(["ADDR", "HELO"]))!];
    for (const line of lines) {
      ok(line.length <= 512, line);
      ok(/^X(FORWARD|CLIENT)( [A-Z]+=[!-~]+)+\r\n$/.test(line), JSON.stringify(line));
    }
  }));
});
