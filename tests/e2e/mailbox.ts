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

/** The bytes of one of a Maildir's new messages. */
export async function readNew(folder: string, name: string): Promise<Buffer> {
  return Buffer.from(await Deno.readFile(join(folder, "new", name)));
}

/** After this a test has failed: what it waits for does not come. */
const patience = 120_000;

/**
 * Shows each new message of some Maildirs, those that are there and those that come.
 *
 * @param look Whether this was all that is waited for; asked once a file. Without an answer it ends after two minutes.
 */
export async function untilMaildirs(
  folders: readonly string[],
  look: (folder: string, name: string) => boolean | Promise<boolean>,
): Promise<void> {
  for (const folder of folders) await Deno.mkdir(join(folder, "new"), { recursive: true });
  using watcher = Deno.watchFs(folders.map((folder) => join(folder, "new")));
  const late = setTimeout(() => watcher.close(), patience);
  const seen = new Set<string>();
  try {
    const lookAround = async () => {
      let isAll = false;
      for (const folder of folders) {
        for (const name of await listMaildir(folder)) {
          if (seen.has(name)) continue;
          seen.add(name);
          isAll = await look(folder, name);
        }
      }
      return isAll;
    };
    if (await lookAround()) return;
    for await (const _ of watcher) if (await lookAround()) return;
  } finally {
    clearTimeout(late);
  }
}

/** The new messages of a Maildir, when there are so many of them. @throws {Error} when they don't come. */
export async function untilMessages(folder: string, count: number): Promise<Buffer[]> {
  const messages: Buffer[] = [];
  await untilMaildirs([folder], async (_, name) => messages.push(await readNew(folder, name)) >= count);
  if (messages.length < count) throw new Error(`${folder} holds ${messages.length} messages, not ${count}`);
  return messages;
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
