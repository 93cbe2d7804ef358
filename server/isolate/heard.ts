/** What a Worker says, looked at: the plugin in it can send whatever can be cloned. */
import { hookNames } from "../generation.ts";
import { saslMechanisms } from "../load/shape.ts";
import type { Json } from "../plugin.ts";
import type { SetUp } from "./messages.ts";

/** An error of the plugin's, with its stack over there. */
export class PluginError extends Error {
  constructor(message: string, stack: string) {
    super(message);
    this.stack = stack;
  }
}

/** More values than this are no fact and no verdict: what is small to send can be endless to walk, where parts are shared. */
const most = 10_000;

/** Whether a value is what facts and log lines may hold. @param most How many values there may be in it. */
export function isJson(value: unknown, most = 10_000): value is Json {
  return isPlain(value, false, most);
}

/** The same; a verdict may also have `undefined` and octets in it. */
function isPlain(value: unknown, isVerdict: boolean, most: number): boolean {
  const open: unknown[] = [value];
  for (let seen = 0; open.length > 0; seen++) {
    if (seen > most) return false;
    const one = open.pop();
    if (one === null || typeof one === "string" || typeof one === "boolean" || Number.isFinite(one)) continue;
    if ((one === undefined || one instanceof Uint8Array) && isVerdict) continue;
    if (typeof one !== "object" || one === null) return false;
    const inner = Object.values(one);
    if (inner.length > most) return false;
    // An array of four billion holes is small to send, too.
    if (Array.isArray(one) ? one.length !== inner.length : Object.getPrototypeOf(one) !== Object.prototype) {
      return false;
    }
    open.push(...inner);
  }
  return true;
}

/** What a handler said, if it is something that can be looked at. @throws {TypeError} when it isn't. */
export function verdictIn(verdict: unknown): unknown {
  if (!isPlain(verdict, true, most)) throw new TypeError("what it answers is no plain data");
  return verdict;
}

/** @throws {TypeError} when it is no list, or longer than anything that is meant. */
export function listOf<T>(list: readonly T[]): readonly T[] {
  if (!Array.isArray(list) || list.length > most) throw new TypeError("it sends a list that is none");
  return list;
}

/** What a plugin has registered. @throws {TypeError} when it is none of that. */
export function registeredOf(registered: SetUp): SetUp {
  const { hooks, owns, transports, provides, needs, mechanisms, named } = registered;
  const texts = (list: readonly string[]) => listOf(list).map((one) => textOf(one));
  return {
    hooks: listOf(hooks).filter((one) => hookNames.includes(one)),
    owns: texts(owns),
    transports: listOf(transports).map(({ name, inline, batch, timeout }) => ({
      name: textOf(name),
      inline: inline === true,
      batch: Number(batch),
      timeout: timeout === undefined ? undefined : Number(timeout),
    })),
    provides: texts(provides),
    needs: listOf(needs).map(({ fact, optional }) => ({ fact: textOf(fact), optional: optional === true })),
    mechanisms: listOf(mechanisms).filter((one) => saslMechanisms.includes(one)),
    named: texts(named),
  };
}

function textOf(value: unknown): string {
  if (typeof value !== "string") throw new TypeError("it has registered something that has no name");
  return value;
}

/** A log line's fields; what is none is written as text. */
export function fieldsOf(fields: unknown): Record<string, Json> {
  if (typeof fields !== "object" || fields === null) return {};
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [key, isJson(value) ? value : Deno.inspect(value)]),
  );
}

/** Mail that a plugin wants sent. @throws {TypeError} when it is none. */
export function mailOf(
  { sender, recipients, content }: { sender: unknown; recipients: unknown; content: unknown },
): { sender: string; recipients: string[]; content: string | Uint8Array<ArrayBuffer> } {
  if (typeof sender !== "string") throw new TypeError("submit: the sender is no text");
  if (!Array.isArray(recipients) || !recipients.every((one) => typeof one === "string")) {
    throw new TypeError("submit: the recipients are no list of texts");
  }
  if (typeof content !== "string" && !(content instanceof Uint8Array)) {
    throw new TypeError("submit: the content is neither text nor octets");
  }
  return { sender, recipients, content: content as string | Uint8Array<ArrayBuffer> };
}
