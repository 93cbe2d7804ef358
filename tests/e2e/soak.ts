/**
 * Mixed load for hours: `deno task soak --hours 2` (or `--minutes 20`), `--rate 10` clients a second. Writes `docs/soak.md` and
 * its plot, `docs/soak.svg`; fails where a message is missing or descriptors are.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeAuthority } from "./certificate.ts";
import { RawClient, stuffed } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { listMaildir } from "./mailbox.ts";
import { plot } from "./plot.ts";
import { toPort } from "./relaying.ts";
import { postrider, root, ServerProcess } from "./server.ts";
import { startSink } from "./sink.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";
import { descriptorsOf, residentMemory, usageOf, weigh, weighable } from "./usage.ts";

/** What a client does. */
const kinds = ["local", "relayed", "encrypted", "large", "refused", "aborted"] as const;
type Kind = typeof kinds[number];

/** In turn: of ten clients so many of each kind. */
const turns: readonly Kind[] = [
  ...["local", "relayed", "encrypted", "local", "refused"] as const,
  ...["local", "relayed", "aborted", "local", "large"] as const,
];

interface Sample {
  readonly minutes: number;
  readonly resident: number;
  readonly descriptors: number;
  readonly median: number;
  readonly p99: number;
}

/** The clients, and what they have seen. */
class Load {
  readonly done: Record<Kind, number> = {
    local: 0,
    relayed: 0,
    encrypted: 0,
    large: 0,
    refused: 0,
    aborted: 0,
  };
  readonly failed: string[] = [];
  times: number[] = [];
  readonly #server: ServerProcess;
  readonly #authority: string;
  #nth = 0;

  constructor(server: ServerProcess, authority: string) {
    this.#server = server;
    this.#authority = authority;
  }

