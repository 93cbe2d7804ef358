import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { type Brought, readJudgement, symbols, userName } from "../../../plugins/spamassassin/spamd.ts";
import { message } from "../harness.ts";

const brought: Brought = {
  sender: "bob@example.net",
  helo: "client.example.net",
  address: "192.0.2.1",
  name: undefined,
  by: "mx",
  id: "M1",
  now: 0,
};

async function said(how: Partial<Brought> = {}, user?: string): Promise<string> {
  let all = "";
  for await (const piece of symbols(message("Subject: x\r\n\r\nHello\r\n"), user, { ...brought, ...how })) {
    all += new TextDecoder().decode(piece);
  }
  return all;
}

Deno.test("spamassassin: a question has its length, its user, and who brings the message", async () => {
  equal(
    (await said({}, "alice")).replace(/Content-length: [0-9]+/, "Content-length: N"),
    "SYMBOLS SPAMC/1.5\r\nContent-length: N\r\nUser: alice\r\n\r\n" +
      "X-Envelope-From: <bob@example.net>\r\n" +
      "Received: from client.example.net (unknown [192.0.2.1])\r\n" +
      "\tby mx (Postfix) with ESMTP id M1;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n" +
      "Subject: x\r\n\r\nHello\r\n",
  );
  ok(!(await said({ address: "unix" })).includes("Received"), "no relay has brought it");
});

Deno.test("spamassassin: the length is that of what follows, and a client's name can't add a line", async () => {
  await fc.assert(fc.asyncProperty(fc.string({ unit: "binary" }), async (text) => {
    const all = await said({ helo: text, name: text });
    const [header, rest] = [all.slice(0, all.indexOf("\r\n\r\n")), all.slice(all.indexOf("\r\n\r\n") + 4)];
    const length = Number(/^Content-length: ([0-9]+)$/m.exec(header)?.[1]);
    equal(length, new TextEncoder().encode(rest).length);
    match(
      rest,
      /^X-Envelope-From: <bob@example\.net>\r\nReceived: from [^\s()]+ \([^\s()]+ \[192\.0\.2\.1\]\)\r\n\tby mx /,
    );
  }));
});

Deno.test("spamassassin: a judgement is read", () => {
  deepEqual(
    readJudgement("SPAMD/1.1 0 EX_OK\r\nContent-length: 12\r\nSpam: True ; 15.5 / 5.0\r\n\r\nBAYES_99,FOO"),
    { isSpam: true, score: 15.5, required: 5, tests: ["BAYES_99", "FOO"] },
  );
  deepEqual(
    readJudgement("SPAMD/1.1 0 EX_OK\r\nContent-length: 2\r\nSpam: False ; -2.1 / 5.0\r\n\r\n\r\n"),
    { isSpam: false, score: -2.1, required: 5, tests: [] },
  );
});

Deno.test("spamassassin: anything else is no judgement, least of all a good one", () => {
  const bad = [
    "",
    "SPAMD/1.1 76 Bad header line: (Content-Length mismatch)\r\n\r\n",
    "SPAMD/1.1 0 EX_OK\r\nContent-length: 0\r\n\r\n",
    "SPAMD/1.1 0 EX_OK\r\nSpam: True ; 15.5",
    "SPAMD/1.1 0 EX_OK\r\nSpam: True ; 1.2.3 / 5\r\n\r\n",
    "SPAMD/1.1 0 EX_OK\r\nSpam: Maybe ; 1 / 5\r\n\r\n",
    "SPAMD/1.1 0 EX_OK\r\nContent-length: 40\r\nSpam: False ; 0 / 5.0\r\n\r\nFOO",
    "HTTP/1.1 200 OK\r\nSpam: False ; 0 / 5.0\r\n\r\n",
  ];
  for (const answer of bad) throws(() => readJudgement(answer), /spamd could not judge/, answer);
});

Deno.test("spamassassin: a user's name is never a path or a second line", () => {
  for (const good of ["alice", "alice@example.org", "a.b-c=d@x.y", "_x"]) equal(userName(good), good);
  for (
    const bad of [
      "",
      "../x",
      "a/b",
      "a..b",
      "-x",
      ".x",
      "a b",
      "a\r\nb",
      "a@b@c",
      "a@../x",
      "ä",
      "a'b",
      "x".repeat(300),
    ]
  ) equal(userName(bad), undefined, bad);
});
