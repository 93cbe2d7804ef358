/** Keys for SCRAM in the users file, and whole logins by them. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { Accounts } from "../../../plugins/auth/file.ts";
import auth from "../../../plugins/auth/mod.ts";
import { formatKeys, makeKeys, readKeys } from "../../../plugins/auth/scram.ts";
import { editUsers, readUsers } from "../../../plugins/auth/users.ts";
import { type TestClient, testServer } from "../../../server/testing/mod.ts";
import { scramClient, type ScramHow } from "../../scram_client.ts";
import { cheapHash, inDirectory } from "./rig.ts";

const salt = new TextEncoder().encode("saltsalt");
const keys = formatKeys((await makeKeys("right", salt, 4096))!);
const alice = "alice@example.org";

Deno.test("SCRAM keys: written and read; others than ours are refused without being repeated", async () => {
  const read = readKeys(keys);
  ok("keys" in read);
  deepEqual(read.keys, await makeKeys("right", salt, 4096));
  for (
    const broken of [
      "",
      keys.replace("SHA-256", "SHA-1"),
      keys.replace("4096", "4095"),
      keys.replace("4096", "99999999"),
      keys.replace("c2FsdHNhbHQ=", "c2FsdA=="),
      keys.replace("c2FsdHNhbHQ=", "c2FsdHNhbHQ"),
      `${keys}A`,
      keys.slice(0, -4),
    ]
  ) {
    const { problem } = readKeys(broken) as { problem: string };
    match(problem, /SCRAM/, broken);
    equal(problem.includes("c2Fs"), false);
  }
});

Deno.test("SCRAM keys: SASLprep makes one password of what looks alike, and none of what it forbids", async () => {
  const [plain, ligature] = await Promise.all(["ffi", "\ufb03"].map((text) => makeKeys(text, salt, 4096)));
  deepEqual(plain, ligature);
  deepEqual(await makeKeys("a\u00adb", salt, 4096), await makeKeys("ab", salt, 4096));
  equal(await makeKeys("a\u0007b", salt, 4096), undefined);
  equal(await makeKeys("\u00ad", salt, 4096), undefined, "nothing is left of it");
});

Deno.test("users file: `scram` comes with a password and goes with it", () => {
  const hash = cheapHash("right");
  const text = `${alice}: { password: "${hash}", scram: "${keys}" }\n`;
  const { accounts, problems } = readUsers(text);
  deepEqual(problems, []);
  equal(accounts.get(alice)?.keys?.iterations, 4096);
  const changed = editUsers(text, { action: "passwd", name: alice, hash: cheapHash("other") });
  ok(changed.outcome === "edited");
  equal(changed.text.includes("scram"), false, "they were the old password's");
  const added = editUsers("", { action: "add", name: alice, hash, keys });
  ok(added.outcome === "edited");
  equal(readUsers(added.text).accounts.get(alice)?.keys?.iterations, 4096);
  const { problems: [problem] } = readUsers(`${alice}:\n  password: ${hash}\n  scram: x\n`);
  deepEqual([problem?.line, problem?.column], [3, 10]);
  match(problem!.message, /keys for SCRAM.*`user passwd`/);
});

Deno.test("U03 SCRAM: a name without keys hears of some that stay, shaped like the others'", () => {
  const { accounts: read } = readUsers(`${alice}: { password: "${cheapHash("right")}", scram: "${keys}" }\n`);
  const accounts = new Accounts(read);
  const [one, again, other, elsewhere] = [
    accounts.decoyKeys("bob@example.org", "secret"),
    new Accounts(read).decoyKeys("bob@example.org", "secret"),
    accounts.decoyKeys("eve@example.org", "secret"),
    accounts.decoyKeys("bob@example.org", "another server's"),
  ];
  deepEqual([one.salt, one.iterations, one.salt.length], [again.salt, 4096, salt.length]);
  ok(one.salt.toHex() !== other.salt.toHex());
  ok(one.salt.toHex() !== elsewhere.salt.toHex());
  equal(new Accounts(new Map()).decoyKeys("bob@example.org", "secret").salt.length, 16);
});

/** A login as far as it goes: the code of each reply. */
async function attempt(client: TestClient, how: ScramHow, mechanism = "SCRAM-SHA-256"): Promise<string> {
  const { first, last, isServer } = scramClient(how);
  const challenge = await client.command(`AUTH ${mechanism} ${new TextEncoder().encode(first).toBase64()}`);
  if (challenge.code !== 334) return `${challenge.code}`;
  const proved = await client.command(btoa(last(atob(challenge.text))));
  if (proved.code !== 334) return `334 ${proved.code}`;
  ok(isServer(atob(proved.text)), "the server has no keys");
  return `334 334 ${(await client.command("")).code}`;
}

