/** `check`: every problem of a configuration and its plugins in one run; nothing is opened, nothing is changed. */
import { loadCertificates } from "../channel/certificates.ts";
import { loadAuthorities } from "../channel/clients.ts";
import { systemClock } from "../clock.ts";
import { formatProblem, inOrder, type Problem } from "../config/read.ts";
import { openDns } from "../dns.ts";
import type { HostServices } from "../host.ts";
import { describeHooks } from "../load.ts";
import type { Log } from "../log.ts";
import { prepare, problemsOfPlugins, type Read, read } from "../prepare.ts";
import { lookUpUser } from "../privileges.ts";
import { memoryStore } from "../store.ts";
import type { Cli, ExitCode } from "./io.ts";

const silent: Log = { debug() {}, info() {}, warning() {}, error() {}, with: () => silent };

/** @param file The configuration, as given: so it is called in problems. */
export async function check(file: string, { hooks }: { hooks: boolean }, cli: Cli): Promise<ExitCode> {
  const found = await read(file, cli);
  const state = await Deno.makeTempDir({ prefix: "postrider-check-" });
  const dns = openDns();
  try {
    const services = makeServices(state, dns);
    const prepared = found.kind === "read" ? await prepare(found, 1, services) : undefined;
    const problems = inOrder([
      ...found.problems,
      ...prepared?.problems ?? [],
      ...found.kind === "read" ? await ofTheMachine(found) : await problemsOfPlugins(found, services),
    ]);
    for (const problem of problems) cli.stdout.write(`${formatProblem(problem)}\n`);
    if (prepared?.kind === "ready") {
      if (hooks) cli.stdout.write(`${describeHooks(prepared.generation).join("\n")}\n`);
      await prepared.generation.dispose();
    }
    if (problems.some(({ severity }) => severity === "error")) return 2;
    if (!hooks) cli.stdout.write(`${file}: ${problems.length === 0 ? "no problem" : "no error"} found\n`);
    return 0;
  } finally {
    dns.close();
    await Deno.remove(state, { recursive: true });
  }
}

/** Plugins are set up for real, but what they write goes to a folder that is thrown away. */
function makeServices(state: string, dns: HostServices["dns"]): HostServices {
  const store = memoryStore(systemClock);
  const submit = () => Promise.reject(new Error("nothing is sent while a configuration is checked"));
  const verify = () => Promise.reject(new Error("no next hop is asked while a configuration is checked"));
  const queue = {
    retry: () => Promise.reject(new Error("nothing is sent while a configuration is checked")),
  };
  const history = {
    after: () => Promise.reject(new Error("there is no history while a configuration is checked")),
  };
  return { clock: systemClock, log: silent, store, cache: store, dns, state, submit, verify, queue, history };
}

/** What only this machine can say: whether the keys fit, whether the user exists. */
async function ofTheMachine({ config, source }: Read): Promise<Problem[]> {
  const problems: Problem[] = [];
  const tell = (key: string, error: unknown) =>
    problems.push(source.problem((error as Error).message, source.at([key])));
  if (config.tls.length > 0) {
    await loadCertificates(config.tls, { clock: systemClock, log: silent }).catch((error) =>
      tell("tls", error)
    );
  }
  for (const [i, { clientCertificates }] of config.listen.entries()) {
    if (!clientCertificates) continue;
    await loadAuthorities(clientCertificates.ca).catch((error) =>
      problems.push(
        source.problem((error as Error).message, source.at(["listen", i, "clientCertificates", "ca"])),
      )
    );
  }
  try {
    if (config.user !== undefined) lookUpUser(config.user);
  } catch (error) {
    tell("user", error);
  }
  return problems;
}
