import { deepStrictEqual as deepEqual } from "node:assert/strict";
import { definePlugin, fact, transport, z } from "../../server/plugin.ts";
import { type Files, modulesOf, problemsOf } from "./fixture.ts";

const spf = fact<string>("spf");
const deliver = () => Promise.reject(new Error("not in these tests"));
const plain = (name: string) => definePlugin({ name, setup() {} });

/** Stand-ins for plugins that have something to do with each other. */
const together = {
  a: plain("a"),
  b: plain("b"),
  late: definePlugin({ name: "late", after: ["a", "archive"], setup() {} }),
  teller: definePlugin({ name: "teller", setup: (_on, _options, host) => void host.provides(spf) }),
  asker: definePlugin({ name: "asker", setup: (_on, _options, host) => void host.needs(spf) }),
  curious: definePlugin({
    name: "curious",
    setup: (_on, _options, host) => void host.needs(spf, { optional: true }),
  }),
  mailbox: definePlugin({
    name: "mailbox",
    setup: (_on, _options, host) => void host.transport("mailbox", deliver),
  }),
  mailbox2: definePlugin({
    name: "mailbox2",
    setup: (_on, _options, host) => void host.transport("mailbox", deliver),
  }),
  taker: definePlugin({
    name: "taker",
    setup: (_on, _options, host) => void host.transport("smtp", deliver),
  }),
  chooser: definePlugin({
    name: "chooser",
    options: z.object({ deep: z.array(transport()).default([]), via: transport("mailbox") }),
    setup() {},
  }),
  owner: definePlugin({
    name: "owner",
    options: z.object({ domains: z.array(z.string()) }),
    setup: (_on, { domains }, host) => host.owns(domains),
  }),
  broken: definePlugin({ name: "broken", setup: () => Promise.reject(new Error("out of order")) }),
};
const inside = (yaml: string): [Files, { modules: ReturnType<typeof modulesOf> }] => [
  { "postrider.yaml": yaml },
  { modules: modulesOf("/nowhere", together) },
];

/** Each a list of entries, and what is said of it. */
const ordered: [name: string, entries: string[], problems: string[]][] = [
  ["a name twice", ["- a", "- a"], ['3:3: line 2 is called "a" already: give this entry a name by `as:`']],
  [
    "a name given twice",
    ["- { use: a, as: b }", "- { use: b }", "- { use: a, as: b }"],
    [
      '3:10: line 2 is called "b" already: give this entry a name by `as:`',
      '4:17: line 2 is called "b" already: give one of them another name',
    ],
  ],
  ["one plugin under two names", ["- a", "- { use: a, as: b }"], []],
  ["after, in order", ["- a", "- late"], []],
  ["after, though the other is not there", ["- late"], []],
  ["after, out of order", ["- b", "- late", "- a"], [
    "3:3: late has to stand below a (line 4): move it there",
  ]],
  ["after an instance", ["- late", "- { use: b, as: archive }"], [
    "2:3: late has to stand below archive (line 3): move it there",
  ]],
  ["a fact from above", ["- teller", "- asker", "- curious"], []],
  ["a fact from below", ["- asker", "- teller"], [
    '2:3: asker needs the fact "spf" from teller (line 3): move it below',
  ]],
  ["an optional fact from below", ["- curious", "- teller"], [
    '2:3: curious needs the fact "spf" from teller (line 3): move it below',
  ]],
  ["a fact from nobody", ["- asker", "- curious"], [
    '2:3: asker needs the fact "spf", which no plugin here provides: add one above that does',
  ]],
  [
    "a fact that is dropped",
    ["- { use: teller, observe: true }", "- asker", "- curious"],
    ['3:3: asker needs the fact "spf" from teller (line 2), whose `observe: true` drops it'],
  ],
  [
    "what may come from a plugin that failed",
    ["- broken", "- asker", "- chooser"],
    ["2:3: setup of broken failed: out of order"],
  ],
  ["another plugin's transport, wherever it stands", [
    "- chooser",
    "- mailbox",
    "- { use: chooser, as: c, with: { via: smtp } }",
  ], []],
  [
    "a transport that nobody has, by default and in the file",
    [
      "- { use: a, as: b }",
      "- chooser",
      "- { use: chooser, as: c, with: { deep: [smtp, mailbix], via: smpt } }",
      "- { use: mailbox, as: m }",
    ],
    [
      '3:3: no plugin here has a transport "mailbox": there are smtp, m',
      '4:47: no plugin here has a transport "mailbix": there are smtp, m',
      '4:62: no plugin here has a transport "smpt": did you mean "smtp"?',
    ],
  ],
  [
    "a transport's name twice",
    ["- mailbox", "- mailbox2", "- { use: mailbox2, as: m }", "- taker"],
    [
      '3:3: "mailbox" is the transport of mailbox (line 2): give this entry a name of its own by `as:`',
      '5:3: "smtp" is the server\'s own transport: give this entry a name of its own by `as:`',
    ],
  ],
  [
    "a domain with two owners: aliases and mailboxes share it",
    [
      "- { use: owner, with: { domains: [a.example] } }",
      "- { use: owner, as: o, with: { domains: [a.example] } }",
    ],
    [],
  ],
];

for (const [name, entries, problems] of ordered) {
  Deno.test(`load, side by side: ${name}`, async () => {
    const found = await problemsOf(...inside(`plugins:\n${entries.join("\n")}\n`));
    deepEqual(found, problems.map((one) => `postrider.yaml:${one}`));
  });
}
