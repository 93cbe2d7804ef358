import { deepStrictEqual as deepEqual, ok, strictEqual as equal, throws } from "node:assert/strict";
import type { Instance } from "../server/generation.ts";
import { Facts, type HostServices, makeHost, Registered } from "../server/host.ts";
import { delivered, type Fact, fact, type Session, type Transaction } from "../server/plugin.ts";
import { fakeServices } from "./load/fixture.ts";

const instance = (name: string, observe = false): Instance => ({
  name,
  handlers: {},
  timeout: 1000,
  onError: "defer",
  roles: ["mx"],
  mechanisms: [],
  observe,
});

function host(
  { name = "mine", as, observe = false, facts = new Facts(), services = fakeServices() }: {
    name?: string;
    as?: string;
    observe?: boolean;
    facts?: Facts;
    services?: HostServices;
  } = {},
) {
  const registered = new Registered(instance(as ?? name, observe), as);
  return { ...{ registered, facts }, host: makeHost(registered, services, facts, "mx.example.org") };
}

// Whoever reads or writes about a session looks at nothing of it but which one it is.
const session = () => ({}) as Session;
const transaction = () => ({}) as Transaction;

Deno.test("host: notes are made when first asked for, once, and are private to who made them", () => {
  const { host: mine } = host();
  let made = 0;
  const seen = mine.notes((of: Session) => ({ of, number: ++made }));
  const others = mine.notes((_of: Session) => ({ number: 0 }));
  const [one, two] = [session(), session()];
  equal(made, 0);
  equal(seen(one).number, 1);
  equal(seen(two).number, 2);
  seen(one).number = 17;
  equal(seen(one).number, 17);
  equal(seen(one).of, one);
  equal(others(one).number, 0);
});

Deno.test("host: a fact is read by others as it was told, of the same thing only, and the last word counts", () => {
  const facts = new Facts();
  const spf = fact<{ result: string }>("spf");
  const tell = host({ name: "spf", facts }).host.provides(spf);
  const read = host({ name: "dmarc", facts }).host.needs(spf);
  const [one, two] = [transaction(), transaction()];
  equal(read(one), undefined);
  tell(one, { result: "fail" });
  tell(one, { result: "pass" });
  deepEqual(read(one), { result: "pass" });
  equal(read(two), undefined);
  deepEqual([...facts.about(one)], [["spf", { result: "pass" }]]);
  deepEqual([...facts.about(two)], []);
});

Deno.test("host: falsy facts are facts", () => {
  const facts = new Facts();
  const flag: Fact<boolean, Session> = fact("flag");
  const about = session();
  host({ facts }).host.provides(flag)(about, false);
  equal(host({ facts }).host.needs(flag)(about), false);
});

Deno.test("host: what an observed plugin tells is dropped, and it owns nothing", () => {
  const { host: observed, registered, facts } = host({ observe: true });
  const about = transaction();
  observed.provides(fact<string>("spam"))(about, "yes");
  observed.owns(["example.org"]);
  equal(facts.read(about, "spam"), undefined);
  deepEqual([...registered.provided], ["spam"]);
  equal(registered.domains.size, 0);
});

Deno.test("host: what was registered can be looked at", () => {
  const { host: mine, registered } = host();
  mine.owns(["Example.ORG", "straße.de", "example.org"]);
  mine.needs(fact("a"));
  mine.needs(fact("b"), { optional: true });
  mine.transport("first", () => Promise.resolve(delivered()), { inline: true });
  mine.transport("second", () => Promise.resolve(delivered()), { batch: 50 });
  deepEqual(mine.relay("third", () => undefined), { transport: "third" });
  deepEqual([...registered.domains], ["example.org", "xn--strae-oqa.de"]);
  deepEqual(registered.needed, [{ fact: "a", optional: false }, { fact: "b", optional: true }]);
  deepEqual(
    registered.transports.map(({ by, ...how }) => ({
      ...how,
      ..."deliver" in how ? { deliver: undefined } : { route: undefined },
      by: by.name,
    })),
    [
      { name: "first", inline: true, batch: 1, by: "mine", deliver: undefined },
      { name: "second", inline: false, batch: 50, by: "mine", deliver: undefined },
      { name: "third", by: "mine", route: undefined },
    ],
  );
});

