/** Handing over by LMTP: whose mail, and where to. (Outcomes for each recipient: tests/delivery/smtp/lmtp_test.ts, and e2e with Dovecot.) */
import { deepStrictEqual as deepEqual, rejects, strictEqual as equal } from "node:assert/strict";
import lmtp from "../../plugins/lmtp.ts";
import { defer, delivered, reject } from "../../server/plugin.ts";
import { testServer } from "../../server/testing/mod.ts";
import { folder } from "./maildir/disk.ts";

const domains = ["example.org", "Straße.example"];

Deno.test("lmtp: mail of its domains goes to the socket, addresses as they are, all of a message together", async () => {
  await using server = await testServer({ plugins: [[lmtp, { domains, path: "/run/lmtp" }]] });
  await server.send({ to: ["Alice+tag@example.org", "bob@xn--strae-oqa.example"] });
  deepEqual(server.sent.map(({ from, to, hops }) => [from, to, hops]), [
    ["sender@example.net", ["Alice+tag@example.org", "bob@xn--strae-oqa.example"], [{
      path: "/run/lmtp",
      protocol: "lmtp",
      auth: undefined,
    }]],
  ]);
  equal((await server.send({ to: "x@elsewhere.example" })).reply.status, "5.7.1");
});

Deno.test("lmtp: hosts, one or several, with what they have in common", async () => {
  const hosts = ["a.example", { host: "b.example", port: 2424, tls: "none" }];
  const auth = { user: "u", password: "p" };
  await using server = await testServer({ plugins: [[lmtp, { domains, hosts, auth }]] });
  await server.send({ to: "a@example.org" });
  const own = { auth: { user: "u", password: "p" }, protocol: "lmtp" };
  deepEqual(server.sent[0]!.hops, [
    { host: "a.example", port: 24, ...own },
    { host: "b.example", port: 2424, tls: "none", ...own },
  ]);
});

Deno.test("lmtp: each recipient has its own outcome: kept, tried again, reported", async () => {
  await using server = await testServer({
    plugins: [[lmtp, { domains, path: "/run/lmtp" }]],
    smtp: ({ to }) =>
      to.map((one) =>
        one.startsWith("full")
          ? defer("4.2.2", "Full")
          : one.startsWith("no")
          ? reject("5.1.1", "Unknown")
          : delivered("in")
      ),
  });
  await server.send({
    from: "ann@example.org",
    to: ["ann@example.org", "full@example.org", "no@example.org"],
  });
  deepEqual(
    (await server.queue())[0]!.recipients.map(({ to, state, reply }) => [to.split("@")[0], state, reply]),
    [
      ["ann", "delivered", "in"],
      ["full", "due", "451 4.2.2 Full"],
      ["no", "failed", "550 5.1.1 Unknown"],
    ],
  );
  deepEqual(server.sent.map(({ from, to }) => [from, to]), [
    ["ann@example.org", ["ann@example.org"]],
    ["", ["ann@example.org"]],
  ]);
});

Deno.test("lmtp: with `users` others are unknown; a file of them is read again when it changes", async () => {
  await using at = await folder();
  const users = `${at.path}/users.yaml`;
  await Deno.writeTextFile(users, "alice@example.org: {}\nbob:\n");
  await using server = await testServer({
    plugins: [[lmtp, { domains, path: "/run/lmtp", users, postmaster: "alice@example.org" }]],
  });
  const reply = async (to: string) => (await server.send({ to })).reply.code;
  deepEqual([await reply("alice+x@example.org"), await reply("bob@xn--strae-oqa.example")], [250, 250]);
  deepEqual([await reply("carol@example.org"), await reply("alice@xn--strae-oqa.example")], [550, 550]);
  deepEqual([await reply("abuse@example.org"), await reply("postmaster")], [250, 250]);
  deepEqual(server.sent.slice(2).map(({ to }) => to), [["alice@example.org"], ["alice@example.org"]]);
  await Deno.writeTextFile(users, "- carol\n");
  await server.clock.advance("2s");
  deepEqual([await reply("carol@example.org"), await reply("bob@example.org")], [250, 550]);
});

Deno.test("lmtp: postmaster and abuse are always there, handed over unless somebody else has them", async () => {
  await using server = await testServer({
    plugins: [[lmtp, { domains, path: "/run/lmtp", users: ["alice"] }]],
  });
  for (const to of ["postmaster@example.org", "abuse@example.org", "postmaster"]) {
    equal((await server.send({ to })).reply.code, 250, to);
  }
  deepEqual(server.sent.map(({ to: [to] }) => to), [
    "postmaster@example.org",
    "abuse@example.org",
    "postmaster@example.org",
  ]);
});

Deno.test("lmtp: what an operator gets wrong is said", async () => {
  const rows: [Record<string, unknown>, RegExp][] = [
    [{ domains }, /leads nowhere: name the server's Unix socket/],
    [{ domains, path: "/a", host: "b" }, /needs one of `path`, `host` and `hosts`/],
    [{ domains, path: "/a", tls: "required" }, /a Unix socket is never encrypted/],
    [{ domains: [], path: "/a" }, /domains/],
    [{ domains, path: "/a", users: ["x@elsewhere.example"] }, /in none of `domains`/],
    [{ domains, host: "a", auth: { user: "u", password: "p", passwordFile: "q" } }, /one of them/],
  ];
  for (const [options, expected] of rows) {
    await rejects(testServer({ plugins: [[lmtp, options]] }), expected, JSON.stringify(options));
  }
});
