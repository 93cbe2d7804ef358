/** The mistakes that types can't catch, each with who does and what it says. `docs/mistakes.md` is made of these and of `mistakes.ts`. */

/** One mistake. */
export interface Mistake {
  /** Its number among all of them, those that types catch included. */
  readonly number: number;
  readonly name: string;
  /** As it stands in a plugin's `setup`. */
  readonly code: string;
  /** `lint`: the rules of `postrider/lint`; `load`: `check` and the server's start; `run`: when it happens; `nothing`. */
  readonly by: "lint" | "load" | "run" | "nothing";
  /** What is said of it, or a part of that. */
  readonly says: string;
}

/** By their numbers. */
export const laterMistakes: readonly Mistake[] = [
  {
    number: 9,
    name: "a verdict that is dropped",
    code: `on("rcpt", (_s, r) => { if (r.domain === "x") reject("5.1.1", "No"); });`,
    by: "lint",
    says: "reject(…) decides nothing unless it is returned",
  },
  {
    number: 10,
    name: "a verdict that is dropped after an await",
    code: `on("rcpt", async (_s, r) => { if (await host.store.get(r.address)) { defer("4.7.1", "x"); } });`,
    by: "lint",
    says: "defer(…) decides nothing unless it is returned",
  },
  {
    number: 13,
    name: "no await on a write",
    code: `on("rcpt", (_s, r) => { host.store.set(r.address, 1, { ttl: "1h" }); });`,
    by: "lint",
    says: "nobody awaits store.set(…): a failure would go unseen",
  },
  {
    number: 14,
    name: "throws instead of a verdict",
    code: `on("rcpt", () => { throw new Error("no such user"); });`,
    by: "run",
    says: "Error: no such user",
  },
  {
    number: 15,
    name: "throws a verdict",
    code: `on("rcpt", () => { throw reject("5.1.1", "no such user"); });`,
    by: "lint",
    says: "reject(…) is returned, not thrown: what is thrown counts as a failure of the plugin",
  },
  {
    number: 21,
    name: "the null sender is forgotten",
    code: `on("mail", (_s, t) => { if (t.sender.domain === "x") return reject("5.7.1", "x"); });`,
    by: "nothing",
    says: 'does no harm: every part of it is ""',
  },
  {
    number: 43,
    name: "two transports of one name",
    code: `host.transport("t", async () => delivered()); host.transport("t", async () => delivered());`,
    by: "load",
    says: 'mine registers two transports with the name "t"',
  },
  {
    number: 44,
    name: "a hook is registered twice",
    code: `on("rcpt", () => {}); on("rcpt", () => {});`,
    by: "load",
    says: 'mine: the hook "rcpt" is registered twice: make one handler of both',
  },
  {
    number: 45,
    name: "`on` in a handler",
    code: `on("rcpt", () => { on("mail", () => {}); });`,
    by: "run",
    says: 'on("mail", …) works only during setup of plugin mine',
  },
  {
    number: 46,
    name: "`on` in a timer",
    code: `setTimeout(() => on("rcpt", () => {}), 10);`,
    by: "run",
    says: 'on("rcpt", …) works only during setup of plugin mine',
  },
  {
    number: 47,
    name: "a recipient is kept beyond its turn, then edited",
    code:
      `let last; on("dataFor", (_s, r) => { last = r; }); on("disconnect", () => { last?.prependHeader("X", "y"); });`,
    by: "run",
    says: "the hook has returned, edits are over",
  },
  {
    number: 49,
    name: "CR and LF in a header",
    code: `on("data", (_s, m) => { m.prependHeader("X", "a\\r\\nBcc: b"); });`,
    by: "run",
    says: "TypeError",
  },
  {
    number: 53,
    name: "reads 50 MB by `bytes()`",
    code: `on("data", async (_s, m) => { await m.bytes(); });`,
    by: "run",
    says: "RangeError",
  },
  {
    number: 54,
    name: "a handler that never ends",
    code: `on("rcpt", () => new Promise(() => {}));`,
    by: "run",
    says: "no answer within 30000 ms",
  },
  {
    number: 55,
    name: "a loop that never ends",
    code: `on("rcpt", () => { for (;;); });`,
    by: "nothing",
    says: "stops the whole server: let no loop go on for longer than its input",
  },
  {
    number: 61,
    name: "forEach with an async function",
    code:
      `on("data", (_s, m, t) => { t.recipients.forEach(async (r) => { await host.store.set(r.address, m.size, { ttl: "1h" }); }); });`,
    by: "lint",
    says: "forEach does not wait for an async function: use for … of",
  },
  {
    number: 64,
    name: "a verdict behind `&&`",
    code: `on("rcpt", (_s, r) => { r.domain === "x" && reject("5.1.1", "No"); });`,
    by: "lint",
    says: "reject(…) decides nothing unless it is returned",
  },
  {
    number: 65,
    name: "a verdict is stored and forgotten",
    code:
      `on("rcpt", (_s, r) => { const v = r.domain === "x" ? reject("5.1.1", "No") : undefined; void v; });`,
    by: "lint",
    says: "v holds a verdict that nothing returns",
  },
];
