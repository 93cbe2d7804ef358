/**
 * The durable write (CASES M01): tmp → write → fdatasync → link into new → fsync of new → unlink tmp. A message in `new`
 * is whole and stays; before the link nobody sees it.
 */
import type { Disk } from "./disk.ts";
import type { Mailbox, Mailboxes } from "./mailbox.ts";
import { type FileBody, joined } from "../final_copy.ts";

/** The delivery's time is over, or its client has gone: nothing was left behind. */
export class Aborted extends Error {
  override readonly name = "Aborted";
}

/** What deliveries need besides the message. */
export interface Writer {
  readonly disk: Disk;
  readonly mailboxes: Mailboxes;
  /** A name that no other delivery has. */
  readonly uniqueName: () => string;
}

/** How often a name that is taken is replaced by another. */
const names = 20;

/**
 * Puts a message into a mailbox; when it resolves, the message is kept.
 *
 * @param path The mailbox's folder.
 * @param top Lines above the message, CRLF or LF as the file is to have them.
 * @param bareTop How many of these end without CR.
 * @returns The file's name.
 * @throws {Aborted} when the signal came before the message was visible.
 * @throws what the operating system says; nothing is left behind, as far as the disk still lets us.
 */
export async function deliver(
  writer: Writer,
  path: string,
  top: Uint8Array,
  bareTop: number,
  body: FileBody,
  signal: AbortSignal,
): Promise<string> {
  try {
    return await deliverInto(writer, await writer.mailboxes.open(path), top, bareTop, body, signal);
  } catch (error) {
    writer.mailboxes.forget(path);
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  // The mailbox was removed since it was last looked at.
  return await deliverInto(writer, await writer.mailboxes.open(path), top, bareTop, body, signal);
}

async function deliverInto(
  writer: Writer,
  mailbox: Mailbox,
  top: Uint8Array,
  bareTop: number,
  body: FileBody,
  signal: AbortSignal,
): Promise<string> {
  const { disk, uniqueName } = writer;
  const { name, file } = await withFreshName(uniqueName, async (name) => ({
    name,
    file: await disk.create(`${mailbox.path}/tmp/${name}`),
  }));
  const tmp = `${mailbox.path}/tmp/${name}`;
  try {
    let size: number, bareLines: number;
    try {
      ({ size, bareLines } = await write(file, top, body, signal));
      await file.sync();
    } finally {
      file.close();
    }
    // Dovecot reads both from the name instead of the file: its size, and the size with every line ending in CRLF.
    const fields = `,S=${size},W=${size + bareLines + bareTop}`;
    if (signal.aborted) throw new Aborted();
    return await publish(writer, mailbox, tmp, name, fields, signal);
  } finally {
    // A tmp file that stays is no harm: readers remove those of 36 hours ago.
    await disk.remove(tmp).catch(() => {});
  }
}

/** Makes the file visible, and durably so. */
async function publish(
  { disk, uniqueName }: Writer,
  mailbox: Mailbox,
  tmp: string,
  name: string,
  fields: string,
  signal: AbortSignal,
): Promise<string> {
  let given: string | undefined = name;
  const visible = await withFreshName(() => given ?? uniqueName(), async (fresh) => {
    given = undefined;
    await disk.link(tmp, `${mailbox.path}/new/${fresh}${fields}`);
    return `${fresh}${fields}`;
  });
  try {
    await mailbox.sync();
    if (signal.aborted) throw new Aborted(); // a disk this slow would leave a copy at each attempt
  } catch (error) {
    // It will be delivered again: better one copy than two.
    await disk.remove(`${mailbox.path}/new/${visible}`).catch(() => {});
    throw error;
  }
  return visible;
}

/** Tries names until one is free. */
async function withFreshName<T>(uniqueName: () => string, use: (name: string) => Promise<T>): Promise<T> {
  for (let left = names;; left--) {
    try {
      return await use(uniqueName());
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists) || left === 1) throw error;
    }
  }
}

/** Up to this size a message is written by one call, whatever it costs to copy it. */
const oneCall = 64 * 1024;

async function write(
  file: { write(bytes: Uint8Array): Promise<void> },
  top: Uint8Array,
  body: FileBody,
  signal: AbortSignal,
): Promise<{ size: number; bareLines: number }> {
  const pieces = body.pieces();
  let size = top.length;
  let waiting: Uint8Array | undefined = top;
  try {
    for (let next = await pieces.next();; next = await pieces.next()) {
      if (signal.aborted) throw new Aborted();
      if (next.done) {
        if (waiting) await file.write(waiting);
        return { size, bareLines: next.value };
      }
      const piece = next.value;
      size += piece.length;
      if (waiting && piece.length < oneCall) {
        await file.write(joined([waiting, piece]));
      } else {
        if (waiting) await file.write(waiting);
        await file.write(piece);
      }
      waiting = undefined;
    }
  } finally {
    await pieces.return(0); // lets go of the message's stream
  }
}
