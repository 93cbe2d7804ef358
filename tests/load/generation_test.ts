import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { bundled } from "../../server/bundled.ts";
import { Source } from "../../server/config/read.ts";
import type { DeliveringTransport, Generation, Instance } from "../../server/generation.ts";
import { describeHooks, loadGeneration, whyNobodyIsAccepted } from "../../server/load.ts";
import { Modules } from "../../server/load/module.ts";
import { definePlugin } from "../../server/plugin.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import {
  fakeServices,
  file,
  Folder,
  generationOf,
  loadFrom,
  mine,
  modulesOf,
  problemsOf,
} from "./fixture.ts";

const broken = definePlugin({ name: "broken", setup: () => Promise.reject(new Error("out of order")) });

Deno.test("load: an instance is what its entry and its plugin say", async () => {
  const yaml =
    "plugins:\n- b\n- { use: ./mine.ts, as: archive, timeout: 10s, onError: skip, observe: true }\n- { use: ./mine.ts, roles: [submission] }\n";
  const text = file(
    'on("rcpt", () => reject("5.7.1", "x"));\nhost.transport("t", async () => delivered(), { inline: true, batch: 5 });',
    'roles: ["mx"],',
  );
  await using folder = await Folder.of({ "postrider.yaml": yaml.replace("- b\n", ""), "mine.ts": text });
  const result = await loadFrom(folder, { number: 7 });
  ok("generation" in result);
  const { number, instances, transports } = result.generation;
  equal(number, 7);
  const [archive, own] = instances;
  ok(archive && own);
  const { handlers: _, ...rest } = archive;
  deepEqual(rest, {
    name: "archive",
    timeout: 10_000,
    onError: "skip",
    roles: ["mx"],
    mechanisms: ["PLAIN", "LOGIN"],
    observe: true,
  });
  deepEqual([own.name, own.timeout, own.onError, own.roles, own.observe], ["mine", 30_000, "defer", [
    "submission",
  ], false]);
  deepEqual(Object.keys(own.handlers), ["rcpt"]);
  deepEqual([...transports.keys()], ["archive", "t"]);
  const { deliver: _deliver, ...registered } = transports.get("archive") as DeliveringTransport;
  deepEqual(registered, { name: "archive", by: archive, inline: true, batch: 5 });
});

Deno.test("load: a plugin that imports nothing at run time, and is given the API", async () => {
  const text = `import type { Api } from "postrider";
export default ({ definePlugin, duration, reject, z }: Api) =>
  definePlugin({ name: "mine", options: z.object({ wait: duration("5m") }), setup(on, { wait }) {
    on("rcpt", () => wait === 60_000 ? reject("5.7.1", "x") : undefined);
  } });`;
  const { instances } = await generationOf({
    "postrider.yaml": "plugins: [{ use: ./mine.ts, with: { wait: 1m } }]\n",
    "mine.ts": text,
  });
  const rcpt = instances[0]?.handlers.rcpt as unknown as () => unknown;
  deepEqual(rcpt(), { verdict: "reject", status: "5.7.1", text: "x" });
});

Deno.test("load: paths of options are relative to the configuration, options left out are their defaults", async () => {
  const text = file(
    "host.log.warning(JSON.stringify(options));",
    'options: z.object({ users: path("users.yaml"), n: z.int().default(3) }),',
  )
    .replace("accept,", "accept, path,");
  deepEqual(await problemsOf({ "postrider.yaml": mine, "mine.ts": text }), [
    'postrider.yaml:1:18: warning: mine: {"users":"DIR/users.yaml","n":3}',
  ]);
});

Deno.test("load: a plugin by absolute path and by URL is the one by relative path", async () => {
  await using folder = await Folder.of({ "mine.ts": file("") });
  const { path } = folder;
  await folder.write(
    "postrider.yaml",
    `plugins: [./mine.ts, { use: "${path}/mine.ts", as: b }, { use: "file://${path}/mine.ts", as: c }]\n`,
  );
  const result = await loadFrom(folder);
  ok("generation" in result);
  deepEqual(result.generation.instances.map(({ name }) => name), ["mine", "b", "c"]);
});

Deno.test("load: a reload takes a plugin's file as it is now", async () => {
  await using folder = await Folder.of({ "postrider.yaml": mine, "mine.ts": file('on("mail", () => {});') });
  const hooks = async () => {
    const result = await loadFrom(folder);
    return "problems" in result
      ? result.problems[0]?.message
      : Object.keys(result.generation.instances[0]!.handlers);
  };
  deepEqual(await hooks(), ["mail"]);
  await folder.write("mine.ts", "oops oops");
  match(`${await hooks()}`, /cannot be imported/);
  await folder.write("mine.ts", file('on("rcpt", () => {});'));
  deepEqual(await hooks(), ["rcpt"]);
});

