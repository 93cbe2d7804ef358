import { deepStrictEqual as deepEqual, strictEqual as equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { indexOf, readJudgement, requestHeaders } from "../../../plugins/rspamd/protocol.ts";

const brought = {
  address: "192.0.2.1",
  name: "mail.example.net",
  helo: "client.example.net",
  sender: "bob@example.net",
  recipients: ["alice@example.org", "carol@example.org"],
  user: undefined,
  tls: { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" },
  id: "Q1",
};
const nothing = { password: undefined, settings: undefined };

Deno.test("rspamd: a request says who brings the message, from whom and to whom", () => {
  deepEqual(requestHeaders(brought, { password: "secret", settings: "strict" }), [
    ["IP", "192.0.2.1"],
    ["Hostname", "mail.example.net"],
    ["Helo", "client.example.net"],
    ["From", "bob@example.net"],
    ["Rcpt", "alice@example.org"],
    ["Rcpt", "carol@example.org"],
    ["TLS-Version", "TLSv1.3"],
    ["TLS-Cipher", "TLS_AES_128_GCM_SHA256"],
    ["Queue-Id", "Q1"],
    ["Settings-ID", "strict"],
    ["Password", "secret"],
  ]);
});

Deno.test("rspamd: a bounce, a Unix socket's client, a single recipient, an address beyond ASCII", () => {
  const fields = requestHeaders(
    {
      ...brought,
      address: "unix",
      name: undefined,
      tls: undefined,
      sender: "",
      recipients: ["ü@example.org"],
    },
    nothing,
  );
  deepEqual(fields.filter(([name]) => !/^(Helo|Queue-Id)$/.test(name)), [
    ["From", "<>"],
    ["Rcpt", "Ã¼@example.org"],
    ["Deliver-To", "Ã¼@example.org"],
  ]);
});

Deno.test("rspamd: nothing a client says can end a field of the request, or be refused by fetch", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (helo) => {
    const fields = requestHeaders({ ...brought, helo, sender: helo }, nothing);
    new Headers(fields);
    // deno-lint-ignore no-control-regex -- those are meant
    equal(fields.some(([, value]) => /[\x00-\x1f\x7f]/.test(value)), false);
  }));
});

const answer = (more: object) =>
  JSON.stringify({ action: "no action", score: 1, required_score: 15, ...more });

Deno.test("rspamd: symbols stand in order of their weight, names that are none are left out", () => {
  const { symbols } = readJudgement(answer({
    symbols: {
      LOW: { score: 0.1 },
      GOOD: { score: -5 },
      HIGH: { score: 7, options: ["x"] },
      "a\r\nb": { score: 9 },
    },
  }));
  deepEqual(symbols.map(({ name }) => name), ["HIGH", "GOOD", "LOW"]);
});

Deno.test("rspamd: its edits of the header: removals first, from the bottom up, additions of any form, unfolded", () => {
  const { edits } = readJudgement(answer({
    milter: {
      add_headers: {
        "X-One": "a\r\n\tb\n c",
        "X-Two": { value: "2", order: 1 },
        "X-Three": [{ value: "3" }, "4"],
        "bad name": "x",
      },
      remove_headers: { "X-All": 0, "X-Some": [1, 3] },
    },
  }));
  deepEqual(edits, [
    { kind: "remove", name: "X-Some", nth: 3 },
    { kind: "remove", name: "X-Some", nth: 1 },
    { kind: "remove", name: "X-All", nth: 0 },
    { kind: "add", name: "X-One", value: "a b c", at: undefined },
    { kind: "add", name: "X-Two", value: "2", at: 1 },
    { kind: "add", name: "X-Three", value: "3", at: undefined },
    { kind: "add", name: "X-Three", value: "4", at: undefined },
  ]);
});

Deno.test("rspamd: the nth field: from 1 on, from the end where it is negative", () => {
  deepEqual([1, 3, -1, -3, 4, -4].map((nth) => indexOf(nth, 3)), [0, 2, 2, 0, undefined, undefined]);
});

for (
  const [said, action] of [
    ["no action", "none"],
    ["soft reject", "soft reject"],
    ["discard", "discard"],
    ["phone the boss", "custom"],
    ["__proto__", "custom"],
  ] as const
) {
  Deno.test(`rspamd: the action ${said}`, () => {
    equal(readJudgement(answer({ action: said })).action, action);
  });
}

Deno.test("rspamd: a text for the client is one line of ASCII, or none", () => {
  const reply = (smtp_message: unknown) => readJudgement(answer({ messages: { smtp_message } })).reply;
  equal(reply("Try again later"), "Try again later");
  equal(reply("a\r\n250 OK"), undefined);
  equal(reply("später"), undefined);
  equal(reply(7), undefined);
  equal(readJudgement(answer({ messages: [] })).reply, undefined);
});

Deno.test("rspamd: what is no judgement is an error that shows it", () => {
  for (const text of ["", "{}", "[]", '{"error":"no"}', '{"action":"reject"}', "<html>"]) {
    throws(() => readJudgement(text), /rspamd could not judge/);
  }
  fc.assert(fc.property(fc.json(), (text) => {
    throws(() => readJudgement(text), /rspamd could not judge/);
  }));
});
