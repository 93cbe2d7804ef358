/**
 * All sessions of a server: each gets the newest generation of plugins and settings, and stays with it. What no session
 * holds any more is disposed of.
 */
import type { Channel } from "./channel/channel.ts";
import { Chain } from "./chain.ts";
import type { Clock } from "./clock.ts";
import type { Passing } from "./delivery/passing.ts";
import type { HeldPlugins } from "./delivery/runner.ts";
import { converse, type Introducer, type ListenerTraits } from "./connection.ts";
import type { Generation } from "./generation.ts";
import type { Ids } from "./ids.ts";
import { Intake } from "./intake.ts";
import type { Log } from "./log.ts";
import { type Metrics, noMetrics } from "./admin/metrics.ts";
import type { Body } from "./message/content.ts";
import type { Observations } from "./observe/observations.ts";
import { networkOf } from "./listen/network.ts";
import type { Whereabouts } from "./control/redirect.ts";
import { resolve, smtpTransport } from "./resolve.ts";
import { parseAddress } from "./smtp/address.ts";
import { isTemporary, type Reply } from "./smtp/reply.ts";
import type { Mechanism } from "./smtp/sasl.ts";
import type { Spool } from "./spool/spool.ts";
import { type OwnMail, submit } from "./submit.ts";

/** What the configuration says of sessions. */
export interface Settings {
  readonly hostname: string;
  readonly limits: {
    /** Octets. */
    readonly message: number;
    readonly recipients: number;
    readonly errors: number;
    readonly refusedRecipients: number;
    readonly hops: number;
    readonly bareNewlines: "normalize" | "reject";
  };
  /** Milliseconds. */
  readonly timeouts: { readonly command: number; readonly data: number };
  readonly trustedNetworks: readonly { has(address: string): boolean }[];
}

/** What sessions need of the machine. */
export interface SessionsEdges {
  readonly clock: Clock;
  readonly log: Log;
  readonly ids: Ids;
  readonly newBody: (id: string) => Body;
  /** Why no message can be taken now. */
  readonly noRoom: () => Reply | undefined;
  /** What nobody else takes is kept here. */
  readonly spool: Spool;
  /** Aborts when the server is going down. */
  readonly draining: AbortSignal;
  /** Who counts; absent: nobody. */
  readonly metrics?: Metrics;
  /** Who passes on what a proxy claims; absent: it is kept in the queue. */
  readonly passing?: Passing;
  /** Where it is noted what observed plugins say; absent: nowhere. */
  readonly observations?: Observations;
}

/** A generation that sessions hold. */
interface Held {
  readonly chain: Chain;
  readonly settings: Settings;
  readonly intake: Intake;
  readonly mechanisms: readonly Mechanism[];
  /** Sessions and deliveries. */
  users: number;
  retired: boolean;
}

/** The server's sessions. */
export class Sessions {
  #current: Held | undefined;
  #ended: Promise<void>[] = [];

  constructor(readonly edges: SessionsEdges) {}

  /** New sessions get these from now on; those that run keep theirs. */
  use(settings: Settings, generation: Generation): void {
    const { clock, log, newBody, spool } = this.edges;
    const chain = new Chain(generation, clock, log);
    const mechanisms = chain.has("auth") ? offered(generation) : [];
    const intake = new Intake({
      hostname: settings.hostname,
      clock,
      hops: settings.limits.hops,
      newBody,
      spool,
    });
    const before = this.#current;
    this.#current = { chain, settings, intake, mechanisms, users: 0, retired: false };
    if (before) this.#retire(before);
  }

  /**
   * Speaks with one client to its end. Never rejects.
   *
   * @param proxy The client is a proxy that may say XCLIENT.
   */
  async serve(channel: Channel, traits: ListenerTraits, proxy?: Introducer): Promise<void> {
    const { held, release } = this.#hold();
    const { settings, chain, intake, mechanisms } = held;
    const metrics = this.edges.metrics ?? noMetrics;
    metrics.sessionBegan(traits.role);
    try {
      await converse(channel, traits, chain, {
        ...this.edges,
        metrics,
        hostname: settings.hostname,
        limits: settings.limits,
        timeouts: settings.timeouts,
        mechanisms,
        intake,
        isTrusted: (address) => settings.trustedNetworks.some((network) => network.has(address)),
        networkOf,
      }, proxy);
    } finally {
      metrics.sessionEnded(traits.role);
      release();
    }
  }

