/**
 * Arguments of a command, with placeholders. Each stays one argument whatever an address holds, for no shell ever sees it; and
 * no address makes an option or a path of it: one that would is not passed on. Pure.
 */
import type { Target } from "../../server/plugin.ts";

/** What a placeholder stands for; text, `""` where there is none. */
export type Values = Readonly<Record<Placeholder, string>>;

/** The names that may stand in braces. */
export const placeholders = [
  "recipient",
  "original",
  "sender",
  "user",
  "tag",
  "domain",
] as const;

/** One of them. */
export type Placeholder = typeof placeholders[number];

/** An argument, read. */
export interface Template {
  /** As it is written in the configuration. */
  readonly text: string;
  readonly parts: readonly (string | { readonly placeholder: Placeholder })[];
}

/** What came of putting values into a template. */
export type Expanded =
  | { readonly kind: "text"; readonly text: string }
  /** This value can't stand there. */
  | { readonly kind: "unfit"; readonly placeholder: Placeholder };

const token = /\{\{|\{([A-Za-z]*)\}/g;

/** Reads an argument; `{{` is a brace. @returns What is wrong with it, as text. */
export function readTemplate(text: string): Template | string {
  if (text.includes("\0")) return "an argument can't hold NUL";
  const parts: (string | { placeholder: Placeholder })[] = [];
  let literal = "";
  let from = 0;
  for (const found of text.matchAll(token)) {
    literal += text.slice(from, found.index);
    from = found.index + found[0].length;
    if (found[0] === "{{") {
      literal += "{";
      continue;
    }
    const placeholder = placeholders.find((name) => name === found[1]);
    if (!placeholder) {
      const known = placeholders.map((name) => `{${name}}`).join(" ");
      return `${found[0]} is no placeholder: there are ${known}; {{ is a brace`;
    }
    if (literal !== "") parts.push(literal);
    literal = "";
    parts.push({ placeholder });
  }
  literal += text.slice(from);
  if (literal !== "" || parts.length === 0) parts.push(literal);
  return whyAmbiguous(text, parts) ?? { text, parts };
}

/** `-a{tag}` without a tag is `-a`, which takes the next argument for its value. */
function whyAmbiguous(text: string, parts: Template["parts"]): string | undefined {
  const [first, second, ...rest] = parts;
  const mayVanish = typeof first === "string" && first.startsWith("-") && !first.includes("=") &&
    typeof second === "object" && second.placeholder === "tag" && rest.length === 0;
  return mayVanish
    ? `"${text}" would be a bare option where an address has no tag: write two arguments, "${first}" and "{tag}"`
    : undefined;
}

/** Whether an argument holds one of these placeholders. */
export function mentions({ parts }: Template, ...names: readonly Placeholder[]): boolean {
  return parts.some((part) => typeof part === "object" && names.includes(part.placeholder));
}

/** Puts the values in, or says which of them can't stand there. */
export function expand({ parts }: Template, values: Values): Expanded {
  const isPath = parts.some((part) => typeof part === "string" && part.includes("/"));
  let text = "";
  for (const part of parts) {
    if (typeof part === "string") {
      text += part;
      continue;
    }
    const { placeholder } = part;
    const value = values[placeholder];
    if (isUnfit(placeholder, value, isPath) || (text === "" && value.startsWith("-"))) {
      return { kind: "unfit", placeholder };
    }
    text += value;
  }
  const [first, second] = parts;
  // `-f{user}` of an empty user (RFC 5321 allows `""@example.org`) is an option that takes the next argument for its value.
  if (typeof first === "string" && first === text && typeof second === "object" && /^-[^=]*$/.test(first)) {
    return { kind: "unfit", placeholder: second.placeholder };
  }
  return { kind: "text", text };
}

/** Names are what scripts make paths of; whole addresses only where the argument itself is a path. */
function isUnfit(placeholder: Placeholder, value: string, isPath: boolean): boolean {
  if (/\p{Cc}/u.test(value)) return true;
  const isName = placeholder === "user" || placeholder === "tag" || placeholder === "domain";
  return (isName || isPath) && (value.includes("/") || value.startsWith("."));
}

/** What the placeholders stand for at one recipient. */
export function valuesOf(target: Target, nullSender: string): Values {
  return {
    recipient: target.address,
    original: target.original,
    sender: target.sender === "" ? nullSender : target.sender,
    user: target.user,
    tag: target.tag ?? "",
    domain: target.domain,
  };
}
