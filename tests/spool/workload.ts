/** What a server does with a spool, at random: many things at once, and recipients of one message finish days apart. */
import { memoryContent } from "../../server/message/content.ts";
import { LogSpool, type LogSpoolOptions } from "../../server/spool/log.ts";
import type { QueuedRecipient } from "../../server/spool/spool.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";
import { envelopeOf } from "../contract/spool.ts";
import { Model, ModelMessage, type Stand, wayOf } from "./model.ts";
import type { Random } from "./random.ts";
import { SimReader } from "./reader.ts";
import type { SimDisk } from "./sim_disk.ts";

export const folder = "/state/spool";
const day = 86_400_000;

/** One server's life after another, on disks that are cut off. */
export class Workload {
  readonly model = new Model();
  /** One for each life: what ended may not go on. */
  clock = new FakeClock();
  readonly log = memoryLog();
  /** Of one life after another, as the queue is. */
  readonly reader = new SimReader(folder);
  /** Messages that were acknowledged, ever. */
  readonly acknowledged = new Set<string>();
  spool!: LogSpool; // from the first `open` on
  #next = 1;
  readonly #ended = new WeakSet<LogSpool>();
  readonly #running = new Set<Promise<void>>();

  constructor(readonly random: Random, readonly options: Partial<LogSpoolOptions> = {}) {
    this.reader.patience = random.pick([0, 4_000, Infinity, Infinity]);
  }

  async open(disk: SimDisk): Promise<LogSpool> {
    const clock = this.clock = new FakeClock(this.clock.now());
    const after = (ms: number, callback: () => void) => {
      return clock.after(ms, () => void (this.clock !== clock || this.isCut() || callback()));
    };
    return this.spool = await LogSpool.open(folder, {
      clock: {
        now: () => clock.now(),
        monotonic: () => clock.monotonic(),
        sleep: (ms, signal) => clock.sleep(ms, signal),
        after,
      },
      log: this.log,
      disk,
      segment: this.random.pick([600, 2_000, 8_000]),
      spares: this.random.pick(["ahead", "none"]),
      inLog: 700,
      recent: this.random.pick([0, 5_000]),
      bodies: { each: 700 },
      reserve: 0,
      room: 0,
      rate: Infinity,
      patience: 0,
      crashes: Infinity,
      follower: this.reader,
      ...this.options,
    });
  }

  /** Hears of what is done, for who looks into a seed. */
  trace: (line: string) => void = () => {};

  /** Does so many things; stops where the disk is cut off. */
  async run(disk: SimDisk, steps: number): Promise<void> {
    for (let step = 0; step < steps && !disk.isDown; step++) {
      this.#do();
      if (this.random.chance(0.3)) await this.#turn(this.random.below(12));
      if (this.random.chance(0.1)) this.#note();
      if (this.random.chance(0.05)) this.#begin("follow", this.#follow(disk));
      // What can't be recorded is tried again after a while.
      if (this.#running.size > 20) await this.clock.advance(1_000);
      if (this.random.chance(0.02)) await this.clock.advance(this.random.below(3 * day));
    }
  }

  /** Waits for all that was begun, or until the disk is cut off. */
  async settle(disk: SimDisk): Promise<void> {
    while (this.#running.size > 0 && !disk.isDown) await this.clock.advance(60_000);
  }

  /** Lets what is under way go on for some steps. Never by a timer: the same seed has to be the same again. */
  async #turn(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) await undefined;
  }

  /** Nobody hears what becomes of what is under way. */
  forget(): void {
    if (this.spool) this.#ended.add(this.spool);
    this.#running.clear();
  }

  #begin(what: string, work: Promise<void>): void {
    this.trace(what);
    const running = work.finally(() => {
      this.#running.delete(running);
      this.trace(`  ${what}: done`);
    });
    this.#running.add(running);
  }

