/** The whole server in memory: the real chain of plugins, over channels without sockets, on a clock that stands still. */
import { memoryChannel } from "../channel/memory.ts";
import type { Generation } from "../generation.ts";
import type { HostServices } from "../host.ts";
import type { Host, Store } from "../plugin.ts";
import { Sessions } from "../sessions.ts";
import { replies } from "../smtp/reply.ts";
import { BodyStore } from "../spool/body.ts";
import { MemoryDisk } from "../spool/memory_disk.ts";
import { memoryStore } from "../store.ts";
import { verifier } from "../verifying.ts";
import { TestClient } from "./client.ts";
import { FakeClock, turn } from "./clock.ts";
import { defaultHostname, loadTest, type TestPlugin, type TestServerOptions } from "./configuration.ts";
import { type FakeDns, fakeDns } from "./dns.ts";
import { Heard, Hearing } from "./hearing.ts";
import { TestHistory } from "./history.ts";
import { countingIds } from "./ids.ts";
import { type MemoryLog, memoryLog } from "./log.ts";
import type { DeliveredMail } from "./mailboxes.ts";
import type { OutgoingMail, SmtpAnswer } from "./outgoing.ts";
import { FakePassing, type NextHopAnswer } from "./passing.ts";
import { type Disk, type QueuedMail, TestQueue } from "./queue.ts";
import {
  type ConnectOptions,
  converse,
  type CutMail,
  type CutSent,
  type Sent,
  type TestMail,
} from "./send.ts";
import { FaultyStores, type StoresAre } from "./stores.ts";

/** What a server holds at this moment; all zero when no client is there. */
export interface InUse {
  /** Connections. */
  readonly connections: number;
  /** Octets of messages in memory. */
  readonly octets: number;
  /** Files of messages. */
  readonly files: number;
  /** Timers that are set. */
  readonly timers: number;
}

const bodies = "/bodies";

/**
 * A server for tests, as {@linkcode testServer} makes it. Mail that was queued is sent on by the real runner: what leaves by
 * `smtp` is in `sent`, and the test says what the hosts out there think of it.
 *
 * @example Four days to a bounce
 * ```ts
 * import { accept, defer, definePlugin } from "postrider";
 * import { mailboxes, testServer } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 * const anywhere = definePlugin({ name: "anywhere", setup: (on) => on("rcpt", () => accept()) });
 * await using server = await testServer({
 *   plugins: [anywhere, mailboxes(["example.org"])],
 *   outbound: { giveUpAfter: "4d", delayNoticeAfter: "4d" },
 *   smtp: () => defer("4.2.2", "Mailbox full"),
 * });
 * await server.send({ from: "alice@example.org", to: "bob@elsewhere.example" });
 * equal((await server.queue())[0]?.recipients[0]?.reply, "451 4.2.2 Mailbox full");
 * await server.clock.advance("97h");
 * equal(server.delivered[0]?.to, "alice@example.org");
 * equal(/^Action: (.*)\r$/m.exec(server.delivered[0]?.content ?? "")?.[1], "failed");
 * equal((await server.queue()).length, 0);
 * ```
 *
 * @example Time
 * ```ts
 * import { mailboxes, testServer } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 * await using server = await testServer({ plugins: [mailboxes(["example.org"])], timeouts: { command: "1m" } });
 * const client = server.connect();
 * await client.command("EHLO client.example");
 * await server.clock.advance("1m");
 * equal((await client.reply()).code, 421);
 * await client.closed;
 * ```
 */
export class TestServer implements AsyncDisposable {
  /** The server's clock: it moves when the test says so. */
  readonly clock: FakeClock = new FakeClock();
  /** Everything that was logged. */
  readonly log: MemoryLog = memoryLog();
  /** The DNS, which the test can change. */
  readonly dns: FakeDns;
  /** What {@linkcode mailboxes} have taken so far. */
  readonly delivered: readonly DeliveredMail[] = [];
  /** What hosts out there have taken so far, by the transport `smtp`, a relay or a proxy. */
  readonly sent: readonly OutgoingMail[] = [];
  /** What hosts out there say to mail that leaves by `smtp`; a test can change it at any time. */
  smtp: SmtpAnswer;
  /** What a proxy's next hop says at RCPT, and whoever is asked by `host.verify`; a test can change it at any time. */
  nextHop: NextHopAnswer;
  /**
   * `none`: the disk is too full for new messages; `runs-out`: nothing can be written to it any more, neither messages into the
   * queue nor those over 256 KiB while they arrive.
   */
  room: "enough" | "none" | "runs-out" = "enough";
  readonly #hearing = new Hearing();
  readonly #stores: FaultyStores = new FaultyStores(memoryStore(this.clock));
  #ownState: string | undefined;
  readonly #disk: MemoryDisk;
  readonly #options: TestServerOptions;
  readonly #services: HostServices;
  readonly #sessions: Sessions;
  readonly #bodies: BodyStore;
  readonly #queue: TestQueue;
  readonly #history = new TestHistory(this.clock);
  #generation: Generation | undefined;
  readonly #draining = new AbortController();
  readonly #open = new Set<TestClient>();
  #generations = 0;

