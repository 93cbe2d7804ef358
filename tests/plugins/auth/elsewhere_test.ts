/** Accounts elsewhere: a web service, and an SQLite database; what is said when they can't be asked. */
import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import {
  type AccountKeeper,
  type Asked,
  LoginsElsewhere,
  type Said,
} from "../../../plugins/auth/elsewhere.ts";
import { hashing, Passwords } from "../../../plugins/auth/hash.ts";
import { http, httpOption } from "../../../plugins/auth/http.ts";
import auth from "../../../plugins/auth/mod.ts";
import { sql } from "../../../plugins/auth/sql.ts";
import { mailboxes, testServer } from "../../../server/testing/mod.ts";
import { cheapHash, fakeHost, inDirectory, patient } from "./rig.ts";

const alice = "alice@example.org";
const asked: Asked = { name: alice, password: "p\u00e4ss", network: "192.0.2.0/24", client: "192.0.2.7" };

/** A web service, and how it is asked. */
async function service(
  answer: (request: Request, body: Record<string, unknown>) => Response | Promise<Response>,
  use: (keeper: AccountKeeper) => Promise<void>,
  more: Record<string, unknown> = {},
): Promise<void> {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => await answer(request, request.method === "POST" ? await request.json() : {}),
  );
  const url = `http://127.0.0.1:${server.addr.port}/login?key=k3y`;
  try {
    await use(http({ ...httpOption.parse({ url }), ...more }));
  } finally {
    await server.shutdown();
  }
}

Deno.test("auth http: asks by POST, with the password in the body and nowhere else", () =>
  inDirectory(async (directory) => {
    const tokenFile = `${directory}/token`;
    await Deno.writeTextFile(tokenFile, "t0ken\n");
    const seen: unknown[] = [];
    await service((request, body) => {
      seen.push([request.method, request.headers.get("Authorization"), request.url.includes("ss"), body]);
      return Response.json({
        user: "Alice@Example.ORG",
        sendAs: ["Sales@example.org", "*@example.net"],
        more: 1,
      });
    }, async (keeper) => {
      deepEqual(await keeper.ask(asked, patient), {
        kind: "right",
        name: alice,
        sendAs: ["sales@example.org", "*@example.net"],
      });
    }, { tokenFile });
    deepEqual(seen, [["POST", "Bearer t0ken", false, {
      user: alice,
      password: "p\u00e4ss",
      client: "192.0.2.7",
    }]]);
  }));

