/** Reads Maildirs as any other program would: the files in `new`. */
import { Buffer } from "node:buffer";
import { join } from "node:path";

/** A message as it was delivered: what the server put on top, and what the client had sent. */
export interface Delivered {
  /** `Return-Path`, `Delivered-To` and `Received`, unfolded. */
  readonly returnPath: string;
  readonly deliveredTo: string;
  readonly received: string;
  /** All that stands below. */
  readonly content: Buffer;
  /** All of it. */
  readonly bytes: Buffer;
}

/** The messages in a Maildir; none where there is no Maildir. */
export async function readMaildir(folder: string): Promise<Delivered[]> {
  const messages: Delivered[] = [];
  for (const name of await listMaildir(folder)) {
    messages.push(split(Buffer.from(await Deno.readFile(join(folder, "new", name)))));
  }
  return messages;
}

/** The names of a Maildir's new messages. */
export async function listMaildir(folder: string, place: "new" | "tmp" = "new"): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(join(folder, place)), ({ name }) => name)).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** The only message in a Maildir. @throws {Error} when there is none, or another. */
export async function onlyMessage(folder: string): Promise<Delivered> {
  const [message, another] = await readMaildir(folder);
  if (!message || another) throw new Error(`${folder} should hold one message`);
  return message;
}

/** @throws {Error} when the three fields aren't there, in their order. */
function split(bytes: Buffer): Delivered {
  let at = 0;
  const take = (name: string): string => {
    let end = at;
    do end = bytes.indexOf(0x0a, end) + 1; while (bytes[end] === 0x20 || bytes[end] === 0x09);
    const field = bytes.subarray(at, end).toString("utf8");
    if (!field.startsWith(`${name}: `)) throw new Error(`${name} should stand where this does: ${field}`);
    at = end;
    return field.slice(name.length + 2).replace(/\r?\n[ \t]/g, " ").trimEnd();
  };
  const [returnPath, deliveredTo, received] = [take("Return-Path"), take("Delivered-To"), take("Received")];
  return { returnPath, deliveredTo, received, content: bytes.subarray(at), bytes };
}