  #do(): void {
    const { model, random } = this;
    const living = model.living.filter((message) => !message.isBusy);
    const choice = random.next();
    if (living.length < 3 || (choice < 0.35 && living.length < 30)) return this.#keep();
    const message = random.chance(0.5) ? living[living.length - 1]! : random.pick(living);
    if (choice < 0.8) this.#record(message);
    else if (choice < 0.84) this.#hold(message);
    else if (choice < 0.88) this.#release(message);
    else if (choice < 0.95) this.#redirect(message);
    else if (choice < 0.96) this.#remove(message);
    else if (choice < 0.98) this.#amend(message);
    else this.#begin(`look ${message.id}`, this.#look(message));
  }

  #keep(): void {
    const { random } = this;
    const id = `Q${this.#next++}`;
    const size = random.chance(0.1) ? 700 + random.below(2_000) : random.below(500);
    const octets = Uint8Array.from({ length: size }, () => 97 + random.below(26));
    const to = Array.from(
      { length: 1 + random.below(random.chance(0.2) ? 6 : 2) },
      (_, i) => `r${i}@example.org`,
    );
    const message = new ModelMessage(envelopeOf(id, to, this.clock.now()), octets);
    this.model.messages.set(id, message);
    this.#begin(`keep ${id} ${to.length}`, this.#keepIt(message));
  }

  async #keepIt(message: ModelMessage): Promise<void> {
    const { spool, random } = this;
    const body = spool.bodies.create(message.id);
    try {
      const isStreamed = random.chance(0.5);
      if (isStreamed) await body.write(message.octets);
      const content = isStreamed ? await body.finish() : memoryContent(message.octets.slice());
      await spool.keep(message.envelope, content);
      if (this.#isOver(spool)) return;
      message.kept = "yes";
      this.acknowledged.add(message.id);
    } catch {
      if (!this.#isOver(spool) && !isFailing(spool)) message.kept = "no";
    } finally {
      await body.discard();
    }
  }

  /** A message that somebody else keeps. */
  #note(): void {
    const id = `N${this.#next++}`;
    const { edits: _edits, top: _top, ...envelope } = envelopeOf(id, ["r@example.org"], this.clock.now());
    this.spool.note({ envelope, size: 3, keeper: { kind: "transport", via: "maildir", reply: "kept" } });
  }

  async #follow(disk: SimDisk): Promise<void> {
    const { spool } = this;
    // The disk is cut off, fails, or a segment goes while it is read: it reads again later.
    await this.reader.follow(spool, disk).catch(() => {});
  }

  /** The process ended: what it would have answered nobody hears. */
  isCut = () => false;

  #isOver(spool: LogSpool): boolean {
    return this.#ended.has(spool) || this.isCut();
  }

  #record(message: ModelMessage): void {
    const { random, spool } = this;
    const open = message.states.flatMap((state, i) => state.values[0]!.state === "due" ? [i] : []);
    const chosen = open.filter(() => random.chance(0.6));
    if (chosen.length === 0) return;
    const outcomes = chosen.map((recipient) => ({
      id: message.id,
      recipient,
      state: this.#outcome(message, recipient),
    }));
    for (const { recipient, state } of outcomes) message.states[recipient]!.ask(state);
    if (random.chance(0.5)) spool.attempting([message.id]);
    this.#begin(
      `record ${JSON.stringify(outcomes)}`,
      spool.record(
        outcomes.map(({ id, recipient, state: { way: _, ...state } }) => ({ id, recipient, state })),
      ).then(() => {
        if (this.#isOver(spool)) return;
        for (const { recipient, state } of outcomes) message.states[recipient]!.settle(state);
      }, (error) => {
        if (!this.#isOver(spool)) this.failures.push(error); // what has happened is recorded, whatever it takes
      }),
    );
  }

  #outcome(message: ModelMessage, recipient: number): Stand {
    const before = message.states[recipient]!.values[0]!;
    const { way } = before;
    const attempts = before.state === "due" ? before.attempts + 1 : 1;
    const kind = this.random.next();
    if (kind < 0.4) return { state: "delivered", reply: `250 ${attempts}`, way };
    if (kind < 0.5) return { state: "failed", reply: `550 ${attempts}`, way };
    return {
      state: "due",
      due: this.clock.now() + this.random.below(5 * day),
      attempts,
      reply: `451 ${attempts}`,
      way,
    };
  }

  #hold(message: ModelMessage): void {
    const reason = `reason ${this.#next++}`;
    this.#change(`hold ${message.id}`, message.held, reason, this.spool.hold(message.id, reason));
  }

  #release(message: ModelMessage): void {
    this.#change(`release ${message.id}`, message.held, undefined, this.spool.release(message.id));
  }

  #redirect(message: ModelMessage): void {
    const { random, spool } = this;
    const redirects = message.states.flatMap((state, recipient) => {
      if (state.values[0]!.state !== "due" || random.chance(0.3)) return [];
      const to: Pick<QueuedRecipient, "address" | "via" | "hops"> = random.chance(0.5)
        ? { address: `to${this.#next++}@example.com`, via: "maildir" }
        : { address: `to${this.#next++}@example.net`, via: "smtp", hops: [{ host: "mx.example.net" }] };
      return [{ recipient, ...to }];
    });
    if (redirects.length === 0) return;
    const states = redirects.map((to): [number, Stand] => [
      to.recipient,
      { state: "due", due: 0, attempts: 0, reply: "", way: wayOf(to) },
    ]);
    const known = {
      ask: () => states.forEach(([i, state]) => message.states[i]!.ask(state)),
      settle: () => states.forEach(([i, state]) => message.states[i]!.settle(state)),
      deny: () => states.forEach(([i, state]) => message.states[i]!.deny(state)),
    };
    const what = `redirect ${message.id} ${JSON.stringify(redirects)}`;
    this.#change(what, known, undefined, spool.redirect(message.id, redirects));
  }

  /** Another sender, and often another content, in the record or in a file of its own. */
  #amend(message: ModelMessage): void {
    const { random, spool } = this;
    const number = this.#next++;
    const before = message.version.values[0]!;
    const octets = random.chance(0.4)
      ? before.octets
      : Uint8Array.from({ length: random.below(1_500) }, () => 97 + random.below(26));
    const version = { sender: `s${number}@example.org`, octets };
    const amend = async () => {
      const body = spool.bodies.create(`${message.id}-${number}`);
      try {
        if (octets !== before.octets) await body.write(octets);
        const content = octets === before.octets ? undefined : await body.finish();
        await spool.amend(message.id, (envelope) => ({ ...envelope, sender: version.sender }), content);
      } finally {
        await body.discard();
      }
    };
    this.#change(`amend ${message.id}`, message.version, version, amend());
  }

  #remove(message: ModelMessage): void {
    this.#change(`remove ${message.id}`, message.removed, true, this.spool.remove(message.id));
  }

  #change<T>(
    what: string,
    known: { ask(value: T): void; settle(value: T): void; deny(value: T): void },
    value: T,
    done: Promise<void>,
  ) {
    const { spool } = this;
    known.ask(value);
    this.#begin(
      what,
      done.then(() => {
        if (!this.#isOver(spool)) known.settle(value);
      }, () => {
        if (!this.#isOver(spool) && !isFailing(spool)) known.deny(value);
      }),
    );
  }

  /** A running server's queue is looked at while it is rewritten. */
  async #look(message: ModelMessage): Promise<void> {
    const { spool } = this;
    try {
      await this.model.look(spool, message);
    } catch (error) {
      if (!this.#isOver(spool) && error instanceof Error && error.name === "AssertionError") {
        this.failures.push(error);
      }
    }
  }

  readonly failures: Error[] = [];
}

/** Where not even a refusal can be recorded, nobody knows what a crash leaves. */
function isFailing(spool: LogSpool): boolean {
  return spool.room() !== "room";
}
