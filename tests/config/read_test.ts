import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { z } from "zod";
import { cidr, duration, path, transport } from "../../server/options.ts";
import { formatProblem, readConfig, readValue, Source } from "../../server/config/read.ts";
import { broken } from "./broken.ts";
import { and, but, problemsOf, read, world } from "./kit.ts";

Deno.test("broken configurations: every problem, in order, with its place", async (t) => {
  for (const [text, ...problems] of broken) {
    const name = JSON.stringify(text.length > 90 ? `${text.slice(0, 40)} … ${text.slice(-45)}` : text);
    await t.step(
      name,
      async () => deepEqual(await problemsOf(text, { SECRET: "s3cret value", NUMBER: "12" }), problems),
    );
  }
});

Deno.test("a configuration is given exactly where no problem is an error", async () => {
  for (const [text] of broken) {
    const { config, problems } = await read(text, { SECRET: "s3cret value" });
    equal(config !== undefined, problems.every(({ severity }) => severity === "warning"), text);
  }
});

Deno.test("defaults are those of the manual", async () => {
  const { config, problems } = await read(but({}));
  deepEqual(problems, []);
  deepEqual({ ...config }, {
    hostname: "mx.example.org",
    state: config!.state,
    listen: [{
      kind: "tcp",
      port: 25,
      address: undefined,
      protocol: "smtp",
      role: "mx",
      tls: "starttls",
      auth: false,
      allowPlain: false,
    }],
    tls: [],
    limits: {
      message: 52_428_800,
      recipients: 1000,
      connections: 2000,
      connectionsPerIp: 50,
      errors: 10,
      refusedRecipients: 100,
      hops: 100,
      bareNewlines: "normalize",
    },
    timeouts: { command: 300_000, data: 300_000, plugin: 30_000 },
    trustedNetworks: [],
    proxies: { haproxy: [], xclient: [], xclientLogin: false },
    plugins: [{ use: "discard", onError: "defer", observe: false }],
    outbound: {
      retry: { waits: [1, 5, 5, ...Array(4).fill(15), ...Array(8).fill(60), 240].map((m) => m * 60_000) },
      giveUpAfter: 432_000_000,
      delayNoticeAfter: 14_400_000,
      route: new Map(),
      concurrency: { total: 200, perDestination: 20 },
      tls: new Map(),
      port: 25,
      allowPrivateAddresses: false,
      eightBit: "send",
      mtaSts: true,
    },
    tracking: { enabled: true, keep: 30 * 86_400_000 },
    dns: { servers: [], trustAd: false, probe: "org" },
    log: { level: "info", format: "text" },
  });
});

Deno.test("a whole configuration is understood", async () => {
  const text = `
hostname: MX.straße.example
state: ./state
listen:
  - { port: 25 }
  - { port: 587, role: submission, address: "::1" }
  - { port: 465, role: submission, tls: implicit }
  - { path: ./lmtp.sock, protocol: lmtp }
user: postrider
tls:
  - { cert: c.pem, key: k.pem }
  - { cert: c.pem, key: k.pem, names: [mail.example.org, "*.Example.org"] }
limits: { message: 1MiB, recipients: 10 }
timeouts: { command: 90s }
trustedNetworks: [127.0.0.0/8]
proxies: { haproxy: [10.0.0.5, '2001:db8::/32'] }
plugins:
  - relay
  - use: ./greylist.ts
    with: { wait: 5m }
    timeout: 10s
    as: grey
    onError: skip
    roles: [mx]
    observe: true
dns: { servers: ["127.0.0.1:53", "[::1]:5353", "9.9.9.9"] }
log: { level: debug, format: json }
`;
  const { config, problems } = await read(text);
  deepEqual(problems.map(formatProblem), []);
  ok(config);
  equal(config.hostname, "mx.xn--strae-oqa.example");
  ok(config.state.startsWith("/") && config.state.endsWith("state"));
  deepEqual(config.listen.map(({ kind, role, tls, auth }) => [kind, role, tls, auth]), [
    ["tcp", "mx", "starttls", false],
    ["tcp", "submission", "starttls", true],
    ["tcp", "submission", "implicit", true],
    ["unix", "mx", "starttls", false],
  ]);
  const unix = config.listen[3];
  ok(unix?.kind === "unix" && unix.path.startsWith("/") && unix.path.endsWith("lmtp.sock"));
  deepEqual(config.tls.map(({ names }) => names), [undefined, ["mail.example.org", "*.example.org"]]);
  equal(config.limits.message, 1_048_576);
  equal(config.timeouts.command, 90_000);
  equal(config.trustedNetworks[0]?.has("127.1.2.3"), true);
  const { haproxy } = config.proxies;
  deepEqual(
    ["10.0.0.5", "::ffff:10.0.0.5", "10.0.0.6", "2001:db8::1"].map((one) =>
      haproxy.some((net) => net.has(one))
    ),
    [
      true,
      true,
      false,
      true,
    ],
  );
  deepEqual(config.plugins.map((entry) => ({ ...entry, with: JSON.stringify(entry.with) })), [
    { use: "relay", onError: "defer", observe: false, with: undefined },
    {
      use: "./greylist.ts",
      with: '{"wait":"5m"}',
      timeout: 10_000,
      as: "grey",
      onError: "skip",
      roles: ["mx"],
      observe: true,
    },
  ]);
  deepEqual(config.dns.servers, [
    { address: "127.0.0.1", port: 53 },
    { address: "::1", port: 5353 },
    { address: "9.9.9.9", port: 53 },
  ]);
});