  private constructor(options: TestServerOptions, disk: MemoryDisk, store: BodyStore) {
    this.#options = options;
    this.#disk = disk;
    this.#bodies = store;
    this.dns = fakeDns(options.dns);
    this.smtp = options.smtp ?? (() => {});
    this.nextHop = options.nextHop ?? (() => {});
    const ids = countingIds();
    const log = this.#hearing.through(this.log);
    this.#queue = new TestQueue({
      clock: this.clock,
      log,
      ids,
      hostname: options.hostname ?? defaultHostname,
      sessions: () => this.#sessions,
      smtp: () => this.smtp,
      newBody: (id) => store.create(id),
      sent: (mail) => (this.sent as OutgoingMail[]).push(mail),
    });
    const { spool } = this.#queue;
    spool.fault = () =>
      this.room === "runs-out" ? new Error("No space left on device (os error 28)") : undefined;
    disk.before = (operation) => {
      const fault = operation === "write" || operation === "openNew" ? spool.fault() : undefined;
      if (fault) throw fault;
    };
    const state = () =>
      options.state ?? (this.#ownState ??= Deno.makeTempDirSync({ prefix: "postrider-test-" }));
    const passing = new FakePassing({
      nextHop: () => this.nextHop,
      smtp: () => this.smtp,
      sent: (mail) => (this.sent as OutgoingMail[]).push(mail),
    });
    this.#services = {
      clock: this.clock,
      log: this.log,
      store: this.#stores,
      cache: memoryStore(this.clock),
      dns: this.dns,
      get state(): string {
        return state();
      },
      submit: (mail) => this.#queue.track(this.#sessions.submit(mail)),
      verify: verifier(() => passing),
      queue: { retry: (domain, how) => this.#queue.flush(domain, how) },
      history: this.#history,
    };
    this.#sessions = new Sessions({
      clock: this.clock,
      log,
      ids,
      newBody: (id) => store.create(id),
      noRoom: () => this.room === "none" ? replies.noRoom : undefined,
      spool,
      draining: this.#draining.signal,
      passing,
    });
  }

  /** See {@linkcode testServer}. */
  static async open(options: TestServerOptions): Promise<TestServer> {
    const disk = new MemoryDisk();
    const server = new TestServer(options, disk, await BodyStore.open(bodies, { disk }));
    await server.reload(options.plugins);
    return server;
  }

  /** The durable store of a plugin's instance, by its name. */
  store(name: string): Store {
    return this.#services.store.for(name);
  }

  /** A new generation of plugins: new sessions get it, those that run keep theirs. @throws {Error} as `testServer` does. */
  async reload(plugins: readonly TestPlugin[]): Promise<void> {
    const { settings, generation } = await loadTest({ ...this.#options, plugins }, {
      number: ++this.#generations,
      services: this.#services,
      keep: (mail) => (this.delivered as DeliveredMail[]).push(mail),
    });
    for (const instance of generation.instances) this.#hearing.listen(instance);
    const instances = [...generation.instances, this.#history.instance];
    this.#sessions.use(settings, { ...generation, instances });
    const before = this.#generation;
    this.#generation = generation;
    const { retry: schedule, giveUpAfter, delayNoticeAfter, concurrency } = settings.outbound;
    this.#queue.use({ policy: { schedule, giveUpAfter, delayNoticeAfter }, concurrency });
    void before?.end?.();
    await generation.begin?.();
  }

  /** What is in the queue, oldest first. */
  queue(): Promise<readonly QueuedMail[]> {
    return this.#queue.list();
  }

  /**
   * Resolves when nothing of the queue is under way, and nothing will be before time passes. What needs no I/O has happened
   * already when `send`, `submit` and `clock.advance` resolve; this waits for transports that do some.
   */
  settled(): Promise<void> {
    return this.#queue.settled();
  }

  /**
   * How the disk under the queue behaves. `fails`: no message can be kept, so that clients hear 451; `hangs`: whether one is kept
   * isn't known before this is set again.
   */
  get disk(): Disk {
    return this.#queue.spool.disk;
  }

  /** See the getter. */
  set disk(disk: Disk) {
    this.#queue.spool.disk = disk;
  }

  /**
   * How `host.store` behaves. `fail`: it rejects, as when its disk is broken; `hang`: it answers nothing before this is set again, so
   * that whoever asks runs into its time-out.
   */
  get stores(): StoresAre {
    return this.#stores.are;
  }

  /** See the getter. */
  set stores(are: StoresAre) {
    this.#stores.are = are;
  }

  /** Connects a client; its greeting is the first reply. */
  connect(how: ConnectOptions = {}): TestClient {
    return this.#connect(how, new Heard());
  }

  #connect(how: ConnectOptions & { readonly cut?: number }, heard: Heard): TestClient {
    const { role = "mx", protocol = "smtp", auth = role === "submission", allowPlain = false } = how;
    const { client, server } = memoryChannel({
      remote: { address: how.ip ?? "192.0.2.1", port: how.port ?? 40_000 },
      local: { port: protocol === "lmtp" ? 24 : role === "mx" ? 25 : 587 },
      tls: how.tls ?? "starttls",
    });
    const traits = { role, protocol, auth, allowPlain };
    const over = this.#hearing.during(heard, () => this.#sessions.serve(server, traits));
    const connected = new TestClient(client, over, how.cut);
    this.#open.add(connected);
    over.finally(() => this.#open.delete(connected));
    return connected;
  }

  /** Sends a part of a message, and is gone. */
  send(mail: CutMail): Promise<CutSent>;
  /** Sends a message through the whole chain, over a connection of its own. */
  send(mail: TestMail): Promise<Sent>;
  async send(mail: TestMail | CutMail): Promise<CutSent> {
    const secure = mail.user ? { role: "submission", tls: "implicit" } as const : {};
    const heard = new Heard();
    const client = this.#connect({ ...secure, ...mail }, heard);
    try {
      const conversed = await converse(client, mail);
      const { said, refusedBy: by } = heard;
      return conversed.outcome === "refused" ? { ...conversed, said, by } : { ...conversed, said };
    } finally {
      client.close();
      await client.closed;
      await turn(); // what was queued is delivered, if it waits for nothing
    }
  }

  /** A message of the server's own, as `host.submit()` takes it. @throws {Error} when it is refused. */
  async submit(mail: Parameters<Host["submit"]>[0]): Promise<{ id: string }> {
    const kept = await this.#sessions.submit(mail);
    await turn();
    return kept;
  }

  /** The server goes down: idle sessions are told, running transactions may finish. */
  drain(): void {
    this.#draining.abort();
  }

  /** What is held at this moment: what a leak would show in. */
  async inUse(): Promise<InUse> {
    const before = this.#disk.before;
    this.#disk.before = () => {};
    const files = (await this.#disk.list(bodies)).length;
    this.#disk.before = before;
    return {
      connections: this.#open.size,
      octets: this.#bodies.memoryUsed,
      files,
      timers: this.clock.pending.length,
    };
  }

  /** Resets what is still connected, aborts deliveries that are under way, and disposes of the plugins. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#generation?.end?.();
    const open = [...this.#open];
    for (const client of open) client.abort();
    await Promise.all(open.map((client) => client.closed));
    await this.#queue.stop();
    this.stores = "work";
    await this.#sessions.close();
    if (this.#ownState !== undefined) await Deno.remove(this.#ownState, { recursive: true });
  }
}

/**
 * Makes a server in memory: no sockets, no files, no waiting. Plugins are loaded as from a configuration, with their options
 * checked, and asked in the order given.
 *
 * @param options The plugins, and what else a configuration would say.
 * @throws {Error} when the plugins or their options are refused; the message has a line for each problem.
 *
 * @example
 * ```ts
 * import { definePlugin, duration, reject, z } from "postrider";
 * import { mailboxes, testServer } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 *
 * const blocklist = definePlugin({
 *   name: "blocklist",
 *   options: z.object({ senders: z.array(z.string()) }),
 *   setup(on, { senders }) {
 *     on("mail", (_session, { sender }) => {
 *       if (senders.includes(sender.address)) return reject("5.7.1", "Not from you");
 *     });
 *   },
 * });
 *
 * await using server = await testServer({
 *   plugins: [[blocklist, { senders: ["spam@example.net"] }], mailboxes(["example.org"])],
 * });
 * equal((await server.send({ from: "spam@example.net", to: "alice@example.org" })).outcome, "refused");
 * equal((await server.send({ from: "bob@example.net", to: "alice@example.org" })).outcome, "accepted");
 * equal(server.delivered.length, 1);
 * ```
 */
export function testServer(options: TestServerOptions): Promise<TestServer> {
  return TestServer.open(options);
}
