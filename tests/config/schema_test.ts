import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { z } from "zod";
import { configSchema } from "../../server/config/schema.ts";
import { Source } from "../../server/config/read.ts";
import { duration, size } from "../../server/options.ts";
import { broken } from "./broken.ts";

type Json = Record<string, unknown>;

/** As much of JSON Schema 2020-12 as the configuration's schema uses; unknown keywords fail the test. */
function allows(schema: unknown, value: unknown, root: Json): boolean {
  if (typeof schema === "boolean") return schema;
  const many = (list: unknown, over: unknown = value) =>
    (list as Json[]).map((one) => allows(one, over, root));
  const mapping = typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Json
    : undefined;
  return Object.entries(schema as Json).every(([keyword, rule]) => {
    switch (keyword) {
      case "$ref":
        return allows(atPointer(root, rule as string), value, root);
      case "type":
        return [rule].flat().some((type) => isOfType(value, type as string));
      case "enum":
        return (rule as unknown[]).includes(value);
      case "const":
        return rule === value;
      case "minimum":
        return typeof value !== "number" || value >= (rule as number);
      case "maximum":
        return typeof value !== "number" || value <= (rule as number);
      case "pattern":
        return typeof value !== "string" || new RegExp(rule as string, "u").test(value);
      case "minItems":
        return !Array.isArray(value) || value.length >= (rule as number);
      case "items":
        return !Array.isArray(value) || value.every((item) => allows(rule, item, root));
      case "properties":
        return !mapping ||
          Object.entries(rule as Json).every(([key, inner]) =>
            !Object.hasOwn(mapping, key) || allows(inner, mapping[key], root)
          );
      case "additionalProperties": {
        const known = Object.keys((schema as Json)["properties"] ?? {});
        return !mapping ||
          Object.keys(mapping).every((key) => known.includes(key) || allows(rule, mapping[key], root));
      }
      case "required":
        return !mapping || (rule as string[]).every((key) => Object.hasOwn(mapping, key));
      case "anyOf":
        return many(rule).includes(true);
      case "oneOf":
        return many(rule).filter((one) => one).length === 1;
      case "allOf":
        return !many(rule).includes(false);
      case "if":
        return !allows(rule, value, root) || allows((schema as Json)["then"] ?? true, value, root);
      default:
        ok(
          ["then", "$schema", "$defs", "title", "description", "default", "examples"].includes(keyword),
          keyword,
        );
        return true;
    }
  });
}

function atPointer(root: Json, pointer: string): unknown {
  let here: unknown = root;
  for (const step of pointer.split("/").slice(1)) {
    ok(typeof here === "object" && here !== null && Object.hasOwn(here, step), pointer);
    here = (here as Json)[step];
  }
  return here;
}

function isOfType(value: unknown, type: string): boolean {
  if (type === "integer") return Number.isInteger(value);
  if (type === "array") return Array.isArray(value);
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  const typeOfValue: string = typeof value;
  return typeOfValue === type;
}

const tree: z.ZodType = z.lazy(() => z.object({ name: z.string(), below: z.array(tree).optional() }));
const plugins = [
  {
    name: "greylist",
    options: z.object({ wait: duration("5m").describe("how long a stranger waits"), max: size().optional() }),
  },
  { name: "maildir", options: z.object({ domains: z.array(z.string()), limit: z.int().default(3) }) },
  { name: "sieve", options: z.object({ tree }) },
  { name: "discard" },
];
const schema = configSchema(plugins);

/** The plain value of YAML as an editor sees it: variables are text. */
function valueOf(yaml: string): unknown {
  return new Source("x.yaml", yaml, (name) => `\${env:${name}}`).value;
}

function takes(yaml: string): boolean {
  return allows(schema, valueOf(yaml), schema);
}