async function served(
  options: Record<string, unknown>,
  use: (client: TestClient, login: (how: Partial<ScramHow>) => Promise<string>) => Promise<void>,
): Promise<void> {
  await inDirectory(async (directory) => {
    const users = `${directory}/users.yaml`;
    const hash = cheapHash("right");
    await Deno.writeTextFile(
      users,
      `${alice}: { password: "${hash}", scram: "${keys}" }\nbob@example.org: { password: "${hash}" }\n`,
      { mode: 0o600 },
    );
    await using server = await testServer({ plugins: [{ use: auth, with: { users, ...options } }] });
    const client = server.connect({ role: "submission", tls: "implicit" });
    await client.reply();
    await use(client, (how) => attempt(client, { user: alice, password: "right", ...how }));
  });
}

Deno.test("SCRAM: logs in, and only with `scram`; the server proves itself, too", async () => {
  await served({ scram: true }, async (client, login) => {
    match((await client.command("EHLO c")).text, /AUTH SCRAM-SHA-256 PLAIN LOGIN/);
    equal(await login({ user: "Alice@Example.ORG" }), "334 334 235");
    equal((await client.command(`MAIL FROM:<${alice}>`)).code, 250);
    equal((await client.command("RSET")).code, 250);
    equal((await client.command("MAIL FROM:<bob@example.org>")).code, 553);
  });
  await served({}, async (client, login) => {
    match((await client.command("EHLO c")).text, /AUTH PLAIN LOGIN/);
    equal(await login({}), "504");
  });
});

Deno.test("U02 U03 U05 SCRAM: a wrong password, an account without keys and nobody are told the same", async () => {
  for (
    const how of [{ password: "wrong" }, { user: "bob@example.org" }, { user: "mallory@example.org" }, {
      user: "x",
    }]
  ) {
    await served({ scram: true }, async (client, login) => {
      await client.command("EHLO c");
      equal(await login(how), "334 535", JSON.stringify(how));
      equal((await client.command(`MAIL FROM:<${alice}>`)).code, 530);
    });
  }
  await served({ scram: true }, async (client, login) => {
    await client.command("EHLO c");
    equal(await login({ header: "n,a=bob@example.org," }), "535", "as somebody else");
    equal((await client.command("AUTH SCRAM-SHA-256 bm9uc2Vuc2U=")).code, 501);
    equal((await client.command("AUTH SCRAM-SHA-256")).code, 334);
    equal((await client.command("*")).code, 501);
    // The last word of the client is empty: with another the login is not one.
    const { first, last } = scramClient({ user: alice, password: "right" });
    const challenge = await client.command(`AUTH SCRAM-SHA-256 ${btoa(first)}`);
    equal((await client.command(btoa(last(atob(challenge.text))))).code, 334);
    equal((await client.command(btoa("more"))).code, 501);
    equal((await client.command(`MAIL FROM:<${alice}>`)).code, 530);
    equal(await login({}), "334 334 235");
  });
});

Deno.test("U04 SCRAM: failures count, and the third closes", () =>
  served({ scram: true }, async (client, login) => {
    await client.command("EHLO c");
    equal(await login({ password: "wrong" }), "334 535");
    equal(await login({ password: "wrong" }), "334 535");
    equal(await login({ password: "wrong" }), "334 421");
  }));
