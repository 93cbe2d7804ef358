import {
  deepStrictEqual as deepEqual,
  notDeepStrictEqual as notDeepEqual,
  ok,
  rejects,
  strictEqual as equal,
} from "node:assert/strict";
import { type Bounds, hashing, hashPassword, Passwords, unmatchable } from "../../../plugins/auth/hash.ts";
import { type PasswordHash, readHash } from "../../../plugins/auth/phc.ts";
import { cheap, patient } from "./rig.ts";

function read(text: string): PasswordHash {
  const found = readHash(text);
  if ("problem" in found) throw new Error(found.problem);
  return found.hash;
}

/** From the reference implementation's own tests; the password is "password". */
const argon2 = read("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");

Deno.test("scrypt is that of RFC 7914 §12", async () => {
  const { derive } = hashing();
  const salt = new TextEncoder().encode("SodiumChloride");
  const like = { kind: "scrypt", ln: 14, r: 8, p: 1, salt, hash: new Uint8Array(64) } as const;
  const hex = (await derive(like, "pleaseletmein")).toHex();
  equal(hex.slice(0, 64), "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2");
});

Deno.test("argon2id is that of its reference implementation, computed in a Worker that ends with close", async () => {
  const { derive, close } = hashing();
  deepEqual(await derive(argon2, "password"), argon2.hash);
  notDeepEqual(await derive(argon2, "Password"), argon2.hash);
  close();
});

Deno.test("U03 the event loop goes on while argon2id and scrypt are computed", async () => {
  const { derive, close } = hashing();
  const slow = { ...argon2, kind: "argon2id", m: 32768, t: 3, p: 1 } as const;
  await derive({ ...slow, m: 8 }, "warms the Worker up");
  for (const like of [slow, { ...cheap("x"), ln: 15 }]) {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await derive(like, "password");
    clearInterval(timer);
    ok(turns > 2, `${turns} turns while ${like.kind} was computed`); // computed on the loop: 0
  }
  close();
});

Deno.test("argon2id that is under way fails when the plugin is closed, and the next one gets a new Worker", async () => {
  const { derive, close } = hashing();
  const lost = derive(argon2, "password");
  close();
  await rejects(lost, /closed/);
  deepEqual(await derive(argon2, "password"), argon2.hash);
  close();
});

Deno.test("a new hash has the standard parameters, a salt of its own, and matches", async () => {
  const [one, other] = await Promise.all([hashPassword("grün"), hashPassword("grün")]);
  ok(one.startsWith("$scrypt$ln=15,r=8,p=1$"));
  ok(one !== other);
  const passwords = new Passwords(hashing().derive);
  equal(await passwords.check(read(one), "gru\u0308n", "net", patient), "match"); // the same letters, decomposed
  equal(await passwords.check(read(one), "grun", "net", patient), "mismatch");
});

Deno.test("U03 what an unknown account is compared with costs what the given hash costs", () => {
  const { salt: _salt, hash, ...parameters } = unmatchable(argon2);
  deepEqual(parameters, { kind: "argon2id", m: 256, t: 2, p: 1 });
  notDeepEqual(hash, argon2.hash);
  equal(unmatchable(undefined).kind, "scrypt");
});

/** Hashing that takes until the test says so. */
function manual(bounds: Bounds) {
  const hash = cheap("right");
  const running: { password: string; finish: (error?: Error) => void }[] = [];
  const passwords = new Passwords(
    (_like, password) =>
      new Promise((resolve, reject) =>
        running.push({ password, finish: (error) => error ? reject(error) : resolve(hash.hash) })
      ),
    bounds,
  );
  const check = (password: string, network = "net", signal = patient) =>
    passwords.check(hash, password, network, signal);
  return { running, check };
}

/** One turn of the event loop: what can settle has settled. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("U03 only so many hashes are computed at a time, only so many wait, in order; more are refused", async () => {
  const { running, check } = manual({ parallel: 2, waiting: 2, perNetwork: 99 });
  const checks = ["a", "b", "c", "d"].map((password) => check(password));
  await turn();
  deepEqual(running.map(({ password }) => password), ["a", "b"]);
  equal(await check("e"), "busy");
  running[1]!.finish();
  await turn();
  deepEqual(running.map(({ password }) => password), ["a", "b", "c"]);
  running[0]!.finish();
  await turn();
  for (const { finish } of running) finish();
  deepEqual(await Promise.all(checks), ["match", "match", "match", "match"]);
});

Deno.test("a flood from one network leaves room for others", async () => {
  const { running, check } = manual({ parallel: 1, waiting: 9, perNetwork: 2 });
  const checks = [check("a", "flood"), check("b", "flood")];
  equal(await check("c", "flood"), "busy");
  checks.push(check("d", "other"));
  for (let i = 0; i < 3; i++) {
    await turn();
    running[i]!.finish();
  }
  deepEqual(await Promise.all(checks), ["match", "match", "match"]);
  const again = check("e", "flood");
  await turn();
  running[3]!.finish();
  equal(await again, "match");
});

Deno.test("who goes while waiting leaves the queue, and a failed hash frees its place", async () => {
  const { running, check } = manual({ parallel: 1, waiting: 9, perNetwork: 9 });
  const first = check("a");
  const gone = new AbortController();
  const second = check("b", "net", gone.signal);
  const third = check("c");
  await turn();
  gone.abort(new Error("gone"));
  await rejects(second, /gone/);
  running[0]!.finish(new Error("broken"));
  await rejects(first, /broken/);
  await turn();
  deepEqual(running.map(({ password }) => password), ["a", "c"]);
  running[1]!.finish();
  equal(await third, "match");
});