Deno.test("what may look wrong and is not", async () => {
  for (
    const text of [
      `\ufeff${but({})}\r\n`,
      but({}).replaceAll("\n", "\r\n"),
      but({ hostname: "hostname: localhost" }),
      but({ listen: "listen: [{ port: 0 }, { port: 0 }]" }),
      but({ listen: "listen: [{ port: 25, address: '::1' }, { port: 25, address: 127.0.0.1 }]" }),
      but({ listen: "listen: [{ port: 587, role: submission, address: 127.0.0.1, allowPlain: true }]" }),
      but({ listen: "listen: [{ path: s, allowPlain: true, auth: true }]" }),
      but({ listen: "listen: &l [{ port: 25 }]" }),
      but({ plugins: "plugins: [../a b.ts, /x/y.ts, ./z.js]" }),
      and("trustedNetworks: ['::1', 10.0.0.1]"),
      "--- # of mx\n" + but({}) + "\n...\n",
    ]
  ) deepEqual(await problemsOf(text), [], text);
});

Deno.test("variables are put into text, and never read as YAML", async () => {
  const entry = (text: string) => but({ plugins: `plugins:\n  - use: auth\n    with: ${text}` });
  const env = { A: "x: [1", B: "12", C: "*a", EMPTY: "" };
  const withs = async (text: string) => (await read(entry(text), env)).config?.plugins[0]?.with;
  equal(await withs("${env:A}"), "x: [1");
  equal(await withs("'<${env:B}${env:C}>'"), "<12*a>");
  equal(await withs("${env:B}"), "12", "digits of a variable stay text");
  equal(await withs("${env:EMPTY}"), "");
  equal(await withs("$env:A ${A} {env:A}"), "$env:A ${A} {env:A}");
  equal(await withs("|\n      one ${env:B}\n      two\n"), "one 12\ntwo\n");
});

Deno.test("a variable stands for a number or a truth value where one is wanted", async () => {
  const env = { PORT: "2525", RECIPIENTS: "7", YES: "true", LEVEL: "debug", MORE: "1e3" };
  const text = but({ listen: "listen:\n  - port: ${env:PORT}" }) +
    '\nlimits: { recipients: "${env:RECIPIENTS}" }\nlog: { level: "${env:LEVEL}" }';
  const { config } = await read(text.replace("[discard]", '[{ use: discard, observe: "${env:YES}" }]'), env);
  const [first] = config!.listen;
  equal(first?.kind === "tcp" && first.port, 2525);
  equal(config!.limits.recipients, 7);
  equal(config!.log.level, "debug");
  equal(config!.plugins[0]?.observe, true);
  deepEqual(await problemsOf(and('limits: { hops: "${env:MORE}" }'), env), [
    '5:17: "hops" must be a whole number, not "${env:MORE}"',
  ]);
});

Deno.test("a file that can't be read is a problem of its first line", async () => {
  for (
    const [name, message] of [
      ["gone.yaml", "gone.yaml:1:1: this file does not exist"],
      ["folder", "folder:1:1: this file is a folder, not a file"],
      ["private.pem", "private.pem:1:1: this file may not be read by this user"],
    ] as const
  ) {
    const { config, problems } = await readConfig(name, world(""));
    equal(config, undefined);
    deepEqual(problems.map(formatProblem), [message]);
  }
});

