// Every mistake the types are to catch, each on one line (a fmt would move the error off the line below its comment).
// deno-fmt-ignore-file
// deno-lint-ignore-file
import {
  accept, defer, delivered, disconnect, duration, cidr, reject, transport, z,
  type Host, type On, type Session, type Transaction,
} from "postrider";
import { spf } from "postrider/facts";

declare const on: On, host: Host;
const schema = z.object({ wait: duration("5m"), nets: z.array(cidr()), via: transport("maildir") });
declare const options: z.output<typeof schema>;
const { via } = options;
const seen = host.notes((_of: Session) => ({ rcpts: 0 }));

// @ts-expect-error 01 TS2345 misspelt hook
on("rctp", () => {});

// @ts-expect-error 02 TS2322 accept at a gate
on("mail", () => accept());

// @ts-expect-error 03 TS2345 4.x.x in reject
on("rcpt", () => reject("4.7.1", "Later"));

// @ts-expect-error 04 TS2345 5.x.x in defer
on("rcpt", () => defer("5.7.1", "No"));

// @ts-expect-error 05 TS2345 status without detail ("5.7")
on("rcpt", () => reject("5.7", "No"));

// @ts-expect-error 06 TS2345 code of the wrong class
on("rcpt", () => reject("5.7.1", "No", 450));

// @ts-expect-error 07 TS2322 returns a string
on("rcpt", () => "550 no");

// @ts-expect-error 08 TS2322 returns true/false
on("rcpt", (_s, r) => r.domain === "x");

// @ts-expect-error 11 TS2363 no await before use in arithmetic
on("rcpt", (_s, r) => { const first = host.store.getOrSet(r.address, 1, { ttl: "1h" }); if (host.clock.now() - first < 5) return defer("4.7.1", "x"); });

// @ts-expect-error 12 TS2801 no await in a condition
on("rcpt", (_s, r) => { if (host.store.get(r.address)) return defer("4.7.1", "x"); });

// @ts-expect-error 16 TS2322 verdict from a report
on("disconnect", () => reject("5.7.1", "x"));

// @ts-expect-error 17 TS2345 verdict from an async report
on("delivered", async () => { await 0; return defer("4.7.1", "x"); });

// @ts-expect-error 18 TS2339 arguments in the wrong order
on("rcpt", (_session, transaction, rcpt) => { if (rcpt.address === transaction.sender) return reject("5.7.1", "x"); });

// @ts-expect-error 19 TS2339 field that does not exist
on("rcpt", (session) => { if (session.ip === "::1") return; });

// @ts-expect-error 20 TS18048 user might be undefined
on("mail", (session) => { if (session.user.name === "x") return reject("5.7.1", "x"); });

// @ts-expect-error 22 TS2540 assigns to the envelope
on("rcpt", (_s, r) => { r.address = "other@example.org"; });

// @ts-expect-error 23 TS2339 pushes a recipient
on("data", (_s, _m, t) => { t.recipients.push(t.recipients[0]!); });

// @ts-expect-error 24 TS2322 claim of another hook
on("auth", () => accept({ via }));

// @ts-expect-error 25 TS2322 unknown claim key
on("resolve", () => accept({ vai: via }));

// @ts-expect-error 26 TS2322 via and to together
on("resolve", () => accept({ via, to: ["a@b"] }));

// @ts-expect-error 27 TS2322 auth accept without user
on("auth", () => accept());

// @ts-expect-error 28 TS2322 via given as a text
on("resolve", () => accept({ via: "maildir" }));

// @ts-expect-error 29 TS2322 rcpt accept with via (old habit)
on("rcpt", () => accept({ via }));

// @ts-expect-error 30 TS2345 wrong use of an option
on("connect", (s) => { if (options.nets.includes(s.remote.address)) return disconnect("5.7.1", "x"); });

// @ts-expect-error 31 TS2339 option that is not in the schema
on("connect", () => { host.log.info(`${options.wiat}`); });

// @ts-expect-error 32 TS2345 duration default in milliseconds
duration(300_000);

// @ts-expect-error 33 TS2345 duration default misspelt
duration("5 min");

// @ts-expect-error 34 TS2769 zod default instead of helper's ("5m" is input)
duration().default("5m");

// @ts-expect-error 35 TS2322 ttl misspelt
on("connect", async (s) => { await host.store.set(s.id, 1, { ttl: "36 hours" }); });

// @ts-expect-error 36 TS2551 notes typo
on("rcpt", (s) => { seen(s).rcpt++; });

// @ts-expect-error 37 TS2345 notes of another scope
on("mail", (_s, t) => { seen(t).rcpts++; });

// @ts-expect-error 38 TS2820 fact of the wrong shape
on("mail", (_s, t) => { host.provides(spf)(t, { result: "passed", domain: "x" }); });

// @ts-expect-error 39 TS2345 fact of the wrong scope
on("mail", (s) => { host.needs(spf)(s); });

// @ts-expect-error 40 TS2339 edits a stored message in a transport
host.transport("x", async (message) => { message.prependHeader("X", "y"); return delivered(); });

// @ts-expect-error 41 TS2345 transport says nothing
host.transport("x", async (message) => { await message.bytes(); });

// @ts-expect-error 42 TS2322 transport answers booleans
host.transport("x", async (_m, recipients) => recipients.map(() => true));

// @ts-expect-error 48 TS2339 message read in a report
on("delivered", async (event) => { await event.message.bytes(); });

// @ts-expect-error 50 TS2345 bytes treated as text
on("data", async (_s, m) => { if ((await m.bytes()).includes("viagra")) return reject("5.7.1", "x"); });

// @ts-expect-error 51 TS2339 headers treated as an object
on("data", (_s, m) => { if (m.headers.subject) return; });

// @ts-expect-error 52 TS2488 for instead of for await
on("data", (_s, m) => { for (const l of m.lines()) { void l; } });

// @ts-expect-error 56 TS2322 verdict function itself returned
on("rcpt", () => reject);

// @ts-expect-error 57 TS2322 hand-made verdict, misspelt
on("rcpt", () => ({ verdict: "rejct", status: "5.7.1", text: "x" }));

// @ts-expect-error 58 TS2554 disconnect without a status
on("connect", () => disconnect("bye"));

// @ts-expect-error 59 TS2345 defer with 421
on("rcpt", () => defer("4.7.0", "x", 421));

// @ts-expect-error 60 TS2322 async handler returning an array of verdicts
on("data", async () => [reject("5.7.1", "x")]);

// @ts-expect-error 62 TS2322 password logged
on("auth", (_s, credentials) => { host.log.info("login", { credentials }); });

// @ts-expect-error 63 TS2339 a password of an OAuth login
on("auth", (_s, credentials) => { host.log.info(credentials.password); });

// @ts-expect-error 66 TS2322 relay names a transport instead of hops
host.relay("x", () => accept({ via }));

// @ts-expect-error 67 TS2322 hop with a host and a socket
on("route", () => accept({ hops: [{ host: "mx.example", path: "/run/lmtp" }] }));

// @ts-expect-error 68 TS2322 onward by a name instead of a transport
on("resolve", () => accept({ onward: "via" }));
