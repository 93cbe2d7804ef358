/** The command `explain`, as commander is told of it. */
import { type Command, Option } from "commander";
import { systemClock } from "../clock.ts";
import { explainCommand, type ExplainOptions } from "./explain.ts";
import type { Cli, ExitCode } from "./io.ts";

const gathered = (value: string, before: readonly string[] = []) => [...before, value];

/** Gives the command its options. */
export function addExplainCommand(explain: Command, cli: Cli, exit: (code: ExitCode) => void): void {
  explain.argument("[message]", "a file in Internet Message Format (.eml)")
    .addOption(new Option("-c, --config <file>", "the configuration").makeOptionMandatory())
    .addOption(new Option("--from <address>", 'the sender; "" for a bounce').makeOptionMandatory())
    .addOption(
      new Option("--to <address>", "a recipient; several times for several").argParser(gathered)
        .makeOptionMandatory(),
    )
    .option("--ip <address>", "the client's address (default: 192.0.2.1)")
    .option("--helo <name>", "what the client calls itself (default: its address)")
    .option("--auth <account>", "who has logged in; then the role is submission")
    .option("--role <role>", "mx or submission")
    .option("--tls", "over TLS (default on role submission)")
    .option("--no-tls", "in the clear")
    .option("--json", "for scripts")
    .addHelpText("after", "\nexit code: 0 accepted, 3 refused for now, 4 refused for good")
    .action(async (message: string | undefined) => {
      const options = explain.opts<Omit<ExplainOptions, "message">>();
      const io = {
        ...cli,
        clock: systemClock,
        columns: () => Deno.stdout.isTerminal() ? Deno.consoleSize().columns || 80 : undefined,
      };
      exit(await explainCommand({ ...options, message }, io));
    });
}
