/** The command group `observe`, as commander is told of it. */
import { type Command, Option } from "commander";
import { systemClock } from "../clock.ts";
import type { Cli, ExitCode } from "./io.ts";
import { type ObserveOptions, observeReport } from "./observe.ts";

/** Adds `report` to the group. */
export function addObserveCommands(observe: Command, cli: Cli, exit: (code: ExitCode) => void): void {
  const report = observe.command("report").description("sum up what would have changed")
    .addOption(new Option("-c, --config <file>", "the configuration").makeOptionMandatory())
    .option("--since <duration>", "how far back, 14d at most", "3d")
    .option("--json", "for scripts");
  report.action(async () => {
    const io = {
      ...cli,
      clock: systemClock,
      columns: () => Deno.stdout.isTerminal() ? Deno.consoleSize().columns || 80 : undefined,
    };
    exit(await observeReport(report.opts<ObserveOptions>(), io));
  });
}
