/**
 * Kills a server again and again while it works (CASES Q01): `deno task kills [COUNT [SEED]]` prints the figures; the
 * end-to-end tests do it twenty times.
 */
import { Buffer } from "node:buffer";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { Ledger, letter, numberIn } from "./ledger.ts";
import { readNew, untilMaildirs } from "./mailbox.ts";
import { endContent, relaying, toPort } from "./relaying.ts";
import { postrider, ServerProcess } from "./server.ts";
import { type Arrival, NextHop, type Rules } from "./next_hop.ts";
import { mailboxOf, writeSettings } from "./small_server.ts";

/** What a kill comes right behind: a time since the start, a 250 to a client, a final dot at a next hop, its 250. */
export type Moment = "start" | "acknowledged" | "dot" | "answered";

/** What came of it. */
export interface Figures {
  readonly seed: number;
  readonly kills: Readonly<Record<Moment, number>>;
  /** Messages that were answered with 250. */
  readonly acknowledged: number;
  /** Recipients of those who haven't got it, and senders who weren't told. */
  readonly missing: readonly string[];
  /** What may never be: half messages, strange replies, doubles that no kill explains. */
  readonly wrong: readonly string[];
  /** Transactions that came again (RFC 1047), the most after one kill, and doubles in mailboxes and of reports. */
  readonly repeated: { readonly remote: number; readonly mostAfterOneKill: number; readonly local: number };
  /** Messages that were held, because two kills met them, and were released at the end. */
  readonly held: number;
}

const moments: readonly Moment[] = ["start", "acknowledged", "acknowledged", "dot", "answered"];
const sessions = 8;
/** Milliseconds after which what hasn't come is missing. */
const patience = 60_000;
/** Deliveries at a time: so many at most may be in doubt after a kill. */
const concurrency = 10;

/** Kills a server so many times. */
export async function killAgainAndAgain(count: number, seed: number): Promise<Figures> {
  await using folder = await makeFolder();
  await using ordeal = new Ordeal(folder);
  const config = await ordeal.configure();
  const random = draws(seed);
  const kills: Record<Moment, number> = { start: 0, acknowledged: 0, dot: 0, answered: 0 };
  for (let life = 1; life <= count; life++) {
    const moment = moments[Math.floor(random() * moments.length)]!;
    kills[moment]++;
    await ordeal.live(config, moment, random());
  }
  return { seed, kills, ...await ordeal.finish(config) };
}

/** One server's lives, and those it sends mail to. */
class Ordeal implements AsyncDisposable {
  readonly #ledger = new Ledger();
  readonly #folder: Folder;
  readonly #hops: Readonly<Record<"one" | "two", NextHop>>;
  #fate: Fate | undefined;
  #letters = 0;
  /** Something comes to a next hop. */
  #came = Promise.withResolvers<void>();

  constructor(folder: Folder) {
    this.#folder = folder;
    const rules: Rules = {
      rcpt: (address) => this.#ledger.rcpt(address),
      dot: (arrival: Arrival) => {
        this.#ledger.arrived(arrival);
        this.#fate?.happened("dot");
        this.#came.resolve();
        return undefined;
      },
      answered: () => this.#fate?.happened("answered"),
    };
    this.#hops = { one: new NextHop(rules), two: new NextHop(rules) };
  }