Deno.test("host: under `as:` the first transport has the instance's name, the others stand below it", () => {
  const { host: mine } = host({ as: "archive" });
  const deliver = () => Promise.resolve(delivered());
  deepEqual(mine.transport("maildir", deliver), { transport: "archive" });
  deepEqual(mine.transport("quarantine", deliver), { transport: "archive.quarantine" });
});

for (
  const [name, wrong, message] of [
    [
      "name",
      ["", () => Promise.resolve(delivered())],
      '"" is no name for a transport: letters, digits, . _ - only',
    ],
    ["function", ["t", 5], 'transport "t" has no function that delivers'],
    [
      "batch",
      ["t", () => Promise.resolve(delivered()), { batch: 0 }],
      'transport "t" has batch 0: it is a number of recipients, 1 or more',
    ],
    [
      "timeout",
      ["t", () => Promise.resolve(delivered()), { timeout: 0 }],
      'transport "t" has timeout 0: it is a number of milliseconds',
    ],
  ] as [string, unknown[], string][]
) {
  Deno.test(`host: a transport with a bad ${name} throws`, () => {
    const { host: mine, registered } = host();
    throws(() => (mine.transport as (...all: unknown[]) => unknown)(...wrong), {
      name: "TypeError",
      message,
    });
    equal(registered.transports.length, 0);
  });
}

Deno.test("host: stores of two instances are apart, and go on in the next generation", async () => {
  const services = fakeServices();
  const [a, b] = [host({ name: "a", services }).host, host({ name: "b", services }).host];
  await a.store.set("key", 1, { ttl: "1h" });
  await a.cache.set("key", 2, { ttl: "1h" });
  equal(await b.store.get("key"), undefined);
  equal(await b.cache.get("key"), undefined);
  const next = host({ name: "a", services }).host;
  equal(await next.store.get("key"), 1);
  equal(await next.cache.get("key"), 2);
});

Deno.test("host: the log carries the plugin's name, flattens what is nested, and keeps warnings of setup", () => {
  const services = fakeServices();
  const { host: mine, registered } = host({ services });
  mine.log.info("told", { a: 1, list: ["x", "y"], deep: { b: [1] }, none: null });
  mine.log.warning("users file is missing", { file: "/etc/users.yaml" });
  mine.log.warning("plain");
  registered.close();
  mine.log.warning("later");
  deepEqual(services.log.entries[0], {
    level: "info",
    event: "told",
    fields: { plugin: "mine", a: 1, list: ["x", "y"], deep: '{"b":[1]}', none: null },
  });
  equal(services.log.entries.length, 4);
  deepEqual(registered.warnings, ["users file is missing (file /etc/users.yaml)", "plain"]);
});

Deno.test("host: the state directory is made when first asked for, for its owner only", async () => {
  const state = await Deno.makeTempDir();
  try {
    const { host: mine } = host({ services: fakeServices(`${state}/state`) });
    await Deno.stat(`${state}/state`).then(() => ok(false), () => {});
    equal(mine.state, `${state}/state/plugins/mine`);
    equal(mine.state, `${state}/state/plugins/mine`);
    equal((await Deno.stat(mine.state)).mode! & 0o777, 0o700);
  } finally {
    await Deno.remove(state, { recursive: true });
  }
});

Deno.test("host: clock, DNS and submit are the server's", async () => {
  const services = fakeServices();
  const sent: string[] = [];
  const { host: mine } = host({
    services: {
      ...services,
      dns: { ...services.dns, txt: (name) => Promise.resolve([name]) },
      submit: ({ sender }) => Promise.resolve({ id: `${sent.push(sender)}` }),
    },
  });
  equal(mine.clock.now(), services.clock.now());
  let woken = false;
  const sleeping = mine.clock.sleep(1000).then(() => woken = true);
  await services.clock.advance(999);
  equal(woken, false);
  await services.clock.advance(1);
  await sleeping;
  deepEqual(await mine.dns.txt("example.org"), ["example.org"]);
  deepEqual(await mine.submit({ sender: "a@b.example", recipients: [], content: "" }), { id: "1" });
  deepEqual(sent, ["a@b.example"]);
});
