import { deepStrictEqual as deepEqual, ok, strictEqual as equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { checkResult, formatResults } from "../../server/message/results.ts";
import { definePlugin } from "../../server/plugin.ts";
import { mailboxes, testServer } from "../../server/testing/mod.ts";

const ours = "mx.example.org";

const cases: readonly [name: string, result: Parameters<typeof checkResult>[0], text: string][] = [
  ["a method and its result", { method: "dkim", result: "none" }, "dkim=none"],
  [
    "an address and a domain as they are",
    {
      method: "spf",
      result: "pass",
      properties: { "smtp.mailfrom": "bob.smith@example.net", "smtp.helo": "h.example" },
    },
    "spf=pass smtp.mailfrom=bob.smith@example.net smtp.helo=h.example",
  ],
  ["an identity without local part", {
    method: "dkim",
    result: "pass",
    properties: { "header.i": "@example.net" },
  }, "dkim=pass header.i=@example.net"],
  ["a quoted local part, quoted once", {
    method: "spf",
    result: "pass",
    properties: { "smtp.mailfrom": '"a \\"b"@example.net' },
  }, 'spf=pass smtp.mailfrom="a \\"b"@example.net'],
  ["what is no token in quotes", {
    method: "dkim",
    result: "fail",
    properties: { "header.b": "ab/cd+==" },
  }, 'dkim=fail header.b="ab/cd+=="'],
  ["a comment that can't end early", {
    method: "dmarc",
    result: "fail",
    comment: "p=none) dmarc=pass (",
  }, "dmarc=fail (p=none\\) dmarc=pass \\()"],
  ["a reason in quotes", { method: "x", result: "policy", reason: 'a "b"' }, 'x=policy reason="a \\"b\\""'],
  ["no empty value", { method: "x", result: "pass", properties: { "header.d": "" } }, "x=pass"],
];

for (const [name, result, text] of cases) {
  Deno.test(`results: RFC 8601 §2.2: ${name}`, () =>
    equal(formatResults(ours, [result]), `${ours}; ${text}`));
}

Deno.test("results: none, and several", () => {
  equal(formatResults(ours, []), `${ours}; none`);
  const one = { method: "spf", result: "pass" };
  equal(formatResults(ours, [one, { ...one, method: "dkim" }]), `${ours}; spf=pass; dkim=pass`);
});

Deno.test("results: a value of more than a line is left out, never cut to another's name", () => {
  const properties = { "header.d": `${"a".repeat(900)}.example` };
  equal(formatResults(ours, [{ method: "dkim", result: "pass", properties }]), `${ours}; dkim=pass`);
});

Deno.test("results: names that are none are refused", () => {
  for (
    const wrong of [
      { method: "", result: "pass" },
      { method: "spf", result: "pa ss" },
      { method: "spf;dkim", result: "pass" },
      { method: "spf", result: "pass", properties: { "smtp.mailfrom x": "y" } },
    ]
  ) throws(() => checkResult(wrong), TypeError);
});

Deno.test("results: whatever a peer's value holds, it stays within its result", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (value, comment) => {
    const text = formatResults(ours, [
      { method: "spf", result: "fail", comment, properties: { "smtp.mailfrom": value } },
    ]);
    // deno-lint-ignore no-control-regex -- what may not stand there
    ok(!/[\x00-\x1f\x7f]/.test(text));
    // Without comments and quoted strings one result is left.
    const bare = text.replaceAll(/"(?:[^"\\]|\\.)*"/gs, "q").replaceAll(/ \((?:[^()\\]|\\.)*\)/gs, "");
    ok(/^mx\.example\.org; spf=fail(?: smtp\.mailfrom=[^ ;=]+)?$/.test(bare), bare);
  }));
});

// ── In a message ───────────────────────────────────────────────────────────────────────────────────

const says = (name: string, ...methods: string[]) =>
  definePlugin({
    name,
    setup(on) {
      on("data", (_session, message) => {
        for (const method of methods) message.addResult({ method, result: "pass" });
      });
    },
  });

const fields = (content: string) =>
  [...content.matchAll(/^Authentication-Results: (.*)\r$/gm)].map(([, value]) => value);

Deno.test("results: D08 one field on top holds what all plugins say; others' fields stay, forged ones go", async () => {
  await using server = await testServer({
    plugins: [says("one", "spf"), says("two", "dkim", "dmarc"), mailboxes(["example.org"])],
  });
  await server.send({
    to: "a@example.org",
    content: "Authentication-Results: mx.example.org; dmarc=pass\r\n" +
      "Authentication-Results: other.example; spf=fail\r\nSubject: x\r\n\r\nHello.\r\n",
  });
  const { content } = server.delivered[0]!;
  deepEqual(fields(content), [`${ours}; spf=pass; dkim=pass; dmarc=pass`, "other.example; spf=fail"]);
  ok(content.indexOf("Authentication-Results") < content.indexOf("Subject"));
});

Deno.test("results: what an observed plugin says is dropped, and what another adds later is not lost by it", async () => {
  await using server = await testServer({
    plugins: [
      says("one", "spf"),
      { use: says("two", "dkim"), observe: true },
      says("three", "arc"),
      mailboxes(["example.org"]),
    ],
  });
  await server.send({ to: "a@example.org" });
  deepEqual(fields(server.delivered[0]!.content), [`${ours}; spf=pass; arc=pass`]);
});

Deno.test("results: they outlive a new body", async () => {
  const rewrite = definePlugin({
    name: "rewrite",
    setup(on) {
      on("data", (_session, message) => message.replaceBody(new Blob(["New.\r\n"]).stream()));
    },
  });
  await using server = await testServer({
    plugins: [says("one", "spf"), rewrite, says("two", "dkim"), mailboxes(["example.org"])],
  });
  await server.send({ to: "a@example.org" });
  deepEqual(fields(server.delivered[0]!.content), [`${ours}; spf=pass; dkim=pass`]);
});

Deno.test("results: a result that is none fails its plugin, which defers", async () => {
  await using server = await testServer({ plugins: [says("one", "spf=pass"), mailboxes(["example.org"])] });
  equal((await server.send({ to: "a@example.org" })).reply.code, 451);
});
