/**
 * `queue export`: messages as they would be delivered, as an mbox on standard output or as `.eml` files in a directory.
 * Nothing is ever overwritten, and a file is whole or not there.
 */
import { join } from "node:path";
import type { ListedMessage, QueueControl } from "../control/operations.ts";
import { visible } from "../log/format.ts";
import { fromLine, MboxEncoder } from "../message/mbox.ts";
import type { QueueIo } from "./queue.ts";
import { countOf } from "./queue_view.ts";
import type { ExitCode } from "./user.ts";

/** Messages to be exported. */
export type Exported = Pick<ListedMessage, "id" | "sender" | "received">;

/** Writes an mbox. A message that goes while it is read ends it: half of one would spoil the next. */
export async function exportMbox(
  queue: QueueControl,
  messages: AsyncIterable<Exported>,
  io: QueueIo,
): Promise<ExitCode> {
  let code: ExitCode = 0;
  let count = 0;
  for await (const { id, sender, received } of messages) {
    const encoder = new MboxEncoder();
    let octets = 0;
    for await (const piece of queue.content(id)) {
      if (octets === 0) io.writeBytes(fromLine(sender, received));
      octets += piece.length;
      io.writeBytes(encoder.push(piece));
    }
    if (octets > 0) io.writeBytes(encoder.end());
    if (octets > 0) count++;
    else code = gone(id, io);
  }
  io.stderr.write(`${countOf(count)} exported.\n`);
  return code;
}

/** Writes `ID.eml` for each message into a directory, which is made where it isn't there. */
export async function exportFiles(
  queue: QueueControl,
  messages: AsyncIterable<Exported>,
  directory: string,
  io: QueueIo,
): Promise<ExitCode> {
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  let code: ExitCode = 0;
  let count = 0;
  for await (const { id } of messages) {
    const written = await writeFile(queue.content(id), join(directory, `${id}.eml`));
    if (written === "whole") count++;
    else if (written === "nothing") code = gone(id, io);
    else {
      io.stderr.write(`${visible(join(directory, `${id}.eml`))} is there already, and stays as it is.\n`);
      code = 1;
    }
  }
  io.stderr.write(`${countOf(count)} exported to ${visible(directory)}.\n`);
  return code;
}

/** Other people's mail: for the owner only. @throws what the disk or the way to the queue throws; nothing is left then. */
async function writeFile(
  content: AsyncIterable<Uint8Array<ArrayBuffer>>,
  path: string,
): Promise<"whole" | "nothing" | "there already"> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path, { createNew: true, write: true, mode: 0o600 });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return "there already";
    throw error;
  }
  let octets = 0;
  try {
    for await (const piece of content) {
      octets += piece.length;
      for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
    }
  } catch (error) {
    await Deno.remove(path);
    throw error;
  } finally {
    file.close();
  }
  if (octets === 0) await Deno.remove(path);
  return octets === 0 ? "nothing" : "whole";
}

function gone(id: string, io: QueueIo): ExitCode {
  io.stderr.write(`${visible(id)} is not in the queue any more.\n`);
  return 1;
}
