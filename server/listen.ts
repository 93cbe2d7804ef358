/**
 * Listeners: opens what the configuration names, admits connections or turns them away, follows each to its end, and
 * lets all of them finish when the server stops.
 */
import type { Socket } from "node:net";
import { acceptDeno, type Accepting, acceptNode, type AcceptOptions } from "./listen/accept.ts";
import { Admission, type ConnectionLimits, type Refusal, type Ticket } from "./listen/admission.ts";
import { Burst } from "./listen/burst.ts";
import type { Certificates } from "./channel/certificates.ts";
import type { Channel } from "./channel/channel.ts";
import type { ClientAuthorities } from "./channel/clients.ts";
import { DenoChannel } from "./channel/deno.ts";
import { NodeChannel, TlsAcceptor } from "./channel/node.ts";
import type { Clock } from "./clock.ts";
import { introduce } from "./listen/introduction.ts";
import type { Log } from "./log.ts";
import { keepFromChildren, type PassedSocket, passedSockets, socketsNamed } from "./listen/systemd.ts";
import {
  explained,
  isWithoutIpv6,
  type Listener,
  ListenError,
  name,
  opening,
  removeStale,
} from "./listen/opening.ts";

export { type Listener, ListenError };

/** What a session learns of its connection besides the channel. */
export interface Connection<L extends Listener = Listener> {
  /** Through which it came, as it was given to `openListeners`. */
  readonly listener: L;
  /** Aborted when the server stops: the session ends as soon as it can, with a 421. */
  readonly draining: AbortSignal;
  /** How the client may say whose the connection is, if it may. */
  readonly proxy: "header" | "command" | undefined;
  /** Counts the connection as this client's from now on: PROXY or XCLIENT said whose it is. */
  countAs(address: string): "admitted" | "too-many-from-you";
}

/** What listeners need. Times are in milliseconds. */
export interface ListenOptions<L extends Listener = Listener> {
  readonly listeners: readonly L[];
  readonly limits: ConnectionLimits;
  /** Absent: STARTTLS is not offered. */
  readonly certificates?: Certificates | undefined;
  /** Whose certificates a listener's clients may show; absent: they aren't asked. */
  clients?(listener: L): ClientAuthorities | undefined;
  /** Runs one session. When it is over the channel is closed, and aborted where the client lingers. */
  serve(channel: Channel, connection: Connection<L>): Promise<void>;
  /** What a refused client is told before it is closed: a 421. */
  refuse(why: Refusal, listener: L): Uint8Array;
  /** Called for each client that is turned away. */
  onRefused?(why: Refusal): void;
  /**
   * Who speaks for others is not counted by its own address, but by the client's it tells of. `header`: every connection of it
   * begins with a PROXY header, or is closed; `command`: it may say XCLIENT (`countAs`).
   */
  proxyKind?(address: string): "header" | "command" | undefined;
  /** What systemd has opened; unless given, what the environment says. */
  readonly passed?: readonly PassedSocket[];
  readonly clock: Clock;
  readonly log: Log;
  /** How long a TLS handshake may take; default 30,000. */
  readonly handshakeMs?: number;
  /** How long a proxy may take for its header; default 10,000. */
  readonly headerMs?: number;
  /** How long a closed channel waits for the client to close; default 5,000. */
  readonly lingerMs?: number;
  /** The limit of open files; unless given, the system's. */
  readonly openFiles?: number | undefined;
}

/** A listener that is open. */
export interface OpenListener {
  readonly listener: Listener;
  /** As the system tells it; of a Unix socket the path, and port 0. */
  readonly address: string;
  /** The actual one, also where the configuration says 0. */
  readonly port: number;
}

/** The open listeners of a server, and all connections that came through them. */
export interface Listeners {
  readonly open: readonly OpenListener[];
  /** Connections at this moment. */
  readonly connections: number;
  /** New limits, from now on; who is in stays. */
  limit(limits: ConnectionLimits): void;
  /**
   * Accepts no more, aborts `draining`, waits for the sessions, and after `graceMs` aborts those that are left.
   * Resolves when all descriptors are closed. A second call joins the first.
   */
  drain(graceMs: number): Promise<void>;
}