Deno.test("load: nothing can be registered once setup is over", async () => {
  const text = file(
    'on("mail", () => { on("rcpt", () => {}); });\non("rcpt", () => { host.owns(["a.example"]); });\non("data", () => { host.transport("t", async () => delivered()); });\non("helo", () => { host.needs(fact("spf")); });\non("vrfy", () => { host.provides(fact("spf")); });',
  );
  const { instances } = await generationOf({ "postrider.yaml": mine, "mine.ts": text });
  const { handlers } = instances[0] as Instance;
  const late = async (hook: "mail" | "rcpt" | "data" | "helo" | "vrfy") =>
    await (handlers[hook] as unknown as () => unknown)();
  await rejects(late("mail"), { message: 'on("rcpt", …) works only during setup of plugin mine' });
  await rejects(late("rcpt"), { message: "owns() works only during setup of plugin mine" });
  await rejects(late("data"), { message: "transport() works only during setup of plugin mine" });
  await rejects(late("helo"), { message: "needs() works only during setup of plugin mine" });
  await rejects(late("vrfy"), { message: "provides() works only during setup of plugin mine" });
});

Deno.test("load: what setups returned is called once, the last first, and a failure is only logged", async () => {
  const calls: string[] = [];
  const plugins = {
    a: definePlugin({ name: "a", setup: () => () => void calls.push("a") }),
    b: definePlugin({ name: "b", setup: () => Promise.resolve(() => Promise.reject(new Error("stuck"))) }),
    c: definePlugin({ name: "c", setup: () => () => void calls.push("c") }),
  };
  const services = fakeServices();
  const generation = await generationOf({ "postrider.yaml": "plugins: [a, b, c]\n" }, {
    modules: modulesOf("/", plugins),
    services,
  });
  deepEqual(calls, []);
  await Promise.all([generation.dispose(), generation.dispose()]);
  deepEqual(calls, ["c", "a"]);
  deepEqual(services.log.entries, [{
    level: "error",
    event: "plugin failed at its end",
    fields: { plugin: "b", generation: 1, error: "stuck" },
  }]);
});

Deno.test("load: a generation that fails disposes of the plugins that were set up", async () => {
  const calls: string[] = [];
  const plugins = {
    broken,
    open: definePlugin({ name: "open", setup: () => () => void calls.push("closed") }),
  };
  const problems = await problemsOf({ "postrider.yaml": "plugins: [open, broken]\n" }, {
    modules: modulesOf("/", plugins),
  });
  equal(problems.length, 1);
  deepEqual(calls, ["closed"]);
});

Deno.test("load: a setup that doesn't end is a problem, and what it opens later is closed", async () => {
  const clock = new FakeClock();
  const { promise, resolve } = Promise.withResolvers<() => void>();
  const source = new Source("postrider.yaml", "plugins: [slow]\n");
  const loading = loadGeneration({
    hostname: "mx.example.org",
    source,
    entries: [{ use: "slow", onError: "defer", observe: false }],
    timeout: 1,
    number: 1,
    services: { ...fakeServices(), clock },
    modules: modulesOf("/", { slow: definePlugin({ name: "slow", setup: () => promise }) }),
  });
  await clock.untilPending(1);
  await clock.advance(60_000);
  const result = await loading;
  ok("problems" in result);
  deepEqual(result.problems.map((one) => one.message), ["setup of slow did not end within 60 s"]);
  const closed = Promise.withResolvers<void>();
  resolve(() => closed.resolve());
  await closed.promise;
});

Deno.test("load: describeHooks names who is asked, in order, and what is special about them", async () => {
  const hooked = (name: string) =>
    definePlugin({
      name,
      roles: name === "dnsbl" ? ["mx"] : ["mx", "submission"],
      setup: (on) => on("rcpt", () => {}),
    });
  const { instances } = await generationOf(
    {
      "postrider.yaml":
        "plugins:\n- a\n- dnsbl\n- relay\n- { use: relay, as: r, observe: true, onError: skip }\n- { use: scan, when: queued }\n",
    },
    {
      modules: modulesOf("/", {
        a: definePlugin({ name: "a", setup() {} }),
        dnsbl: hooked("dnsbl"),
        relay: hooked("relay"),
        scan: definePlugin({ name: "scan", setup: (on) => on("data", () => {}) }),
      }),
    },
  );
  const lines = describeHooks({ instances });
  equal(lines.length, 18);
  equal(lines[0], "connect     -");
  equal(lines[4], "rcpt        dnsbl (role mx), relay, r (only observed, on error skip)");
  equal(lines[6], "data        scan (in the queue)");
});

for (const name of Object.keys(bundled)) {
  Deno.test(`load: the bundled plugin ${name} is one, under its name`, async () => {
    const found = await new Modules("/nowhere", "/nowhere").find(name);
    ok("plugin" in found, JSON.stringify(found));
    equal(found.plugin.name, name);
  });
}

for (
  const [name, handlers, observe, accepted] of [
    ["nothing at all", {}, false, false],
    ["gates only", { connect() {}, mail() {}, data() {} }, false, false],
    ["a resolver", { resolve() {} }, false, true],
    ["a resolver that is only observed", { resolve() {} }, true, false],
    ["somebody who may say yes at RCPT", { rcpt() {} }, false, true],
  ] as [string, Instance["handlers"], boolean, boolean][]
) {
  Deno.test(`load: could a recipient be accepted by ${name}`, () => {
    const one: Instance = {
      name: "one",
      handlers,
      timeout: 1,
      onError: "defer",
      roles: ["mx"],
      mechanisms: [],
      observe,
    };
    const why = whyNobodyIsAccepted({ instances: [one] } satisfies Pick<Generation, "instances">);
    equal(why === undefined, accepted, why);
  });
}
