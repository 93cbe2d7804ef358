/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/** Takes large messages apart in its own thread: ten megabytes of MIME are a tenth of a second without a pause. */
import { makePayload } from "./payload.ts";
import type { Asked, Made } from "./taking_apart.ts";

declare const self: DedicatedWorkerGlobalScope;

self.addEventListener("message", async ({ data: { number, source } }: MessageEvent<Asked>) => {
  try {
    const body = await makePayload(source);
    self.postMessage({ number, body } satisfies Made, [body.buffer]);
  } catch (error) {
    self.postMessage(
      { number, failed: error instanceof Error ? error.message : "unknown error" } satisfies Made,
    );
  }
});
