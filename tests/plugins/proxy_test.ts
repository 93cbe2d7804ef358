/** The plugin `proxy`: whose mail it passes on, where to, and what is wrong with its options. */
import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import { mailboxes, testServer } from "../../server/testing/mod.ts";

const inside = { domains: ["proxied.test"], host: "inside.test" };

Deno.test("proxy: everybody may send to its domains, by its hops", async () => {
  const how = {
    domains: ["proxied.test", "Bücher.test"],
    hosts: ["one.test", "192.0.2.1"],
    port: 2525,
    tls: "required",
    auth: { user: "us", password: "secret" },
  };
  await using server = await testServer({ plugins: [["proxy", how]] });
  equal((await server.send({ to: ["a@proxied.test", "b@xn--bcher-kva.test"] })).outcome, "accepted");
  const { hosts, domains: _, ...rest } = how;
  deepEqual(server.sent[0]!.hops, hosts.map((host) => ({ host, ...rest })));
  equal((await server.send({ to: "a@other.test" })).reply.status, "5.7.1");
  equal((await server.send({ to: "a@sub.proxied.test" })).reply.status, "5.7.1");
});

Deno.test("R01 proxy: no form of address makes the server behind it relay for a stranger", async () => {
  await using server = await testServer({ plugins: [["proxy", inside]] });
  for (const local of ["victim%evil.test", "evil.test!victim", '"victim@evil.test"']) {
    equal((await server.send({ to: `${local}@proxied.test` })).reply.status, "5.7.1", local);
  }
  equal((await server.send({ to: "<@proxied.test:victim@evil.test>".slice(1, -1) })).outcome, "refused");
  equal(server.sent.length, 0);
});

Deno.test("proxy: `any` is for those whom others let send, and for nobody's mailbox here", async () => {
  const relay = ["relay", { networks: ["10.0.0.0/8"] }] as const;
  await using server = await testServer({
    plugins: [relay, ["proxy", { domains: "any", host: "out.test" }], mailboxes(["local.test"])],
  });
  equal((await server.send({ to: "a@other.test" })).reply.status, "5.7.1");
  equal((await server.send({ to: "a@local.test" })).outcome, "accepted");
  equal(server.delivered.length, 1);
  equal((await server.send({ to: "a@other.test", ip: "10.1.2.3" })).outcome, "accepted");
  deepEqual(server.sent.map(({ to, hops }) => [to, hops]), [[["a@other.test"], [{ host: "out.test" }]]]);
});

Deno.test("proxy: two of them, inbound and outbound", async () => {
  const relay = ["relay", { networks: ["10.0.0.0/8"] }] as const;
  const outbound = { use: "proxy", as: "out", with: { domains: "any", host: "out.test" } };
  await using server = await testServer({ plugins: [relay, outbound, ["proxy", inside]] });
  await server.send({ to: "a@proxied.test", ip: "10.1.2.3" });
  await server.send({ to: "a@other.test", ip: "10.1.2.3" });
  deepEqual(server.sent.map(({ hops }) => hops![0]!.host), ["inside.test", "out.test"]);
});

Deno.test("proxy: what is wrong with its options is said", async () => {
  const table: [Record<string, unknown>, RegExp][] = [
    [{ host: "a.test" }, /domains/],
    [{ domains: ["a.test"] }, /needs a "host", or "hosts"/],
    [{ ...inside, hosts: ["b.test"] }, /write one of them/],
    [{ ...inside, host: "inside.test:25" }, /its port stands beside it/],
    [{ ...inside, host: "127.1" }, /is not a host/],
    [{ ...inside, domains: ["*"] }, /domains: any/],
    [{ ...inside, domains: ["a b"] }, /is not a domain/],
    [{ ...inside, domains: "all" }, /neither a list of domains, nor "any"/],
    [{ ...inside, tls: "always" }, /tls/],
    [{ ...inside, port: 0 }, /port/],
    [{ ...inside, auth: { user: "u" } }, /"password" or a "passwordFile"/],
    [{ ...inside, xclient: "yes" }, /xclient/],
  ];
  for (const [options, why] of table) {
    await rejects(testServer({ plugins: [["proxy", options]] }), (error: Error) => {
      match(error.message, why);
      return true;
    });
  }
});