Deno.test("nesting without end is one problem", async () => {
  for (const bracket of ["[", "{a: ", "- "]) {
    const problems = await problemsOf(and(`user: ${bracket.repeat(10_000)}`));
    equal(problems.length, 1);
    match(problems[0]!, /^5:\d+: /);
  }
});

Deno.test("aliases of aliases don't multiply", async () => {
  const levels = Array.from(
    "bcdefghij",
    (name, i) => `${name}: &${name} [${`*${"abcdefghi"[i]},`.repeat(10)}]`,
  );
  const problems = await problemsOf(and(`a: &a [${"1,".repeat(10)}]\n${levels.join("\n")}`));
  const said = problems.filter((one) => one.includes("aliases"));
  equal(said.length, 1);
  match(said[0]!, /: the aliases in this file stand for too much: write out what they stand for$/);
});

Deno.test("property: whatever the file holds, it gives problems and never an exception", async () => {
  const words = fc.constantFrom(
    ..."hostname listen plugins limits tls with use port with timeouts [ ] { } : - , ? | > & * ! % @ ' \" # \n \t"
      .split(" "),
    ..."\n  ;\n- ;: ;\n\n;---;...;<<;&a;*a;!!str;${env:X};${env:};~;null;0x;1e9;\0;\ud800;\ufeff;\r;🐎;__proto__"
      .split(";"),
  );
  const texts = fc.oneof(
    fc.array(words, { maxLength: 40 }).map((parts) => parts.join("")),
    fc.array(words, { maxLength: 20 }).map((parts) => and(parts.join(" "))),
    fc.string({ unit: "binary", maxLength: 200 }),
    fc.json().map((json) => and(`limits: ${json}`)),
    fc.json(),
  );
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      const { config, problems } = await read(text);
      const lines = text.split("\n").length;
      ok(config || problems.length > 0);
      for (const problem of problems) {
        ok(problem.line >= 1 && problem.line <= lines + 1 && problem.column >= 1, formatProblem(problem));
        match(problem.message, /^[^\p{Cc}\p{Cf}]+$/u);
      }
    }),
    { numRuns: 500 },
  );
});

// ── Options of plugins ─────────────────────────────────────────────────────────────────────────────

/** Checks a plugin's options that begin in line 2, and gives its problems. */
function optionsOf(schema: z.ZodType, yaml: string, env: Record<string, string> = {}) {
  const source = new Source(
    "folder/x.yaml",
    `with:\n  ${yaml.replaceAll("\n", "\n  ")}`,
    (name) => env[name],
  );
  const { value, problems, transports } = readValue(schema, source, ["with"]);
  return {
    value,
    transports,
    problems: problems.map((one) => formatProblem(one).replace("folder/x.yaml:", "")),
  };
}

Deno.test("options: z.object is closed, at every depth", () => {
  const schema = z.object({
    users: z.union([z.literal("any"), z.array(z.string()), z.object({ file: z.string() })]),
    quota: z.record(z.string(), z.object({ max: z.number() })).default({}),
  });
  deepEqual(optionsOf(schema, "users: { fil: x }\nquota: { a: { max: 1, mix: 2 } }\nuser: 1").problems, [
    '2:12: unknown key "fil": did you mean "file"?',
    '3:25: unknown key "mix": did you mean "max"?',
    '4:3: unknown key "user": did you mean "users"?',
  ]);
  deepEqual(optionsOf(schema, "users: 5").problems, [
    '2:10: "users" must be "any", a list or a mapping, not 5',
  ]);
  deepEqual(optionsOf(schema, "users: [5]").problems, ['2:11: item 1 of "users" must be text, not 5']);
  deepEqual(optionsOf(schema, "users: any").value, { users: "any", quota: {} });
});

