import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { type Ended, outcomeOf } from "../../../plugins/pipe/exits.ts";

const exit = (
  code: number,
  printed = "",
  verdicts: Record<number, "delivered" | "defer" | "reject"> = {},
) => {
  const said = outcomeOf(
    { kind: "exited", code },
    printed,
    new Map(Object.entries(verdicts).map(([c, v]) => [Number(c), v])),
  );
  return said.verdict === "delivered"
    ? `delivered ${said.text}`
    : `${said.verdict} ${said.status} ${said.text}`;
};

/** Each of sysexits.h, and what becomes of the message. */
const sysexits: readonly [code: number, name: string, said: string][] = [
  [64, "EX_USAGE", "defer 4.3.5"],
  [65, "EX_DATAERR", "reject 5.6.0"],
  [66, "EX_NOINPUT", "defer 4.3.0"],
  [67, "EX_NOUSER", "reject 5.1.1"],
  [68, "EX_NOHOST", "reject 5.1.2"],
  [69, "EX_UNAVAILABLE", "reject 5.3.0"],
  [70, "EX_SOFTWARE", "defer 4.3.0"],
  [71, "EX_OSERR", "defer 4.3.0"],
  [72, "EX_OSFILE", "defer 4.3.5"],
  [73, "EX_CANTCREAT", "defer 4.2.0"],
  [74, "EX_IOERR", "defer 4.3.0"],
  [75, "EX_TEMPFAIL", "defer 4.3.0"],
  [76, "EX_PROTOCOL", "reject 5.5.0"],
  [77, "EX_NOPERM", "reject 5.7.0"],
  [78, "EX_CONFIG", "defer 4.3.5"],
];

for (const [code, name, said] of sysexits) {
  Deno.test(`pipe exits: ${code} ${name} is ${said}`, () => {
    ok(exit(code).startsWith(`${said} `), exit(code));
    equal(exit(code, "Because\n"), `${said} Because`);
  });
}

Deno.test("pipe exits: 0 is delivered, every code that means nothing is temporary", () => {
  equal(exit(0), "delivered taken by the command");
  equal(exit(0, "filed under lists\n"), "delivered filed under lists");
  for (const code of [1, 2, 63, 79, 100, 111, 126, 127, 255]) {
    ok(exit(code).startsWith("defer 4.3.0 "), exit(code));
  }
});

Deno.test("pipe exits: what else ends a command is temporary", () => {
  const others: Ended[] = [
    { kind: "killed", signal: "SIGSEGV" },
    { kind: "late" },
    { kind: "called-off" },
    { kind: "unfed", why: "EIO" },
    { kind: "not-started", why: "ENOENT" },
  ];
  for (const ended of others) equal(outcomeOf(ended, "5.7.1 no", new Map([[0, "reject"]])).verdict, "defer");
});

Deno.test("pipe exits: an operator's meaning of a code counts, with a status of its class", () => {
  const qmail = { 99: "delivered", 100: "reject", 111: "defer", 67: "defer", 1: "reject" } as const;
  equal(exit(99, "", qmail), "delivered taken by the command");
  equal(exit(100, "", qmail), "reject 5.3.0 The command refused the message");
  equal(exit(111, "", qmail), "defer 4.3.0 The command failed");
  equal(exit(67, "gone fishing", qmail), "defer 4.3.0 gone fishing");
});

Deno.test("pipe exits: output that begins with a status of the exit code's class gives it", () => {
  equal(exit(77, "5.7.26 Not authenticated\n"), "reject 5.7.26 Not authenticated");
  equal(exit(75, "4.2.2 Mailbox full"), "defer 4.2.2 Mailbox full");
  equal(exit(75, "5.7.1 Never"), "defer 4.3.0 Never", "a temporary exit stays temporary");
  equal(exit(77, "5.7.26"), "reject 5.7.26 Not permitted");
});

Deno.test("pipe exits: output is one bounded line, whatever was printed", () => {
  equal(exit(77, "a\r\nb\tc\0d\x1b[31m e\n\n"), "reject 5.7.0 a b c d [31m e");
  const long = exit(77, "x".repeat(5000));
  equal(long.length, "reject 5.7.0 ".length + 303);
  ok(long.endsWith("xxx..."));
  deepEqual(exit(77, " \r\n"), "reject 5.7.0 Not permitted");
});
