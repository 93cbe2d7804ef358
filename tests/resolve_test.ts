import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { Chain } from "../server/chain.ts";
import type { Instance } from "../server/generation.ts";
import { accept, defer, type Hooks, reject } from "../server/plugin.ts";
import { type Resolution, resolve } from "../server/resolve.ts";
import { parseAddress, parsePath } from "../server/smtp/address.ts";
import { FakeClock } from "../server/testing/clock.ts";
import { memoryLog } from "../server/testing/log.ts";

const via = { transport: "box" };
type Answer = ReturnType<Hooks["resolve"]>;

/** A chain with one plugin that knows this table, and owns example.org. */
function chainOf(table: (address: string) => Answer, onError: Instance["onError"] = "defer") {
  const asked: string[] = [];
  const owner: Instance = {
    name: "table",
    handlers: {
      resolve(address) {
        asked.push(address.address);
        return table(address.address);
      },
    },
    timeout: 30_000,
    onError,
    roles: ["mx"],
    mechanisms: [],
    observe: false,
  };
  const generation = {
    number: 1,
    instances: [owner],
    owners: new Map([["example.org", owner], ["second.example", owner]]),
    transports: new Map(),
    dispose: () => Promise.resolve(),
  };
  return { chain: new Chain(generation, new FakeClock(), memoryLog()), asked };
}

async function resolved(
  table: Readonly<Record<string, Answer>>,
  text: string,
): Promise<Resolution> {
  const { chain } = chainOf((address) => Object.hasOwn(table, address) ? table[address] : undefined);
  return await resolve(chain, parseAddress(text)!, {});
}

/** The final targets, or why there are none. */
function told(resolution: Resolution): string {
  switch (resolution.kind) {
    case "claimed":
      return resolution.targets.map(({ address, via }) => `${address} ${via}`).join(", ");
    case "refused":
      return `${resolution.reply.code} ${resolution.reply.status} by ${resolution.by}`;
    case "foreign":
      return resolution.unsure ? "foreign?" : "foreign";
  }
}

const box = accept({ via });
const to = (...addresses: string[]) => accept({ to: addresses });

Deno.test("resolve: ours, not ours, unknown", async () => {
  const table = { "a@example.org": box, "x@elsewhere.example": box };
  equal(told(await resolved(table, "a@example.org")), "a@example.org box");
  equal(told(await resolved(table, "b@example.org")), "550 5.1.1 by table");
  equal(told(await resolved(table, "b@elsewhere.example")), "foreign");
  equal(
    told(await resolved(table, "x@elsewhere.example")),
    "x@elsewhere.example box",
    "a claim needs no owner",
  );
  equal(told(await resolved(table, "b@EXAMPLE.org")), "550 5.1.1 by table", "domains have no case");
  equal(told(await resolved(table, "b@sub.example.org")), "foreign");
});

Deno.test("resolve: objections and failures are what they are", async () => {
  equal(
    told(await resolved({ "a@example.org": reject("5.2.1", "gone") }, "a@example.org")),
    "550 5.2.1 by table",
  );
  equal(told(await resolved({ "a@b.example": defer("4.2.2", "full") }, "a@b.example")), "451 4.2.2 by table");
  for (
    const [onError, ours, foreign] of [
      ["defer", "451 4.3.0 by table", "451 4.3.0 by table"],
      ["skip", "451 4.3.0 by table", "foreign?"],
      ["reject", "550 5.3.0 by table", "550 5.3.0 by table"],
    ] as const
  ) {
    const { chain } = chainOf(() => {
      throw new Error("broken");
    }, onError);
    equal(told(await resolve(chain, parseAddress("a@example.org")!, {})), ours, onError);
    equal(told(await resolve(chain, parseAddress("a@b.example")!, {})), foreign, onError);
  }
});

Deno.test("resolve: a mailbox costs no Promise where its plugin wants none", () => {
  const { chain } = chainOf(() => box);
  ok(!(resolve(chain, parseAddress("a@example.org")!, {}) instanceof Promise));
});

Deno.test("resolve: expansion, chains, doubles and loops", async () => {
  const table = {
    "a@example.org": box,
    "b@example.org": box,
    "list@example.org": to("a@example.org", "B@example.org", "b@example.org", "sub@example.org"),
    "B@example.org": box,
    "sub@example.org": to("a@example.org", "out@elsewhere.example", "list@example.org"),
    "keep@example.org": to("keep@example.org", "a@example.org"),
    "self@example.org": to("self@example.org"),
    "ping@example.org": to("pong@example.org"),
    "pong@example.org": to("ping@example.org"),
  };
  equal(
    told(await resolved(table, "list@example.org")),
    "a@example.org box, B@example.org box, out@elsewhere.example smtp",
  );
  equal(told(await resolved(table, "keep@example.org")), "a@example.org box");
  equal(told(await resolved(table, "self@example.org")), "550 5.4.6 by table");
  equal(
    told(await resolved(table, "SELF@example.org")),
    "550 5.1.1 by table",
    "this table knows no other case",
  );
  equal(told(await resolved(table, "ping@example.org")), "550 5.4.6 by table");
});