  configure(): Promise<string> {
    const { one, two } = this.#hops;
    const outbound = {
      retry: ["1s"],
      concurrency: { total: concurrency, perDestination: concurrency },
      route: { "one.test": toPort(one.port), "two.test": toPort(two.port) },
    };
    return writeSettings(this.#folder, relaying(outbound));
  }

  /** From the server's start to its kill. */
  async live(config: string, moment: Moment, chance: number): Promise<void> {
    this.#ledger.life++;
    await using server = ServerProcess.spawn(config);
    using fate = new Fate(server, moment, chance);
    this.#fate = fate;
    const isUp = await server.logged("listening").then(() => true, () => false);
    if (isUp) await Promise.all(Array.from({ length: sessions }, () => this.#load(server.port())));
    const code = await server.ended;
    if (code !== 137) throw new Error(`the server ended with ${code} by itself:\n${server.stderr}`);
  }

  /** Sends letters until the server is gone, and writes down those it says 250 to. */
  async #load(port: number): Promise<void> {
    try {
      for (;;) {
        using client = await RawClient.connect(port);
        await client.say("EHLO client.test");
        for (let i = 0; i < 20; i++) await this.#send(client);
        await client.say("QUIT", 221);
      }
    } catch (error) {
      // A connection may end anywhere; another reply than 250 is nothing that a kill explains.
      if (String(error).includes("instead of")) this.#ledger.wrong.push(String(error));
    }
  }

  async #send(client: RawClient): Promise<void> {
    const sent = letter(++this.#letters);
    await client.envelope("alice@example.test", ...sent.recipients);
    await endContent(client, sent.content.replaceAll("\r\n.", "\r\n.."));
    this.#ledger.acknowledged.set(sent.number, sent);
    this.#fate?.happened("acknowledged");
  }

  /** The last life: everybody gets what is theirs, then the books are compared. */
  async finish(config: string): Promise<Omit<Figures, "seed" | "kills">> {
    const ledger = this.#ledger;
    ledger.life++;
    const held = await releaseHeld(config);
    await using server = await ServerProcess.start(config);
    await this.#untilSentOn();
    const local = await this.#mailboxes();
    const code = await server.stop();
    if (code !== 0) ledger.wrong.push(`it ended with ${code}:\n${server.stderr}`);
    for (const { recipients } of await queued(config)) {
      const number = numberIn(recipients[0]!.address);
      if (ledger.acknowledged.has(number)) ledger.wrong.push(`letter ${number} is still in the queue`);
    }
    const repeated = [...ledger.again.values()];
    const mostAfterOneKill = Math.max(0, ...repeated);
    if (mostAfterOneKill > concurrency) {
      ledger.wrong.push("more was repeated after a kill than was under way");
    }
    return {
      acknowledged: ledger.acknowledged.size,
      missing: [...ledger.missing(), ...local.missing],
      wrong: ledger.wrong,
      repeated: {
        remote: repeated.reduce((sum, count) => sum + count, 0),
        mostAfterOneKill,
        local: local.repeated,
      },
      held,
    };
  }

  /** Resolves when nothing is missing at the next hops, or nothing has come there for a long time. */
  async #untilSentOn(): Promise<void> {
    while (this.#ledger.missing().length > 0) {
      const late = Promise.withResolvers<"late">();
      const timer = setTimeout(() => late.resolve("late"), patience);
      this.#came = Promise.withResolvers();
      const next = await Promise.race([this.#came.promise, late.promise]);
      clearTimeout(timer);
      if (next === "late") return;
    }
  }

  /** What Bob and Alice have: his letters, and her reports of those that failed. */
  async #mailboxes(): Promise<{ missing: string[]; repeated: number }> {
    const wanted = new Set<string>();
    for (const { number, recipients, bounces } of this.#ledger.acknowledged.values()) {
      if (recipients.includes(`bob+${number}@example.test`)) wanted.add(`bob ${number}`);
      if (bounces) wanted.add(`report ${number}`);
    }
    const [bob, alice] = [mailboxOf(this.#folder, "bob"), mailboxOf(this.#folder, "alice")];
    const found = new Set<string>();
    let files = 0;
    const take = (what: string) => {
      files++;
      found.add(what);
      wanted.delete(what);
    };
    await untilMaildirs([bob, alice], async (folder, name) => {
      const text = (await readNew(folder, name)).toString("latin1");
      if (folder === bob) {
        const number = Number(/^Subject: ([0-9]+)$/m.exec(text)![1]);
        this.#ledger.compare(number, Buffer.from(text.replaceAll("\n", "\r\n"), "latin1"));
        take(`bob ${number}`);
      } else take(`report ${/^Final-Recipient: rfc822; *unknown-([0-9]+)@/m.exec(text)![1]}`);
      return wanted.size === 0;
    });
    return { missing: [...wanted], repeated: files - found.size };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(Object.values(this.#hops).map((hop) => hop[Symbol.asyncDispose]()));
  }
}

/** When a server is killed. */
class Fate implements Disposable {
  readonly #server: ServerProcess;
  readonly #moment: Moment;
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  #left: number;

  /** @param chance At least 0 and less than 1. */
  constructor(server: ServerProcess, moment: Moment, chance: number) {
    this.#server = server;
    this.#moment = moment;
    this.#left = 1 + Math.floor(chance * (moment === "acknowledged" ? 200 : 100));
    // Anywhere in its start or soon after: no event tells of that.
    if (moment === "start") this.#timer = setTimeout(() => server.signal("SIGKILL"), chance * 800);
  }

  happened(moment: Moment): void {
    if (moment === this.#moment && --this.#left === 0) this.#server.signal("SIGKILL");
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

interface QueuedLetter {
  readonly id: string;
  readonly state: string;
  readonly recipients: readonly { readonly address: string; readonly state: string }[];
}

async function queued(config: string): Promise<readonly QueuedLetter[]> {
  const { code, stdout, stderr } = await postrider(["queue", "list", "--json", "--config", config]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

/** A message that two kills met is held as poison; whoever knows better lets it go. */
async function releaseHeld(config: string): Promise<number> {
  const held = (await queued(config)).filter(({ state, recipients }) =>
    state === "held" || recipients.some((one) => one.state === "held")
  );
  if (held.length === 0) return 0;
  const ids = held.map(({ id }) => id);
  const { code, stderr } = await postrider(["queue", "release", "--config", config, ...ids]);
  if (code !== 0) throw new Error(stderr);
  return held.length;
}

/** Numbers from 0 to below 1 that a seed repeats (Park and Miller's generator). */
function draws(seed: number): () => number {
  let state = seed % 2147483646 + 1;
  return () => (state = state * 48271 % 2147483647) / 2147483647;
}

if (import.meta.main) {
  const [count = "200", seed = String(Date.now() % 1e6)] = Deno.args;
  const began = performance.now();
  const figures = await killAgainAndAgain(Number(count), Number(seed));
  console.log(JSON.stringify(figures, null, 2));
  console.log(`${Math.round((performance.now() - began) / 1000)} s`);
  if (figures.missing.length + figures.wrong.length > 0) Deno.exit(1);
}
