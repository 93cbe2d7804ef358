/**
 * What goes over the control socket: one line of JSON asks, lines of JSON answer, one for each item, and a last line says that
 * this was all or what went wrong. A connection is for one request.
 */
import { z } from "zod";
import type { Tracked, TrackQuery } from "../tracking/steps.ts";
import type { HostHop } from "../verdict.ts";
import type { BulkChange, QueueControl } from "./operations.ts";
import type { Summary, SummaryRow } from "./summary.ts";
import { longestWhere } from "./where.ts";

const id = z.string().max(200);
const action = z.enum(["retry", "hold", "release", "delete"]);
const where = z.string().max(longestWhere);
const hop = z.strictObject({
  host: z.string().min(1).max(255),
  port: z.int().min(1).max(65_535).optional(),
  tls: z.enum(["opportunistic", "required", "none", "implicit"]).optional(),
}) as z.ZodType<HostHop>;
const way = z.strictObject({
  to: z.string().max(1000).optional(),
  via: z.string().max(200).optional(),
  host: hop.optional(),
});

/** What may be asked. */
export const request = z.discriminatedUnion("do", [
  z.strictObject({ do: z.literal("overview") }),
  z.strictObject({ do: z.literal("list"), where: where.optional() }),
  z.strictObject({ do: z.literal("count"), where, asOf: z.number() }),
  z.strictObject({
    do: z.literal("summary"),
    by: z.enum(["destination", "domain", "sender"]),
    where: where.optional(),
  }),
  z.strictObject({ do: z.literal("show"), id }),
  z.strictObject({ do: z.literal("content"), id }),
  z.strictObject({
    do: z.literal("act"),
    action,
    ids: z.array(id).max(100_000),
    reason: z.string().max(1000).optional(),
  }),
  z.strictObject({ do: z.literal("redirect"), way, ids: z.array(id).max(100_000) }),
  z.strictObject({
    do: z.literal("change"),
    what: z.discriminatedUnion("action", [
      z.strictObject({ action, reason: z.string().max(1000).optional() }),
      z.strictObject({ action: z.literal("redirect"), way }),
    ]),
    where,
    asOf: z.number(),
  }),
  z.strictObject({ do: z.literal("retryAll") }),
  z.strictObject({
    do: z.literal("track"),
    query: z.strictObject({
      text: z.string().max(1000),
      since: z.number().optional(),
      limit: z.int().min(1).max(10_000),
    }),
  }),
  /** Stays open: the lines `cut` and `release` follow. */
  z.strictObject({ do: z.literal("freeze") }),
]);

/** A request. */
export type Request = z.output<typeof request>;

/** Who knows what became of messages. */
export interface TrackControl {
  /** @throws {Error} for people, where that can't be told now. */
  find(query: TrackQuery): Promise<Tracked>;
}

/** A line of the answer. */
export type Line =
  | { readonly item: unknown }
  | { readonly end: true }
  /** A sentence. */
  | { readonly error: string };

/** Octets a line may have: a request that names 50,000 messages, or an item with a whole header. */
export const longestLine = 4 * 1024 * 1024;
/** Steps in one item. */
const stepsAtOnce = 2000;
/** Octets of content in one item. */
const chunk = 48 * 1024;

/**
 * Keeps files as long as the other side is there: `frozen`, then on `cut` an item for each file and `cut`, and on `release`
 * whether they were all there.
 *
 * @param lines What comes from the other side; its end is the end of it.
 */
export async function* freeze(
  queue: QueueControl,
  lines: AsyncIterable<string>,
): AsyncGenerator<unknown, void> {
  const frozen = await queue.freeze();
  try {
    yield "frozen";
    for await (const line of lines) {
      if (line !== "cut") break;
      yield* await frozen.cut();
      yield "cut";
    }
  } finally {
    yield await frozen.release();
  }
}

/** Does what is asked; what it answers are the items. */
export async function* perform(
  request: Exclude<Request, { do: "freeze" }>,
  queue: QueueControl,
  tracking?: TrackControl,
): AsyncGenerator<unknown> {
  switch (request.do) {
    case "overview":
      return yield await queue.overview();
    case "list":
      return yield* queue.list(request.where);
    case "count":
      return yield await queue.count(request.where, request.asOf);
    case "summary":
      return yield* rowByRow(await queue.summary(request.by, request.where));
    case "show": {
      const shown = await queue.show(request.id);
      if (shown) yield shown;
      return;
    }
    case "content":
      for await (const piece of queue.content(request.id)) {
        for (let at = 0; at < piece.length; at += chunk) yield piece.subarray(at, at + chunk).toBase64();
      }
      return;
    case "act":
      return yield* await queue.act(request.action, request.ids, request.reason);
    case "redirect":
      return yield* await queue.redirect(request.way, request.ids);
    case "change":
      return yield await queue.change(request.what as BulkChange, request.where, request.asOf);
    case "retryAll":
      return yield await queue.retryAll();
    case "track": {
      if (!tracking) throw new Error("This server doesn't track messages: `tracking.enabled` is false.");
      const { since, ...query } = request.query;
      const { messages, ...rest } = await tracking.find({ ...query, ...(since !== undefined && { since }) });
      for (const { id, steps } of messages) {
        // Thousands of recipients, tried for days, would not fit a line: those that follow each other are one message.
        for (let at = 0; at < Math.max(steps.length, 1); at += stepsAtOnce) {
          yield { id, steps: steps.slice(at, at + stepsAtOnce) };
        }
      }
      yield rest;
    }
  }
}

/** A row an item: there may be one for each of 100,000 domains. */
function* rowByRow({ rows, ...head }: Summary): Generator<Omit<Summary, "rows"> | SummaryRow> {
  yield head;
  yield* rows;
}

/** What the lines are read from. */
export interface ByteSource {
  read(into: Uint8Array): Promise<number | null>;
}

/**
 * The lines that come, without their LF; one without, at the end, is no line: something was cut off.
 *
 * @throws {Error} when a line is longer than {@linkcode longestLine}.
 */
export async function* readLines(source: ByteSource): AsyncGenerator<string> {
  const buffer = new Uint8Array(64 * 1024);
  const decoder = new TextDecoder();
  let parts: string[] = [];
  let length = 0;
  for (;;) {
    const count = await source.read(buffer);
    if (count === null) return;
    let start = 0;
    for (let lf = buffer.indexOf(0x0a); lf !== -1 && lf < count; lf = buffer.indexOf(0x0a, start)) {
      parts.push(decoder.decode(buffer.subarray(start, lf), { stream: true }));
      yield parts.join("");
      [parts, length] = [[], 0];
      start = lf + 1;
    }
    if (start < count) parts.push(decoder.decode(buffer.subarray(start, count), { stream: true }));
    length += count - start;
    if (length > longestLine) throw new Error("A line on the control socket is too long.");
  }
}

/** Writes all of the bytes, however little the socket takes at once. */
export async function writeAll(
  sink: { write(bytes: Uint8Array): Promise<number> },
  text: string,
): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += await sink.write(bytes.subarray(at));
}
