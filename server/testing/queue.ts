/** The queue of a test server: the real runner and the real reports, over a spool in memory that can fail on demand. */
import { Reports } from "../delivery/reports.ts";
import { Runner, type RunnerSettings } from "../delivery/runner.ts";
import { flush } from "../flush.ts";
import type { Ids } from "../ids.ts";
import type { Log } from "../log.ts";
import type { Body, Content } from "../message/content.ts";
import { smtpTransport } from "../resolve.ts";
import { Screens } from "../screening.ts";
import type { Sessions } from "../sessions.ts";
import { MemorySpool } from "../spool/memory.ts";
import type { Queued, QueuedEnvelope } from "../spool/spool.ts";
import { type FakeClock, turn } from "./clock.ts";
import { fakeCourier, type OutgoingMail, type SmtpAnswer } from "./outgoing.ts";

/** A message in the queue, as `server.queue()` shows it. */
export interface QueuedMail {
  /** The queue id. */
  readonly id: string;
  /** The envelope sender, `""` for bounces. */
  readonly from: string;
  /** MAIL's RET: what of the message a report returns. */
  readonly ret: "FULL" | "HDRS" | undefined;
  /** MAIL's ENVID, decoded. */
  readonly envid: string | undefined;
  /** Why it is held, where it is. */
  readonly held: string | undefined;
  /** One for each final recipient, those included who have it, or never will, while others wait. */
  readonly recipients: readonly QueuedFor[];
}

/** A final recipient of a message in the queue. */
export interface QueuedFor {
  /** The mailbox it goes to. */
  readonly to: string;
  /** The recipient as the client gave it: an alias, perhaps. */
  readonly original: string;
  /** The transport's name. */
  readonly via: string;
  /** What became of it so far. */
  readonly state: "due" | "delivered" | "failed";
  /** When it is tried next, milliseconds since 1970; absent where it is over. */
  readonly due: number | undefined;
  /** How many attempts have failed; absent where it is over. */
  readonly attempts: number | undefined;
  /** What was said last, `""` before the first attempt. */
  readonly reply: string;
  /** RCPT's NOTIFY. */
  readonly notify: "NEVER" | readonly ("SUCCESS" | "FAILURE" | "DELAY")[] | undefined;
  /** RCPT's ORCPT, decoded, as `rfc822;alice@example.org`. */
  readonly orcpt: string | undefined;
}

/** How the disk under the queue behaves. */
export type Disk = "works" | "fails" | "hangs";

/** A spool whose disk can fail. */
class FaultySpool extends MemorySpool {
  /** Says why nothing can be kept now. */
  fault: () => Error | undefined = () => undefined;
  #disk: Disk = "works";
  #waiting: (() => void)[] = [];

  get disk(): Disk {
    return this.#disk;
  }

  set disk(disk: Disk) {
    this.#disk = disk;
    for (const go of this.#waiting.splice(0)) go();
  }

  override async keep(
    envelope: QueuedEnvelope,
    content: Content,
    due?: readonly (number | undefined)[],
    held?: string,
  ): Promise<void> {
    while (this.#disk === "hangs") await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#disk === "fails") throw new Error("Input/output error (os error 5)");
    const fault = this.fault();
    if (fault) throw fault;
    await super.keep(envelope, content, due, held);
  }
}

/** What the queue needs of its server. */
export interface TestQueueEdges {
  readonly clock: FakeClock;
  readonly log: Log;
  readonly ids: Ids;
  readonly hostname: string;
  readonly sessions: () => Sessions;
  readonly smtp: () => SmtpAnswer;
  readonly newBody: (id: string) => Body;
  readonly sent: (mail: OutgoingMail) => void;
}

/** The queue, and what sends from it. */
export class TestQueue {
  readonly spool: FaultySpool;
  readonly #edges: TestQueueEdges;
  #runner: Runner | undefined;
  #underWay = 0;
  #waiting: (() => void)[] = [];

  constructor(edges: TestQueueEdges) {
    this.#edges = edges;
    this.spool = new FaultySpool(edges.clock);
  }

  /** The settings of a configuration; with the first ones it begins to send. */
  use(settings: RunnerSettings): void {
    if (this.#runner) return this.#runner.use(settings);
    const { clock, log, ids, hostname, sessions, smtp, sent, newBody } = this.#edges;
    const { spool } = this;
    const screens = new Screens({ spool, log, hostname: () => hostname, newBody });
    this.#runner = new Runner({
      spool,
      clock,
      log,
      reports: new Reports({
        hostname,
        clock,
        log,
        ids,
        spool,
        submitBounce: ({ recipients, content, utf8, about }) =>
          this.track(sessions().submit({ sender: "", recipients, content, utf8, about })),
        viaOf: (address) => this.track(sessions().transportOf(address)),
      }),
      builtIn: new Map([[smtpTransport, fakeCourier(smtp, sent)]]),
      plugins: () => {
        const { chain, release } = sessions().plugins();
        const over = this.#begin();
        return { chain, release: () => (over(), release()) };
      },
      screen: (...asked) => screens.screen(...asked),
      settings,
      random: () => 0.5, // in the middle: waits are just what the schedule says
    });
    this.#runner.start();
  }

  /** What is under way until it has settled. */
  async track<T>(work: Promise<T>): Promise<T> {
    const over = this.#begin();
    try {
      return await work;
    } finally {
      over();
    }
  }

  /** Resolves when nothing is under way, and nothing begins without time passing. */
  async settled(): Promise<void> {
    await turn();
    while (this.#underWay > 0) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      await turn();
    }
  }

  /** Tries what waits for a domain now. @throws {TypeError} when it is not a domain. */
  async flush(domain: string, how?: { subdomains?: boolean }): Promise<{ messages: number }> {
    const { spool } = this;
    const rouse = (some: Iterable<string>) => this.#runner?.rouseOnly(some);
    return await flush({ spool, clock: this.#edges.clock, rouse }, domain, how);
  }

  /** What is in it, oldest first. */
  async list(): Promise<QueuedMail[]> {
    return (await Array.fromAsync(this.spool.list())).map(shown);
  }

  /** Begins nothing more; what is under way is aborted, and not waited for where it doesn't heed that. */
  async stop(): Promise<void> {
    this.spool.disk = "works";
    const stopped = this.#runner?.stop(0);
    await this.#edges.clock.advance(0); // its patience is over
    await Promise.race([stopped, turn()]);
  }

  #begin(): () => void {
    this.#underWay++;
    return () => {
      if (--this.#underWay > 0) return;
      for (const go of this.#waiting.splice(0)) go();
    };
  }
}

function shown({ envelope: { id, sender: from, ret, envid, recipients }, states, held }: Queued): QueuedMail {
  return {
    id,
    from,
    ret,
    envid,
    held,
    recipients: recipients.map(({ address: to, original, via, notify, orcpt }, i) => {
      const state = states[i]!;
      const { due, attempts } = state.state === "due" ? state : {};
      return {
        to,
        original,
        via,
        state: state.state,
        due,
        attempts,
        reply: state.reply,
        notify,
        orcpt: orcpt && `${orcpt.type};${orcpt.address}`,
      };
    }),
  };
}
