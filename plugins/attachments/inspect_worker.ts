/** The Worker that looks into messages: what they hold never keeps the server from its other sessions. */
import type { Inspection, Limits } from "./findings.ts";
import { inspect } from "./inspect.ts";

/** What it is asked. */
export interface Question {
  readonly message: Uint8Array<ArrayBuffer>;
  readonly limits: Limits;
}

/** What it says. */
export type Answer = Inspection | { readonly failed: string };

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<Question>) => void) | null;
  postMessage(answer: Answer): void;
};

scope.onmessage = async ({ data: { message, limits } }) => {
  try {
    scope.postMessage(await inspect(message, limits));
  } catch (error) {
    scope.postMessage({ failed: String(error) });
  }
};
