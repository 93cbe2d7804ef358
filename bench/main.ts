/**
 * `deno task bench`: this server beside real ones, on loopback, under the same load, in rounds that take turns; so that whatever
 * else the machine does concerns all of them. Prints the figures, and puts them into README.md.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { authentication } from "./authentication.ts";
import { authors } from "./authors.ts";
import { backlog } from "./backlog.ts";
import { hung } from "./hung.ts";
import { isolated } from "./isolated.ts";
import type { Shape } from "./load.ts";
import { idleConnection, largeMessages } from "./memory.ts";
import { Missing, running, startDiscard, startMaildir, startSink, startVirtual } from "./peers.ts";
import { postfixVersion } from "./postfix.ts";
import { proxy } from "./proxy.ts";
import { relay, spool } from "./relay.ts";
import { tracking } from "./tracking.ts";
import { webhook } from "./webhook.ts";
import * as report from "./report.ts";
import type { Goal, Measured } from "./report.ts";
import { type Extent, inTurn, type Part, percents, small, warmUp, withPeers } from "./rounds.ts";

const usage = `deno task bench [--quick] [--rounds N] [--only PART,…] [--peer NAME=PORT]… [--dir DIR]

  --quick   fewer and shorter rounds, in a minute; README.md stays as it is
  --only    some of the parts: rate, maildir, relay, spool, proxy, backlog, hung, idle, large,
            tracking, authors, isolated, authentication, webhook; README.md stays as it is
  --peer    another server, which listens on this port already and throws mail away
  --dir     where queues and maildirs are: on the disk that is meant; default the folder for temporary files
`;

const { values: given } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    only: { type: "string" },
    peer: { type: "string", multiple: true, default: [] },
    dir: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
const { quick } = given;
const extent: Extent = { quick, rounds: Number(given.rounds ?? (quick ? 2 : 5)) };
const { rounds } = extent;
const parts = given.only?.split(",");

const kilobyte = 1024;

/** 5 KB, 20 connections, `relay` and `discard`, beside smtp-sink. */
async function rate(folder: string): Promise<Part[]> {
  const others = given.peer.map(running);
  return await withPeers([startDiscard(folder), startSink(folder), ...others], async (peers) => {
    await warmUp(peers.slice(1), 5000);
    await warmUp(peers.slice(0, 1), quick ? 20_000 : 60_000);
    const done: Part[] = [];
    for (const connections of ["one each", "kept"] as const) {
      const messages = (connections === "kept" ? 20_000 : 10_000) / (quick ? 4 : 1);
      const measured = await inTurn(peers, rounds, { sessions: 20, octets: small, messages, connections });
      const [ours, sink] = measured as [Measured, Measured];
      const ratio = report.ratios(ours, sink, "accepted");
      const how = connections === "kept" ? "kept connections" : "one message a connection";
      const what = `5 KB, 20 connections, ${how}: \`relay\` + \`discard\``;
      done.push({
        table: report.rateTable(what, measured, sink),
        goals: [{
          what: `${how}, by smtp-sink`,
          wanted: "≥ 80 %",
          got: percents(ratio),
          met: report.median(ratio) >= 0.8,
        }],
      });
    }
    return done;
  });
}

/** 5 KB, 20 connections, durably into a Maildir, beside Postfix. */
async function maildir(folder: string): Promise<Part[]> {
  return await withPeers([startMaildir(folder), startVirtual(folder)], async (peers) => {
    await warmUp(peers, 200);
    const messages = quick ? 500 : 1500;
    const shape: Shape = { sessions: 20, octets: small, messages, connections: "one each" };
    const measured = await inTurn(peers, rounds, shape);
    const [ours, postfix] = measured as [Measured, Measured];
    const ratio = report.ratios(ours, postfix, "delivered");
    return [{
      table: report.rateTable(
        "5 KB, 20 connections, one message a connection: durably into a Maildir",
        measured,
        postfix,
      ),
      goals: [{
        what: "into a Maildir, by Postfix's virtual(8)",
        wanted: "> 1 ×",
        got: `${report.spread(ratio, 1)} ×`,
        met: report.median(ratio) > 1,
      }],
    }];
  });
}

