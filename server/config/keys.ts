/**
 * Walks a zod schema beside a value: finds the keys that `z.object` would drop silently, at every depth, and says
 * what a schema knows about the value at some path.
 */
import { z } from "zod";
import type { Path } from "./problem.ts";

type Schema = z.core.$ZodType;

/** A key in a value that its schema has no place for. */
export interface UnknownKey {
  /** The way to the mapping it stands in. */
  readonly path: Path;
  readonly key: string;
  /** The keys that could stand there. */
  readonly known: readonly string[];
}

/** How a value looks to a schema; paths are relative to the value. */
interface Look {
  /** How badly it fits; tells which option of a union was meant. */
  readonly misfit: number;
  readonly unknown: readonly UnknownKey[];
}

/** By schema and value: recursive schemas end, and unions in unions stay polynomial. */
type Memory = Map<Schema, Map<unknown, Look>>;

const perfect: Look = { misfit: 0, unknown: [] };
const wrongKind: Look = { misfit: 100, unknown: [] };
const wrongText: Look = { misfit: 30, unknown: [] };
const wayTooDeep = 500;

/**
 * The keys of a value that its schema would not read, wherever they are: `z.object` counts as closed, `z.looseObject`
 * and `.catchall()` as the author's wish. Parses nothing, so it is the same for valid and invalid values.
 *
 * @param schema Any zod 4 schema, recursive ones included.
 * @param value Plain data, as a {@linkcode Source} gives it.
 */
export function unknownKeys(schema: z.core.$ZodType, value: unknown): UnknownKey[] {
  return [...look(schema, value, new Map(), 0).unknown];
}

function look(schema: Schema, value: unknown, memory: Memory, depth: number): Look {
  if (depth > wayTooDeep) return perfect;
  let known = memory.get(schema);
  if (!known) memory.set(schema, known = new Map());
  const remembered = known.get(value);
  if (remembered) return remembered;
  known.set(value, perfect); // a lazy schema that comes back to itself with the same value adds nothing
  const result = freshLook(schema, value, memory, depth + 1);
  known.set(value, result);
  return result;
}

function freshLook(schema: Schema, value: unknown, memory: Memory, depth: number): Look {
  const def = (schema as z.core.$ZodTypes)._zod.def;
  switch (def.type) {
    case "object":
      return isMapping(value) ? lookAtObject(def, value, memory, depth) : wrongKind;
    case "array":
      if (!Array.isArray(value)) return wrongKind;
      return all(value.map((item, i) => below(i, look(def.element, item, memory, depth))));
    case "tuple": {
      if (!Array.isArray(value)) return wrongKind;
      const looks = value.map((item, i) => {
        const schemaOfItem = def.items[i] ?? def.rest;
        return schemaOfItem ? below(i, look(schemaOfItem, item, memory, depth)) : wrongText;
      });
      return all(looks);
    }
    case "record":
    case "map":
      if (!isMapping(value)) return wrongKind;
      return all(Object.keys(value).map((key) => below(key, look(def.valueType, value[key], memory, depth))));
    case "union":
      return lookAtUnion(def.options, value, memory, depth);
    case "intersection":
      return lookAtBoth(look(def.left, value, memory, depth), look(def.right, value, memory, depth));
    default: {
      const inner = wrapped(schema);
      if (!inner) return lookAtLeaf(def, value);
      if (value === undefined || (value === null && def.type === "nullable")) return perfect;
      return look(inner, value, memory, depth);
    }
  }
}

/** The schema of the input inside a schema that only adds something to it. */
function wrapped(schema: Schema): Schema | undefined {
  const def = (schema as z.core.$ZodTypes)._zod.def;
  switch (def.type) {
    case "optional":
    case "nullable":
    case "default":
    case "prefault":
    case "readonly":
    case "catch":
    case "nonoptional":
    case "success":
    case "promise":
      return def.innerType;
    case "pipe":
      return def.in; // a codec, too; what z.preprocess makes of its input can't be known
    case "lazy":
      return def.getter();
  }
}

function lookAtObject(
  def: z.core.$ZodObjectDef,
  value: Record<string, unknown>,
  memory: Memory,
  depth: number,
): Look {
  const looks: Look[] = [];
  const names = Object.keys(def.shape);
  for (const name of names) {
    const schema = def.shape[name]!;
    if (Object.hasOwn(value, name)) looks.push(below(name, look(schema, value[name], memory, depth)));
    else if (schema._zod.optin !== "optional") looks.push({ misfit: 10, unknown: [] });
  }
  const { catchall } = def;
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(def.shape, key)) continue;
    if (catchall && catchall._zod.def.type !== "never") {
      looks.push(below(key, look(catchall, value[key], memory, depth)));
    } else looks.push({ misfit: 0, unknown: [{ path: [], key, known: names }] });
  }
  return all(looks);
}

