/** `backup`: a copy of a server's state to start from, of a running one or a stopped one. */
import { resolve } from "node:path";
import { backUp } from "../backup.ts";
import { findQueue } from "../control/stopped.ts";
import { visible } from "../log/format.ts";
import { logTo, type QueueIo, stateFolder } from "./queue.ts";
import { countOf } from "./queue_view.ts";
import type { ExitCode } from "./user.ts";

/**
 * Runs the command.
 *
 * @param directory Where the copy goes; it may not be there yet.
 * @returns The exit code; all that is to be said is on `io.stdout` and `io.stderr` by then.
 */
export async function backup(config: string, directory: string, io: QueueIo): Promise<ExitCode> {
  const say = (text: string, code: ExitCode): ExitCode => {
    io.stderr.write(`${text}\n`);
    return code;
  };
  const state = await stateFolder(config, io);
  if ("problem" in state) return say(state.problem, 2);
  try {
    const target = resolve(directory);
    const { queue, state: found } = await findQueue(state.folder, { clock: io.clock, log: logTo(io) });
    if (found === "never") return say(`No server has run with the state directory ${state.folder} yet.`, 1);
    try {
      const frozen = await queue.freeze();
      const { octets } = await backUp(state.folder, frozen, target, io.clock.now())
        .finally(() => frozen.release().catch(() => {})); // what went wrong is known by then
      const { ready, deferred, held } = await queue.overview();
      io.stdout.write(
        `${visible(target)} is a copy of ${visible(state.folder)}: ${octets} octets, ` +
          `${countOf(ready + deferred + held)} in the queue.\n`,
      );
      return 0;
    } finally {
      await queue.close();
    }
  } catch (error) {
    return say(error instanceof Error ? error.message : String(error), 1);
  }
}
