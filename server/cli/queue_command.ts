/** The command group `queue`, as commander is told of it. */
import { isIP } from "node:net";
import { type Command, InvalidArgumentError, Option } from "commander";
import { systemClock } from "../clock.ts";
import type { Way } from "../control/operations.ts";
import { parseDomain } from "../smtp/address.ts";
import type { HostHop } from "../verdict.ts";
import type { Cli, ExitCode } from "./io.ts";
import { type QueueAction, queueCommand, type QueueIo, type QueueOptions } from "./queue.ts";

const descriptions: Record<QueueAction, string> = {
  list: "list what waits, a line for each recipient",
  show: "show all that is known of messages",
  summary: "sum up what waits: where to, how long, why",
  retry: "try messages now, not when their time comes",
  hold: "hold messages: they are not tried until released",
  release: "let held messages go, at once",
  redirect: "send messages to another address or host",
  delete: "delete messages; nobody is told",
  export: "write messages out, as mbox or .eml files",
};

/** What commander makes of the options; those of other commands are absent. */
interface Given extends Omit<QueueOptions, "ids" | "way"> {
  readonly to?: string;
  readonly host?: HostHop;
  readonly transport?: string;
  readonly tls?: HostHop["tls"];
}

/** Adds `list`, `show`, `summary`, `retry`, `hold`, `release`, `redirect`, `delete` and `export` to the group. */
export function addQueueCommands(queue: Command, cli: Cli, exit: (code: ExitCode) => void): void {
  for (const [action, description] of Object.entries(descriptions) as [QueueAction, string][]) {
    const ids = action === "list" || action === "summary" ? "" : action === "show" ? " <id...>" : " [id...]";
    const command = queue.command(`${action}${ids}`).description(description)
      .addOption(new Option("-c, --config <file>", "the configuration").makeOptionMandatory());
    if (action !== "export") command.option("--json", "for scripts");
    if (action !== "show") {
      command.option("--where <expression>", `those it is true of: 'domain = a.example and age > 2h'`);
    }
    addOwnOptions(command, action);
    command.action(async (...given: unknown[]) => {
      const named = ids === "" ? [] : given[0] as string[];
      const { to, host, transport, tls, ...options } = command.opts<Given>();
      const isWay = to !== undefined || host !== undefined || transport !== undefined;
      const way: Way | undefined = isWay
        ? { to, via: transport, host: host && { ...host, ...(tls && { tls }) } }
        : undefined;
      exit(await queueCommand(action, { ...options, ids: named, way }, systemQueueIo(cli)));
    });
  }
}

function addOwnOptions(command: Command, action: QueueAction): void {
  switch (action) {
    case "show":
      command.option("--content", "the message itself, as it goes out");
      return;
    case "summary":
      command
        .addOption(
          new Option("--by <what>", "what the rows are").choices(["destination", "domain", "sender"])
            .default("destination"),
        )
        .option("--top <rows>", "rows that are shown", readCount, 20);
      return;
    case "export":
      command
        .option("--directory <path>", "write ID.eml there; else an mbox goes to standard output")
        .option("--all", "all messages");
      return;
    case "redirect":
      command
        .option("--to <address>", "to this address")
        .addOption(
          new Option("--host <host[:port]>", "through this host").argParser(readHost).conflicts("transport"),
        )
        .addOption(
          new Option("--tls <policy>", "of --host").choices([
            "opportunistic",
            "required",
            "none",
            "implicit",
          ]),
        )
        .option("--transport <name>", "by this transport; smtp alone: as configuration and DNS have it");
      break;
    case "retry":
      command.option("--all", "all messages, held ones aside");
      break;
    case "hold":
      command.option("--reason <text>", "why, for those who look at it later");
      break;
    case "list":
      return;
    case "release":
    case "delete":
      break;
  }
  command.option("--yes", "without asking");
}

/** `mx.example.net`, `mx.example.net:2525`, `192.0.2.1`, `[2001:db8::1]:25`. */
function readHost(text: string): HostHop {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::([0-9]{1,5}))?$/.exec(text) ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  const host = bracketed ?? plain ?? text; // an IPv6 address may stand alone
  const known = isIP(host) ? host : parseDomain(host);
  const isPort = port === undefined || (port >= 1 && port <= 65_535);
  if (known === undefined || (bracketed !== undefined && isIP(host) !== 6) || !isPort) {
    throw new InvalidArgumentError(
      "It is not a host such as mx.example.net, mx.example.net:2525 or [2001:db8::1]:25.",
    );
  }
  return { host: known, ...(port !== undefined && { port }) };
}

function readCount(text: string): number {
  if (/^[0-9]{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is not a number.");
}

/** The real world, for commands that reach the queue. */
export function systemQueueIo(cli: Cli): QueueIo {
  return {
    ...cli,
    clock: systemClock,
    columns: () => Deno.stdout.isTerminal() ? Deno.consoleSize().columns || 80 : undefined,
    writeBytes(bytes) {
      for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
    },
  };
}
