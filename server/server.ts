/**
 * A running server: everything a configuration asks for, opened in the order in which it can fail without harm, and
 * closed in the other.
 */
import { join } from "node:path";
import { Watch } from "./admin/watch.ts";
import { startedFrom } from "./backup.ts";
import { type Certificates, loadCertificates } from "./channel/certificates.ts";
import { type ClientAuthorities, loadAuthorities } from "./channel/clients.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import { formatProblem, type Problem } from "./config/read.ts";
import type { ListenerTraits } from "./connection.ts";
import { LocalQueue } from "./control/operations.ts";
import { ControlServer } from "./control/server.ts";
import { openDns, type Resolver } from "./dns.ts";
import type { HostServices } from "./host.ts";
import { type Ids, openIds } from "./ids.ts";
import { removeLinks } from "./load/reread.ts";
import { type Listener, type Listeners, openListeners } from "./listen.ts";
import { type OpenLog, openLog } from "./log.ts";
import { Observations } from "./observe/observations.ts";
import { Outgoing } from "./outgoing.ts";
import type { LoadedGeneration } from "./load.ts";
import type { MailHistory } from "./plugin.ts";
import { prepare, type Read, read } from "./prepare.ts";
import { checkCache, dropPrivileges, lookUpUser } from "./privileges.ts";
import { Sessions, type Settings } from "./sessions.ts";
import { format, replies } from "./smtp/reply.ts";
import { systemDisk } from "./spool/disk.ts";
import { LogSpool } from "./spool/log.ts";
import { openState, type State } from "./state.ts";
import { databaseOf } from "./tracking/place.ts";
import { Tracking } from "./tracking/tracking.ts";
import { memoryStore, openStore, type Stores } from "./store.ts";
import { verifier } from "./verifying.ts";
import { Watching } from "./watching.ts";

/** The configuration is not fit to start from: `problems` says where and why. */
export class StartRefused extends Error {
  /** `StartRefused`. */
  override readonly name = "StartRefused";

  /** Made by {@linkcode Server.start}. */
  constructor(/** In the order of their files. */ readonly problems: readonly Problem[]) {
    super(problems.map(formatProblem).join("\n"));
  }
}

/** What a program that embeds a server can set, and a configuration can't. */
export interface Embedding {
  /** The port of MTA-STS policy hosts, which is 443 everywhere but in tests. */
  readonly mtaStsPort?: number;
}

/** How long `stop` lets sessions finish, in milliseconds (CASES Q07). */
const grace = 25_000;

/** Octets that stay free on the spool's disk, whatever a message may be (CASES Q03). */
const leastRoom = 256 * 1024 ** 2;

/** What is open while a server runs. */
interface Opened {
  readonly state: State;
  readonly store: Stores;
  readonly cache: Stores;
  readonly observations: Observations;
  readonly dns: Resolver;
  readonly spool: LogSpool;
  /** Absent where the configuration wants none. */
  readonly tracking: Tracking | undefined;
}

