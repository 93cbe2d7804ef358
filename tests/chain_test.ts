import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { type AskedHook, Chain, type Matter, type Ruling } from "../server/chain.ts";
import { ClientSession } from "../server/envelope.ts";
import type { Instance } from "../server/generation.ts";
import type { DataCall, Hooks } from "../server/plugin.ts";
import { accept, defer, disconnect, reject } from "../server/verdict.ts";
import { FakeClock } from "../server/testing/clock.ts";
import { memoryLog } from "../server/testing/log.ts";
import { mailboxes, testServer } from "../server/testing/mod.ts";
import { definePlugin } from "../server/plugin.ts";

/** A chain of handlers of one hook; what they return need not be a verdict. */
function rig(hook: keyof Hooks, ...plugins: (Partial<Instance> & { says?: (...all: never[]) => unknown })[]) {
  const clock = new FakeClock();
  const log = memoryLog();
  const instances = plugins.map(({ says, ...rest }, i): Instance => ({
    name: `p${i + 1}`,
    handlers: says ? { [hook]: says } : {},
    timeout: 30_000,
    onError: "defer",
    roles: ["mx", "submission"],
    mechanisms: [],
    observe: false,
    ...rest,
  }));
  const generation = {
    number: 1,
    instances,
    owners: new Map(),
    transports: new Map(),
    dispose: () => Promise.resolve(),
  };
  const chain = new Chain(generation, clock, log);
  const session = new ClientSession("S1", "mx", "smtp", {
    address: "192.0.2.1",
    network: "192.0.2.0/24",
    port: 1,
  });
  const ask = (matter: Matter = {}) =>
    chain.ask(hook as "mail", matter, (handler, call) => handler(session, undefined as never, call));
  return { chain, clock, log, session, ask };
}

/** A ruling in a few words. */
function told(ruling: Ruling): string {
  switch (ruling.kind) {
    case "silence":
      return ruling.unsure ? "unsure" : "silence";
    case "objection":
      return `${ruling.by} ${ruling.verdict.status}`;
    case "claim":
      return `${ruling.by.name} accepts`;
    case "failure":
      return `${ruling.by} failed`;
  }
}

const no = reject("5.7.1", "No");
const later = defer("4.7.1", "Later");
const asked: AskedHook[] = [
  "connect",
  "helo",
  "auth",
  "mail",
  "rcpt",
  "resolve",
  "data",
  "dataFor",
  "queue",
  "route",
  "vrfy",
  "expn",
  "command",
];

Deno.test("chain: the first objection ends it, in the configuration's order", async () => {
  const calls: number[] = [];
  const note = (n: number, verdict?: unknown) => () => {
    calls.push(n);
    return verdict;
  };
  const { ask } = rig(
    "mail",
    { says: note(1) },
    { says: note(2, Promise.resolve()) },
    { says: note(3, Promise.resolve(later)) },
    { says: note(4, no) },
  );
  equal(told(await ask()), "p3 4.7.1");
  deepEqual(calls, [1, 2, 3]);
});

Deno.test("chain: handlers that don't wait cost no Promise", () => {
  ok(!(rig("mail", { says: () => {} }, { says: () => no }).ask() instanceof Promise));
  equal(told(rig("mail", {}).ask() as Ruling), "silence");
});

Deno.test("chain: at rcpt an accept doesn't end it, elsewhere it does", async () => {
  const yes = () => accept();
  equal(told(await rig("rcpt", { says: yes }, { says: () => no }).ask()), "p2 5.7.1");
  equal(told(await rig("rcpt", { says: () => {} }, { says: yes }, { says: yes }).ask()), "p2 accepts");
  equal(
    told(await rig("rcpt", { says: yes }, { says: () => Promise.reject(new Error()) }).ask()),
    "p2 failed",
    "who may have objected has failed",
  );
  const to = () => accept({ to: ["a@b.example"] });
  equal(told(await rig("resolve", { says: to }, { says: () => no }).ask()), "p1 accepts");
});