Deno.test("auth http: 401, 403 and 404 are a no; all else says nothing of the password, and no error repeats it", async () => {
  for (const status of [401, 403, 404]) {
    await service(() => new Response("no", { status }), async (keeper) => {
      deepEqual(await keeper.ask(asked, patient), { kind: "wrong" });
    });
  }
  const broken: [Response, RegExp][] = [
    [new Response("no", { status: 500 }), /it answers 500/],
    [new Response(null, { status: 204 }), /it answers 204/],
    [new Response(null, { status: 302, headers: { Location: "/" } }), /it answers 302/],
    [new Response("<html>"), /not JSON/],
    [Response.json({}), /the account's name is not an address/],
    [Response.json({ user: alice, sendAs: ["x"] }), /an entry of sendAs/],
    [new Response("x".repeat(70_000)), /cut off, or too long/],
  ];
  for (const [response, why] of broken) {
    await service(() => response, (keeper) =>
      rejects(keeper.ask(asked, patient), (error: Error) => {
        match(error.message, why);
        equal(/p\u00e4ss|k3y/.test(error.message), false, error.message);
        return true;
      }));
  }
  const { url } = { url: "http://127.0.0.1:1/login" };
  await rejects(http(httpOption.parse({ url })).ask(asked, patient), {
    message: `http: ${url}: it can't be reached`,
  });
});

Deno.test("auth http: passwords cross no network in the clear, and none stands in the URL", () => {
  for (
    const url of [
      "http://users.example.org/login",
      "http://127.0.0.1.example.org/",
      "https://u:p@example.org/",
      "ftp://x/",
    ]
  ) {
    equal(httpOption.safeParse({ url }).success, false, url);
  }
  for (
    const url of [
      "https://users.example.org/login",
      "http://127.0.0.1:8080/login",
      "http://[::1]/",
      "http://localhost/",
    ]
  ) {
    equal(httpOption.safeParse({ url }).success, true, url);
  }
});

async function database(use: (keeper: AccountKeeper, db: DatabaseSync) => Promise<void>): Promise<void> {
  await inDirectory(async (directory) => {
    const path = `${directory}/users.db`;
    using db = new DatabaseSync(path);
    db.exec("CREATE TABLE users (address TEXT, hash TEXT); CREATE TABLE aliases (address TEXT, sender TEXT)");
    const add = db.prepare("INSERT INTO users VALUES (?, ?)");
    add.run(alice, cheapHash("right"));
    add.run("broken@example.org", "secret");
    add.run("null@example.org", null);
    for (let i = 0; i < 2; i++) add.run("twice@example.org", cheapHash("right"));
    db.prepare("INSERT INTO aliases VALUES (?, ?)").run(alice, "Sales@example.org");
    const { derive, close } = hashing();
    const host = fakeHost();
    const keeper = await sql(
      {
        database: path,
        query: "SELECT hash FROM users WHERE address = :address",
        sendAs: "SELECT sender FROM aliases WHERE address = :local || '@' || :domain",
        timeout: 10_000,
      },
      new Passwords(derive),
      host,
    );
    try {
      await use(keeper, db);
    } finally {
      keeper.close();
      close();
    }
  });
}

Deno.test("auth sql: the hash is compared here; a changed password holds at once; nobody is wrong", () =>
  database(async (keeper, db) => {
    const ask = (name: string, password: string) => keeper.ask({ ...asked, name, password }, patient);
    deepEqual(await ask(alice, "right"), { kind: "right", name: alice, sendAs: ["sales@example.org"] });
    deepEqual(await ask(alice, "wrong"), { kind: "wrong" });
    deepEqual(await ask("nobody@example.org", "right"), { kind: "wrong" });
    deepEqual(await ask("null@example.org", ""), { kind: "wrong" });
    deepEqual(await ask("x' OR '1'='1@example.org", "right"), { kind: "wrong" });
    await rejects(ask("broken@example.org", "secret"), (error: Error) => {
      match(error.message, /^sql: .*users\.db: broken@example\.org: not a password hash/);
      return !error.message.includes("secret");
    });
    await rejects(ask("twice@example.org", "right"), /more than one row/);
    db.prepare("UPDATE users SET hash = ? WHERE address = ?").run(cheapHash("new"), alice);
    deepEqual(await ask(alice, "right"), { kind: "wrong" });
    deepEqual((await ask(alice, "new")).kind, "right");
  }));

/** Logins over a keeper that says what it is told to. */
function logins(say: (asked: Asked, signal: AbortSignal) => Promise<Said> | Said) {
  const host = fakeHost();
  const names: string[] = [];
  const keeper: AccountKeeper = {
    about: "theirs",
    timeout: 5000,
    close() {},
    ask: async (asked, signal) => {
      names.push(asked.name);
      return await say(asked, signal);
    },
  };
  const elsewhere = new LoginsElsewhere(keeper, host);
  const attempt = async (user = alice, signal = patient) =>
    (await elsewhere.attempt({ user, password: "p", network: "192.0.2.0/24", client: "192.0.2.7" }, signal))
      .outcome;
  return { ...host, names, attempt };
}

Deno.test("U03 U04 auth elsewhere: failures back off; what is no address is asked about, and never logs in", async () => {
  const { attempt, names } = logins(({ name }) =>
    name === "bob@example.org" ? { kind: "wrong" } : { kind: "right", name, sendAs: [] }
  );
  equal(await attempt("Alice@Example.org"), "right");
  equal(await attempt("alice"), "wrong");
  deepEqual(names, [alice, "nobody@invalid"]);
  let outcome = "wrong";
  for (let i = 0; i < 20 && outcome === "wrong"; i++) outcome = await attempt("bob@example.org");
  equal(outcome, "wait");
  equal(await attempt(), "right", "others go on");
});

Deno.test("U04 auth elsewhere: who goes before the no comes has guessed wrong all the same", async () => {
  let asked = Promise.withResolvers<PromiseWithResolvers<Said>>();
  const { attempt } = logins((_asked, signal) => {
    const answer = Promise.withResolvers<Said>();
    signal.addEventListener("abort", () => answer.reject(signal.reason), { once: true });
    asked.resolve(answer);
    return answer.promise;
  });
  for (let guess = 0; guess < 3; guess++) {
    const gone = new AbortController();
    const attempted = attempt(alice, gone.signal).catch(() => "nothing was said");
    const answer = await asked.promise;
    gone.abort(new Error("the client has gone"));
    answer.resolve({ kind: "wrong" });
    equal(await attempted, "wrong");
    asked = Promise.withResolvers();
  }
  equal(await attempt(), "wait");
});

Deno.test("auth elsewhere: one network has no more than 16 questions open", async () => {
  const answer = Promise.withResolvers<Said>();
  const { attempt } = logins(() => answer.promise);
  const all = Array.from({ length: 17 }, (_, i) => attempt(`user${i}@example.org`));
  equal(await all[16], "busy");
  answer.resolve({ kind: "wrong" });
  deepEqual(await Promise.all(all.slice(0, 16)), Array(16).fill("wrong"));
  equal(await attempt("another@example.org"), "wrong");
});

Deno.test("auth elsewhere: who doesn't answer in time has said nothing, and it is no failure of the client's", async () => {
  let aborted = false;
  const asked = Promise.withResolvers<void>();
  const { attempt, clock } = logins((_asked, signal) => {
    signal.addEventListener("abort", () => aborted = true);
    asked.resolve();
    return new Promise<Said>(() => {});
  });
  const late = attempt();
  await asked.promise;
  await Promise.all([rejects(late, { message: "theirs: no answer within 5 s" }), clock.advance(5000)]);
  equal(aborted, true);
  for (let i = 0; i < 10; i++) {
    const broken = logins(() => Promise.reject(new Error("down")));
    await rejects(broken.attempt(), { message: "down" });
  }
});

Deno.test("auth: one back end at a time; a web service that is down is 454, one that says yes lets relay", async () => {
  const url = "http://127.0.0.1:1/";
  const wrong = (options: object) =>
    auth.options!.safeParse({ http: { url }, ...options }).error?.issues.map(({ message }) => message);
  deepEqual(wrong({ dovecot: { socket: "/run/auth" } }), [
    'cannot stand beside "dovecot": accounts are in one place',
  ]);
  deepEqual(wrong({ scram: true }), ['needs keys, which only the users file has: not with "http"']);
  const log = async (http: { url: string }) => {
    await using server = await testServer({
      plugins: [{ use: auth, with: { http } }, mailboxes(["example.net"])],
    });
    const client = server.connect({ role: "submission", tls: "implicit" });
    await client.reply();
    await client.command("EHLO c");
    const { code } = await client.command(`AUTH PLAIN ${btoa(`\0${alice}\0p`)}`);
    if (code !== 235) return code;
    await client.command(`MAIL FROM:<${alice}>`);
    return (await client.command("RCPT TO:<x@elsewhere.example>")).code;
  };
  equal(await log({ url }), 454);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => Response.json({ user: alice }),
  );
  equal(await log({ url: `http://127.0.0.1:${server.addr.port}/` }), 250);
  await server.shutdown();
});
