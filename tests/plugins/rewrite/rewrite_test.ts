import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import rewrite from "../../../plugins/rewrite/mod.ts";
import { logins, mailboxes, testServer } from "../../../server/testing/mod.ts";
import { setUp } from "../harness.ts";

const start = (options: Record<string, unknown>) =>
  testServer({
    plugins: [["rewrite", options], logins(["alice@web.example.org"]), mailboxes(["example.org"])],
  });
const content = [
  "Received: by inside",
  "Received: by edge",
  'From: "alice@web.example.org" <alice@web.example.org>',
  "Reply-To: Alice <alice@web.example.org> (at web)",
  "To: Bob",
  "  <bob@old.example>, x@db.example.org",
  "X-Internal-Host: web",
  "Subject: [web] Hello",
  "",
  "alice@web.example.org",
];

Deno.test("rewrite: our own mail leaves under other names: envelope, header, fields added, set, removed, replaced", async () => {
  await using server = await start({
    masquerade: ["!db.example.org", "example.org"],
    recipients: { "*@old.example": "*@example.org" },
    headers: [
      { add: "X-Company", value: "Example" },
      { set: "Organization", value: "Example" },
      { remove: "X-Internal-*" },
      { remove: "Received", matching: "^by inside" },
      { replace: "Subject", matching: "^\\[(\\w+)\\] ", value: "($1) " },
    ],
  });
  const sent = await server.send({
    user: "alice@web.example.org",
    from: "alice@web.example.org",
    to: "bob@old.example",
    content,
  });
  equal(sent.outcome, "accepted", sent.reply.text);
  const [mail] = server.delivered;
  equal(mail!.to, "bob@example.org");
  equal(mail!.from, "alice@example.org");
  const { headers } = mail!;
  equal(headers.get("From"), '"alice@web.example.org" <alice@example.org>');
  equal(headers.get("Reply-To"), "Alice <alice@example.org> (at web)");
  equal(headers.get("To"), "Bob  <bob@example.org>, x@db.example.org");
  equal(headers.get("Subject"), "(web) Hello");
  equal(headers.get("X-Company"), "Example");
  equal(headers.get("Organization"), "Example");
  equal(headers.get("X-Internal-Host"), undefined);
  deepEqual(headers.all("Received").filter((value) => /^by (?:inside|edge)$/.test(value)), ["by edge"]);
  match(mail!.content, /\r\n\r\nalice@web\.example\.org\r\n$/, "the body stays");
});

Deno.test("rewrite: strangers' mail stays as it is, but for where it goes; with `of: everybody` it doesn't", async () => {
  const options = {
    addresses: { "bob@old.example": "bob@example.org", "eve@example.net": "Eve.Adams@example.net" },
    headers: [{ add: "X-Seen", value: "here" }],
  };
  const stranger = { from: "eve@example.net", to: "bob+x@old.example", headers: { From: "eve@example.net" } };
  await using server = await start(options);
  await server.send(stranger);
  equal(`${server.delivered[0]!.from} ${server.delivered[0]!.to}`, "eve@example.net bob+x@example.org");
  equal(server.delivered[0]!.headers.get("From"), "eve@example.net");
  await using all = await start({ ...options, of: "everybody" });
  await all.send(stranger);
  equal(all.delivered[0]!.from, "Eve.Adams@example.net");
  equal(all.delivered[0]!.headers.get("From"), "Eve.Adams@example.net");
  equal(all.delivered[0]!.headers.get("X-Seen"), "here");
  await all.send({ ...stranger, from: "" });
  equal(all.delivered[1]!.from, "", "a bounce stays one");
});

Deno.test("rewrite: a pattern takes no sender-specified route along, and tables that chase each other end", async () => {
  await using server = await start({
    recipients: {
      "*@old.example": "*@example.org",
      "a@example.org": "b@example.org",
      "b@example.org": "a@example.org",
    },
  });
  equal((await server.send({ to: "x%example.com@old.example" })).reply.code, 550);
  equal((await server.send({ to: "a@example.org" })).reply.code, 550);
});

Deno.test("rewrite: a file is followed; a bad one says where, and what was good stays in force", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/rewrite.yaml`;
    await Deno.writeTextFile(file, 'recipients:\n  "@old.example": new@example.org\n');
    const rig = await setUp(rewrite, { file });
    const ask = async () => {
      const address = {
        address: "x@old.example",
        local: "x",
        user: "x",
        tag: undefined,
        domain: "old.example",
      };
      const verdict = await rig.handlers.resolve!(address, undefined as never);
      return verdict && "claim" in verdict ? verdict.claim : undefined;
    };
    deepEqual(await ask(), { to: ["new@example.org"] });
    await Deno.writeTextFile(file, 'recipients:\n  "@old.example": newer@example.org\n');
    rig.time += 2000;
    deepEqual(await ask(), { to: ["newer@example.org"] });
    await Deno.writeTextFile(file, "recipients:\n  alice: newest@example.org\n");
    rig.time += 2000;
    deepEqual(await ask(), { to: ["newer@example.org"] });
    match(String(rig.log.at(-1)?.fields.error), /rewrite\.yaml:2:3: "alice" is not an address/);
    await rejects(setUp(rewrite, { file }), /rewrite\.yaml:2:3/);
    for (
      const [text, wrong] of [["sender: {}", /:1:1: is none of/], [
        "senders: [a]",
        /:1:10: must be a mapping/,
      ]] as const
    ) {
      await Deno.writeTextFile(file, text);
      await rejects(setUp(rewrite, { file }), wrong);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("rewrite: options that are none are refused, each with its place", () => {
  const issues = (options: unknown) =>
    rewrite.options!.safeParse(options).error?.issues.map(({ path }) => path.join(".")) ?? [];
  deepEqual(issues({ senders: { alice: "a@example.org" } }), ["senders.alice"]);
  deepEqual(issues({ senders: {}, file: "x.yaml" }), ["senders"]);
  deepEqual(issues({ masquerade: ["@example.org"] }), ["masquerade.0"]);
  deepEqual(issues({ headers: [{ remove: "X-A", matching: "(" }] }).length, 1);
  deepEqual(issues({ headers: [{ add: "X A", value: "x" }] }).length, 1);
  deepEqual(issues({ headers: [{ add: "X-A", value: "x\r\nBcc: y" }] }).length, 1);
});
