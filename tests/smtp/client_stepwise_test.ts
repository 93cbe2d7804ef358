/** A transaction step by step, as a machine: what is written, what is waited for, what each step comes to. */
import { deepStrictEqual as deepEqual, strictEqual as equal, throws } from "node:assert/strict";
import { type ClientStepwise, SmtpClient, type StepwiseMail } from "../../server/smtp/client.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

const mail: StepwiseMail = { sender: "a@example.com", size: undefined, utf8: false, forwarded: [] };
const data = (text: string, more: Partial<ClientStepwise & { kind: "data" }> = {}): ClientStepwise => ({
  kind: "data",
  content: encode(text),
  size: text.length,
  eightBit: "send",
  utf8Header: false,
  ...more,
});

/** A session that is ready, after EHLO was answered with these keywords. */
function ready(...offers: string[]): SmtpClient {
  const client = new SmtpClient({ name: "us.example", tls: "never" });
  client.receive(encode("220 hi\r\n"));
  client.next();
  const lines = ["mx", ...offers];
  client.receive(encode(lines.map((one, at) => `250${at < offers.length ? "-" : " "}${one}\r\n`).join("")));
  equal(client.next().kind, "ready");
  return client;
}

/** What is written now, and then: `read rcpt`, `paused`, `ready`, `over`, `content`. */
function step(client: SmtpClient): string[] {
  const all: string[] = [];
  for (;;) {
    const next = client.next();
    if (next.kind !== "write") return [...all, next.kind === "read" ? `read ${next.phase}` : next.kind];
    all.push(decode(next.bytes));
  }
}

/** The step's result in a few words. */
function result(client: SmtpClient): string {
  const found = client.stepResult;
  switch (found?.kind) {
    case "replied":
      return `${found.phase} ${found.reply.code}`;
    case "impossible":
      return `impossible ${found.status}`;
    case "lost":
      return `lost ${found.failure.kind}${found.unknown ? " unknown" : ""}`;
    case undefined:
      return "nothing";
  }
}

const says = (client: SmtpClient, text: string) => client.receive(encode(text));

Deno.test("MAIL goes with the first recipient, the message when somebody has it", () => {
  const client = ready("PIPELINING", "8BITMIME", "SIZE 1000");
  client.open({ ...mail, size: 77 }, { address: "b@example.org" });
  deepEqual(step(client), [
    "MAIL FROM:<a@example.com> SIZE=77 BODY=8BITMIME\r\nRCPT TO:<b@example.org>\r\n",
    "read mail",
  ]);
  says(client, "250 ok\r\n250 2.1.5 fine\r\n");
  deepEqual(step(client), ["paused"]);
  equal(result(client), "rcpt 250");
  client.step({ kind: "rcpt", recipient: { address: "c@example.org" } });
  deepEqual(step(client), ["RCPT TO:<c@example.org>\r\n", "read rcpt"]);
  says(client, "550 5.1.1 who\r\n");
  equal(result(client), "rcpt 550");
  client.step(data(".x\r\n"));
  deepEqual(step(client), ["DATA\r\n", "read data"]);
  says(client, "354 go\r\n");
  deepEqual(step(client), ["..x\r\n.\r\n", "read final"]);
  says(client, "250 2.0.0 kept\r\n");
  equal(result(client), "final 250");
  deepEqual(step(client), ["ready"]);
});

Deno.test("without PIPELINING each command waits for the reply before it", () => {
  const client = ready();
  client.open({ ...mail, forwarded: ["XFORWARD HELO=x\r\n"] }, { address: "b@example.org" });
  deepEqual(step(client), ["XFORWARD HELO=x\r\n", "read mail"]);
  says(client, "501 5.5.4 no\r\n"); // its log goes without
  deepEqual(step(client), ["MAIL FROM:<a@example.com>\r\n", "read mail"]);
  says(client, "250 ok\r\n");
  deepEqual(step(client), ["RCPT TO:<b@example.org>\r\n", "read rcpt"]);
  says(client, "250 ok\r\n");
  deepEqual(step(client), ["paused"]);
});

Deno.test("a refused sender ends it, with or without PIPELINING, and no RSET is needed", () => {
  for (const offers of [[], ["PIPELINING"]]) {
    const client = ready(...offers);
    client.open(mail, { address: "b@example.org" });
    step(client);
    says(client, "550 5.1.8 not you\r\n");
    if (offers.length > 0) says(client, "503 no sender\r\n");
    deepEqual(step(client), ["ready"], offers.join());
    equal(result(client), "mail 550");
  }
});

Deno.test("a chunk where it is offered: one round trip, and a word after it is about the message", () => {
  const client = ready("CHUNKING", "PIPELINING");
  client.open(mail, { address: "b@example.org" });
  step(client);
  says(client, "250 ok\r\n250 ok\r\n");
  client.step(data("x\r\n"));
  deepEqual(step(client), ["BDAT 3 LAST\r\nx\r\n", "read final"]);
  equal(client.isSent, true);
  says(client, "452 4.3.1 full\r\n");
  equal(result(client), "final 452");
  deepEqual(step(client), ["ready"]);
});

Deno.test("content in pieces is stuffed, and all of it is out with its dot", () => {
  const client = ready();
  client.open(mail, { address: "b@example.org" });
  for (const reply of ["250 ok\r\n", "250 ok\r\n"]) (step(client), says(client, reply));
  client.step(data("", { content: undefined, size: 9 }));
  step(client);
  says(client, "354 go\r\n");
  deepEqual(step(client), ["content"]);
  equal(decode(client.encode(encode("a\r\n."))), "a\r\n..");
  equal(client.isSent, false);
  equal(decode(client.endContent()), "\r\n.\r\n");
  equal(client.isSent, true);
  client.lost();
  equal(result(client), "lost lost unknown");
});

