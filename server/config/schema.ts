/** The JSON Schema of the configuration: what an editor completes and checks with (`postrider schema`). */
import { z } from "zod";
import { config } from "./config.ts";

/** What a plugin adds to the schema: its name in `use:` and the schema of its `with:`. */
export interface Described {
  readonly name: string;
  readonly options?: z.ZodType;
}

type Json = Record<string, unknown>;

/** A variable may stand for any scalar, so the schema lets it. */
const variable = "\\$\\{env:[A-Za-z_][A-Za-z0-9_]*\\}";

/**
 * The JSON Schema (2020-12) of the configuration file, with the options of the plugins given.
 *
 * @param plugins In any order; options of other plugins can be anything.
 */
export function configSchema(plugins: readonly Described[]): Json {
  const { $schema, ...whole } = input(config);
  const definitions: Record<string, Json> = {};
  const properties = whole["properties"] as Record<string, Json>;
  properties["plugins"] = {
    ...properties["plugins"],
    items: pluginItems(properties["plugins"]!, plugins, definitions),
  };
  return { $schema, title: "Postrider's configuration", ...whole, properties, $defs: definitions };
}

/** An entry of `plugins:`: a name, or a mapping whose `use` decides what `with` may be. */
function pluginItems(list: Json, plugins: readonly Described[], definitions: Record<string, Json>): Json {
  const [short, long] = (list["items"] as { anyOf: [Json, Json] }).anyOf;
  const names = plugins.map(({ name }) => name);
  const use = {
    description: short["description"],
    anyOf: [{ title: "a bundled plugin's name", enum: names }, {
      type: "string",
      examples: ["./greylist.ts"],
    }],
  };
  const rules = plugins.map(({ name, options }) => {
    const when = { properties: { use: { const: name } }, required: ["use"] };
    if (!options) return { if: when, then: { properties: { with: false } } };
    const schema = definitions[name] = definition(name, options);
    const needs = "required" in schema ? { required: ["with"] } : {};
    return { if: when, then: { properties: { with: { $ref: `#/$defs/${name}` } }, ...needs } };
  });
  const properties = { ...long["properties"] as Json, use };
  return { anyOf: [use, { ...long, properties, ...(rules.length > 0 && { allOf: rules }) }] };
}

/** A plugin's options, movable: what it refers to inside itself is now below `#/$defs/NAME`. */
function definition(name: string, options: z.ZodType): Json {
  const { $schema: _, ...schema } = input(options);
  const moved = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(moved);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) =>
        key === "$ref" && typeof inner === "string" && inner.startsWith("#")
          ? [key, `#/$defs/${name}${inner.slice(1)}`]
          : [key, moved(inner)]
      ),
    );
  };
  return moved(schema) as Json;
}

function input(schema: z.ZodType): Json {
  return z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    override({ zodSchema, jsonSchema }) {
      const json = jsonSchema as Json;
      const { def } = zodSchema._zod;
      const examples = z.globalRegistry.get(zodSchema)?.examples; // toJSONSchema would take those of what it wraps
      if (examples) json["examples"] = examples;
      // The loader closes every object, so editors shall, too.
      if (def.type === "object" && !("catchall" in def && def.catchall)) json["additionalProperties"] = false;
      if (def.type === "intersection") openSides(json);
      if (def.type === "number" || def.type === "boolean") {
        if (typeof json["type"] === "string") {
          Object.assign(json, { type: [json["type"], "string"], pattern: variable });
        }
      }
      if (def.type === "enum") {
        const { type, enum: words, ...rest } = json;
        for (const key of Object.keys(json)) delete json[key];
        Object.assign(json, {
          anyOf: [{ type, enum: words }, { type: "string", pattern: variable }],
          ...rest,
        });
      }
    },
  }) as Json;
}

/** Two closed sides would refuse each other's keys: they are open, and both together are closed. */
function openSides(json: Json): void {
  for (const side of (json["allOf"] ?? []) as Json[]) delete side["additionalProperties"];
  json["unevaluatedProperties"] = false;
}