/** Descriptors kept for other things than connections: spool, logs, listeners, refused clients. */
const reservedFiles = 64;
/** The socket, and a file, a DNS query or an onward connection. */
const filesPerConnection = 2;
/** Refused clients that may linger at a time; others are cut off behind the reply. */
const lingeringRefused = 32;
const refusedLingerMs = 1000;

/**
 * Opens all listeners, or none.
 *
 * @throws {ListenError} when one can't be opened.
 */
export async function openListeners<L extends Listener>(options: ListenOptions<L>): Promise<Listeners> {
  const house = new House<L>(options);
  try {
    for (const listener of options.listeners) await house.listen(listener);
  } catch (error) {
    await house.drain(0);
    throw error;
  }
  return house;
}

/** One connection's life, from its admission to its last descriptor. */
interface Guest {
  readonly channel: { abort(): void };
  readonly ticket: Ticket;
  readonly proxy: "header" | "command" | undefined;
  /** `greeting`: a handshake before the first byte; nobody could be told of the end. */
  phase: "greeting" | "served" | "leaving";
  cancelLinger: (() => void) | undefined;
}

class House<L extends Listener> implements Listeners {
  readonly open: (OpenListener & { readonly accepting: Accepting })[] = [];
  readonly #options: ListenOptions<L>;
  readonly #admission: Admission;
  readonly #tls: TlsAcceptor | undefined;
  /** Of listeners that ask for certificates. */
  readonly #asking = new Map<L, TlsAcceptor>();
  readonly #draining = new AbortController();
  readonly #guests = new Set<Guest>();
  /** With what cancels their deadline. */
  readonly #refused = new Map<{ abort(): void }, () => void>();
  readonly #failures: Burst;
  readonly #refusals: Burst;
  #sessions = 0;
  #whenEmpty: (() => void) | undefined;
  #drained: Promise<void> | undefined;