Deno.test("resolve: what nobody here claims leaves by `onward`, also behind an alias that says nothing of it", async () => {
  const onward = { transport: "relay" };
  const table = {
    "a@example.org": box,
    "f@example.org": accept({ to: ["a@example.org", "x@far.example", "alias@example.org"], onward }),
    "alias@example.org": to("y@far.example", "other@example.org"),
    "other@example.org": accept({ to: ["z@far.example"], onward: { transport: "other" } }),
    "before@example.org": to("f@example.org", "w@far.example"),
  };
  equal(
    told(await resolved(table, "f@example.org")),
    "a@example.org box, x@far.example relay, y@far.example relay, z@far.example other",
  );
  equal(
    told(await resolved(table, "before@example.org")),
    "w@far.example smtp, a@example.org box, x@far.example relay, y@far.example relay, z@far.example other",
  );
});

Deno.test("resolve: a target that defers defers the alias; refused ones are its own fault", async () => {
  const table = {
    "a@example.org": box,
    "full@example.org": defer("4.2.2", "full"),
    "gone@example.org": reject("5.2.1", "gone"),
    "some@example.org": to("gone@example.org", "unknown@example.org", "a@example.org", "not an address"),
    "late@example.org": to("a@example.org", "gone@example.org", "full@example.org"),
    "none@example.org": to("gone@example.org", "unknown@example.org"),
    "bad@example.org": to("not an address", "postmaster"),
  };
  const some = await resolved(table, "some@example.org");
  equal(told(some), "a@example.org box");
  deepEqual(some.kind === "claimed" && some.refused.map(({ address, reply }) => `${address} ${reply.code}`), [
    "gone@example.org 550",
    "unknown@example.org 550",
    "not an address 501",
  ]);
  equal(told(await resolved(table, "late@example.org")), "451 4.2.2 by table");
  equal(told(await resolved(table, "none@example.org")), "550 5.2.1 by table", "the first refusal");
  equal(told(await resolved(table, "bad@example.org")), "501 5.1.3 by table");
});

Deno.test("resolve: a target of which nobody knows whether it is ours defers", async () => {
  const { chain } = chainOf((address) => {
    if (address === "list@example.org") return to("x@elsewhere.example");
    throw new Error("broken");
  }, "skip");
  equal(told(await resolve(chain, parseAddress("list@example.org")!, {})), "451 4.3.0 by table");
});

Deno.test("resolve: aliases of aliases, ten deep", async () => {
  const chainOfAliases = (length: number) =>
    chainOf((address) => {
      const n = Number(/^a([0-9]+)@/.exec(address)![1]);
      return n < length ? to(`a${n + 1}@example.org`) : box;
    }).chain;
  const start = parseAddress("a0@example.org")!;
  equal(told(await resolve(chainOfAliases(10), start, {})), "a10@example.org box");
  equal(told(await resolve(chainOfAliases(11), start, {})), "550 5.4.6 by table");
});

Deno.test("resolve: a thousand targets, and not one more; each is asked about once", async () => {
  const alias = (count: number) => {
    const targets = Array.from({ length: count }, (_, i) => `t${i}@example.org`);
    return chainOf((address) => address.startsWith("list@") ? to(...targets, ...targets) : box);
  };
  const list = parseAddress("list@example.org")!;
  const { chain, asked } = alias(1000);
  const all = await resolve(chain, list, {});
  equal(all.kind === "claimed" && all.targets.length, 1000);
  equal(asked.length, 1001);
  equal(told(await resolve(alias(1001).chain, list, {})), "452 4.5.3 by table");
});

Deno.test("resolve: an expansion that doubles at every step stays bounded", async () => {
  let n = 0;
  const { chain, asked } = chainOf(() => to(`x${n++}@example.org`, `x${n++}@example.org`));
  const resolution = await resolve(chain, parseAddress("a@example.org")!, {});
  equal(resolution.kind, "refused");
  ok(asked.length <= 1001);
});

Deno.test("resolve: A01 postmaster alone is the first owned domain's, in any case", async () => {
  const postmaster = parsePath("<PostMaster>", { utf8: false, null: false });
  ok(postmaster.kind === "path");
  const ours = chainOf((address) => address === "postmaster@example.org" ? box : undefined);
  equal(told(await resolve(ours.chain, postmaster.address, {})), "postmaster@example.org box");
  const claimed = chainOf((address) => address.toLowerCase() === "postmaster" ? to("a@example.org") : box);
  equal(told(await resolve(claimed.chain, postmaster.address, {})), "a@example.org box");
});