/**
 * A server that takes mail, for programs that embed one.
 *
 * @example
 * ```ts
 * import { Server } from "postrider";
 * import { strictEqual } from "node:assert/strict";
 * const folder = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${folder}/postrider.yaml`, `
 * hostname: mx.example.org
 * state: ./state
 * listen: [{ port: 0, address: 127.0.0.1 }]
 * log: { level: error }
 * plugins: [{ use: maildir, with: { domains: [example.org], users: any, path: "./mail/{user}" } }]
 * `);
 * const server = await Server.start(`${folder}/postrider.yaml`);
 * strictEqual(server.open.length, 1);
 * await server.stop();
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export class Server {
  readonly #file: string;
  readonly #embedding: Embedding;
  readonly #clock: Clock = systemClock;
  readonly #ids: Ids = openIds(systemClock);
  readonly #stopping = new AbortController();
  /** What those who connect while it starts wait for. */
  readonly #started = Promise.withResolvers<"takes-mail" | "gave-up">();
  readonly #log: OpenLog;
  #config: Config;
  #generations = 0;
  /** The newest. */
  #generation: LoadedGeneration | undefined;
  #certificates: Certificates | undefined;
  #unwatch: (() => void) | undefined;
  #opened: Opened | undefined;
  /** Lets go of what was opened so far, the last first: a start may fail in between. */
  readonly #closers: (() => void | Promise<void>)[] = [];
  #sessions: Sessions | undefined;
  #outgoing: Outgoing | undefined;
  #control: ControlServer | undefined;
  readonly #watch = new Watch();
  #listeners: Listeners | undefined;
  #stopped: Promise<void> | undefined;
  #watching: Watching | undefined;
  #reloading: Promise<unknown> = Promise.resolve();

  private constructor(file: string, config: Config, embedding: Embedding) {
    this.#file = file;
    this.#embedding = embedding;
    this.#config = config;
    this.#log = openLog(config.log);
  }

  /**
   * Starts a server; it takes mail when this resolves.
   *
   * @param file The configuration, as it is to be called in problems.
   * @param embedding What this program wants otherwise than a server of its own has it.
   * @throws {StartRefused} when the configuration is not fit to start from.
   * @throws {Error} when a port, the state directory or a certificate can't be had.
   */
  static async start(file: string, embedding: Embedding = {}): Promise<Server> {
    const found = await read(file);
    if (found.kind === "unfit") throw new StartRefused(found.problems);
    const server = new Server(file, found.config, embedding);
    try {
      await server.#open(found);
      return server;
    } catch (error) {
      await server.#close();
      throw error;
    }
  }

  /** Where mail is taken: addresses and the ports there really are, or the path of a Unix socket and port 0. */
  get open(): readonly { readonly address: string; readonly port: number }[] {
    return this.#listeners?.open ?? [];
  }

  /** Writes an error that nobody else caught to the server's log. */
  caught(error: string): void {
    this.#log.error("a floating error was caught", { error });
  }

  /**
   * Reads the configuration, the plugins and the certificates again: new sessions get them, running ones keep what they
   * have. Listeners, `state`, `user` and `dns` stay as they are until a restart.
   *
   * @returns What is wrong; with an error among it everything stays as it was.
   */
  reload(): Promise<readonly Problem[]> {
    const reloaded = this.#reloading.then(() => this.#reload());
    this.#reloading = reloaded.catch(() => {});
    return reloaded;
  }

  /** From now on reloads whenever the configuration, a plugin or what a plugin imports is saved. */
  async watch(): Promise<void> {
    this.#watching ??= await Watching.start({
      file: this.#file,
      reload: () => this.reload(),
      failed: (error) => this.#log.error("watching failed: use SIGHUP", { error: String(error) }),
      clock: this.#clock,
    });
    this.#log.info("watching", { files: this.#watching.files });
  }

  /** Takes no more mail, lets sessions finish, and lets go of everything. Resolves within 30 s. */
  stop(): Promise<void> {
    this.#log.info("stopping", { connections: this.#listeners?.connections });
    return this.#stopped ??= this.#close();
  }

  // ── Opening ──────────────────────────────────────────────────────────────────────────────────────

  async #open(found: Read): Promise<void> {
    const { config } = found;
    this.#tell(found.problems);
    if (config.tls.length > 0) {
      this.#certificates = await loadCertificates(config.tls, { clock: this.#clock, log: this.#log });
    }
    // Ports below 1024 want root, everything after them does not: plugins never run as root.
    this.#listeners = await this.#listen(config);
    const state = await this.#keep(openState(config.state, config.user));
    if (config.user !== undefined) {
      await giveSockets(config);
      dropPrivileges(config.user);
      checkCache(config.user);
    }
    await removeLinks(state.folder);
    this.#opened = await this.#openEdges(config, state);
    await this.#sayRestored(state.folder, this.#opened.spool);
    this.#sessions = this.#makeSessions(this.#opened);
    const prepared = await prepare(found, ++this.#generations, this.#services());
    if (prepared.kind === "refused") throw new StartRefused(prepared.problems);
    this.#tell(prepared.problems);
    this.#sessions.use(settingsOf(config), prepared.generation);
    this.#generation = prepared.generation;
    this.#unwatch = this.#certificates?.watch(
      () => this.#log.info("certificates reloaded"),
      (error) => this.#log.error("certificates not reloaded: the old ones stay", { error: error.message }),
    );
    const { dns, spool, store, observations } = this.#opened;
    const edges = {
      clock: this.#clock,
      log: this.#log,
      ids: this.#ids,
      dns,
      spool,
      store,
      sessions: this.#sessions,
      metrics: this.#watch,
      newBody: (id: string) => spool.bodies.create(id),
      observations,
      policyPort: this.#embedding.mtaStsPort,
    };
    this.#outgoing = await Outgoing.open(config, edges);
    await this.#openForPeople(config, this.#opened, this.#outgoing);
    await prepared.generation.begin();
    this.#outgoing.start(); // last: a start that fails has sent nothing
    this.#started.resolve("takes-mail");
    for (const { address, port, listener } of this.#listeners.open) {
      this.#log.info("listening", {
        address,
        port,
        role: listener.role,
        protocol: listener.protocol,
        tls: this.#certificates && !("path" in listener) ? listener.tls : "none",
      });
    }
  }

  /** A backup knows nothing of what came after it: an operator who starts from one should. */
  async #sayRestored(folder: string, { size }: LogSpool): Promise<void> {
    const made = await startedFrom(folder);
    if (made === undefined) return;
    this.#log.warning("started from a backup: what was delivered since it was made is delivered again", {
      made,
      queued: size,
    });
  }

  async #listen({ listen, limits }: Config): Promise<Listeners> {
    const traits = new Map<Listener, ListenerTraits>(listen.map((one) => [one, one]));
    const clients = await this.#authorities(listen);
    return await openListeners({
      clients: (listener) => clients.get(listener),
      listeners: [...traits.keys()],
      limits,
      certificates: this.#certificates,
      clock: this.#clock,
      log: this.#log,
      onRefused: (why) => this.#watch.connectionRefused(why),
      refuse: () => new TextEncoder().encode(format(replies.tooManyConnections)),
      proxyKind: (address) => this.#proxyKind(address),
      serve: async (channel, { listener, proxy, countAs }) => {
        if (await this.#started.promise !== "takes-mail") return;
        const login = this.#config.proxies.xclientLogin ? "login-believed" : "login-not-believed";
        const introducer = proxy === "command" ? { login, countAs } as const : undefined;
        await this.#sessions!.serve(channel, traits.get(listener)!, introducer);
      },
    });
  }

  async #authorities(listen: Config["listen"]): Promise<Map<Listener, ClientAuthorities>> {
    const found = new Map<Listener, ClientAuthorities>();
    for (const listener of listen) {
      if (!listener.clientCertificates) continue;
      const { ca, required } = listener.clientCertificates;
      const pem = await loadAuthorities(ca);
      found.set(listener, { pem, certificate: required ? "required" : "optional" });
    }
    return found;
  }

  #proxyKind(address: string): "header" | "command" | undefined {
    const { haproxy, xclient } = this.#config.proxies;
    if (haproxy.some((network) => network.has(address))) return "header";
    return xclient.some((network) => network.has(address)) ? "command" : undefined;
  }

  async #openEdges(config: Config, state: State): Promise<Opened> {
    const store = await this.#keep(openStore(join(state.folder, "store.db"), this.#clock));
    const tracking = this.#makeTracking(config, state);
    return {
      state,
      store,
      observations: await this.#keep(new Observations(store, this.#clock, this.#log)),
      cache: await this.#keep(memoryStore(this.#clock)),
      dns: await this.#keep(openDns({
        ...(config.dns.servers.length > 0 && { servers: config.dns.servers.map(serverText) }),
        trustAd: config.dns.trustAd,
        clock: this.#clock,
      })),
      spool: await this.#keep(LogSpool.open(join(state.folder, "spool"), {
        clock: this.#clock,
        log: this.#log,
        disk: this.#watch.timed(systemDisk),
        room: Math.max(2 * config.limits.message, leastRoom),
        ...(tracking && { follower: tracking }),
      })),
      tracking,
    };
  }

  /** What follows the queue, from before it is opened, so that nothing of it goes unread. */
  #makeTracking({ tracking: { enabled, keep } }: Config, { folder }: State): Tracking | undefined {
    if (!enabled) return undefined;
    return new Tracking({ path: databaseOf(folder), clock: this.#clock, log: this.#log, keep });
  }

  /** Sees to it that this is closed in the end, whatever becomes of the start. */
  async #keep<T extends { close(): void | Promise<void> }>(opening: T | Promise<T>): Promise<T> {
    const opened = await opening;
    this.#closers.push(() => opened.close());
    return opened;
  }

  #makeSessions({ spool, observations }: Opened): Sessions {
    return new Sessions({
      clock: this.#clock,
      log: this.#log,
      ids: this.#ids,
      newBody: (id) => spool.bodies.create(id),
      noRoom: () => refusals[spool.room()],
      spool,
      draining: this.#stopping.signal,
      metrics: this.#watch,
      // There is one before anybody is listened to.
      passing: {
        keyOf: (hops) => this.#outgoing!.passing.keyOf(hops),
        open: (request) => this.#outgoing!.passing.open(request),
      },
      observations,
    });
  }

  /** The queue for people, and what an operator watches. */
  async #openForPeople(
    config: Config,
    { state, spool, tracking }: Opened,
    outgoing: Outgoing,
  ): Promise<void> {
    const [clock, log] = [this.#clock, this.#log];
    const { runner, directions } = outgoing;
    const queue = new LocalQueue(spool, clock, runner, { ...directions, freeze: () => spool.freeze() });
    if (tracking) {
      tracking.follow(spool);
      this.#closers.push(() => tracking.close()); // before the spool, which it reads
    }
    this.#control = await ControlServer.open({ state: state.folder, queue, tracking, clock, log });
    this.#watch.open(config.admin, {
      clock,
      log,
      spool,
      deliveries: runner,
      free: () => systemDisk.free(state.folder),
      doors: () =>
        this.#stopping.signal.aborted ? [] : this.#listeners!.open.map(({ address, port, listener }) => ({
          address,
          port,
          tls: listener.tls,
          wantsHeader: (from) => this.#proxyKind(from) === "header",
        })),
    });
  }

  #services(): HostServices {
    const { store, cache, dns, state } = this.#opened!;
    return {
      clock: this.#clock,
      log: this.#log,
      store,
      cache,
      dns,
      state: state.folder,
      submit: (mail) => this.#sessions!.submit(mail),
      verify: verifier(() => this.#outgoing!.passing),
      queue: { retry: (domain, how) => this.#outgoing!.flush(domain, how) },
      history: { after: (place, limit) => this.#history(place, limit) },
    };
  }

  async #history(place: string | undefined, limit: number): Promise<MailHistory> {
    const { tracking } = this.#opened!;
    if (!tracking) {
      throw new Error("nothing is recorded: the configuration has `tracking: { enabled: false }`");
    }
    return await tracking.after(place, limit);
  }

  // ── Reloading and closing ────────────────────────────────────────────────────────────────────────

  async #reload(): Promise<readonly Problem[]> {
    const found = await read(this.#file);
    if (found.kind === "unfit") return this.#notReloaded(found.problems);
    const prepared = await prepare(found, ++this.#generations, this.#services());
    if (prepared.kind === "refused") return this.#notReloaded([...found.problems, ...prepared.problems]);
    try {
      await this.#certificates?.reload();
    } catch (error) {
      this.#log.error("certificates not reloaded: the old ones stay", { error: (error as Error).message });
    }
    if (this.#opened!.tracking) this.#opened!.tracking.keep = found.config.tracking.keep;
    const restarts = (config: Config) => ({ ...config, tracking: config.tracking.enabled });
    for (const key of ["listen", "state", "user", "dns", "tls", "admin", "tracking"] as const) {
      if (JSON.stringify(restarts(found.config)[key]) === JSON.stringify(restarts(this.#config)[key])) {
        continue;
      }
      this.#log.warning("a change that needs a restart", { key });
    }
    await this.#outgoing!.reload(found.config);
    if (this.#stopping.signal.aborted) { // meanwhile: nobody would dispose of it later
      await prepared.generation.dispose();
      return found.problems;
    }
    this.#config = found.config;
    this.#log.change(found.config.log);
    this.#listeners!.limit(found.config.limits);
    this.#sessions!.use(settingsOf(found.config), prepared.generation);
    void this.#generation?.end();
    this.#generation = prepared.generation;
    await prepared.generation.begin().catch((error) => {
      this.#log.error("a plugin doesn't run after the reload", { error: (error as Error).message });
    });
    const problems = [...found.problems, ...prepared.problems];
    this.#tell(problems);
    this.#log.info("reloaded", { generation: this.#generations });
    return problems;
  }

  #notReloaded(problems: readonly Problem[]): readonly Problem[] {
    this.#tell(problems);
    this.#log.error("not reloaded: everything stays as it was");
    return problems;
  }

  #tell(problems: readonly Problem[]): void {
    // The line's level says how bad it is.
    for (const { file, line, column, message, severity } of problems) {
      this.#log[severity](`${file}:${line}:${column}: ${message}`);
    }
  }

  /** Waits no longer for what plugins run than for sessions. */
  async #endRunning(): Promise<void> {
    const over = new AbortController();
    await Promise.race([this.#generation?.end(), this.#clock.sleep(grace, over.signal).catch(() => {})]);
    over.abort();
  }

  async #close(): Promise<void> {
    this.#unwatch?.();
    this.#watching?.stop();
    this.#stopping.abort();
    this.#started.resolve("gave-up"); // whoever came while it started would be waited for
    await this.#watch.close();
    await this.#control?.close();
    await Promise.all([this.#endRunning(), this.#listeners?.drain(grace), this.#outgoing?.stop(grace)]);
    await this.#outgoing?.close();
    await this.#sessions?.close();
    for (const close of this.#closers.reverse()) { // the state's lock among them: each whatever became of the others
      await Promise.resolve().then(close).catch((error) => {
        this.#log.error("cannot close", { error: error instanceof Error ? error.stack : String(error) });
      });
    }
    if (this.#outgoing) this.#log.info("stopped");
    await this.#log.close();
  }
}

/** What MAIL is told where nothing can be kept. */
const refusals = { room: undefined, full: replies.noRoom, failing: replies.notStored } as const;

const serverText = ({ address, port }: { address: string; port: number }) =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;

/** Unix sockets were made by root; who is not the user may not connect. */
async function giveSockets({ listen, user }: Config): Promise<void> {
  if (user === undefined || Deno.uid() !== 0) return;
  const { uid, gid } = lookUpUser(user);
  for (const one of listen) if (one.kind === "unix") await Deno.chown(one.path, uid, gid);
}

/** What sessions need of a configuration. */
function settingsOf({ hostname, limits, timeouts, trustedNetworks }: Config): Settings {
  return { hostname, limits, timeouts, trustedNetworks };
}
