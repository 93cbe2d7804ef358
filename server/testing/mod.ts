/**
 * The testing kit: a whole server in memory, for tests of plugins. No sockets, no files, no waiting.
 *
 * @example
 * ```ts
 * import { defer, definePlugin, duration, z } from "postrider";
 * import { mailboxes, testServer } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 *
 * const greylist = definePlugin({
 *   name: "greylist",
 *   options: z.object({ wait: duration("5m") }),
 *   setup(on, { wait }, { clock, store }) {
 *     on("rcpt", async (session, rcpt, { sender }) => {
 *       const key = `${session.remote.network} ${sender} ${rcpt}`;
 *       const first = await store.getOrSet(key, clock.now(), { ttl: "36h" });
 *       if (clock.now() - first < wait) return defer("4.7.1", "Greylisted, please try again later");
 *     });
 *   },
 * });
 *
 * await using server = await testServer({ plugins: [greylist, mailboxes(["example.org"])] });
 * equal((await server.send({ to: "alice@example.org" })).reply.code, 451);
 * await server.clock.advance("5m");
 * equal((await server.send({ to: "alice@example.org" })).outcome, "accepted");
 * equal(server.delivered.length, 1);
 * ```
 *
 * @module
 */
export { TestClient, type TestReply } from "./client.ts";
export { FakeClock } from "./clock.ts";
export { runDialog } from "./dialog.ts";
export { type FakeDns, fakeDns, type FakeName } from "./dns.ts";
export { countingIds } from "./ids.ts";
export { type LogEntry, type MemoryLog, memoryLog } from "./log.ts";
export { type DeliveredMail, Mailboxes, mailboxes, type MailboxesOptions } from "./mailboxes.ts";
export type { OutgoingMail, SmtpAnswer, SmtpSays } from "./outgoing.ts";
export type { NextHopAnswer, PassedRecipient } from "./passing.ts";
export type { Disk, QueuedFor, QueuedMail } from "./queue.ts";
export type { Said } from "./hearing.ts";
export { logins } from "./logins.ts";
export type { ReadMail, TestContent } from "./mail.ts";
export type { ConnectOptions, CutMail, CutSent, Lost, Refused, Sent, SentBase, TestMail } from "./send.ts";
export type { StoresAre } from "./stores.ts";
export { memoryStore, type Stores } from "../store.ts";
export { type InUse, TestServer, testServer } from "./server.ts";
export type { Isolate, TestEntry, TestPlugin, TestServerOptions, UsedPlugin } from "./configuration.ts";

// What the fakes stand in for.
export type { Clock } from "../clock.ts";
export type { DnsFailure, DnsResult, Query, RecordData, RecordType, Resolver } from "../dns.ts";
export type { Ids } from "../ids.ts";
export type { Field, Level, Log } from "../log.ts";
