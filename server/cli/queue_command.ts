/** The command group `queue`, as commander is told of it. */
import { type Command, Option } from "commander";
import { systemClock } from "../clock.ts";
import type { Cli, ExitCode } from "./io.ts";
import { type QueueAction, queueCommand, type QueueIo, type QueueOptions } from "./queue.ts";

const descriptions: Record<QueueAction, string> = {
  list: "list what waits, a line for each recipient",
  show: "show all that is known of messages",
  retry: "try messages now, not when their time comes",
  hold: "hold messages: they are not tried until released",
  release: "let held messages go, at once",
  delete: "delete messages; nobody is told",
};

/** Adds `list`, `show`, `retry`, `hold`, `release` and `delete` to the group. */
export function addQueueCommands(queue: Command, cli: Cli, exit: (code: ExitCode) => void): void {
  for (const [action, description] of Object.entries(descriptions) as [QueueAction, string][]) {
    const ids = action === "list" ? "" : action === "retry" ? " [id...]" : " <id...>";
    const command = queue.command(`${action}${ids}`).description(description)
      .addOption(new Option("-c, --config <file>", "the configuration").makeOptionMandatory())
      .option("--json", "for scripts");
    if (action === "show") command.option("--content", "the message itself, as it goes out");
    if (action === "retry") command.option("--all", "all messages, held ones aside");
    if (action === "hold") command.option("--reason <text>", "why, for those who look at it later");
    if (action === "retry" || action === "delete") command.option("--yes", "without asking");
    command.action(async (...given: unknown[]) => {
      const named = action === "list" ? [] : given[0] as string[];
      const options = command.opts<Omit<QueueOptions, "ids">>();
      exit(await queueCommand(action, { ...options, ids: named }, systemQueueIo(cli)));
    });
  }
}

function systemQueueIo(cli: Cli): QueueIo {
  return {
    ...cli,
    clock: systemClock,
    columns: () => Deno.stdout.isTerminal() ? Deno.consoleSize().columns || 80 : undefined,
    writeBytes(bytes) {
      for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
    },
  };
}
