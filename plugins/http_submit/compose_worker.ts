/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/** Composes large messages in its own thread: ten megabytes of base64 in JSON are a quarter of a second without a pause. */
import type { Asked, Said } from "../gateway/thread.ts";
import { compose, type Composed } from "./compose.ts";

declare const self: DedicatedWorkerGlobalScope;

self.addEventListener("message", async ({ data }: MessageEvent<Asked<Uint8Array<ArrayBuffer>>>) => {
  const { number, question } = data;
  try {
    const answer = await compose(question);
    const given = answer.kind === "composed" ? [answer.content.buffer] : [];
    self.postMessage({ number, answer } satisfies Said<Composed>, given);
  } catch (error) {
    const failed = error instanceof Error ? error.message : "unknown error";
    self.postMessage({ number, failed } satisfies Said<Composed>);
  }
});