/** A certificate of our own. */
async function makeCertificate(folder: string): Promise<{ cert: string; key: string }> {
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  const names = ["-subj", "/CN=mx.example.test", "-addext", "subjectAltName=DNS:mx.example.test"];
  const args = ["req", "-x509", ...curve, ...names, "-keyout", key, "-out", cert];
  const { success } = await new Deno.Command("openssl", { args, stderr: "null" }).output();
  if (!success) throw new Error("openssl makes no certificate.");
  return { cert, key };
}

/** Connections that wait. */
async function idle(folder: string): Promise<Part[]> {
  const connections = 2000;
  const cost = async (tls: boolean) =>
    await withPeers(
      [startDiscard(folder, tls ? await makeCertificate(folder) : undefined)],
      ([peer]) => idleConnection(peer!, tls, connections),
    );
  const goal = (what: string, most: number, octets: number): Goal => ({
    what,
    wanted: `≤ ${most} KiB`,
    got: report.kib(octets),
    met: octets <= most * kilobyte,
  });
  return [{
    table: "",
    goals: [
      goal("an idle connection, of 2,000", 24, await cost(false)),
      goal("an idle connection with TLS, of 2,000", 64, await cost(true)),
    ],
  }];
}

/** Large messages. */
async function large(folder: string): Promise<Part[]> {
  const size = 40 * kilobyte ** 2;
  const goals: Goal[] = [];
  // A fresh process each: memory that one has used is there for the next.
  for (const sessions of quick ? [1, 10] : [1, 10, 50]) {
    const octets = await withPeers([startDiscard(folder)], async ([peer]) => {
      await warmUp([peer!], 500);
      return await largeMessages(peer!, size, sessions);
    });
    const most = 16 * kilobyte ** 2 * sessions;
    goals.push({
      what: `${sessions === 1 ? "a 40 MB message" : `${sessions} messages of 40 MB at once`}, more than idle`,
      wanted: sessions === 1 ? "≤ 16 MiB" : "bounded",
      got: report.mib(octets),
      met: octets <= most,
    });
  }
  return [{ table: "", goals }];
}

const all: Record<string, (folder: string, extent: Extent) => Promise<Part[]>> = {
  ...{
    rate,
    maildir,
    relay,
    spool,
    proxy,
    backlog,
    hung,
    idle,
    large,
    tracking,
    authors,
    isolated,
    authentication,
    webhook,
  },
};

async function bench(folder: string): Promise<string> {
  const unknown = parts?.find((name) => !Object.hasOwn(all, name));
  if (unknown !== undefined) throw new Missing(`--only: there is no "${unknown}"`);
  const machine = await report.describeMachine(folder);
  const done: Part[] = [];
  for (const [name, measure] of Object.entries(all)) {
    if (parts && !parts.includes(name)) continue;
    const own = join(folder, name);
    await Deno.mkdir(own);
    const began = performance.now();
    console.error(`${name} …`);
    done.push(...await measure(own, extent));
    console.error(`${name}: ${((performance.now() - began) / 1000).toFixed(0)} s`);
    await Deno.remove(own, { recursive: true });
  }
  const tables = done.map(({ table }) => table).filter((table) => table !== "");
  const goals = report.goalTable(done.flatMap(({ goals }) => goals));
  const command = ["deno task bench", ...Deno.args].join(" ");
  const date = new Date().toISOString().slice(0, 10);
  return [`\`${command}\`, ${date}, ${rounds} rounds. ${machine}`, "", goals, ...tables].join("\n");
}

if (given.help) {
  console.log(usage);
  Deno.exit(0);
}
const folder = await Deno.makeTempDir({ prefix: "postrider-bench-", ...(given.dir && { dir: given.dir }) });
try {
  await postfixVersion();
  await Deno.chmod(folder, 0o755); // Postfix's users go through it
  const figures = await bench(folder);
  console.log(figures);
  const whole = !quick && given.only === undefined;
  if (whole) await report.replaceFigures(new URL("README.md", import.meta.url), figures);
} catch (error) {
  const notInstalled = error instanceof Deno.errors.NotFound;
  if (notInstalled) {
    console.error(
      "The bench needs Postfix, also for its smtp-source and smtp-sink: apt-get install postfix openssl",
    );
  } else console.error(error instanceof Missing ? `${error.message}.` : error);
  Deno.exitCode = 1;
} finally {
  await Deno.remove(folder, { recursive: true });
}
