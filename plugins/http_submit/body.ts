/** A request's body: bounded in size and time, for one request and for all of them together. */
import type { Host } from "../../server/plugin.ts";
import { Refusal } from "./answers.ts";

/** Octets that all requests together may hold. */
export class Budget {
  #left: number;

  constructor(readonly octets: number) {
    this.#left = octets;
  }

  /** @returns What gives them back. @throws {Refusal} where there are none left now. */
  take(octets: number): () => void {
    if (octets > this.#left) {
      throw new Refusal(503, "Too much is being sent in at the moment: try again", { retryAfter: 1000 });
    }
    this.#left -= octets;
    let given = false;
    return () => {
      if (!given) this.#left += octets;
      given = true;
    };
  }
}

/** How large it says it is; `undefined`: it doesn't. @throws {Refusal} where that is too much. */
export function announced(request: Request, max: number): number | undefined {
  const length = request.headers.get("content-length");
  if (length === null) return undefined;
  const octets = /^[0-9]{1,15}$/.test(length) ? Number(length) : Infinity;
  if (octets > max) throw tooLarge(max);
  return octets;
}

/** All of it. @throws {Refusal} where it is larger. */
export async function readWhole(
  request: Request,
  max: number,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for await (const piece of piecesOf(request, max, signal)) {
    pieces.push(piece);
    size += piece.length;
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Piece by piece. @throws {Refusal} where it is larger than `max`, late, or breaks off. */
export async function* piecesOf(
  { body }: Request,
  max: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  if (!body) return;
  const reader = body.getReader();
  const stop = () => void reader.cancel().catch(() => {});
  signal.addEventListener("abort", stop, { once: true });
  let size = 0;
  try {
    for (;;) {
      const { value, done } = await reader.read().catch(() => {
        throw new Refusal(400, "The body broke off");
      });
      if (signal.aborted) throw new Refusal(408, "The body took too long");
      if (done) return;
      size += value.length;
      if (size > max) throw tooLarge(max);
      yield value;
    }
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}

/** Octets, and milliseconds, of a body that nobody wants and that is read all the same. */
const [unwanted, patience] = [64 * 1024, 500];

/**
 * Reads the rest of a small body before it is refused: over HTTP/2 an answer that comes earlier resets the stream, and some clients,
 * curl among them, then see an error instead of the answer. Never throws.
 */
export async function drain(request: Request, clock: Pick<Host["clock"], "sleep">): Promise<void> {
  if (!request.body || request.bodyUsed || request.body.locked) return;
  const over = new AbortController();
  clock.sleep(patience, over.signal).then(() => over.abort(), () => {});
  try {
    announced(request, unwanted);
    for await (const _ of piecesOf(request, unwanted, over.signal));
  } catch {
    /* it is large, or late: then it is cut off */
  } finally {
    over.abort();
  }
}

const tooLarge = (max: number) =>
  new Refusal(413, `The message is larger than the ${max} octets that are taken here`);