  constructor(options: ListenOptions<L>) {
    const { clock, log, certificates } = options;
    this.#options = options;
    this.#admission = new Admission(lowered(options, options.limits));
    const { handshakeMs = 30_000, clients, listeners } = options;
    this.#tls = certificates && new TlsAcceptor(certificates, clock, handshakeMs);
    for (const listener of certificates ? listeners : []) {
      const authorities = clients?.(listener);
      if (!authorities) continue;
      this.#asking.set(listener, new TlsAcceptor(certificates!, clock, handshakeMs, authorities));
    }
    this.#failures = new Burst(
      clock,
      (count, why) => log.error("connections can't be accepted; trying again", { error: why, count }),
    );
    this.#refusals = new Burst(
      clock,
      (count, why) => log.warning("connections refused", { latest: why, count }),
    );
  }

  get connections(): number {
    return this.#admission.connections;
  }

  limit(limits: ConnectionLimits): void {
    this.#admission.limits = lowered(this.#options, limits);
  }

  async listen(listener: L): Promise<void> {
    for (const accepting of await this.#accept(listener)) {
      this.open.push({ listener, address: accepting.address, port: accepting.port, accepting });
    }
  }

  /** What systemd has opened. */
  async #takeOver(listener: L, systemd: string): Promise<readonly Accepting[]> {
    this.#needsCertificate(listener);
    const arrived = (socket: Socket) => this.#arrivedNode(socket, listener);
    const taken: Accepting[] = [];
    for (const fd of socketsNamed(systemd, this.#options.passed ?? passedSockets())) {
      keepFromChildren(fd);
      taken.push(await opening(listener, () => acceptNode({ fd }, arrived, this.#accepting())));
    }
    return taken;
  }

  #accepting(): AcceptOptions {
    return { clock: this.#options.clock, failed: (error) => this.#failures.add(error.message) };
  }

  #needsCertificate(listener: L): void {
    if (listener.tls !== "implicit" || this.#tls) return;
    throw new ListenError(
      `${name(listener)} is to speak TLS, and there is no certificate: add \`tls: { cert, key }\`.`,
    );
  }

  async #accept(listener: L): Promise<readonly Accepting[]> {
    if ("systemd" in listener) return await this.#takeOver(listener, listener.systemd);
    const options = this.#accepting();
    const arrivedDeno = (conn: Deno.Conn) => this.#arrivedDeno(conn, listener);
    if ("path" in listener) {
      await removeStale(listener.path);
      const open = () => Deno.listen({ transport: "unix", path: listener.path });
      return [acceptDeno(opening(listener, open), arrivedDeno, options)];
    }
    const { port } = listener;
    this.#needsCertificate(listener);
    const plain = listener.tls === "none" || !this.#tls;
    const openOn = async (host: string) => [
      plain
        ? acceptDeno(Deno.listen({ hostname: host, port }), arrivedDeno, options)
        : await acceptNode({ host, port }, (socket) => this.#arrivedNode(socket, listener), options),
    ];
    if (listener.address !== undefined) return await opening(listener, () => openOn(listener.address!));
    try {
      return await openOn("::"); // takes IPv4 as well
    } catch (error) {
      if (!isWithoutIpv6(error)) throw explained(error, listener);
      return await opening(listener, () => openOn("0.0.0.0"));
    }
  }

  #arrivedDeno(conn: Deno.Conn, listener: L): void {
    let guest: Guest | undefined;
    try {
      const channel = new DenoChannel(conn, () => this.#gone(channel, guest));
      guest = this.#admit(channel, listener);
      if (guest) void this.#receive(channel, guest, listener);
    } catch {
      // Reset between accept and here: the socket takes no options and tells no address any more.
      conn.close();
    }
  }

  #arrivedNode(socket: Socket, listener: L): void {
    if (socket.remoteAddress === undefined) return void socket.destroy(); // reset before it was accepted
    const channel: NodeChannel = new NodeChannel(socket, {
      ...(this.#tls && listener.tls !== "none" && { tls: this.#asking.get(listener) ?? this.#tls }),
      onClosed: () => this.#gone(channel, guest), // never before this function is over
    });
    const guest = this.#admit(channel, listener);
    if (guest) void this.#receive(channel, guest, listener);
  }

  #admit(channel: Channel, listener: L): Guest | undefined {
    const { address } = channel.remote;
    const proxy = "path" in listener ? undefined : this.#options.proxyKind?.(address);
    const uncounted = "path" in listener || proxy !== undefined;
    const ticket = this.#draining.signal.aborted
      ? "too-many"
      : this.#admission.admit(uncounted ? undefined : address);
    if (typeof ticket === "string") {
      this.#refusals.add(`${address} ${ticket}`);
      this.#options.onRefused?.(ticket);
      this.#turnAway(channel, ticket, listener);
      return undefined;
    }
    const guest: Guest = { channel, ticket, proxy, phase: "greeting", cancelLinger: undefined };
    this.#guests.add(guest);
    return guest;
  }

  #turnAway(channel: Channel, why: Refusal, listener: L): void {
    // Before TLS nothing can be said.
    if (listener.tls === "implicit") return channel.abort();
    const written = channel.write(this.#options.refuse(why, listener)).catch(() => {});
    if (this.#refused.size >= lingeringRefused) return void written.then(() => channel.abort());
    this.#refused.set(channel, this.#options.clock.after(refusedLingerMs, () => channel.abort()));
    channel.close();
  }

  /** What comes before the first octet of SMTP: a proxy's header, a TLS handshake. */
  async #receive(channel: DenoChannel | NodeChannel, guest: Guest, listener: L): Promise<void> {
    try {
      if (guest.proxy === "header" && await this.#introduce(channel, guest, listener) === "closed") return;
      if (listener.tls === "implicit" && "encrypt" in channel) await channel.encrypt();
    } catch (error) {
      this.#options.log.debug("connection lost before its first byte", {
        remote: channel.remote.address,
        error: (error as Error).message,
      });
      return channel.abort();
    }
    await this.#serve(channel, guest, listener);
  }

  /** Learns from a proxy whose connection it is; what isn't to go on is closed (CASES R03). */
  async #introduce(channel: Channel, guest: Guest, listener: L): Promise<"goes-on" | "closed"> {
    const { clock, log, headerMs = 10_000 } = this.#options;
    const proxy = channel.remote.address;
    const cancel = clock.after(headerMs, () => channel.abort());
    const introduced = await introduce(channel).finally(cancel);
    switch (introduced.kind) {
      case "own":
        return "goes-on";
      case "bad":
        this.#refusals.add(`${proxy} is in proxies.haproxy: ${introduced.why}`);
        channel.abort();
        return "closed";
      case "client": {
        const { address } = introduced;
        log.debug("a proxy tells of its client", { proxy, ip: address });
        const counted = this.#countAs(guest, address);
        if (counted === "admitted") return "goes-on";
        this.#turnAway(channel, counted, listener);
        return "closed";
      }
    }
  }

  #countAs(guest: Guest, address: string): "admitted" | "too-many-from-you" {
    const counted = guest.ticket.countAs(address);
    if (counted !== "admitted") {
      this.#refusals.add(`${address} ${counted}`);
      this.#options.onRefused?.(counted);
    }
    return counted;
  }

  async #serve(channel: Channel, guest: Guest, listener: L): Promise<void> {
    guest.phase = "served";
    this.#sessions++;
    try {
      await this.#options.serve(channel, {
        listener,
        draining: this.#draining.signal,
        proxy: guest.proxy,
        countAs: (address) => this.#countAs(guest, address),
      });
    } catch (error) {
      this.#options.log.error("session failed", { remote: channel.remote.address, error: String(error) });
    }
    this.#sessions--;
    guest.phase = "leaving";
    channel.close();
    if (this.#guests.has(guest)) {
      guest.cancelLinger = this.#options.clock.after(this.#options.lingerMs ?? 5000, () => channel.abort());
    }
    this.#lookIfEmpty();
  }

  #gone(channel: { abort(): void }, guest: Guest | undefined): void {
    this.#refused.get(channel)?.();
    this.#refused.delete(channel);
    if (guest) {
      guest.cancelLinger?.();
      guest.ticket.release();
      this.#guests.delete(guest);
    }
    this.#lookIfEmpty();
  }

  #lookIfEmpty(): void {
    if (this.#guests.size === 0 && this.#sessions === 0) this.#whenEmpty?.();
  }

  drain(graceMs: number): Promise<void> {
    return this.#drained ??= this.#drain(graceMs);
  }

  async #drain(graceMs: number): Promise<void> {
    for (const { accepting, listener } of this.open) {
      accepting.stop();
      if ("path" in listener) await Deno.remove(listener.path).catch(() => {}); // not ours to remove any more: harmless
    }
    this.#draining.abort();
    for (const channel of this.#refused.keys()) channel.abort();
    for (const guest of this.#guests) if (guest.phase !== "served") guest.channel.abort();
    await this.#emptyWithin(graceMs);
    for (const guest of this.#guests) guest.channel.abort();
    await this.#emptyWithin(1000); // sessions notice the loss; one that doesn't is left behind
    this.#failures.stop();
    this.#refusals.stop();
  }

  async #emptyWithin(ms: number): Promise<void> {
    const waiting = new AbortController();
    const empty = new Promise<void>((resolve) => this.#whenEmpty = resolve);
    this.#lookIfEmpty();
    await Promise.race([empty, this.#options.clock.sleep(ms, waiting.signal).catch(() => {})]);
    waiting.abort();
  }
}

/** The limits, lowered to what the system allows. */
function lowered<L extends Listener>(options: ListenOptions<L>, limits: ConnectionLimits): ConnectionLimits {
  const { log, openFiles = openFilesLimit() } = options;
  if (openFiles === undefined) return limits;
  const possible = Math.max(1, Math.floor((openFiles - reservedFiles) / filesPerConnection));
  if (possible >= limits.connections) return limits;
  log.warning("limits.connections is lowered: the limit of open files is too small for it", {
    configured: limits.connections,
    connections: possible,
    openFiles,
    wanted: limits.connections * filesPerConnection + reservedFiles,
  });
  return { ...limits, connections: possible };
}

function openFilesLimit(): number | undefined {
  try {
    const found = /^Max open files +([0-9]+)/m.exec(Deno.readTextFileSync("/proc/self/limits"));
    return found ? Number(found[1]) : undefined;
  } catch {
    return undefined; // not Linux
  }
}
