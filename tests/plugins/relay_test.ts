import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import relay from "../../plugins/relay.ts";
import type { ClientCertificate } from "../../server/plugin.ts";
import { call, recipient, type Rig, session, setUp, transaction } from "./harness.ts";

const yes = { verdict: "accept", claim: {} };
const ask = (rig: Rig, client: Parameters<typeof session>[0], text: string) =>
  rig.handlers.rcpt!(session(client), recipient(text), transaction, call());

Deno.test("R02 networks match by CIDR, IPv4-mapped IPv6 as IPv4", async () => {
  const rig = await setUp(relay, { networks: ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"] });
  for (const from of ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "192.0.2.7"]) {
    deepEqual(ask(rig, { from }, "a@elsewhere.example"), yes, from);
  }
  for (const from of ["11.0.0.1", "192.0.2.8", "2001:db9::1", "::ffff:11.0.0.1", "unix"]) {
    equal(ask(rig, { from }, "a@elsewhere.example"), undefined, from);
  }
});

Deno.test("users: none unless said, all, or those listed", async () => {
  const table: [object, string[], string[]][] = [
    [{ networks: ["10.0.0.0/8"] }, [], ["alice@example.org"]],
    [{ users: true }, ["alice@example.org", "bob"], []],
    [
      { users: ["Alice@example.org", "*@example.net", "bob"] },
      ["alice@example.org", "x@example.net", "BOB"],
      ["x@example.org", "carol", "b"],
    ],
  ];
  for (const [options, may, mayNot] of table) {
    const rig = await setUp(relay, options);
    for (const user of may) deepEqual(ask(rig, { user }, "a@elsewhere.example"), yes, user);
    for (const user of mayNot) equal(ask(rig, { user }, "a@elsewhere.example"), undefined, user);
    equal(ask(rig, {}, "a@elsewhere.example"), undefined);
  }
});

Deno.test("R02 recipient domains match whole labels", async () => {
  const rig = await setUp(relay, { domains: ["Example.com", "*.example.net"] });
  for (const text of ["a@example.com", "a@EXAMPLE.com", "a@mx.example.net", "a@a.b.example.net"]) {
    deepEqual(ask(rig, {}, text), yes, text);
  }
  for (
    const text of [
      "a@notexample.com",
      "a@sub.example.com",
      "a@example.net",
      "a@notexample.net",
      "a@example.com.evil.example",
    ]
  ) {
    equal(ask(rig, {}, text), undefined, text);
  }
});

Deno.test("R01 no form of address relays for a stranger through a domain we are a backup for", async () => {
  const rig = await setUp(relay, { domains: ["example.com"] });
  for (const local of ["user%evil.example", "evil.example!user", '"user@evil.example"', '"a%b"']) {
    equal(ask(rig, {}, `${local}@example.com`), undefined, local);
  }
  for (const text of ["a@[192.0.2.1]", '"a@example.com"@evil.example', "postmaster"]) {
    equal(ask(rig, {}, text), undefined, text);
  }
});

Deno.test("an open relay is refused at load, whole or in large slices", async () => {
  for (const net of ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "2000::/3", "8.0.0.0/7"]) {
    await rejects(setUp(relay, { networks: [net] }), /lets strangers relay/, net);
  }
  for (const domain of ["*", "*.com"]) {
    await rejects(setUp(relay, { domains: [domain] }), /lets strangers relay/, domain);
  }
  for (const net of ["10.0.0.0/8", "fc00::/7", "fe80::/10", "2001:db8::/32", "127.0.0.1"]) {
    await setUp(relay, { networks: [net] });
  }
  for (const domain of ["*.lan", "*.example.com"]) await setUp(relay, { domains: [domain] });
});

Deno.test("what is no network or domain is refused; nothing at all is a warning", async () => {
  await rejects(setUp(relay, { networks: ["10.0.0.0/33"] }), /not a network such as/);
  await rejects(setUp(relay, { domains: ["exa mple"] }), /not a domain such as/);
  match((await setUp(relay, {})).log[0]!.text, /nobody may relay/);
  deepEqual((await setUp(relay, { users: true })).log, []);
});

Deno.test("it says which option decided", async () => {
  const rig = await setUp(relay, {
    networks: ["192.0.2.7", "10.0.0.0/8"],
    users: true,
    domains: ["example.com"],
  });
  ask(rig, { from: "10.1.2.3" }, "a@elsewhere.example");
  ask(rig, { user: "alice@example.org" }, "a@elsewhere.example");
  ask(rig, {}, "a@example.com");
  deepEqual(rig.rules, ["networks: 10.0.0.0/8", "users", "domains"]);
});

Deno.test("certificates: a fingerprint is one certificate, a name counts where an authority is trusted", async () => {
  const own = "ab".repeat(32);
  const rig = await setUp(relay, {
    certificates: [own.toUpperCase().replace(/..(?=.)/g, "$&:"), "Printer.example.org"],
  });
  const asked = (client: Partial<ClientCertificate>) => {
    const shown = {
      fingerprint: "cd".repeat(32),
      subject: "CN=x",
      names: [],
      trust: "untrusted",
      ...client,
    } as const;
    const tls = { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", client: shown };
    return rig.handlers.rcpt!({ ...session({}), tls }, recipient("a@elsewhere.example"), transaction, call());
  };
  for (const trust of ["trusted", "expired", "untrusted"] as const) {
    deepEqual(asked({ fingerprint: own, trust }), yes);
  }
  deepEqual(asked({ names: ["printer.example.org"], trust: "trusted" }), yes);
  for (const trust of ["expired", "untrusted"] as const) {
    equal(asked({ names: ["printer.example.org"], trust }), undefined, trust);
  }
  equal(asked({ names: ["other.example.org"], trust: "trusted" }), undefined);
  equal(asked({ subject: "CN=printer.example.org", trust: "trusted" }), undefined);
  equal(asked({ names: [own], trust: "untrusted" }), undefined);
  for (const certificate of ["printer", "*", "ab:cd", "*.example.org"]) {
    await rejects(setUp(relay, { certificates: [certificate] }), /neither a SHA-256 fingerprint/);
  }
});
