/**
 * A dry run: the real connection, the real plugins, a client that says what was described. Nothing is kept, sent, counted or
 * written: the spool only notes what it was given, stores are read, plugins see `call.dryRun`.
 */
import { noMetrics } from "../admin/metrics.ts";
import { memoryChannel, type MemoryClient } from "../channel/memory.ts";
import { Chain, type Heard, summary } from "../chain.ts";
import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { Source } from "../config/read.ts";
import { converse } from "../connection.ts";
import { Destinations } from "../delivery/smtp/destination.ts";
import { Hosts } from "../delivery/smtp/hosts.ts";
import type { Resolver } from "../dns.ts";
import { type Instance, isProxy } from "../generation.ts";
import { openIds } from "../ids.ts";
import { Intake } from "../intake.ts";
import { networkOf } from "../listen/network.ts";
import type { LoadedGeneration } from "../load.ts";
import type { Log } from "../log.ts";
import type { Content } from "../message/content.ts";
import { SealedMessage } from "../message/message.ts";
import type { Hop, Json, Session } from "../plugin.ts";
import { smtpTransport } from "../resolve.ts";
import { parseAddress } from "../smtp/address.ts";
import type { BodyStore } from "../spool/body.ts";
import type { QueuedEnvelope } from "../spool/spool.ts";
import {
  type Copy,
  type Ending,
  type Explanation,
  outcomeOf,
  type Said,
  type Step,
  type Told,
  type Turn,
  worst,
} from "./explanation.ts";

/** The session that is to be explained. */
export interface Described {
  readonly ip: string;
  readonly role: Session["role"];
  readonly helo: string;
  /** TLS runs from the first byte. */
  readonly tls: boolean;
  /** Taken to have logged in, without having to. */
  readonly user: Session["user"];
  /** `""` for a bounce. */
  readonly from: string;
  readonly to: readonly string[];
  /** What is called by this name, lines ending in CRLF. */
  readonly message: { readonly name: string; readonly content: Uint8Array };
}

/** What it runs on. */
export interface ExplainEdges {
  readonly config: Config;
  readonly source: Source;
  readonly generation: LoadedGeneration;
  readonly clock: Clock;
  readonly dns: Resolver;
  readonly bodies: BodyStore;
  /** What plugins have logged since it was asked last. */
  readonly logged: () => readonly string[];
}

/** Runs it. @param notes What is known to be different from a real session. */
export async function explain(
  described: Described,
  edges: ExplainEdges,
  notes: readonly string[] = [],
): Promise<Explanation> {
  return await new Explaining(described, edges, [...notes]).run();
}

interface OpenStep {
  readonly turns: Turn[];
  readonly facts: Told[];
  /** Who refused. */
  by?: string;
}

class Explaining {
  readonly #described: Described;
  readonly #edges: ExplainEdges;
  readonly #notes: string[];
  readonly #chain: Chain;
  readonly #steps: Step[] = [];
  #open: OpenStep = { turns: [], facts: [] };
  readonly #copies: Copy[] = [];
  readonly #places: ReadonlyMap<string, string>;

