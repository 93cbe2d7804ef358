import { deepStrictEqual as deepEqual } from "node:assert/strict";
import { bundled } from "../server/bundled.ts";
import { file, type Files, mine, problemsOf } from "./load/fixture.ts";

const names = Object.keys(bundled).join(", ");

/** Each a configuration, its files, and what is to be said of it, word for word. */
const refused: { name: string; files: Files; problems: string[] }[] = [
  {
    name: "a misspelt name of a bundled plugin",
    files: { "postrider.yaml": "plugins:\n  - maildri\n  - use: alias\n" },
    problems: [
      'postrider.yaml:2:5: no plugin is called "maildri": did you mean "maildir"?',
      'postrider.yaml:3:10: no plugin is called "alias": did you mean "aliases"?',
    ],
  },
  {
    name: "a name like no bundled plugin's",
    files: { "postrider.yaml": "plugins: [nowhere]\n" },
    problems: [
      `postrider.yaml:1:11: no plugin is called "nowhere": there are ${names}, and your own by path (./mine.ts)`,
    ],
  },
  {
    name: "a file that is not there, and a folder",
    files: { "postrider.yaml": "plugins:\n  - ./mine.ts\n  - ./\n" },
    problems: [
      "postrider.yaml:2:5: ./mine.ts does not exist (DIR/mine.ts)",
      "postrider.yaml:3:5: ./ is not a file",
    ],
  },
  {
    name: "a syntax error",
    files: { "postrider.yaml": mine, "mine.ts": "const a = 1;\nconst b = = 2;\n" },
    problems: ["postrider.yaml:1:18: ./mine.ts cannot be imported: Expression expected (./mine.ts:2:11)"],
  },
  {
    name: "a syntax error in a file that the plugin imports",
    files: { "postrider.yaml": mine, "mine.ts": 'import "./other.ts";\n', "other.ts": "const b = = 2;\n" },
    problems: ["postrider.yaml:1:18: ./mine.ts cannot be imported: Expression expected (./other.ts:1:11)"],
  },
  {
    name: "a missing module",
    files: { "postrider.yaml": mine, "mine.ts": 'import x from "./other.ts";\nexport default x;\n' },
    problems: [
      "postrider.yaml:1:18: ./mine.ts cannot be imported: it imports ./other.ts, which does not exist (./mine.ts:1:15)",
    ],
  },
  {
    name: "a bare specifier that means nothing",
    files: { "postrider.yaml": mine, "mine.ts": 'import x from "leftpad";\nexport default x;\n' },
    problems: [
      'postrider.yaml:1:18: ./mine.ts cannot be imported: it imports "leftpad", which is neither a path nor a package: write npm:leftpad, or ./leftpad.ts (./mine.ts:1:15)',
    ],
  },
  {
    name: "an import of what is not exported",
    files: {
      "postrider.yaml": mine,
      "mine.ts": '\nimport { rejcet } from "postrider";\nexport default rejcet;\n',
    },
    problems: [
      "postrider.yaml:1:18: ./mine.ts cannot be imported: The requested module 'postrider' does not provide an export named 'rejcet' (./mine.ts:2:10)",
    ],
  },
  {
    name: "a throw at the top level",
    files: { "postrider.yaml": mine, "mine.ts": 'throw new Error("no database");\nexport default 1;\n' },
    problems: ["postrider.yaml:1:18: ./mine.ts cannot be imported: no database (./mine.ts:1:7)"],
  },
  {
    name: "no default export",
    files: { "postrider.yaml": mine, "mine.ts": "export const plugin = 1;\n" },
    problems: [
      "postrider.yaml:1:18: ./mine.ts has no default export, only plugin: it needs export default definePlugin({ … })",
    ],
  },
  ...wrongShapes([
    ["export default 5;", "its default export is a number, not what definePlugin returns"],
    ["export default [];", "its default export is a list, not what definePlugin returns"],
    ["export default class {}", "its default export is a class, not what definePlugin returns"],
    ['export default { nam: "a", setup() {} };', "nam means nothing here: did you mean name?"],
    [
      'export default { name: "a", setup() {}, hooks: {} };',
      "hooks means nothing here: there are name, after, options, roles, mechanisms, setup",
    ],
    ["export default () => undefined;", "its default export is missing, not what definePlugin returns"],
    ["export default { setup() {} };", "its name is missing, not a word of letters, digits, dots and dashes"],
    [
      'export default { name: "a/b", setup() {} };',
      'its name is "a/b", not a word of letters, digits, dots and dashes',
    ],
    ['export default { name: "a" };', "setup is missing, not a function"],
    ['export default { name: "a", after: "b", setup() {} };', "after is not a list of plugins' names"],
    ['export default { name: "a", roles: ["mta"], setup() {} };', "roles is not a list of mx and submission"],
    [
      'export default { name: "a", options: { wait: 5 }, setup() {} };',
      "options is not a schema of the z that postrider exports",
    ],
    [
      'export default { name: "a", option: {}, setup() {} };',
      "option means nothing here: did you mean options?",
    ],
  ]),
  {
    name: "a function that throws instead of making a plugin",
    files: {
      "postrider.yaml": mine,
      "mine.ts": "export default (api) => {\n  return api.defineplugin({});\n};\n",
    },
    problems: ["postrider.yaml:1:18: ./mine.ts throws: api.defineplugin is not a function (./mine.ts:2:14)"],
  },
  {
    name: "options that the schema refuses, and unknown keys at every depth",
    files: {
      "postrider.yaml":
        "plugins:\n  - use: ./mine.ts\n    with:\n      wait: 5 min\n      wurst: 5m\n      deep: { nets: [10.0.0.0/8, ten], net: 1 }\n",
      "mine.ts": file(
        "",
        "options: z.object({ wait: duration('5m'), deep: z.object({ nets: z.array(cidr()) }) }),",
      ),
    },
    problems: [
      'postrider.yaml:4:13: "wait": "5 min" is not a duration such as 30s, 5m, 36h',
      'postrider.yaml:5:7: unknown key "wurst": the keys here are "wait" and "deep"',
      'postrider.yaml:6:34: item 2 of "nets": "ten" is not a network such as 10.0.0.0/8, 2001:db8::/32',
      'postrider.yaml:6:40: unknown key "net": did you mean "nets"?',
    ],
  },
  {
    name: "an option that is missing",
    files: {
      "postrider.yaml": mine,
      "mine.ts": file("", "options: z.object({ database: z.string().describe('where users are') }),"),
    },
    problems: ['postrider.yaml:1:11: missing key "database" under "with": where users are'],
  },
  {
    name: "options for a plugin that takes none",
    files: {
      "postrider.yaml": "plugins:\n  - use: ./mine.ts\n    with: { wait: 5m }\n",
      "mine.ts": file(""),
    },
    problems: ["postrider.yaml:3:5: mine takes no options: remove `with`"],
  },
  {
    name: "a setup that throws",
    files: { "postrider.yaml": mine, "mine.ts": file('throw new Error("cannot open users.db");') },
    problems: ["postrider.yaml:1:18: setup of mine failed: cannot open users.db (./mine.ts:3:7)"],
  },
  {
    name: "a setup that rejects, with something that is no error",
    files: { "postrider.yaml": mine, "mine.ts": file('return Promise.reject("no");') },
    problems: ["postrider.yaml:1:18: setup of mine failed: no"],
  },
  {
    name: "a setup that says what is wrong with several places of a file of its own",
    files: {
      "postrider.yaml": mine,
      "mine.ts": file(
        'throw new AggregateError([new Error("/etc/a.yaml:7:3: no such user"), new Error("worse")]);',
      ),
    },
    problems: [
      "/etc/a.yaml:7:3: no such user",
      "postrider.yaml:1:18: setup of mine failed: worse (./mine.ts:3:71)",
    ],
  },
  {
    name: "a setup that gives something strange",
    files: { "postrider.yaml": mine, "mine.ts": file("return 5;") },
    problems: [
      "postrider.yaml:1:18: setup of mine gives a number: only a function, to be called at the end, means something",
    ],
  },
  {
    name: "hooks registered twice, unknown, and without a handler",
    files: {
      "postrider.yaml": mine,
      "mine.ts": file(
        'on("rcpt", () => {});\non("rcpt", () => {});\non("rctp", () => {});\non("mail", reject("5.7.1", "x"));',
      ),
    },
    problems: [
      'postrider.yaml:1:18: mine: the hook "rcpt" is registered twice: make one handler of both (./mine.ts:4:1)',
      'postrider.yaml:1:18: mine: there is no hook "rctp": did you mean "rcpt"? (./mine.ts:5:1)',
      'postrider.yaml:1:18: mine: the handler of "mail" is an object (./mine.ts:6:1)',
    ],
  },
  {
    name: "two transports of one name in one plugin",
    files: {
      "postrider.yaml": mine,
      "mine.ts": file(
        'const deliver = async () => delivered();\nhost.transport("t", deliver); host.transport("t", deliver);',
      ),
    },
    problems: ['postrider.yaml:1:18: mine registers two transports with the name "t"'],
  },
  {
    name: "a transport that can't be",
    files: { "postrider.yaml": mine, "mine.ts": file('host.transport("a b", async () => delivered());') },
    problems: [
      'postrider.yaml:1:18: setup of mine failed: "a b" is no name for a transport: letters, digits, . _ - only (./mine.ts:3:6)',
    ],
  },
  {
    name: "a domain that is none",
    files: { "postrider.yaml": mine, "mine.ts": file('host.owns(["a..b"]);') },
    problems: [
      'postrider.yaml:1:18: setup of mine failed: owns("a..b"): that is not a domain (./mine.ts:3:6)',
    ],
  },
  {
    name: "all of them at once, and the plugins that are fine are disposed of",
    files: {
      "postrider.yaml":
        "plugins:\n  - nothing-of-the-kind\n  - ./mine.ts\n  - { use: ./bad.ts, with: { a: 1 } }\n",
      "mine.ts": file("return () => { throw new Error('this only goes to the log') };"),
      "bad.ts": file("").replace("mine", "bad"),
    },
    problems: [
      `postrider.yaml:2:5: no plugin is called "nothing-of-the-kind": there are ${names}, and your own by path (./mine.ts)`,
      "postrider.yaml:4:22: bad takes no options: remove `with`",
    ],
  },
];

function wrongShapes(shapes: [text: string, why: string][]) {
  return shapes.map(([text, why]) => ({
    name: `no plugin: ${text}`,
    files: { "postrider.yaml": mine, "mine.ts": text },
    problems: [`postrider.yaml:1:18: ./mine.ts is no plugin: ${why} (./mine.ts:1:1)`],
  }));
}

for (const { name, files, problems } of refused) {
  Deno.test(`load: ${name}`, async () => deepEqual(await problemsOf(files), problems));
}
