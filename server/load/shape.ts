/** What a plugin's module exports, looked at: what types would have said. */
import { closest } from "../config/sentence.ts";
import { properName } from "../host.ts";
import type { Api, Credentials, Plugin } from "../plugin.ts";
import * as api from "../plugin.ts";
import { type Naming, placeOf, textOf } from "./place.ts";

/** A plugin, or a sentence that says why it is none. */
export type Shaped = { readonly plugin: Plugin; readonly naming: Naming } | { readonly problem: string };

/** Takes what a module exports. */
export async function lookAt(module: { readonly default?: unknown }, naming: Naming): Promise<Shaped> {
  if ("default" in module) return await look(module.default, naming);
  const others = Object.keys(module);
  const instead = others.length > 0 ? `, only ${others.join(", ")}` : "";
  return {
    problem: `${naming.use} has no default export${instead}: it needs export default definePlugin({ … })`,
  };
}

/** Takes a plugin, or a function that makes one of the API. */
export async function look(exported: unknown, naming: Naming): Promise<Shaped> {
  let made = exported;
  if (typeof exported === "function" && !isClass(exported)) {
    try {
      made = await (exported as (api: Api) => unknown)(api);
    } catch (error) {
      const place = placeOf(error, naming);
      return { problem: `${naming.use} throws: ${textOf(error)}${place ? ` (${place})` : ""}` };
    }
  }
  const problem = whatIsWrong(made);
  return problem ? { problem: `${naming.use} is no plugin: ${problem}` } : { plugin: made as Plugin, naming };
}

const fields = ["name", "after", "options", "roles", "mechanisms", "setup"] satisfies (keyof Plugin)[];

/** What plugins can log people in by. */
export const saslMechanisms = [
  "PLAIN",
  "LOGIN",
  "XOAUTH2",
  "OAUTHBEARER",
  "SCRAM-SHA-256",
  "SCRAM-SHA-256-PLUS",
  "EXTERNAL",
] satisfies Credentials["mechanism"][];

const isClass = (made: unknown) => typeof made === "function" && /^class\b/.test(made.toString());

/** What types would have said; a plugin may be JavaScript, or never have been checked. */
function whatIsWrong(made: unknown): string | undefined {
  if (isClass(made)) return "its default export is a class, not what definePlugin returns";
  if (typeof made !== "object" || made === null || Array.isArray(made)) {
    return `its default export is ${kind(made)}, not what definePlugin returns`;
  }
  const { name, after, options, roles, mechanisms, setup }: Partial<Record<keyof Plugin, unknown>> = made;
  const strange = Object.keys(made).find((key) => !fields.some((one) => one === key));
  const meant = strange === undefined ? undefined : closest(strange, fields);
  if (meant) return `${strange} means nothing here: did you mean ${meant}?`; // rather than that `meant` is missing
  if (typeof name !== "string" || !properName.test(name)) {
    return `its name is ${kind(name)}, not a word of letters, digits, dots and dashes`;
  }
  if (typeof setup !== "function") return `setup is ${kind(setup)}, not a function`;
  if (after !== undefined && !(Array.isArray(after) && after.every((one) => typeof one === "string"))) {
    return "after is not a list of plugins' names";
  }
  if (
    roles !== undefined &&
    !(Array.isArray(roles) && roles.every((one) => one === "mx" || one === "submission"))
  ) {
    return "roles is not a list of mx and submission";
  }
  const known: readonly unknown[] = saslMechanisms;
  if (
    mechanisms !== undefined && typeof mechanisms !== "function" &&
    !(Array.isArray(mechanisms) && mechanisms.every((one) => known.includes(one)))
  ) {
    return `mechanisms is not a list of ${saslMechanisms.join(", ")}`;
  }
  if (options !== undefined && !(typeof options === "object" && options !== null && "_zod" in options)) {
    return "options is not a schema of the z that postrider exports";
  }
  return strange === undefined ? undefined : `${strange} means nothing here: there are ${fields.join(", ")}`;
}

/** A value in words. */
export function kind(value: unknown): string {
  if (typeof value === "string") return `"${value}"`;
  if (value === undefined || value === null) return "missing";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
