import {
  deepStrictEqual as deepEqual,
  notDeepStrictEqual as notDeepEqual,
  ok,
  strictEqual as equal,
} from "node:assert/strict";
import { Accounts } from "../../../plugins/auth/file.ts";
import { type Checked, hashing, Passwords } from "../../../plugins/auth/hash.ts";
import { Logins } from "../../../plugins/auth/logins.ts";
import type { PasswordHash } from "../../../plugins/auth/phc.ts";
import { cheap, fakeHost, patient } from "./rig.ts";

function accounts(passwords: Record<string, string>): Accounts {
  const entries = Object.entries(passwords);
  return new Accounts(
    new Map(entries.map(([name, word]) => [name, { name, hash: cheap(word), sendAs: [] }])),
  );
}

/** Logins over cheap hashes; counts what is computed. */
function rig(passwords: Record<string, string> = { "alice@example.org": "right" }) {
  const host = fakeHost();
  const users = { accounts: accounts(passwords), now: () => users.accounts };
  const real = new Passwords(hashing().derive);
  const hashed: PasswordHash[] = [];
  const check = (hash: PasswordHash, ...rest: [string, string, AbortSignal]): Promise<Checked> => {
    hashed.push(hash);
    return real.check(hash, ...rest);
  };
  const logins = new Logins(users, { check }, host);
  const attempt = async (password: string, user = "alice@example.org", network = "192.0.2.0/24") =>
    (await logins.attempt({ user, password, network }, patient)).outcome;
  return { ...host, users, hashed, attempt, logins };
}

Deno.test("the right password logs in, in any case of the name; a wrong one does not", async () => {
  const { attempt } = rig();
  equal(await attempt("right"), "right");
  equal(await attempt("right", "Alice@EXAMPLE.org"), "right");
  equal(await attempt("Right"), "wrong");
  equal(await attempt(""), "wrong");
});

Deno.test("U03 wrong password, unknown account and no address: each computes one hash, and the same is said", async () => {
  const { attempt, hashed } = rig();
  equal(await attempt("wrong"), "wrong");
  equal(await attempt("wrong", "nobody@example.org"), "wrong");
  equal(await attempt("wrong", "alice"), "wrong");
  equal(await attempt("wrong", "a".repeat(5000)), "wrong");
  equal(hashed.length, 4);
  const cost = ({ kind, ...hash }: PasswordHash) => ({ ...hash, kind, salt: 0, hash: hash.hash.length });
  for (const hash of hashed) deepEqual(cost(hash), cost(hashed[0]!));
});

Deno.test("U03 an unknown account never logs in, whatever its password, also where there are no accounts", async () => {
  const { attempt, hashed } = rig({});
  equal(await attempt(""), "wrong");
  deepEqual([hashed[0]!.kind, hashed.length], ["scrypt", 1]);
});

Deno.test("U03 where the file mixes hashes, unknown names take the costs that known ones take, each always its own", () => {
  const hashes = [cheap("x", 1), cheap("x", 2), cheap("x", 3)];
  const mixed = new Accounts(
    new Map(hashes.map((hash, i) => [`u${i}@b`, { name: `u${i}@b`, hash, sendAs: [] }])),
  );
  const costOf = (name: string) => (mixed.decoy(name) as { ln: number }).ln;
  const names = Array.from({ length: 200 }, (_, i) => `nobody${i}@b`);
  deepEqual(new Set(names.map(costOf)), new Set([1, 2, 3]));
  deepEqual(names.map(costOf), names.map(costOf));
  notDeepEqual(mixed.decoy("nobody@b").hash, mixed.decoy("nobody@b").hash);
});

Deno.test("U04 the third failure of a network and account starts a wait that doubles; nothing is hashed in it", async () => {
  const { attempt, hashed, clock } = rig();
  for (let i = 0; i < 3; i++) equal(await attempt("wrong"), "wrong");
  for (const wait of [5_000, 10_000, 20_000]) {
    const before = hashed.length;
    equal(await attempt("wrong"), "wait");
    equal(await attempt("right"), "wait"); // else the wait would tell which password is right
    equal(hashed.length, before);
    await clock.advance(wait - 1);
    equal(await attempt("right"), "wait");
    await clock.advance(1);
    equal(await attempt("wrong"), "wrong");
  }
});