const failures: Record<string, () => unknown> = {
  throws: () => {
    throw new Error("broken");
  },
  "throws no Error": () => {
    throw null;
  },
  rejects: () => Promise.reject(new Error("broken")),
  "answers true": () => true,
  "answers a string": () => "550 no",
  "answers null": () => null,
  "answers the function": () => reject,
  "answers another status": () => ({ ...no, status: "4.7.1" }),
  "answers half a status": () => ({ ...later, status: "4.7" }),
  "answers a strange code": () => ({ ...no, code: 250 }),
  "answers two lines": () => reject("5.7.1", "a\r\n250 b"),
  "answers NUL": () => Promise.resolve(defer("4.7.1", "a\0")),
  "answers no text": () => reject("5.7.1", ""),
  "answers a claim of another hook": () => accept({ hops: [], reply: "", code: 1 } as never),
};
for (const [name, says] of Object.entries(failures)) {
  Deno.test(`chain: a plugin that ${name} has failed, in every hook`, async () => {
    for (const hook of asked) {
      if (hook === "rcpt" && name.includes("claim")) continue; // there an accept with anything is a yes
      const { ask, log } = rig(hook, { says }, { says: () => no });
      equal(told(await ask()), "p1 failed", hook);
      const [line] = log.of("plugin failed");
      deepEqual([line?.level, line?.fields.plugin, line?.fields.hook], ["error", "p1", hook]);
    }
  });
}

Deno.test("chain: onError skip passes over it, but a no is unsure then; reject is a permanent no", async () => {
  const broken = () => {
    throw new Error("broken");
  };
  const slowly = () => Promise.reject(new Error("broken"));
  for (const says of [broken, slowly]) {
    equal(told(await rig("resolve", { says, onError: "skip" }).ask()), "unsure");
    equal(told(await rig("resolve", { says, onError: "skip" }, { says: () => no }).ask()), "p2 5.7.1");
    equal(told(await rig("mail", { says, onError: "reject" }, { says: () => {} }).ask()), "p1 5.3.0");
  }
  const yes = () => accept();
  equal(told(await rig("rcpt", { says: yes }, { says: broken, onError: "skip" }).ask()), "p1 accepts");
  equal(told(await rig("rcpt", { says: broken, onError: "skip" }, { says: yes }).ask()), "p2 accepts");
});

Deno.test("chain: an answer that comes too late is a failure, and its signal has aborted", async () => {
  const signals: AbortSignal[] = [];
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const says = (_session: never, _transaction: never, call: { signal: AbortSignal }) => {
    signals.push(call.signal);
    return promise;
  };
  const { ask, clock, log } = rig("mail", { says: says as never, timeout: 10_000 }, { says: () => no });
  const ruling = ask();
  await clock.advance(9_999);
  equal(signals[0]!.aborted, false);
  await clock.advance(1);
  equal(told(await ruling), "p1 failed");
  equal(signals[0]!.aborted, true);
  ok(String(log.of("plugin failed")[0]!.fields.error).includes("no answer within 10000 ms"));
  resolve(no); // nobody listens any more
  deepEqual(clock.pending, []);
});

Deno.test("chain: a signal looked at after the time-out has aborted, too", async () => {
  let seen: AbortSignal | undefined;
  const { promise, resolve } = Promise.withResolvers<void>();
  const says = async (_session: never, _transaction: never, call: { signal: AbortSignal }) => {
    await promise;
    seen = call.signal;
  };
  const { ask, clock } = rig("mail", { says: says as never });
  const ruling = ask();
  await clock.advance("30s");
  equal(told(await ruling), "p1 failed");
  resolve();
  await clock.advance(0);
  equal(seen?.aborted, true);
});

Deno.test("chain: a client that goes ends the wait; that is no plugin's error", async () => {
  const gone = new AbortController();
  let signal: AbortSignal | undefined;
  const says = (_session: never, _transaction: never, call: { signal: AbortSignal }) => {
    signal = call.signal;
    return new Promise(() => {});
  };
  const { ask, clock, log } = rig("mail", { says: says as never }, { says: () => no });
  const ruling = ask({ gone: gone.signal });
  gone.abort(new Error("gone"));
  equal(told(await ruling), "p1 failed");
  equal(signal?.aborted, true);
  equal(log.of("plugin failed").length, 0);
  deepEqual(clock.pending, []);
  equal(told(await ask({ gone: gone.signal })), "p1 failed", "asked when it was gone already");
});

