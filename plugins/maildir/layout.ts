/** Where mailboxes are: the option `path`, taken apart. Pure. */
import { posix } from "node:path";

/** The folders of all mailboxes, by domain and user. */
export interface Layout {
  /** The folder that nothing is written outside of: what stands before the first placeholder. */
  readonly root: string;
  /** The mailbox's folder. The names must be usable (`isUnusable`). */
  of(user: string, domain: string): string;
}

/**
 * Reads a template such as `/var/mail/{domain}/{user}`.
 *
 * @returns The layout, or a sentence that says what is wrong.
 */
export function readLayout(template: string): Layout | string {
  const path = posix.normalize(template).replace(/\/$/, "");
  const strange = /\{(?!domain\}|user\})[^/}]*\}?|(?<!\{(?:domain|user))\}/.exec(path);
  if (strange) return `"${strange[0]}" is no placeholder: there are {domain} and {user}`;
  if (!path.includes("{user}")) return "{user} must stand in the path, or all users share one mailbox";
  if (!path.startsWith("/")) return "the path must be absolute";
  if (/(?:^|\/)\.\.(?:\/|$)/.test(template)) return "the path can't hold `..`";
  const root = path.slice(0, path.lastIndexOf("/", path.indexOf("{")));
  return {
    root: root === "" ? "/" : root,
    // In one pass: a user named `{domain}` stays what it is.
    of: (user, domain) => path.replace(/\{(user|domain)\}/g, (_, name) => name === "user" ? user : domain),
  };
}
