/** The transport: a message and its recipients become files, and each recipient gets its outcome. */
import {
  type Defer,
  defer,
  type Deliver,
  delivered,
  type Host,
  type Outcome,
  reject,
  type Target,
} from "../../server/plugin.ts";
import { type FileBody, type LineEndings, streamedBody, wholeBody } from "../final_copy.ts";
import { Aborted, deliver, type Writer } from "./delivery.ts";
import type { Layout } from "./layout.ts";
import { OutsideRoot } from "./mailbox.ts";
import { isUnusable } from "./names.ts";

/** Messages up to this many octets are held in memory and written to all recipients at once; larger ones stream. */
const inMemory = 1024 * 1024;

const encoder = new TextEncoder();

/** Makes the transport's function. */
export function deliverAll(writer: Writer, layout: Layout, endings: LineEndings, log: Host["log"]): Deliver {
  async function one(
    target: Target,
    seen: ReadonlySet<string>,
    body: FileBody,
    signal: AbortSignal,
  ): Promise<Outcome> {
    // Another plugin's recipients come here by its `transport` option, unseen by our `resolve`.
    if (isUnusable(target.user) || isUnusable(target.domain)) {
      return reject("5.1.1", "No mailbox can have this name");
    }
    if (seen.has(asCompared(target.address))) {
      return reject("5.4.6", "This message was delivered here before: mail loop");
    }
    const end = endings === "lf" ? "\n" : "\r\n";
    const top = encoder.encode(`Return-Path: <${target.sender}>${end}Delivered-To: ${target.address}${end}`);
    const path = layout.of(target.user, target.domain);
    try {
      const name = await deliver(writer, path, top, endings === "lf" ? 2 : 0, body, signal);
      log.debug("delivered to mailbox", { path, name });
      return delivered("delivered to mailbox");
    } catch (error) {
      const outcome = failure(error);
      if (!(error instanceof Aborted)) {
        log.error("mailbox can't be written", {
          path,
          recipient: target.address,
          error: String(error),
          status: outcome.status,
        });
      }
      return outcome;
    }
  }

  return async (message, recipients, { signal }) => {
    const seen = new Set(message.headers.all("Delivered-To").map(asCompared));
    // RFC 5321 §4.4: final delivery replaces an earlier Return-Path.
    const again = message.headers.get("Return-Path") !== undefined;
    if (message.size <= inMemory) {
      const body = wholeBody(await message.bytes(inMemory), endings, again);
      return await Promise.all(recipients.map((target) => one(target, seen, body, signal)));
    }
    const body = streamedBody(message, endings, again);
    const outcomes: Outcome[] = [];
    // One after another: a large message is not read in many places at once.
    for (const target of recipients) outcomes.push(await one(target, seen, body, signal));
    return outcomes;
  };
}

/** As `Delivered-To` fields are compared: brackets and case make no difference. */
function asCompared(address: string): string {
  return address.trim().replace(/^<(.*)>$/s, "$1").toLowerCase().normalize("NFC");
}

/** What a failed delivery is to the sender: always temporary, for the operator can put each of these right. */
function failure(error: unknown): Defer {
  if (error instanceof Aborted) return defer("4.3.0", "Delivery was broken off, please try again");
  if (error instanceof OutsideRoot) {
    return defer("4.3.5", "The mailbox is not set up rightly, please try later");
  }
  switch (codeOf(error)) {
    case "EDQUOT":
      return defer("4.2.2", "The mailbox is full, please try later", 452);
    case "ENOSPC":
      return defer("4.3.1", "There is no space left, please try later", 452);
    default:
      return defer("4.3.0", "The mailbox can't be written now, please try later");
  }
}

/** The operating system's name of an error. */
function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