/** The option that fits best; where several fit alike, a key may be meant for any of them. */
function lookAtUnion(options: readonly Schema[], value: unknown, memory: Memory, depth: number): Look {
  const looks = options.map((option) => look(option, value, memory, depth));
  const misfit = Math.min(...looks.map((one) => one.misfit));
  const fitting = looks.filter((one) => one.misfit === misfit);
  const fewest = Math.min(...fitting.map((one) => one.unknown.length));
  const best = fitting.filter((one) => one.unknown.length === fewest);
  const first = best[0] ?? perfect;
  const unknown = first.unknown.map(({ path, key, known }) => ({
    path,
    key,
    known: [
      ...new Set([
        ...known,
        ...best.flatMap((one) => one.unknown.filter(isAt(path, key)).flatMap((it) => it.known)),
      ]),
    ],
  }));
  return { misfit, unknown };
}

/** In an intersection a key is unknown only where both sides have no place for it, or for what it stands in. */
function lookAtBoth(left: Look, right: Look): Look {
  const unknown: UnknownKey[] = [];
  for (const [mine, theirs] of [[left, right], [right, left]] as const) {
    for (const one of mine.unknown) {
      const whole = [...one.path, one.key];
      const other = theirs.unknown.find((it) => [...it.path, it.key].every((step, i) => step === whole[i]));
      if (!other || unknown.some(isAt(one.path, one.key))) continue;
      const same = other.path.length === one.path.length;
      unknown.push({ ...one, known: same ? [...new Set([...one.known, ...other.known])] : one.known });
    }
  }
  return { misfit: left.misfit + right.misfit, unknown };
}

function lookAtLeaf(def: z.core.$ZodTypes["_zod"]["def"], value: unknown): Look {
  switch (def.type) {
    case "literal":
      return def.values.some((one) => one === value) ? perfect : wrongText;
    case "enum":
      return Object.values(def.entries).some((one) => one === value) ? perfect : wrongText;
    case "string":
    case "template_literal":
      return typeof value === "string" ? perfect : wrongKind;
    case "number":
      return typeof value === "number" ? perfect : wrongKind;
    case "boolean":
      return typeof value === "boolean" ? perfect : wrongKind;
    case "null":
      return value === null ? perfect : wrongKind;
    case "never":
    case "undefined":
      return wrongKind;
    default:
      return perfect;
  }
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isAt(path: Path, key: string): (other: UnknownKey) => boolean {
  return (other) =>
    other.key === key && other.path.length === path.length && path.every((step, i) => step === other.path[i]);
}

function below(step: string | number, { misfit, unknown }: Look): Look {
  if (unknown.length === 0) return { misfit, unknown };
  return { misfit, unknown: unknown.map((one) => ({ ...one, path: [step, ...one.path] })) };
}

function all(looks: readonly Look[]): Look {
  return {
    misfit: looks.reduce((sum, one) => sum + one.misfit, 0),
    unknown: looks.flatMap((one) => one.unknown),
  };
}

/** What a schema says about the value at a path. */
export interface About {
  /** Without optional, default, codec and the like. */
  readonly schema: z.core.$ZodTypes;
  /** The outermost description on the way there. */
  readonly description: string | undefined;
  readonly examples: readonly unknown[];
}

/** What the schema says about the value at `path` inside `value`, whether it is there or not. */
export function aboutPath(schema: z.core.$ZodType, path: Path, value: unknown): About | undefined {
  let here: Schema | undefined = schema;
  for (const step of path) {
    here = here && child(here, step, value, 0);
    value = isMapping(value) ? value[step] : Array.isArray(value) ? value[Number(step)] : undefined;
  }
  return here && about(here);
}

function about(schema: Schema): About {
  let description: string | undefined;
  let examples: readonly unknown[] = [];
  for (let depth = 0;; depth++) {
    const meta = z.globalRegistry.get(schema);
    description ??= meta?.description;
    if (examples.length === 0 && Array.isArray(meta?.examples)) examples = meta.examples;
    const inner = depth < wayTooDeep ? wrapped(schema) : undefined;
    if (!inner) return { schema: schema as z.core.$ZodTypes, description, examples };
    schema = inner;
  }
}

function child(schema: Schema, step: string | number, value: unknown, depth: number): Schema | undefined {
  if (depth > wayTooDeep) return undefined;
  const def = (schema as z.core.$ZodTypes)._zod.def;
  switch (def.type) {
    case "object":
      return Object.hasOwn(def.shape, step) ? def.shape[step] : def.catchall;
    case "array":
      return def.element;
    case "tuple":
      return def.items[Number(step)] ?? def.rest ?? undefined;
    case "record":
    case "map":
      return def.valueType;
    case "union": {
      const memory: Memory = new Map();
      const misfits = def.options.map((option) => look(option, value, memory, 0).misfit);
      const best = def.options[misfits.indexOf(Math.min(...misfits))];
      return best && child(best, step, value, depth + 1);
    }
    case "intersection":
      return child(def.left, step, value, depth + 1) ?? child(def.right, step, value, depth + 1);
    default: {
      const inner = wrapped(schema);
      return inner && child(inner, step, value, depth + 1);
    }
  }
}