  /** Takes a message of our own (DESIGN §7). @throws {Error} when it was refused. */
  async submit(mail: OwnMail): Promise<{ id: string }> {
    const { held: { chain, intake }, release } = this.#hold();
    try {
      return await submit(mail, { ...this.edges, chain, intake });
    } finally {
      release();
    }
  }

  /**
   * The transport of our own mail to this address; `undefined`: nobody claims it, so it leaves by `smtp`; `null`: it is refused
   * for good. Mail for a mailbox of ours must not leave because nobody could say where that is.
   *
   * @throws {Error} when it can't be told now.
   */
  async transportOf(text: string): Promise<string | undefined | null> {
    const address = parseAddress(text);
    if (!address) return undefined;
    const { held: { chain }, release } = this.#hold();
    try {
      const resolution = await resolve(chain, address, {});
      switch (resolution.kind) {
        case "claimed":
          return resolution.targets[0]?.via;
        case "foreign":
          if (resolution.unsure) throw new Error(`no plugin could say whose mailbox ${text} is`);
          return resolution.onward?.via;
        case "refused":
          if (!isTemporary(resolution.reply)) return null;
          throw new Error(`${resolution.by} can't say now where ${text} is`);
      }
    } finally {
      release();
    }
  }

  /** Where an operator's mail for an address would go: the one mailbox it comes down to, where it does. */
  async whereabouts(text: string): Promise<Whereabouts> {
    const address = parseAddress(text);
    if (!address) return { kind: "nobody", why: "it is not an address" };
    const { held: { chain }, release } = this.#hold();
    try {
      const resolution = await resolve(chain, address, {});
      switch (resolution.kind) {
        case "claimed": {
          const [only, another] = resolution.targets;
          if (!only) return { kind: "nobody", why: "it leads nowhere" };
          if (!another) return { kind: "mailbox", address: only.address.address, via: only.via };
          return { kind: "several", addresses: resolution.targets.map(({ address }) => address.address) };
        }
        case "foreign":
          if (resolution.unsure) return { kind: "unsure", why: "a plugin that might know it has failed" };
          return { kind: "mailbox", address: address.address, via: smtpTransport };
        case "refused":
          return {
            kind: isTemporary(resolution.reply) ? "unsure" : "nobody",
            why: `${resolution.by} says ${resolution.reply.lines.join(" ")}`,
          };
      }
    } finally {
      release();
    }
  }

  /** The newest plugins, for a delivery: they are not disposed of before `release`. */
  plugins(): HeldPlugins {
    const { held: { chain }, release } = this.#hold();
    return { chain, release };
  }

  /** Disposes of the last generation; resolves when all that were retired are disposed of. */
  async close(): Promise<void> {
    if (this.#current) this.#retire(this.#current);
    this.#current = undefined;
    await Promise.all(this.#ended);
  }

  #hold(): { held: Held; release: () => void } {
    const held = this.#current;
    if (!held) throw new Error("no generation of plugins is in use");
    held.users++;
    const release = () => {
      if (--held.users === 0 && held.retired) this.#dispose(held);
    };
    return { held, release };
  }

  #retire(held: Held): void {
    held.retired = true;
    if (held.users === 0) this.#dispose(held);
  }

  #dispose({ chain: { generation } }: Held): void {
    this.edges.log.debug("generation disposed of", { generation: generation.number });
    this.#ended.push(generation.dispose());
  }
}

/** What AUTH offers: whatever some plugin that logs people in can handle, the strongest habit first. */
function offered({ instances }: Generation): Mechanism[] {
  const handled = new Set(
    instances.filter(({ handlers, observe }) => handlers.auth && !observe).flatMap(({ mechanisms }) =>
      mechanisms
    ),
  );
  const all = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"] as const;
  return all.filter((mechanism) => handled.has(mechanism));
}
