/** XCLIENT, read strictly: what a proxy says of its client, and nothing it doesn't. */
import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { xclientCommand } from "../../server/smtp/client_identity.ts";
import { type ProxiedClient, readXclient, xclientExtension } from "../../server/smtp/xclient.ts";

const client: ProxiedClient = {
  address: "192.0.2.7",
  port: 4711,
  helo: "client.example",
  protocol: "ESMTP",
  login: "alice@example.org",
  destination: { address: "198.51.100.25", port: 25 },
};
const nobody = {
  ...client,
  port: 0,
  helo: undefined,
  protocol: undefined,
  login: undefined,
  destination: undefined,
};

Deno.test("R03 XCLIENT: each attribute, in any case, decoded from xtext", () => {
  const lines: [string, ProxiedClient][] = [
    [
      "NAME=c.example ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=client.example LOGIN=alice@example.org " +
      "DESTADDR=198.51.100.25 DESTPORT=25",
      client,
    ],
    ["addr=192.0.2.7", nobody],
    ["ADDR=192.0.2.7  PORT=25", { ...nobody, port: 25 }],
    ["ADDR=IPV6:2001:DB8::0:1", { ...nobody, address: "2001:db8::1" }],
    ["ADDR=ipv6:2001:db8::1", { ...nobody, address: "2001:db8::1" }],
    ["ADDR=2001:db8::1", { ...nobody, address: "2001:db8::1" }],
    ["ADDR=192.0.2.7 HELO=a+20b+2Bc", { ...nobody, helo: "a b+c" }],
    ["ADDR=192.0.2.7 PROTO=smtp", { ...nobody, protocol: "SMTP" }],
    ["ADDR=[UNAVAILABLE] PORT=4711 NAME=[TEMPUNAVAIL]", { ...nobody, address: undefined }],
    ["ADDR=192.0.2.7 PORT=[UNAVAILABLE] HELO=[unavailable] PROTO=[TEMPUNAVAIL] LOGIN=[UNAVAILABLE]", nobody],
  ];
  for (const [line, expected] of lines) {
    deepEqual(readXclient(line, "login-believed"), { kind: "client", client: expected }, line);
  }
});

Deno.test("R03 XCLIENT: what is malformed, unknown, twice there, or without ADDR is refused", () => {
  const lines = [
    "",
    "ADDR",
    "ADDR=",
    "NAME=c.example",
    "PORT=25",
    "ADDR=192.0.2.7 ADDR=192.0.2.8",
    "ADDR=192.0.2.7 addr=192.0.2.7",
    "ADDR=192.0.2.256",
    "ADDR=127.1",
    "ADDR=192.0.2.7/8",
    "ADDR=IPV6:192.0.2.7",
    "ADDR=IPV6:",
    "ADDR=fe80::1%eth0",
    "ADDR=[192.0.2.7]",
    "ADDR=mx.example",
    "ADDR=unknown",
    "ADDR=unix",
    "ADDR=192.0.2.7 PORT=65536",
    "ADDR=192.0.2.7 PORT=1e3",
    "ADDR=192.0.2.7 PROTO=LMTP",
    "ADDR=192.0.2.7 HELO=a+0D+0Ab",
    "ADDR=192.0.2.7 HELO=a+2",
    "ADDR=192.0.2.7 HELO=a+2b",
    "ADDR=192.0.2.7 LOGIN=a+00b",
    `ADDR=192.0.2.7 HELO=${"a".repeat(256)}`,
    "ADDR=192.0.2.7 DESTADDR=x",
    "ADDR=192.0.2.7 ſOURCE=x",
    "ADDR=192.0.2.7 SOURCE=LOCAL",
    "ADDR=192.0.2.7\tPORT=25",
  ];
  for (const line of lines) equal(readXclient(line, "login-believed").kind, "malformed", line);
});

Deno.test("R03 XCLIENT: LOGIN is not offered, and refused, unless it is believed", () => {
  const line = "ADDR=192.0.2.7 LOGIN=alice@example.org";
  equal(readXclient(line, "login-not-believed").kind, "login-not-believed");
  equal(readXclient("ADDR=192.0.2.7 LOGIN=[UNAVAILABLE]", "login-not-believed").kind, "client");
  equal(xclientExtension("login-not-believed"), "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT");
  equal(xclientExtension("login-believed"), "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT LOGIN");
});

Deno.test("R03 XCLIENT: what our own client says is read as it was meant", () => {
  const offered = new Set(xclientExtension("login-believed").split(" ").slice(1));
  const words = fc.array(fc.string({ unit: fc.constantFrom(..."ab+= =~!"), minLength: 1, maxLength: 5 }))
    .map((parts) => parts.join("x").replaceAll(/ +/g, " ").trim());
  fc.assert(fc.property(fc.ipV4(), fc.integer({ min: 1, max: 65_535 }), words, (address, port, helo) => {
    const command = xclientCommand(
      { address, port, helo: helo || undefined, protocol: "ESMTP", login: undefined, id: "1" },
      offered,
    )!;
    const read = readXclient(command.slice("XCLIENT ".length, -2), "login-believed");
    deepEqual(read, {
      kind: "client",
      client: { ...nobody, address, port, helo: helo || undefined, protocol: "ESMTP" },
    });
  }));
});

Deno.test("R03 XCLIENT: any text is a client or a refusal", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    const read = readXclient(text, "login-believed");
    equal(read.kind === "malformed" || read.kind === "client", true);
  }));
});
