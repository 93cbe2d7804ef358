/** Whether the server does its work: what `/healthz` asks. */
import type { Clock } from "../clock.ts";
import type { Spool } from "../spool/spool.ts";

/** Something that is open for clients. */
export interface Door {
  /** An IP address, or the path of a Unix socket, whose port is 0. */
  readonly address: string;
  readonly port: number;
  /** `implicit`: nothing is said before a handshake. */
  readonly tls: "starttls" | "implicit" | "none";
  /** Whether a connection from this address has to begin with a PROXY header. */
  wantsHeader?(from: string): boolean;
}

/** What is looked at. */
export interface HealthSources {
  readonly clock: Clock;
  readonly spool: Pick<Spool, "room">;
  /** The listeners that are open; none while the server stops. */
  doors(): readonly Door[];
}

/** Milliseconds in which a listener has to answer. */
const patience = 5_000;

/** Looks at the server from outside; two who ask at once share one look. */
export class Health {
  readonly #sources: HealthSources;
  #looking: Promise<readonly string[]> | undefined;

  constructor(sources: HealthSources) {
    this.#sources = sources;
  }

  /** Why it is not well, in sentences; none: it is. */
  reasons(): Promise<readonly string[]> {
    return this.#looking ??= this.#look().finally(() => this.#looking = undefined);
  }

  async #look(): Promise<readonly string[]> {
    const { spool } = this.#sources;
    const doors = this.#sources.doors();
    const answers = await Promise.all(doors.map((door) => this.#answers(door)));
    const silent = doors.filter((_, i) => answers[i] === "silent");
    const reasons = silent.map(({ address, port }) =>
      `The listener on ${port === 0 ? address : `${address} port ${port}`} does not answer.`
    );
    if (doors.length === 0) reasons.push("No listener is open: the server is starting or stopping.");
    const room = spool.room();
    if (room === "full") reasons.push("The spool takes no message: its disk is full.");
    if (room === "failing") {
      reasons.push("The spool takes no message: its disk fails. The log says how.");
    }
    return reasons;
  }

  /** Only a greeting shows that somebody accepts: the system alone completes connections, until its queue is full. */
  async #answers(door: Door): Promise<"answers" | "silent"> {
    const cut = Promise.withResolvers<"silent">();
    const cancel = this.#sources.clock.after(patience, () => cut.resolve("silent"));
    const connecting = connect(door);
    try {
      return await Promise.race([greeting(connecting, door), cut.promise]);
    } finally {
      cancel();
      connecting.then((conn) => conn.close(), () => {});
    }
  }
}

function connect({ address, port }: Door): Promise<Deno.Conn> {
  if (port === 0) return Deno.connect({ transport: "unix", path: address });
  const hostname = address === "0.0.0.0" ? "127.0.0.1" : address === "::" ? "::1" : address;
  return Deno.connect({ hostname, port });
}

async function greeting(
  connecting: Promise<Deno.Conn>,
  { tls, wantsHeader }: Door,
): Promise<"answers" | "silent"> {
  try {
    const conn = await connecting;
    const { localAddr } = conn;
    if (localAddr.transport === "tcp" && wantsHeader?.(localAddr.hostname)) {
      await conn.write(new TextEncoder().encode("PROXY UNKNOWN\r\n")); // a connection of the proxy's own
    }
    // Closed without a word is an answer, too: somebody has accepted.
    if (tls !== "implicit") await conn.read(new Uint8Array(1));
    return "answers";
  } catch {
    return "silent";
  }
}
