/**
 * A generation: the plugins of one configuration, set up, in their order. A reload builds the next one whole and swaps;
 * sessions stay with theirs, and it is disposed of when the last of them is over.
 */
import type { Credentials, Deliver, Hooks, Json, ProxyRoute, RelayRoute, Session } from "./plugin.ts";

/** Every hook, roughly in the order in which they are asked. */
export const hookNames = Object.keys(
  {
    connect: true,
    helo: true,
    auth: true,
    mail: true,
    rcpt: true,
    resolve: true,
    data: true,
    dataFor: true,
    queue: true,
    route: true,
    vrfy: true,
    expn: true,
    command: true,
    disconnect: true,
    rejected: true,
    delivered: true,
    deferred: true,
    bounced: true,
  } satisfies Record<keyof Hooks, true>,
) as readonly (keyof Hooks)[];

/** What becomes of a call when the plugin itself fails (`onError:`). */
export type OnError = "defer" | "skip" | "reject";

/** One entry of `plugins:`, set up. */
export interface Instance {
  /** `as:`, else the plugin's own name. */
  readonly name: string;
  readonly handlers: { readonly [K in keyof Hooks]?: Hooks[K] };
  /** Milliseconds a handler may take. */
  readonly timeout: number;
  readonly onError: OnError;
  readonly roles: readonly Session["role"][];
  /** What its `auth` handler can handle. */
  readonly mechanisms: readonly Credentials["mechanism"][];
  /** Asked, and what it says is only recorded. */
  readonly observe: boolean;
  /** `queued`: asked about a message when that is in the queue, before its first attempt. Absent: on its arrival. */
  readonly when?: "arrival" | "queued";
}

/** A transport that some instance registered: one that delivers itself, or one that says where the server is to. */
export type RegisteredTransport = DeliveringTransport | RelayTransport;

/** A transport that the server's own client carries. */
export interface RelayTransport {
  readonly name: string;
  readonly by: Instance;
  readonly route: RelayRoute;
}

/** A relay that also passes a client's transaction on while it goes on: where to is known at RCPT. */
export interface ProxyTransport extends RelayTransport {
  readonly hopsOf: ProxyRoute;
  /** Whether the next hop is told who our client is, where it offers that. */
  readonly proxy: { readonly xclient: boolean; readonly xforward: boolean };
}

/** Whether it passes transactions on. */
export function isProxy(transport: RegisteredTransport | undefined): transport is ProxyTransport {
  return transport !== undefined && "hopsOf" in transport;
}

/** A transport of the plugin's own. */
export interface DeliveringTransport {
  readonly name: string;
  readonly by: Instance;
  readonly deliver: Deliver;
  /** May be tried before the reply to the final dot. */
  readonly inline: boolean;
  /** Recipients a call, at most. */
  readonly batch: number;
  /** Milliseconds an attempt may take; absent: what one answer of its plugin may. */
  readonly timeout?: number;
}

/** An extension that some instance announces. */
export interface Offer {
  readonly by: Instance;
  /** The keyword with its parameters. */
  readonly extension: string;
  /** Whether this session may use it, now. */
  to(session: Session): boolean;
}

/** All plugins of one configuration. */
export interface Generation {
  /** 1 for the first, for the log. */
  readonly number: number;
  /** In the configuration's order. */
  readonly instances: readonly Instance[];
  /** Domain (lower case, A-labels) → who owns it. */
  readonly owners: ReadonlyMap<string, Instance>;
  readonly transports: ReadonlyMap<string, RegisteredTransport>;
  /** What EHLO offers besides; absent: nothing. */
  readonly offers?: readonly Offer[];
  /** What the plugins told each other, of a session or a transaction; absent: nothing. */
  readonly facts?: { about(about: object): ReadonlyMap<string, Json> };
  /** Begins what plugins run besides; absent: nothing. @throws {Error} that names the plugin. */
  begin?(): Promise<void>;
  /** Ends that: each is called before this returns. Never rejects. */
  end?(): Promise<void>;
  /** Calls what the setups returned, last first; failures are logged. */
  dispose(): Promise<void>;
}
