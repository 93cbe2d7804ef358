/** Whom gateways post to: the options that say so, and one request. Redirects aren't followed, certificates are verified. */
import { type Host, path, z } from "../../server/plugin.ts";
import { followFile } from "../followed_file.ts";
import { readSecrets, type Secrets } from "./sign.ts";

const ours =
  /^(?:content-(?:type|length)|transfer-encoding|host|connection|idempotency-key|user-agent|webhook-.*|postrider-.*)$/i;
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

const url = z.string().superRefine((text, context) => {
  const problem = (message: string) => context.addIssue({ code: "custom", message });
  if (!URL.canParse(text)) return problem("is no URL such as https://example.org/mail");
  const { protocol, username, password, hash } = new URL(text);
  if (protocol !== "https:" && protocol !== "http:") problem("must begin with https:// or http://");
  if (username !== "" || password !== "") {
    problem("can't hold a password: write `headers: { Authorization: … }`");
  }
  if (hash !== "") problem("can't hold a #fragment, which no server is sent");
});

/** The options that say where to post, and how to prove who does. */
export const receiverOptions = {
  url: url.describe("Where to post; https:// is verified, a private address is fine: you wrote it"),
  secret: z.string().optional().describe(
    'What posts are signed with, at least 16 characters; better "${env:NAME}" or secretFile, which keep it out of this file',
  ),
  secretFile: path().optional().describe(
    "A file of secrets, one a line: each gives a signature, so that one can be replaced; read again when it changes",
  ),
  headers: z.record(z.string(), z.string().regex(/^[\x20-\x7e]*$/, "not one line of ASCII"))
    .superRefine((given, context) => {
      for (const name of Object.keys(given)) {
        const problem = (message: string) => context.addIssue({ code: "custom", message, path: [name] });
        if (!token.test(name)) problem("is not the name of a header");
        else if (ours.test(name)) problem("is a header that the server writes itself");
      }
    }).default({}).describe('Further headers, such as `Authorization: "Bearer ${env:TOKEN}"`'),
  ca: path().optional().describe("PEM file of authorities to trust besides the usual ones"),
};

/** What these options come to. */
export interface ReceiverOptions {
  readonly url: string;
  readonly secret?: string | undefined;
  readonly secretFile?: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly ca?: string | undefined;
}

/** What is posted. */
export interface Post {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** What came of a post. */
export type Answer =
  | {
    readonly kind: "answered";
    readonly status: number;
    /** The first line of an answer in text/plain, printable; else nothing. */
    readonly text: string;
    /** Milliseconds. */
    readonly retryAfter?: number;
  }
  /** There was no answer; why, without the URL's path, which may be a secret. */
  | { readonly kind: "failed"; readonly text: string };

/** Octets of an answer that are read. */
const longest = 4096;

/** Somebody to post to. */
export class Receiver {
  /** Scheme, host and port: what may stand in a log. */
  readonly origin: string;

  private constructor(
    readonly options: ReceiverOptions,
    readonly host: Pick<Host, "clock">,
    readonly client: Deno.HttpClient,
    /** What to sign with; empty: nothing is signed. */
    readonly secrets: () => Secrets | Promise<Secrets>,
  ) {
    this.origin = new URL(options.url).origin;
  }

  /** @throws {Error} that names the file that can't be used. */
  static async open(options: ReceiverOptions, host: Pick<Host, "clock" | "log">): Promise<Receiver> {
    const { secret, secretFile, ca } = options;
    if (secret !== undefined && secretFile !== undefined) {
      throw new Error("needs one of `secret` and `secretFile`, not both");
    }
    const secrets = await secretsOf(secret, secretFile, host);
    const caCerts = ca === undefined ? [] : [
      await Deno.readTextFile(ca).catch((error) => {
        throw new Error(`ca: ${ca} can't be read: ${error instanceof Error ? error.message : error}`);
      }),
    ];
    return new Receiver(options, host, Deno.createHttpClient({ caCerts }), secrets);
  }

  close(): void {
    this.client.close();
  }

  /** Posts once. Never rejects. */
  async post({ headers, body }: Post, signal: AbortSignal): Promise<Answer> {
    const { url, headers: further } = this.options;
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { "user-agent": "Postrider", ...further, ...headers },
        body,
        redirect: "manual", // a signed message is for whom it was signed for
        client: this.client,
        signal,
      });
      const text = await textOf(response);
      const retryAfter = readRetryAfter(response.headers.get("retry-after"), this.host.clock.now());
      return {
        ...{ kind: "answered", status: response.status, text },
        ...(retryAfter !== undefined && { retryAfter }),
      };
    } catch (error) {
      return { kind: "failed", text: this.#inWords(signal.aborted ? signal.reason : error) };
    }
  }

  /** The runtime's messages hold the whole URL. */
  #inWords(error: unknown): string {
    const told: string[] = [];
    for (let cause = error; cause instanceof Error; cause = cause.cause) told.unshift(cause.message);
    const text = told[0] ?? String(error);
    const { href } = new URL(this.options.url);
    return printable(text.replaceAll(/ for url \([^)]*\)/g, "").replaceAll(href, this.origin));
  }
}

async function secretsOf(
  secret: string | undefined,
  secretFile: string | undefined,
  host: Pick<Host, "clock" | "log">,
): Promise<() => Secrets | Promise<Secrets>> {
  if (secretFile !== undefined) {
    const followed = await followFile(secretFile, readSecrets, host).catch((error) => {
      throw new Error(`secretFile: ${secretFile}: ${error instanceof Error ? error.message : error}`);
    });
    return () => followed.current();
  }
  const secrets = secret === undefined ? [] : readSecrets(secret);
  return () => secrets;
}

/** What a receiver says for people: the first line, where it is text. The rest is not waited for. */
async function textOf(response: Response): Promise<string> {
  const { body } = response;
  if (!body) return "";
  if (!/^text\/plain\b/i.test(response.headers.get("content-type") ?? "")) {
    await body.cancel();
    return "";
  }
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of body) { // leaving the loop lets go of the rest
    pieces.push(piece);
    size += piece.length;
    if (size >= longest) break;
  }
  const text = new TextDecoder().decode(await new Blob(pieces as BlobPart[]).arrayBuffer());
  return printable(text.trim().split(/\r?\n/, 1)[0] ?? "");
}

const printable = (text: string) => text.replaceAll(/[^\x21-\x7e]+/g, " ").trim().slice(0, 200);

/** RFC 9110 §10.2.3: seconds, or a date. @returns Milliseconds from now. */
export function readRetryAfter(value: string | null, now: number): number | undefined {
  if (value === null) return undefined;
  if (/^[0-9]{1,9}$/.test(value.trim())) return Number(value.trim()) * 1000;
  const at = /^[A-Z][a-z]+,? /.test(value) ? Date.parse(value) : NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}