const example = `
hostname: mx.example.org
state: ./state
listen:
  - { port: 25 }
  - { port: 587, role: submission }
  - { port: 465, role: submission, tls: implicit }
  - { path: ./lmtp.sock, protocol: lmtp }
user: postrider
tls: { cert: fullchain.pem, key: privkey.pem }
limits: { message: 50MiB, recipients: 1000, connections: 2000, connectionsPerIp: 50, errors: 10, refusedRecipients: 100, hops: 100, bareNewlines: normalize }
timeouts: { command: 5m, data: 5m, plugin: 30s }
trustedNetworks: [127.0.0.0/8]
plugins:
  - dnsbl
  - use: auth
    with: { users: users.yaml }
  - use: ./greylist.ts
    with: { wait: 5m }
    timeout: 10s
  - use: maildir
    with: { domains: [example.org] }
dns: { servers: ["127.0.0.1:53"] }
log: { level: info, format: text }
`;

Deno.test("the schema takes the manual's example", () => equal(takes(example), true));

Deno.test("the schema takes variables where numbers, truth values and words are wanted", () => {
  equal(
    takes(example.replace("recipients: 1000", 'recipients: "${env:N}"').replace("info", '"${env:LEVEL}"')),
    true,
  );
});

Deno.test("plugins' options are checked by the name in use", () => {
  const entry = (text: string) => takes(example.replace("  - dnsbl", `  - ${text}`));
  for (
    const [text, good] of [
      ["discard", true],
      ["{ use: discard }", true],
      ["{ use: discard, with: {} }", false],
      ["{ use: greylist }", true],
      ["{ use: greylist, with: { wait: 1m } }", true],
      ["{ use: greylist, with: { wiat: 1m } }", false],
      ["{ use: greylist, with: { wait: 5 } }", false],
      ["{ use: maildir }", false],
      ["{ use: maildir, with: { domains: [a], limit: '${env:L}' } }", true],
      ["{ use: maildir, with: { domains: a } }", false],
      ["{ use: sieve, with: { tree: { name: a, below: [{ name: b }] } } }", true],
      ["{ use: sieve, with: { tree: { name: a, below: [{ nam: b }] } } }", false],
      ["{ use: ./own.ts, with: { any: thing } }", true],
      ["{ with: {} }", false],
      ["5", false],
    ] as const
  ) equal(entry(text), good, text);
});

Deno.test("whatever the schema refuses, the reader refuses", () => {
  // The other way round it can't be: whether text is a duration, or a port is taken twice, JSON Schema can't say.
  const refused = broken.filter(([text]) => {
    const { legible, problems, value } = new Source("x.yaml", text, () => "x");
    return legible && problems.length === 0 && !allows(schema, value, schema);
  });
  ok(refused.length > 30, `${refused.length}`);
  for (const [text, ...problems] of refused) ok(problems.some((one) => !one.includes(": warning: ")), text);
});

Deno.test("every key has a description, for editors", () => {
  const bare: string[] = [];
  const visit = (node: unknown, name: string) => {
    if (typeof node !== "object" || node === null) return;
    for (const [key, inner] of Object.entries((node as Json)["properties"] ?? {})) {
      if (!("description" in inner)) bare.push(`${name}.${key}`);
      visit(inner, `${name}.${key}`);
    }
    visit((node as Json)["items"], name);
    for (const one of ((node as Json)["anyOf"] ?? []) as unknown[]) visit(one, name);
  };
  visit(configSchema([]), "");
  deepEqual(bare, []);
});

Deno.test("defaults and examples are as an operator writes them", () => {
  const { limits, timeouts, state } = schema["properties"] as Record<
    string,
    { properties: Record<string, Json>; examples: unknown }
  >;
  equal(limits?.properties["message"]?.["default"], "50MiB");
  equal(timeouts?.properties["plugin"]?.["default"], "30s");
  deepEqual(timeouts?.properties["plugin"]?.["examples"], ["30s", "5m", "36h"]);
  deepEqual(state?.examples, ["./state"]);
  const greylist = (schema["$defs"] as Record<string, { properties: Record<string, Json> }>)["greylist"]!;
  deepEqual(greylist.properties["wait"], {
    description: "how long a stranger waits",
    default: "5m",
    type: "string",
    title: "duration",
    examples: ["30s", "5m", "36h"],
  });
});
