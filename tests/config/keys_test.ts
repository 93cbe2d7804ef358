import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { z } from "zod";
import { aboutPath, unknownKeys } from "../../server/config/keys.ts";
import { closest } from "../../server/config/sentence.ts";
import { duration } from "../../server/options.ts";

/** The unknown keys as `a.0.b`. */
function unknown(schema: z.ZodType, value: unknown): string[] {
  return unknownKeys(schema, value).map(({ path, key }) => [...path, key].join("."));
}

const point = z.object({ x: z.number(), y: z.number().optional() });

Deno.test("unknown keys are found inside every kind of schema", () => {
  for (
    const [schema, value, ...keys] of [
      [point, { x: 1, z: 2 }, "z"],
      [point, { x: "wrong", z: 2 }, "z"],
      [point, null],
      [point, [{ z: 1 }]],
      [z.strictObject({ a: point }), { a: { x: 1, z: 2 }, b: 1 }, "a.z", "b"],
      [z.looseObject({ a: point }), { a: { x: 1, z: 2 }, b: 1 }, "a.z"],
      [z.object({ a: point }).catchall(point), { b: { x: 1, z: 2 } }, "b.z"],
      [point.optional(), { x: 1, z: 2 }, "z"],
      [point.nullable(), { x: 1, z: 2 }, "z"],
      [point.nullable(), null],
      [point.default({ x: 1 }), { x: 1, z: 2 }, "z"],
      [point.prefault({ x: 1 }), { x: 1, z: 2 }, "z"],
      [point.prefault({ x: 1 }), undefined],
      [point.readonly(), { x: 1, z: 2 }, "z"],
      [point.catch({ x: 1 }), { x: 1, z: 2 }, "z"],
      [z.nonoptional(point.optional()), { x: 1, z: 2 }, "z"],
      [point.transform((it) => it.x), { x: 1, z: 2 }, "z"],
      [point.pipe(z.object({ x: z.number() })), { x: 1, y: 1, z: 2 }, "z"],
      [z.preprocess((it) => it, point), { x: 1, z: 2 }],
      [z.array(point), [{ x: 1 }, { x: 1, z: 2 }], "1.z"],
      [z.tuple([z.string(), point]), ["a", { x: 1, z: 2 }], "1.z"],
      [z.tuple([z.string()], point), ["a", { x: 1 }, { x: 1, z: 2 }], "2.z"],
      [z.record(z.string(), point), { a: { x: 1, z: 2 } }, "a.z"],
      [
        z.intersection(z.object({ a: point }), z.object({ b: point })),
        { a: { x: 1, q: 1 }, b: { x: 1 }, c: 1 },
        "a.q",
        "c",
      ],
      [z.intersection(z.object({ a: z.object({ x: z.any() }) }), z.object({ a: z.object({ y: z.any() }) })), {
        a: { x: 1, y: 2 },
      }],
      [z.union([z.string(), point]), { x: 1, z: 2 }, "z"],
      [z.union([z.object({ a: z.string() }), z.object({ b: z.string() })]), { b: "1" }],
      [z.union([z.object({ a: z.string() }), z.object({ b: z.string() })]), { a: "1", b: "1" }, "b"],
      [z.union([z.object({ a: z.string(), d: z.any() }), z.object({ a: z.number() })]), { a: 1, d: 1 }, "d"],
      [z.union([point, z.any()]), { x: 1, z: 2 }],
      [z.any(), { x: 1 }],
      [z.unknown(), { x: 1 }],
    ] as [z.ZodType, unknown, ...string[]][]
  ) deepEqual(unknown(schema, value).sort(), keys.sort(), JSON.stringify([schema.type, value]));
});

Deno.test("unknown keys of a discriminated union are those of the option that was named", () => {
  const schema = z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("a"), x: z.string() }),
    z.object({ kind: z.literal("b"), y: z.string() }),
  ]);
  deepEqual(unknownKeys(schema, { kind: "b", x: "" }), [{ path: [], key: "x", known: ["kind", "y"] }]);
});

Deno.test("where options fit alike, a misspelt key may be meant for any of them", () => {
  const schema = z.union([z.object({ host: z.string() }), z.object({ path: z.string() })]);
  deepEqual(unknownKeys(schema, { pth: "" }), [{ path: [], key: "pth", known: ["host", "path"] }]);
});

type Tree = { name: string; children?: Tree[] | undefined };
const tree: z.ZodType<Tree> = z.lazy(() =>
  z.object({ name: z.string(), children: z.array(tree).optional() })
);

Deno.test("recursive schemas are followed as far as the value goes", () => {
  deepEqual(unknown(tree, { name: "a", children: [{ name: "b", child: [] }] }), ["children.0.child"]);
  const itself: z.ZodType = z.lazy(() => itself);
  deepEqual(unknown(itself, { a: 1 }), []);
  deepEqual(unknown(z.lazy(() => z.union([itself, itself])), { a: 1 }), []);
});

Deno.test("unions in unions over a deep value stay cheap", () => {
  const node: z.ZodType = z.lazy(() =>
    z.union(Array.from({ length: 8 }, (_, i) => z.object({ [`k${i}`]: z.any(), next: node.optional() })))
  );
  let value: unknown = { k7: 1 };
  for (let i = 0; i < 60; i++) value = { k7: 1, next: value };
  deepEqual(unknown(node, value), []);
});

Deno.test("property: a closed schema that takes a value finds no unknown key in it, and an added one is found", () => {
  const json: z.ZodType = z.lazy(() =>
    z.object({ leaf: z.number().optional(), list: z.array(json).optional(), in: json.optional() })
  );
  type Node = { leaf?: number; list?: Node[]; in?: Node };
  const { node } = fc.letrec<{ node: Node }>((tie) => ({
    node: fc.record(
      { leaf: fc.integer(), list: fc.array(tie("node"), { maxLength: 3 }), in: tie("node") },
      { requiredKeys: [] },
    ),
  }));
  fc.assert(fc.property(node, (value) => {
    equal(unknown(json, value).length, 0);
    let deepestNode: Node = value;
    while (deepestNode.in) deepestNode = deepestNode.in;
    deepEqual(unknown(json, (Object.assign(deepestNode, { leef: 1 }), value)).length, 1);
  }));
});

Deno.test("aboutPath says description and examples, through whatever wraps a schema", () => {
  const schema = z.object({
    wait: duration("5m").describe("how long"),
    deep: z.array(z.object({ n: z.int().describe("a count").optional() })).optional(),
  });
  equal(aboutPath(schema, ["wait"], {})?.description, "how long");
  deepEqual(aboutPath(schema, ["wait"], {})?.examples, ["30s", "5m", "36h"]);
  equal(aboutPath(schema, ["deep", 0, "n"], {})?.description, "a count");
  equal(aboutPath(schema, ["nothing"], {}), undefined);
});

Deno.test("did you mean: small slips only", () => {
  const known = ["hostname", "listen", "tls", "use", "with", "timeout", "onError"];
  for (
    const [word, meant] of [
      ["hostnme", "hostname"],
      ["HOSTNAME", "hostname"],
      ["lisetn", "listen"],
      ["tsl", "tls"],
      ["onerror", "onError"],
      ["time", "timeout"],
      ["auth", undefined],
      ["x", undefined],
      ["", undefined],
      ["certificate", undefined],
    ] as const
  ) equal(closest(word, known), meant, word);
});
