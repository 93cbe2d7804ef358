/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/** Takes large messages apart in its own thread: ten megabytes of MIME are a tenth of a second without a pause. */
import type { Asked, Said } from "../gateway/thread.ts";
import { makePayload, type Source } from "./payload.ts";

declare const self: DedicatedWorkerGlobalScope;

self.addEventListener("message", async ({ data: { number, question } }: MessageEvent<Asked<Source>>) => {
  try {
    const answer = await makePayload(question);
    self.postMessage({ number, answer } satisfies Said<Uint8Array>, [answer.buffer]);
  } catch (error) {
    const failed = error instanceof Error ? error.message : "unknown error";
    self.postMessage({ number, failed } satisfies Said<Uint8Array>);
  }
});