Deno.test("options: sentences for what zod can find", () => {
  const schema = z.object({
    name: z.string().min(3).max(5).optional(),
    mail: z.email().optional(),
    code: z.string().regex(/^a/).optional(),
    odd: z.string().refine((text) => text.length % 2 === 1, "must have an odd length").optional(),
    plain: z.string().refine(() => false).optional(),
    ratio: z.number().gt(0).lt(1).optional(),
    even: z.number().multipleOf(2).optional(),
    pair: z.tuple([z.string(), z.number()]).optional(),
    table: z.record(z.string().regex(/^[a-z]+$/, "lower case only"), z.number()).optional(),
    shape: z.discriminatedUnion("kind", [
      z.object({ kind: z.literal("file"), path: z.string() }),
      z.object({ kind: z.literal("http"), url: z.string().describe("where to ask") }),
    ]).optional(),
    own: z.string({ error: "the name of your dog" }).optional(),
  });
  for (
    const [yaml, ...problems] of [
      ["name: ab", '2:9: "name" must have at least 3 characters, but has 2'],
      ["name: abcdef", '2:9: "name" must have at most 5 characters, but has 6'],
      ["mail: me", '2:9: "mail": "me" is not a mail address'],
      ["code: b", '2:9: "code": "b" is not of the form /^a/'],
      ["odd: ab", '2:8: "odd" must have an odd length'],
      ["plain: x", '2:10: "plain": "x" is not valid'],
      ["ratio: 0", '2:10: "ratio" must be more than 0, not 0'],
      ["ratio: 1", '2:10: "ratio" must be less than 1, not 1'],
      ["even: 3", '2:9: "even" must be a multiple of 2, not 3'],
      ["pair: [a, b]", '2:13: item 2 of "pair" must be a number, not "b"'],
      ["table: { Ab: 1 }", '2:12: the key "Ab" cannot stand here: lower case only'],
      ["shape: { kind: fil }", '2:18: "kind" must be file or http, not "fil": did you mean "file"?'],
      ["shape: { path: x }", '2:10: missing key "kind"'],
      ["shape: { kind: http }", '2:10: missing key "url": where to ask'],
      [
        "shape: { kind: http, url: x, path: y }",
        '2:32: unknown key "path": the keys here are "kind" and "url"',
      ],
      ["own: 5", '2:8: "own": the name of your dog'],
    ] as const
  ) deepEqual(optionsOf(schema, yaml).problems, problems, yaml);
});

Deno.test("options: what is left out altogether is said where the plugin stands", () => {
  const source = new Source("x.yaml", "plugins:\n  - maildir");
  const schema = z.object({ domains: z.array(z.string()).describe("the domains it owns") });
  deepEqual(readValue(schema, source, ["plugins", 0, "with"], {}).problems.map(formatProblem), [
    'x.yaml:2:5: missing key "domains" under "with": the domains it owns',
  ]);
});

Deno.test("options: paths are relative to the file, transports are collected, codecs decode", () => {
  const schema = z.object({
    users: path(),
    via: transport("maildir"),
    nets: z.array(cidr()),
    wait: duration("5m"),
  });
  const { value, transports, problems } = optionsOf(schema, "users: u.yaml\nnets: [10.0.0.0/8]");
  deepEqual(problems, []);
  const { users, wait } = value as z.output<typeof schema>;
  equal(users, `${Deno.cwd()}/folder/u.yaml`);
  equal(wait, 300_000);
  deepEqual(transports, [{ transport: "maildir" }]);
});

Deno.test("X04 options: a secret is never in a message", () => {
  const schema = z.object({
    password: z.string().refine(() => false, { error: (issue) => `"${issue.input}" is weak` }),
    token: z.enum(["a", "b"]).optional(),
    apiKey: z.string().optional(),
    host: z.string().refine(() => false, { error: (issue) => `${issue.input} is down` }).optional(),
  });
  const yaml = "password: hunter22\ntoken: hunter22\napiKey: 9922\nhost: ${env:HOST}";
  const { problems } = optionsOf(schema, yaml, { HOST: "hunter22" });
  deepEqual(problems, [
    '2:13: "password": "(hidden)" is weak',
    '3:10: "token" must be a or b, not this value',
    '4:11: "apiKey" must be text, not this value',
    '5:9: "host": ${env:HOST} is down',
  ]);
});

Deno.test("options: a schema that throws, or wants to wait, is a problem of the plugin", () => {
  const throwing = z.object({}).transform((): string => {
    throw new Error("oops\n\x1b[31m");
  });
  deepEqual(optionsOf(throwing, "{}").problems, [
    "2:3: could not be checked, for its schema failed: oops \\u{1b}[31m",
  ]);
  const waiting = z.object({}).refine(() => Promise.resolve(true));
  equal(optionsOf(waiting, "{}").problems.length, 1);
});