Deno.test("chain: roles", async () => {
  const { ask, session } = rig("mail", { says: () => no, roles: ["submission"] }, { says: () => later });
  equal(told(await ask({ session })), "p2 4.7.1");
  equal(told(await ask()), "p1 5.7.1", "no session: resolve asks everybody");
});

Deno.test("chain: an observed plugin is asked, logged and not obeyed", async () => {
  const heard: string[] = [];
  const matter: Matter = {
    heard: ({ plugin, said, observed }) =>
      heard.push(`${plugin} ${typeof said === "string" ? said : said.verdict} ${observed}`),
  };
  const { ask, log } = rig(
    "mail",
    { says: () => no, observe: true },
    { says: () => Promise.reject(new Error("broken")), observe: true },
    { says: () => later },
  );
  equal(told(await ask(matter)), "p3 4.7.1");
  deepEqual(heard, ["p1 reject true", "p2 failed true", "p3 defer false"]);
  equal(log.of("observed")[0]?.fields.verdict, "reject 5.7.1 No");
});

Deno.test("chain: who wants to hear all hears of silence, time, edits and why somebody failed", async () => {
  const heard: unknown[] = [];
  const matter: Matter = {
    hearsAll: true,
    about: "a@b.example",
    heard: ({ plugin, said, took, edits, why, about }) =>
      heard.push([plugin, said, took, edits, why?.split("\n")[0], about]),
    turn: ({ name }) => ({ edits: () => name === "p1" ? ["prependHeader X"] : [], close() {} }),
  };
  const { ask } = rig(
    "mail",
    { says: () => undefined },
    {
      says: () => {
        throw new Error("broken");
      },
      onError: "skip",
    },
    { says: () => no },
  );
  await ask(matter);
  deepEqual(heard, [
    ["p1", "nothing", 0, ["prependHeader X"], undefined, "a@b.example"],
    ["p2", "failed", 0, undefined, "Error: broken", "a@b.example"],
    ["p3", no, 0, undefined, undefined, "a@b.example"],
  ]);
});

Deno.test("chain: what an observed plugin edits is told though it says nothing, others' silence is not", async () => {
  const heard: unknown[] = [];
  const matter: Matter = {
    heard: ({ plugin, said, edits }) => heard.push([plugin, said, edits]),
    turn: () => ({ edits: () => ["setSender"], close() {} }),
  };
  const { ask, log } = rig("mail", { says: () => undefined }, { says: () => undefined, observe: true });
  await ask(matter);
  deepEqual(heard, [["p2", "nothing", ["setSender"]]]);
  deepEqual(log.of("observed").map(({ fields }) => fields.edits), [["setSender"]]);
});

Deno.test("chain: each plugin's turn is closed when its answer is there, whatever it is", async () => {
  const open: string[] = [];
  const matter: Matter = {
    turn: ({ name }) => {
      open.push(`open ${name}`);
      return { close: () => void open.push(`close ${name}`) };
    },
  };
  const never = () => new Promise(() => {});
  const { ask, clock } = rig(
    "data",
    { says: () => {} },
    { says: () => Promise.resolve() },
    { says: failures.rejects!, onError: "skip" },
    { says: failures.throws!, onError: "skip" },
    { says: never },
  );
  const ruling = ask(matter);
  await clock.advance("30s");
  equal(told(await ruling), "p5 failed");
  deepEqual(open, [1, 2, 3, 4, 5].flatMap((n) => [`open p${n}`, `close p${n}`]));
});

Deno.test("chain: reports reach everybody, and failures in them are only logged", async () => {
  const heard: number[] = [];
  const { chain, log, session, clock } = rig(
    "disconnect",
    { says: failures.throws! },
    { says: () => void heard.push(2) },
    { says: failures.rejects! },
    { says: () => void heard.push(4) },
  );
  chain.report("disconnect", { session, reason: "quit", messages: 0 });
  await clock.advance(0);
  deepEqual(heard, [2, 4]);
  deepEqual(log.of("plugin failed").map(({ fields }) => fields.plugin), ["p1", "p3"]);
});

Deno.test("chain: dryRun reaches the handler", async () => {
  const seen: boolean[] = [];
  const says = (_session: never, _transaction: never, { dryRun }: { dryRun: boolean }) =>
    void seen.push(dryRun);
  const { ask } = rig("mail", { says: says as never });
  await ask();
  await ask({ dryRun: true });
  deepEqual(seen, [false, true]);
});