  /** One client, who comes and goes. */
  async one(): Promise<void> {
    const kind = turns[this.#nth++ % turns.length]!;
    try {
      const began = performance.now();
      using client = await this.#connected(kind);
      await client.say("EHLO client.test");
      if (kind === "refused") {
        await client.say("MAIL FROM:<bob@elsewhere.test>");
        await client.say("RCPT TO:<nobody@example.test>", 550);
        await client.say("QUIT", 221);
      } else {
        await client.envelope(
          "bob@elsewhere.test",
          kind === "relayed" ? "bob@remote.test" : "alice@example.test",
        );
        await client.send(kind === "large" ? large : kind === "aborted" ? large.subarray(0, 290_000) : small);
        if (kind !== "aborted") {
          await client.expect(250);
          this.times.push(performance.now() - began);
          await client.say("QUIT", 221);
        }
      }
      this.done[kind]++;
    } catch (error) {
      this.failed.push(`${kind}: ${error}`);
    }
  }

  async #connected(kind: Kind): Promise<RawClient> {
    if (kind !== "encrypted") return await RawClient.connect(this.#server.port());
    const port = this.#server.port(1);
    return await RawClient.over(
      await Deno.connectTls({ hostname: "localhost", port, caCerts: [this.#authority] }),
    );
  }
}

const text = (lines: number) =>
  new TextEncoder().encode(`Subject: soak\r\n\r\n${"0123456789abcdef\r\n".repeat(lines)}`);
const small = stuffed(text(280)); // 5 KB
const large = stuffed(text(17_000)); // 306 KB, beyond what the spool keeps in memory

/** Takes away what has arrived, as its readers would. @returns how many there were. */
async function collect(folder: Folder, sink: string): Promise<{ local: number; relayed: number }> {
  const box = mailboxOf(folder, "alice");
  const names = await listMaildir(box);
  for (const name of names) await Deno.remove(join(box, "new", name));
  let relayed = 0;
  for await (const { name } of Deno.readDir(sink)) {
    // A file that is being written has no line of its recipient yet.
    if (!(await Deno.readTextFile(join(sink, name))).includes("X-Rcpt-Args: ")) continue;
    await Deno.remove(join(sink, name));
    relayed++;
  }
  return { local: names.length, relayed };
}

const quantile = (sorted: readonly number[], q: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, Math.max(0, ms)));

/** What came of it. */
export interface Soaked {
  readonly minutes: number;
  readonly rate: number;
  readonly samples: readonly Sample[];
  readonly done: Readonly<Record<Kind, number>>;
  readonly failed: readonly string[];
  /** Octets of objects after a tenth of the time, and at the end. */
  readonly heap: readonly [begun: number, ended: number];
  readonly arrived: { readonly local: number; readonly relayed: number };
  /** Messages left in the queue. */
  readonly queued: number;
}

/** Runs the load for so long. */
export async function soak(minutes: number, rate: number): Promise<Soaked> {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const sinkFolder = folder.at("sink");
  const sink = undo.use(await startSink(sinkFolder));
  const authority = await makeAuthority(folder);
  const { cert, key } = await authority.certify("localhost");
  const address = "127.0.0.1";
  const settings = (level: string) => ({
    listen: [{ port: 0, address }, { port: 0, address, tls: "implicit" }],
    tls: { cert, key },
    limits: { connectionsPerIp: 500 },
    log: { format: "json", level },
    plugins: [
      weigh,
      { use: "relay", with: { domains: ["remote.test"] } },
      { ...maildir, with: { ...maildir.with, users: ["alice"] } },
    ],
    outbound: { route: { "remote.test": toPort(sink.port) } },
  });
  const config = await writeSettings(folder, settings("info"));
  const server = undo.use(await ServerProcess.start(config, { listeners: 2, command: weighable }));
  await writeSettings(folder, settings("warning")); // what it says of each message is kept here, and isn't its memory
  server.signal("SIGHUP");
  const load = new Load(server, await Deno.readTextFile(authority.cert));
  const arrived = { local: 0, relayed: 0 };
  const gather = async () => {
    const more = await collect(folder, sinkFolder);
    arrived.local += more.local;
    arrived.relayed += more.relayed;
  };
  const began = performance.now();
  const elapsed = () => (performance.now() - began) / 60_000;
  const period = Math.max(2000, minutes * 60_000 / 240);
  const under = new Set<Promise<void>>();
  const samples: Sample[] = [];
  let [count, nextSample, begun] = [0, period, 0];
  while (elapsed() < minutes) {
    const client = load.one().finally(() => under.delete(client));
    under.add(client);
    await pause(began + ++count / rate * 1000 - performance.now());
    if (performance.now() - began < nextSample) continue;
    nextSample += period;
    const times = load.times.sort((a, b) => a - b);
    load.times = [];
    samples.push({
      minutes: elapsed(),
      resident: await residentMemory(server.pid),
      descriptors: await descriptorsOf(server.pid),
      median: quantile(times, 0.5),
      p99: quantile(times, 0.99),
    });
    if (begun === 0 && elapsed() > minutes / 10) begun = (await usageOf(server)).heap;
    await gather();
  }
  await Promise.all(under);
  const accepted = () => load.done.relayed;
  for (const late = performance.now() + 60_000; performance.now() < late; await pause(500)) {
    await gather();
    if (arrived.relayed >= accepted()) break;
  }
  const { stdout } = await postrider(["queue", "list", "--json", "--config", config]);
  const ended = (await usageOf(server)).heap;
  const queued = (JSON.parse(stdout) as unknown[]).length;
  return {
    minutes,
    rate,
    samples,
    done: load.done,
    failed: load.failed,
    heap: [begun, ended],
    arrived,
    queued,
  };
}

/** The page, but for the plot. @throws {Error} where something is missing. */
export function report({ minutes, rate, samples, done, failed, heap, arrived, queued }: Soaked): string {
  const delivered = done.local + done.encrypted + done.large;
  if (failed.length > 0) throw new Error(`${failed.length} clients failed; the first: ${failed[0]}`);
  if (arrived.local !== delivered || arrived.relayed !== done.relayed || queued > 0) {
    throw new Error(
      `accepted: ${JSON.stringify(done)}; arrived: ${JSON.stringify(arrived)}; queued: ${queued}`,
    );
  }
  const mebibytes = (octets: number) => (octets / 1024 / 1024).toFixed(1);
  const third = samples.slice(-Math.ceil(samples.length / 3));
  const middle = (values: number[]) => quantile(values.sort((a, b) => a - b), 0.5);
  const length = minutes >= 90 ? `${minutes / 60} hours` : `${minutes} minutes`;
  const figures = [
    `${mebibytes(heap[0])} MiB of objects in use after a tenth of the time, ${
      mebibytes(heap[1])
    } MiB at the end, buffers of clients that had just left among them`,
    `${(samples.at(-1)!.resident / 1024).toFixed(0)} MiB resident at the end`,
    `${samples[0]!.descriptors} descriptors at the first sample, ${samples.at(-1)!.descriptors} at the last`,
    `in the last third half of the messages within ${
      middle(third.map(({ median }) => median)).toFixed(0)
    } ms, ` +
    `99 of 100 within ${middle(third.map(({ p99 }) => p99)).toFixed(0)} ms, from connecting to the \`250\``,
  ];
  return `# A soak

Written by \`deno task soak --minutes ${minutes} --rate ${rate}\`: one run of **${length}**, ${rate} clients a second, each on a
connection of its own, on a machine of two cores that did other work, too.

![Memory, descriptors and latency over ${length}](soak.svg)

Of ten clients four leave a message of 5 KB for a mailbox here, two send one on to another server, one comes over TLS, one brings
306 KB, one names a recipient that doesn't exist, and one leaves in the middle of 306 KB. ${delivered} messages were accepted for
the mailbox and ${done.relayed} to be sent on; as many arrived, each once, and the queue was empty. ${done.refused} were refused,
${done.aborted} broken off. Measured: ${figures.join("; ")}.
`;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      hours: { type: "string" },
      minutes: { type: "string" },
      rate: { type: "string", default: "10" },
    },
  });
  const minutes = values.minutes ? Number(values.minutes) : Number(values.hours ?? "2") * 60;
  if (!(minutes > 0 && Number(values.rate) > 0)) {
    console.error("deno task soak [--hours N | --minutes N] [--rate CLIENTS-A-SECOND]");
    Deno.exit(2);
  }
  const soaked = await soak(minutes, Number(values.rate));
  const line = (name: string, color: string, of: (sample: Sample) => number) => ({
    name,
    color,
    points: soaked.samples.map((sample) => [sample.minutes, of(sample)] as const),
  });
  const svg = plot(`${minutes} minutes, ${values.rate} clients a second`, [
    {
      title: "resident memory, MiB",
      series: [line("resident", "#1f5fa8", ({ resident }) => resident / 1024)],
    },
    { title: "descriptors", series: [line("descriptors", "#2a7a3b", ({ descriptors }) => descriptors)] },
    {
      title: "from connecting to 250, ms",
      series: [
        line("99 of 100", "#b3401e", ({ p99 }) => p99),
        line("half", "#7a5195", ({ median }) => median),
      ],
    },
  ]);
  await Deno.writeTextFile(join(root, "docs/soak.svg"), svg);
  await Deno.writeTextFile(join(root, "docs/soak.md"), report(soaked));
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "-q", "docs/soak.md", "docs/soak.svg"], cwd: root })
    .output();
  console.log(report(soaked));
}
