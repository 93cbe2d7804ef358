/**
 * All sessions of a server: each gets the newest generation of plugins and settings, and stays with it. What no session
 * holds any more is disposed of.
 */
import type { Channel } from "./channel/channel.ts";
import { Chain } from "./chain.ts";
import type { Clock } from "./clock.ts";
import { converse, type ListenerTraits } from "./connection.ts";
import type { Generation } from "./generation.ts";
import type { Ids } from "./ids.ts";
import { Intake } from "./intake.ts";
import type { Log } from "./log.ts";
import type { Body } from "./message/content.ts";
import { networkOf } from "./listen/network.ts";
import type { Host } from "./plugin.ts";
import type { Reply } from "./smtp/reply.ts";
import type { Mechanism } from "./smtp/sasl.ts";
import { submit } from "./submit.ts";

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
  /** Aborts when the server is going down. */
  readonly draining: AbortSignal;
}

/** A generation that sessions hold. */
interface Held {
  readonly chain: Chain;
  readonly settings: Settings;
  readonly intake: Intake;
  readonly mechanisms: readonly Mechanism[];
  sessions: number;
  retired: boolean;
}

/** The server's sessions. */
export class Sessions {
  #current: Held | undefined;
  #ended: Promise<void>[] = [];

  constructor(readonly edges: SessionsEdges) {}

  /** New sessions get these from now on; those that run keep theirs. */
  use(settings: Settings, generation: Generation): void {
    const { clock, log, newBody } = this.edges;
    const chain = new Chain(generation, clock, log);
    const mechanisms = chain.has("auth") ? offered(generation) : [];
    const intake = new Intake({ hostname: settings.hostname, clock, hops: settings.limits.hops, newBody });
    const before = this.#current;
    this.#current = { chain, settings, intake, mechanisms, sessions: 0, retired: false };
    if (before) this.#retire(before);
  }

  /** Speaks with one client to its end. Never rejects. */
  async serve(channel: Channel, traits: ListenerTraits): Promise<void> {
    const held = this.#held();
    const { settings, chain, intake, mechanisms } = held;
    held.sessions++;
    try {
      await converse(channel, traits, chain, {
        ...this.edges,
        hostname: settings.hostname,
        limits: settings.limits,
        timeouts: settings.timeouts,
        mechanisms,
        intake,
        isTrusted: (address) => settings.trustedNetworks.some((network) => network.has(address)),
        networkOf,
      });
    } finally {
      held.sessions--;
      if (held.retired && held.sessions === 0) this.#dispose(held);
    }
  }

  /** Takes a message of our own (DESIGN §7). @throws {Error} when it was refused. */
  async submit(mail: Parameters<Host["submit"]>[0]): Promise<{ id: string }> {
    const held = this.#held();
    held.sessions++;
    try {
      return await submit(mail, { ...this.edges, chain: held.chain, intake: held.intake });
    } finally {
      held.sessions--;
      if (held.retired && held.sessions === 0) this.#dispose(held);
    }
  }

  /** Disposes of the last generation; resolves when all that were retired are disposed of. */
  async close(): Promise<void> {
    if (this.#current) this.#retire(this.#current);
    this.#current = undefined;
    await Promise.all(this.#ended);
  }

  #held(): Held {
    if (!this.#current) throw new Error("no generation of plugins is in use");
    return this.#current;
  }

  #retire(held: Held): void {
    held.retired = true;
    if (held.sessions === 0) this.#dispose(held);
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
  return (["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"] as const).filter((mechanism) =>
    handled.has(mechanism)
  );
}