// ── What a failing plugin means on the wire (DESIGN §7, failing) ───────────────────────────────────

/** The code a client hears when the handler of this hook throws. */
async function said(hook: AskedHook, how: { onError?: "skip" | "reject" } = {}): Promise<string> {
  const broken = definePlugin({
    name: "broken",
    setup(on) {
      on(hook as "mail", () => {
        throw new Error("broken");
      });
    },
  });
  await using server = await testServer({
    plugins: [{ use: broken, ...how }, mailboxes(["example.org"])],
  });
  const client = server.connect({ tls: "implicit", auth: true });
  const greeting = await client.reply();
  if (hook === "connect") return `${greeting.code}`;
  const hello = await client.command("EHLO client.example");
  if (hook === "helo") return `${hello.code}`;
  if (hook === "auth") return `${(await client.login("a", "b")).code}`;
  if (hook === "vrfy" || hook === "expn") return `${(await client.command(`${hook} x`)).code}`;
  if (hook === "command") return `${(await client.command("XFOO"))?.code}`;
  const { reply } = await server.send({ to: "alice@example.org" });
  equal(server.delivered.length, reply.code === 250 ? 1 : 0);
  return `${reply.code} ${reply.status}`;
}

const wire: Partial<Record<AskedHook, string>> = {
  connect: "421",
  helo: "421",
  auth: "454",
  mail: "451 4.3.0",
  rcpt: "451 4.3.0",
  resolve: "451 4.3.0",
  data: "451 4.3.0",
  dataFor: "451 4.3.0",
  queue: "451 4.3.0",
  vrfy: "252",
  expn: "451",
  command: "451",
};
for (const [hook, reply] of Object.entries(wire)) {
  Deno.test(`chain: a handler of ${hook} that throws is ${reply}`, async () => {
    equal(await said(hook as AskedHook), reply);
  });
}

Deno.test("chain: onError skip at a claim that nobody else makes is temporary, never the permanent default", async () => {
  equal(await said("rcpt", { onError: "skip" }), "250 2.0.0", "somebody else knows the recipient");
  equal(await said("auth", { onError: "skip" }), "454");
  const broken = definePlugin({
    name: "broken",
    setup(on, _options, host) {
      host.owns(["example.net"]);
      on("resolve", () => {
        throw new Error("broken");
      });
    },
  });
  await using server = await testServer({
    plugins: [{ use: broken, onError: "skip" }, mailboxes(["example.org"])],
  });
  equal((await server.send({ to: "a@example.net" })).reply.code, 451, "owned");
  equal((await server.send({ to: "a@elsewhere.example" })).reply.code, 451, "foreign");
  equal((await server.send({ to: "a@example.org" })).reply.code, 250);
});

Deno.test("chain: disconnect says it and closes, at every gate", async () => {
  for (const hook of ["connect", "helo", "mail", "rcpt", "data"] as const) {
    for (
      const [verdict, code] of [[disconnect("4.7.0", "Bye"), 421], [disconnect("5.7.1", "Bye"), 554]] as const
    ) {
      const plugin = definePlugin({
        name: "bouncer",
        setup(on) {
          on(hook as "mail", () => verdict);
        },
      });
      await using server = await testServer({ plugins: [plugin, mailboxes(["example.org"])] });
      const sent = await server.send({ to: "alice@example.org" });
      deepEqual([sent.outcome, sent.reply.code, sent.reply.text], ["refused", code, "Bye"], hook);
      equal(server.delivered.length, 0);
    }
  }
});

Deno.test("chain: a plugin that says it is at work has its time anew, ten times in all", async () => {
  let progress = () => {};
  const says = (...all: never[]) => {
    progress = () => (all.at(-1)! as DataCall).progress();
    return new Promise<never>(() => {});
  };
  const { ask, clock } = rig("data", { says, timeout: 1000 });
  let over = false;
  const asked = Promise.resolve(ask()).finally(() => over = true);
  await clock.advance(0);
  for (let i = 0; i < 11; i++) {
    progress();
    await clock.advance(900);
    equal(over, false, `after ${i}`);
  }
  progress();
  await clock.advance(900);
  ok(over);
  equal(told(await asked), "p1 failed");
});