Deno.test("U04 the wait is a quarter of an hour at most, and an hour after the first failure all is forgotten", async () => {
  const { attempt, clock, hashed } = rig();
  while (clock.now() < Date.UTC(2026, 10, 21, 23)) {
    await attempt("wrong");
    await clock.advance(60_000);
  }
  ok(hashed.length >= 8 && hashed.length <= 16, `${hashed.length} guesses in an hour`);
  await clock.advance(900_000);
  equal(await attempt("wrong"), "wrong");
  equal(await attempt("right"), "right");
});

Deno.test("U04 a stranger's failures lock nobody out elsewhere, nor other accounts in the same place", async () => {
  const { attempt } = rig({ "alice@example.org": "right", "bob@example.org": "bob" });
  for (let i = 0; i < 3; i++) await attempt("wrong");
  equal(await attempt("right"), "wait");
  equal(await attempt("right", "alice@example.org", "198.51.100.0/24"), "right");
  equal(await attempt("bob", "bob@example.org"), "right");
  equal(await attempt("right"), "wait"); // alice's success elsewhere says nothing about this place
});

Deno.test("U04 a success forgets the failures before it", async () => {
  const { attempt } = rig();
  for (let round = 0; round < 3; round++) {
    equal(await attempt("wrong"), "wrong");
    equal(await attempt("wrong"), "wrong");
    equal(await attempt("right"), "right");
  }
});

Deno.test("U04 a hundred guesses at the same moment are three guesses", async () => {
  const { attempt, hashed } = rig();
  const outcomes = await Promise.all(Array.from({ length: 100 }, (_, i) => attempt(`guess ${i}`)));
  equal(hashed.length, 3);
  equal(outcomes.filter((outcome) => outcome === "wrong").length, 3);
  ok(outcomes.filter((outcome) => outcome === "busy").length >= 30); // nor do they queue without bound
});

Deno.test("U04 the right password on many connections at the same moment logs all of them in", async () => {
  const { attempt, hashed } = rig();
  deepEqual(
    new Set(await Promise.all(Array.from({ length: 50 }, () => attempt("right")))),
    new Set(["right"]),
  );
  equal(hashed.length, 1);
});

Deno.test("U04 a clock set back does not stretch a wait", async () => {
  const { attempt, clock } = rig();
  for (let i = 0; i < 3; i++) await attempt("wrong");
  clock.step(-86_400_000);
  equal(await attempt("right"), "right");
});

Deno.test("U04 guesses at one account from many networks are a warning, nothing more", async () => {
  const { attempt, lines } = rig();
  for (let i = 0; i < 12; i++) await attempt("wrong", "alice@example.org", `10.0.${i}.0/24`);
  deepEqual(lines, [{
    level: "warning",
    text: "many failed logins for one account within an hour",
    fields: { user: "alice@example.org", failures: 10 },
  }]);
  equal(await attempt("right", "alice@example.org", "10.9.0.0/24"), "right");
});

Deno.test("a password that was right is not hashed again for five minutes; a wrong one always is", async () => {
  const { attempt, hashed, clock } = rig();
  await attempt("right");
  await attempt("right");
  equal(hashed.length, 1);
  await attempt("wrong");
  equal(hashed.length, 2);
  await clock.advance(299_999);
  await attempt("right");
  equal(hashed.length, 2);
  await clock.advance(1);
  await attempt("right");
  equal(hashed.length, 3);
  clock.step(-1000);
  await attempt("right");
  equal(hashed.length, 4);
});

Deno.test("a remembered password is forgotten when the account changes or goes", async () => {
  const { attempt, users } = rig();
  equal(await attempt("right"), "right");
  users.accounts = accounts({ "alice@example.org": "new" });
  equal(await attempt("right"), "wrong");
  equal(await attempt("new"), "right");
  users.accounts = accounts({});
  equal(await attempt("new"), "wrong");
});

Deno.test("too many hashes at a time: busy, which is nobody's failure", async () => {
  const host = fakeHost();
  const table = accounts({ "alice@example.org": "right" });
  let answer: Checked = "busy";
  const logins = new Logins({ now: () => table }, { check: () => Promise.resolve(answer) }, host);
  const attempt = { user: "alice@example.org", password: "right", network: "net" };
  for (let i = 0; i < 9; i++) equal((await logins.attempt(attempt, patient)).outcome, "busy");
  answer = "match";
  equal((await logins.attempt(attempt, patient)).outcome, "right");
});