  /** The server's own: it says who refused, and what else an operator should know. */
  readonly #log: Log = {
    debug() {},
    info: (event, { by } = {}) => {
      if (event === "refused" && typeof by === "string") this.#open.by = by;
    },
    warning: (event, { target, reply } = {}) =>
      void this.#notes.push([event, target, reply].filter(Boolean).join(" ")),
    error: (event, { error } = {}) => {
      if (event !== "plugin failed") this.#notes.push([event, error].filter(Boolean).join(": "));
    },
    with: () => this.#log,
  };

  constructor(described: Described, edges: ExplainEdges, notes: string[]) {
    this.#described = described;
    this.#edges = edges;
    this.#notes = notes;
    const { generation, source, clock } = edges;
    this.#chain = new Chain(generation, clock, this.#log);
    this.#places = new Map(generation.instances.map(({ name }, i) => {
      const { line } = source.at(["plugins", i]);
      return [name, `${source.file}:${line}`];
    }));
    generation.facts.onTold = (fact, value, plugin) => this.#open.facts.push({ fact, value, plugin });
  }

  async run(): Promise<Explanation> {
    const { ip, role, tls } = this.#described;
    const { client, server } = memoryChannel({
      remote: { address: ip, port: 40_000 },
      tls: tls ? "implicit" : "none",
    });
    const over = converse(
      server,
      { role, protocol: "smtp", auth: true, allowPlain: false },
      this.#chain,
      this.#options(),
    );
    let recipients: readonly Ending[];
    try {
      recipients = await this.#session(client);
    } finally {
      client.close();
      await over;
    }
    return this.#conclude(recipients);
  }

  #options(): Parameters<typeof converse>[3] {
    const { config, clock, bodies } = this.#edges;
    const { hostname, limits, timeouts, trustedNetworks } = config;
    const { user } = this.#described;
    const keep = (envelope: QueuedEnvelope, content: Content, _due?: unknown, held?: string) =>
      this.#keep(envelope, content, held);
    return {
      hostname,
      limits,
      timeouts,
      mechanisms: this.#chain.has("auth") ? ["PLAIN", "LOGIN"] : [],
      clock,
      log: this.#log,
      ids: openIds(clock),
      newBody: (id) => bodies.create(id),
      noRoom: () => undefined,
      intake: new Intake({
        hostname,
        clock,
        hops: limits.hops,
        newBody: (id) => bodies.create(id),
        spool: { keep, record: () => Promise.resolve(), remove: () => Promise.resolve(), note() {} },
      }),
      metrics: noMetrics,
      isTrusted: (address) => trustedNetworks.some((network) => network.has(address)),
      networkOf,
      draining: new AbortController().signal,
      dry: { hear: (heard) => this.#hear(heard), ...(user && { user }) },
    };
  }

  // ── What the client says ─────────────────────────────────────────────────────────────────────────

  /** What each recipient is told in the end. */
  async #session(client: MemoryClient): Promise<readonly Ending[]> {
    const { helo, from, to, message } = this.#described;
    const all = (reply: Said) => to.map((address): Ending => ({ address, outcome: outcomeOf(reply), reply }));
    const utf8 = [from, ...to].some((text) => !/^[\x20-\x7e]*$/.test(text)) ? " SMTPUTF8" : "";
    for (const command of [undefined, `EHLO ${helo}`, `MAIL FROM:<${from}>${utf8}`]) {
      const reply = await this.#say(client, command);
      if (reply.code >= 400) return all(reply);
    }
    const endings: Ending[] = [];
    for (const [index, address] of to.entries()) {
      const reply = await this.#say(client, `RCPT TO:<${address}>`);
      endings.push({ address, outcome: outcomeOf(reply), reply });
      if (reply.code === 421) return [...endings, ...all(reply).slice(index + 1)];
    }
    if (endings.every(({ outcome }) => outcome !== "accepted")) return endings;
    const { content } = message;
    await client.write(`BDAT ${content.length} LAST\r\n`);
    const sending = client.write(content).catch(() => {}); // a refusal closes, maybe, before all of it is taken
    const reply = await this.#reply(client, "message");
    await sending;
    return endings.map((ending) =>
      ending.outcome === "accepted" ? { address: ending.address, outcome: outcomeOf(reply), reply } : ending
    );
  }

  async #say(client: MemoryClient, command: string | undefined): Promise<Said> {
    if (command !== undefined) await client.write(`${command}\r\n`);
    return await this.#reply(client, command ?? "connect");
  }

  /** Takes the reply, and with it ends the step. */
  async #reply(client: MemoryClient, command: string): Promise<Said> {
    const text = await client.readReply() ?? "421 The server closed the connection";
    const lines = text.split("\n").map((line) => line.slice(4));
    const reply: Said = {
      code: Number(text.slice(0, 3)),
      text: command.startsWith("EHLO") ? lines[0]! : lines.join(" "),
    };
    this.#steps.push({ command, ...this.#open, log: this.#edges.logged(), reply });
    this.#open = { turns: [], facts: [] };
    return reply;
  }

  // ── What is heard ────────────────────────────────────────────────────────────────────────────────

  #hear(heard: Heard): void {
    const { hook, plugin, said, observed, about, edits = [], why, took = 0 } = heard;
    const verdict = typeof said === "object" ? said : undefined;
    const claim = verdict?.verdict === "accept" ? claimOf(verdict.claim) : undefined;
    this.#open.turns.push({
      hook,
      plugin,
      place: this.#places.get(plugin) ?? this.#edges.source.file,
      ...(about !== undefined && { about }),
      said: said === "nothing" ? "-" : said === "failed" ? said : summary(said),
      ...(verdict?.rule !== undefined && { rule: verdict.rule }),
      ...(claim !== undefined && { claim }),
      ...(why !== undefined && { why }),
      ...(edits.length > 0 && { edits }),
      observed,
      took: Math.round(took * 1000) / 1000,
    });
  }

  /** What a spool would have been given. */
  async #keep(envelope: QueuedEnvelope, content: Content, held: string | undefined): Promise<void> {
    if (held !== undefined) {
      this.#notes.push(`it would be held in the queue until somebody releases it: ${held}.`);
    }
    const later = envelope.screening?.by ?? [];
    if (later.length > 0) {
      const names = later.join(", ");
      this.#notes.push(
        `${names} would be asked once the message is queued (\`when: queued\`): a dry run queues none.`,
      );
    }
    const { generation } = this.#edges;
    const [only, ...others] = envelope.recipients;
    for (const { address, original, via } of envelope.recipients) {
      const registered = generation.transports.get(via);
      const next = via === smtpTransport
        ? await this.#hops(address, envelope, content)
        : !registered
        ? "there is no such transport"
        : isProxy(registered)
        ? "whose next hop answers while the client waits: a dry run doesn't ask it"
        : "deliver" in registered && registered.inline && later.length === 0 && held === undefined &&
            others.length === 0 && only
        ? "before the client is answered"
        : undefined;
      this.#copies.push({ address, original, via, ...(next !== undefined && { next }) });
    }
    this.#unasked("queue", "would be asked to take the whole message: a dry run doesn't");
  }

  #unasked(hook: keyof Instance["handlers"], text: string): void {
    const names = this.#edges.generation.instances.filter(({ handlers, observe }) =>
      handlers[hook] && !observe
    )
      .map(({ name }) => name);
    if (names.length > 0) this.#notes.push(`${names.join(", ")} ${text}.`);
  }

  /** The hosts that mail for this address goes to, in order. */
  async #hops(text: string, envelope: QueuedEnvelope, content: Content): Promise<string> {
    const address = parseAddress(text);
    if (!address) return "this is not an address";
    const { config, dns } = this.#edges;
    const message = new SealedMessage(envelope.id, content, envelope.edits, envelope.top);
    const ruling = await this.#chain.ask(
      "route",
      { dryRun: true, hearsAll: true, heard: (heard) => this.#hear(heard), about: text },
      (handler, call) => handler(address, message, call),
    );
    if (ruling.kind === "failure") return "tried later, for the plugin failed";
    if (ruling.kind === "objection") return summary(ruling.verdict);
    const hops = ruling.kind === "claim" ? (ruling.claim as { hops: readonly Hop[] }).hops : undefined;
    const destination = new Destinations(config.outbound).of(address.domain, hops);
    const hosts = new Hosts({
      hostname: config.hostname,
      outbound: config.outbound,
      query: dns.query,
      random: Math.random,
    });
    const plan = await hosts.plan(destination, AbortSignal.timeout(30_000));
    if (plan.kind === "settled") return `${plan.result.outcome}: ${plan.result.reply}`;
    const named =
      { mx: "MX", domain: "its own address", operator: hops ? "route" : "outbound.route" }[plan.namedBy];
    return `${named}: ${plan.hosts.map(({ host, port, tls }) => `${host}:${port} (TLS ${tls})`).join(", ")}`;
  }

  #conclude(recipients: readonly Ending[]): Explanation {
    const { ip, role, helo, tls, user, from, to, message } = this.#described;
    return {
      outcome: worst(recipients.map(({ outcome }) => outcome)),
      config: this.#edges.source.file,
      session: { ip, role, helo, tls, ...(user && { user: user.name }) },
      from,
      to,
      message: { name: message.name, size: message.content.length },
      steps: this.#steps,
      recipients,
      copies: this.#copies,
      notes: this.#notes,
    };
  }
}

/** A claim as data: a transport by its name; nothing where nothing is claimed. */
function claimOf(claim: unknown): Json | undefined {
  const { via, ...rest } = (claim ?? {}) as { via?: { transport: string } } & Record<string, Json>;
  const data = { ...(via && { via: via.transport }), ...rest };
  return Object.keys(data).length === 0 ? undefined : data;
}
