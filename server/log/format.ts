/**
 * One event as one line, of text or of JSON. Whatever a peer sent may stand in an event's fields, so nothing in them may end
 * the line, look like another field, or reach a terminal as a command (CASES X04, O08).
 */
import type { Field, Level } from "../log.ts";

/** Makes a line, its LF included. `time` is milliseconds since 1970. */
export type Formatter = (time: number, level: Level, event: string, fields: Record<string, Field>) => string;

/** A value longer than this many UTF-16 units is cut. */
const longest = 1024;

/**
 * What never reaches a log as it is: C0, DEL, C1; line and paragraph separators; and the invisible ones that reorder or
 * hide the text around them (bidirectional controls, zero-width characters, the byte order mark).
 */
const unprintable = /[\p{Cc}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;

/** Needs no quotes: printable ASCII without space, quote and backslash. */
const bare = /^[!#-[\]-~]+$/;

/** An event in words, that can't be taken for a field. */
const words = /^[ !#-<>-[\]-~]+$/;

/** Keys that were found to be plain, so that the usual ones are looked at once. */
const plainKeys = new Set<string>();

const colors: Record<Level, string> = {
  debug: "\x1b[90m",
  info: "\x1b[32m",
  warning: "\x1b[33m",
  error: "\x1b[31m",
};

/** `2026-11-21T22:00:00.123Z info  message accepted id=… from=<…>`; `color` paints the level. */
export function textFormatter(color: boolean): Formatter {
  const names = { debug: "debug ", info: "info  ", warning: "warning ", error: "error " };
  if (color) {
    for (const level of ["debug", "info", "warning", "error"] as const) {
      names[level] = colors[level] + names[level].trimEnd() + "\x1b[0m" + names[level].slice(level.length);
    }
  }
  return (time, level, event, fields) => {
    let line = timestamp(time) + " " + names[level] + (words.test(event) ? cut(event) : quoted(event));
    for (const key in fields) {
      const value = fields[key];
      if (value !== undefined) line += " " + plainKey(key) + "=" + textValue(value);
    }
    return line + "\n";
  };
}

/** `{"time":"…","level":"info","event":"message accepted","id":"…"}`, the fields flat beside the event. */
export const jsonFormatter: Formatter = (time, level, event, fields) => {
  let line = `{"time":"${timestamp(time)}","level":"${level}","event":${jsonText(event)}`;
  for (const key in fields) {
    const value = fields[key];
    if (value !== undefined) line += ',"' + jsonKey(key) + '":' + jsonValue(value);
  }
  return line + "}\n";
};

// The same millisecond is written many times under load, and toISOString is a tenth of a line's cost.
let stampedAt = NaN;
let stamp = "";

function timestamp(time: number): string {
  if (time !== stampedAt) {
    stamp = new Date(time).toISOString();
    stampedAt = time;
  }
  return stamp;
}

function textValue(value: Exclude<Field, undefined>): string {
  if (typeof value === "string") return bare.test(value) ? cut(value) : quoted(value);
  if (typeof value !== "object" || value === null) return String(value);
  const joined = value.join(",");
  return bare.test(joined) ? cut(joined) : quoted(joined);
}

function quoted(text: string): string {
  return '"' + cut(text).replace(/["\\]/g, "\\$&").replace(unprintable, escapeForText) + '"';
}

/** Text of a stranger's for a terminal or one line of a page: what would not be seen, or would be obeyed, is escaped. */
export function visible(text: string): string {
  return text.replace(unprintable, escapeForText);
}

/** JSON for a terminal; only strings in it can hold what is escaped, so that it stays the same JSON. */
export function visibleJson(json: string): string {
  return json.replace(unprintable, escapeForJson);
}

/** `\x1b`, `\u202e`. */
function escapeForText(character: string): string {
  const code = character.charCodeAt(0);
  return code < 256 ? "\\x" + code.toString(16).padStart(2, "0") : "\\u" + code.toString(16).padStart(4, "0");
}

function jsonValue(value: Exclude<Field, undefined>): string {
  if (typeof value === "string") return jsonText(value);
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "null";
  if (typeof value !== "object" || value === null) return String(value);
  const parts: string[] = [];
  let room = longest;
  for (const text of value) {
    if (room <= 0) {
      parts.push('"…"');
      break;
    }
    parts.push(jsonText(text));
    room -= text.length + 1;
  }
  return "[" + parts.join(",") + "]";
}

/** Within JSON the escapes are JSON's own, so that a reader gets back what was there. */
function jsonText(text: string): string {
  if (bare.test(text)) return '"' + cut(text) + '"';
  return JSON.stringify(cut(text)).replace(unprintable, escapeForJson);
}

function escapeForJson(character: string): string {
  return "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0");
}

/** Fields of this name would be taken for the line's own. */
const taken = new Set(["time", "level", "event"]);

function jsonKey(key: string): string {
  return taken.has(key) ? key + "_" : plainKey(key);
}

function plainKey(key: string): string {
  if (plainKeys.has(key)) return key;
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(key)) return key.slice(0, 64).replace(/[^A-Za-z0-9_.-]/g, "_") || "_";
  if (plainKeys.size < 1000) plainKeys.add(key);
  return key;
}

function cut(text: string): string {
  if (text.length <= longest) return text;
  const last = text.charCodeAt(longest - 1);
  const halfOfPair = last >= 0xd800 && last < 0xdc00;
  return text.slice(0, halfOfPair ? longest - 1 : longest) + "…";
}