Deno.test("a word on the message while it is on its way is the word on it, and the session is over: O04", () => {
  for (
    const [said, expected] of [["552 5.3.4 too big\r\n", "final 552"], ["250 ok\r\n", "lost out-of-order"]]
  ) {
    const client = ready();
    client.open(mail, { address: "b@example.org" });
    for (const reply of ["250 ok\r\n", "250 ok\r\n"]) (step(client), says(client, reply));
    client.step(data("", { content: undefined, size: 9 }));
    step(client);
    says(client, "354 go\r\n");
    client.encode(encode("a\r\n"));
    says(client, said!);
    equal(result(client), expected);
    deepEqual(step(client), ["over"]);
  }
});

Deno.test("what ends a step early", () => {
  const table: [string, (client: SmtpClient) => void, string, string][] = [
    ["lost at RCPT", (client) => client.lost(), "lost lost", "over"],
    ["421 at RCPT", (client) => says(client, "421 4.3.2 bye\r\n"), "lost refused", "over"],
    ["nonsense", (client) => says(client, "hello\r\n"), "lost malformed", "over"],
    ["354 to RCPT", (client) => says(client, "354 go\r\n"), "lost out-of-order", "over"],
    ["a reply too many", (client) => says(client, "250 ok\r\n250 ok\r\n"), "lost out-of-order", "over"],
  ];
  for (const [name, happens, expected, then] of table) {
    const client = ready("PIPELINING");
    client.open(mail, { address: "b@example.org" });
    step(client);
    says(client, "250 ok\r\n250 ok\r\n");
    client.step({ kind: "rcpt", recipient: { address: "c@example.org" } });
    step(client);
    happens(client);
    equal(result(client), expected, name);
    deepEqual(step(client), [then], name);
  }
});

Deno.test("between two steps nothing is due: what comes ends the session, 421 says why", () => {
  for (const said of ["421 4.4.2 too long\r\n", "250 what\r\n"]) {
    const client = ready("PIPELINING");
    client.open(mail, { address: "b@example.org" });
    step(client);
    says(client, "250 ok\r\n250 ok\r\n");
    says(client, said);
    deepEqual(step(client), ["over"], said);
    throws(() => client.step({ kind: "rset" }), TypeError);
  }
});

Deno.test("what the peer can't take isn't sent: O06", () => {
  const first = { address: "b@example.org" };
  const asked = (offers: string[], given: Partial<StepwiseMail>, address = first.address) => {
    const client = ready(...offers);
    client.open({ ...mail, ...given }, { address });
    return [...step(client), result(client)];
  };
  deepEqual(asked(["SIZE 100"], { size: 101 }), ["ready", "impossible 5.3.4"]);
  deepEqual(asked([], { sender: "ä@example.com", utf8: true }), ["ready", "impossible 5.6.7"]);
  deepEqual(asked([], { utf8: true }, "ö@example.org"), ["ready", "impossible 5.6.7"]);
  deepEqual(
    asked(["SMTPUTF8", "PIPELINING"], { utf8: true })[0],
    "MAIL FROM:<a@example.com> SMTPUTF8\r\nRCPT TO:<b@example.org>\r\n",
  );
  // A later recipient that can't be said leaves the transaction as it is.
  const client = ready("PIPELINING", "SIZE 100");
  client.open(mail, first);
  step(client);
  says(client, "250 ok\r\n250 ok\r\n");
  client.step({ kind: "rcpt", recipient: { address: "ö@example.org" } });
  deepEqual([...step(client), result(client)], ["paused", "impossible 5.6.7"]);
  // The message is too large after all, or needs more than is offered: RSET, and the result stands.
  for (
    const [more, status] of [
      [{ size: 101 }, "5.3.4"],
      [{ utf8Header: true }, "5.6.7"],
      [{ eightBit: "bounce" }, "5.6.3"],
    ] as const
  ) {
    const other = ready("PIPELINING", "SIZE 100");
    other.open(mail, first);
    step(other);
    says(other, "250 ok\r\n250 ok\r\n");
    other.step(data("x\r\n", more));
    deepEqual(step(other), ["RSET\r\n", "read rset"]);
    says(other, "250 ok\r\n");
    deepEqual([...step(other), result(other)], ["ready", `impossible ${status}`]);
  }
});

Deno.test("a refused DATA is the word on the message, and RSET follows", () => {
  const client = ready();
  client.open(mail, { address: "b@example.org" });
  for (const reply of ["250 ok\r\n", "250 ok\r\n"]) (step(client), says(client, reply));
  client.step(data("x\r\n"));
  step(client);
  says(client, "554 5.5.1 no\r\n");
  deepEqual(step(client), ["RSET\r\n", "read rset"]);
  client.lost();
  equal(result(client), "data 554");
});

Deno.test("XCLIENT starts the session anew, and a refusal of it ends it", () => {
  const client = ready("XCLIENT NAME ADDR");
  deepEqual(client.offered.xclient, new Set(["NAME", "ADDR"]));
  client.identify("XCLIENT ADDR=192.0.2.1\r\n", "client.example");
  deepEqual(step(client), ["XCLIENT ADDR=192.0.2.1\r\n", "read hello"]);
  says(client, "220 mx\r\n");
  deepEqual(step(client), ["EHLO client.example\r\n", "read hello"]);
  says(client, "250-mx\r\n250 SIZE 5\r\n");
  deepEqual(step(client), ["ready"]);
  equal(client.offered.size, 5);
  client.identify("XCLIENT ADDR=192.0.2.2\r\n", "not sayable");
  step(client);
  says(client, "550 5.7.1 not you\r\n");
  deepEqual(step(client), ["over"]);
});
