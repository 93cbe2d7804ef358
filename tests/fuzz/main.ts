/**
 * Fuzzing: `deno task fuzz [--seconds N] [--target NAME]… [--seed N] [--threads N]`. Each try's input is made from its seed alone, so a
 * failure comes again with `--target NAME --seed N --seconds 0`.
 */
import { parseArgs } from "node:util";
import { targets } from "./targets/mod.ts";
import type { Failure } from "./tries.ts";
import type { Order, Said } from "./worker.ts";

/** Milliseconds that one try may take: every one of them is over in a few, so this is a machine that stands still. */
const patience = 30_000;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    target: { type: "string", multiple: true },
    seed: { type: "string" },
    threads: { type: "string", default: String(Math.min(2, navigator.hardwareConcurrency)) },
  },
});

const names = values.target ?? targets.map(({ name }) => name);
for (const name of names) {
  if (targets.some((target) => target.name === name)) continue;
  console.error(`there is no target "${name}": ${targets.map((target) => target.name).join(", ")}`);
  Deno.exit(2);
}
const seconds = whole("--seconds", values.seconds);
const seed = values.seed === undefined
  ? crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1
  : whole("--seed", values.seed);
const threads = seconds === 0 ? 1 : Math.max(1, whole("--threads", values.threads));

function whole(option: string, text: string): number {
  if (/^[0-9]{1,10}$/.test(text)) return Number(text);
  console.error(`${option} takes a whole number, not "${text}"`);
  Deno.exit(2);
}

const began = performance.now();
console.log(`fuzzing ${names.length} targets for ${seconds} s on ${threads} threads, from seed ${seed}`);
const said = await Promise.all(Array.from({ length: threads }, (_, thread) => run(thread)));
const tries = new Map(
  names.map((name) => [name, said.reduce((sum, one) => sum + (one.tries[name] ?? 0), 0)]),
);
const failures = said.flatMap((one) => one.failures);
for (const { name, holds } of targets) {
  if (!names.includes(name)) continue;
  const failed = failures.find((one) => one.target === name);
  console.log(
    `${failed ? "FAILED" : "ok"} ${name}: ${tries.get(name)!.toLocaleString("en")} tries: ${holds}`,
  );
  if (failed) tell(failed);
}
const broken = new Set(failures.map(({ target }) => target)).size;
const time = Math.round((performance.now() - began) / 1000);
const all = [...tries.values()].reduce((sum, one) => sum + one, 0);
console.log(`${all.toLocaleString("en")} tries, seeds from ${seed}`);
// The runner's own closing line, which `.ci/run` adds up.
console.log(
  `${broken === 0 ? "ok" : "FAILED"} | ${names.length - broken} passed | ${broken} failed (${time}s)`,
);
Deno.exit(broken === 0 ? 0 : 1);

function tell({ target, seed, message, input }: Failure): void {
  console.log(`  ${message}`);
  console.log(`  again: deno task fuzz --target ${target} --seed ${seed} --seconds 0`);
  console.log(`  the shortest input found, as a dialog has it:\n  C> ${input}`);
}

/** One thread; where it stands still, that is a failure of what it was at. */
async function run(thread: number): Promise<Said> {
  const at = new SharedArrayBuffer(12);
  const place = new Uint32Array(at);
  const worker = new Worker(new URL("worker.ts", import.meta.url), { type: "module" });
  const order: Order = { targets: names, seed: seed + thread, step: threads, time: seconds * 1000, at };
  let timer: ReturnType<typeof setInterval> | undefined;
  try {
    return await new Promise<Said>((resolve, reject) => {
      let [last, since] = [-1, performance.now()];
      timer = setInterval(() => {
        const count = Atomics.load(place, 0);
        if (count !== last) [last, since] = [count, performance.now()];
        else if (performance.now() - since > patience) resolve(hung(place));
      }, 1000);
      worker.onmessage = ({ data }: MessageEvent<Said | "ready">) => {
        if (data === "ready") worker.postMessage(order);
        else resolve(data);
      };
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message));
      };
    });
  } finally {
    clearInterval(timer);
    worker.terminate();
  }
}

function hung([, target, seed]: Uint32Array): Said {
  const { name } = targets[target!]!;
  const message = `no end in ${patience / 1000} s`;
  return {
    tries: {},
    failures: [{ target: name, seed: seed!, message, input: "(whatever this seed makes)" }],
  };
}
