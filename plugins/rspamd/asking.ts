/** The conversation with rspamd: one HTTP request a message, which streams. */
import type { Message } from "../../server/plugin.ts";
import { type Judged, readJudgement } from "./protocol.ts";

/** Octets of the longest answer that makes sense: hundreds of symbols, and header fields. */
const longestAnswer = 1024 * 1024;

/** A way to ask rspamd. */
export interface Rspamd {
  /** @throws {Error} in an operator's words, when there is no judgement. */
  ask(message: Message, headers: [string, string][], signal: AbortSignal): Promise<Judged>;
  close(): void;
}

/** @param to `socket` takes the place of the host in `url`. */
export function openRspamd(to: { readonly url: string; readonly socket?: string | undefined }): Rspamd {
  const { url, socket } = to;
  const target = new URL("/checkv2", url).href;
  const place = socket ?? new URL(url).origin;
  const client = Deno.createHttpClient(
    // rspamd closes after each answer: a kept connection would only be found dead.
    socket === undefined ? { poolMaxIdlePerHost: 0 } : { proxy: { transport: "unix", path: socket } },
  );

  async function ask(message: Message, headers: [string, string][], signal: AbortSignal): Promise<Judged> {
    let status: number;
    let text: string;
    try {
      const request = { client, method: "POST", headers, body: message.stream(), signal, redirect: "error" };
      const response = await fetch(target, request as RequestInit & { client: Deno.HttpClient });
      status = response.status;
      text = await textOf(response);
    } catch (error) {
      signal.throwIfAborted();
      throw new Error(`rspamd at ${place} does not answer: ${causes(error)}`, { cause: error });
    }
    if (status === 403) throw new Error(`rspamd at ${place} wants a password: the option \`password\``);
    if (status !== 200) {
      throw new Error(`rspamd at ${place} answers ${status}: ${JSON.stringify(text.slice(0, 200))}`);
    }
    return readJudgement(text);
  }
  return { ask, close: () => client.close() };
}

/** The answer's text, no more of it than makes sense. */
async function textOf(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let length = 0;
  for await (const piece of response.body ?? []) {
    length += piece.length;
    if (length > longestAnswer) throw new Error(`more than ${longestAnswer} octets came`);
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}

/** What fetch says, with why. */
function causes(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
