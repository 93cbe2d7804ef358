/**
 * One HTTPS request to a host that a stranger's DNS names: verified, no redirects, bounded in size and time, and not to the
 * operator's own machines.
 */
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../clock.ts";
import type { Query } from "../dns.ts";
import { printable } from "../smtp/client_reply.ts";
import { addressesOf } from "./smtp/addresses.ts";
import { shownBy } from "../channel/x509/shown.ts";
import type { Trust } from "./smtp/tls.ts";

/** What asking needs. */
export interface HttpsHow {
  readonly query: Query;
  readonly clock: Clock;
  readonly trust: Trust;
  /** Whether the host may be at a private address. */
  readonly allowPrivateAddresses: boolean;
}

/** What is asked. */
export interface HttpsRequest {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Absent: GET; else POST. */
  readonly body?: Uint8Array | undefined;
  /** Octets of the answer. */
  readonly largest: number;
}

/** What came of it. */
export type HttpsAnswer =
  | {
    readonly kind: "answered";
    readonly status: number;
    /** The media type, lower case, without parameters. */
    readonly type: string | undefined;
    readonly body: Uint8Array;
  }
  | {
    readonly kind: "failed";
    readonly because: "unreachable" | "certificate" | "too-long";
    readonly text: string;
  };

/** Milliseconds for all of it; RFC 8461 §3.3 suggests a minute, which is long for who waits behind it. */
const patience = 30_000;
/** Addresses of a host that are tried. */
const mostAddresses = 4;

/** Asks once. Never rejects. */
export async function askHttps(asked: HttpsRequest, how: HttpsHow, given: AbortSignal): Promise<HttpsAnswer> {
  const over = new AbortController();
  const cancel = how.clock.after(patience, () => over.abort(new Error("it took too long")));
  const signal = AbortSignal.any([given, over.signal]);
  try {
    const found = await addressesOf(asked.host, how.query, how.allowPrivateAddresses, signal);
    if (found.kind === "failed") return failed("unreachable", found.text);
    if (found.kind === "none" || found.addresses.length === 0) {
      return failed("unreachable", `${asked.host} has no address that may be connected to`);
    }
    let answer: HttpsAnswer | undefined;
    for (const address of found.addresses.slice(0, mostAddresses)) {
      answer = await askAddress(asked, address, how.trust, signal);
      if (answer.kind === "answered" || answer.because !== "unreachable" || signal.aborted) break;
    }
    return signal.aborted ? failed("unreachable", wordsOf(signal.reason)) : answer!;
  } catch (error) {
    return failed("unreachable", wordsOf(signal.aborted ? signal.reason : error));
  } finally {
    cancel();
  }
}

function askAddress(
  { host, port, path, headers, body, largest }: HttpsRequest,
  address: string,
  trust: Trust,
  signal: AbortSignal,
): Promise<HttpsAnswer> {
  return new Promise((resolve) => {
    const options = {
      host,
      port,
      path,
      method: body === undefined ? "GET" : "POST",
      agent: false, // a connection of its own: none that was verified for something else
      headers: {
        host: port === 443 ? host : `${host}:${port}`,
        connection: "close",
        ...headers,
        ...(body && { "content-length": String(body.length) }),
      },
      minVersion: "TLSv1.2" as const,
      signal,
      lookup: (_name: string, _options: object, found: (error: null, all: Address[]) => void) =>
        found(null, [{ address, family: address.includes(":") ? 6 : 4 }]),
      ...(trust.context && { secureContext: trust.context }),
    };
    const asked = request(options, (response) => {
      const end = (answer: HttpsAnswer) => {
        resolve(answer);
        asked.destroy();
      };
      // The runtime has verified it already, and not well enough: see `channel/x509/certificate.ts`.
      const shown = shownBy(response.socket as TLSSocket);
      if (shown === undefined || !trust.leadsFrom(shown.leaf, shown.sent)) {
        return end(failed("certificate", "the certificate leads to no trusted authority"));
      }
      read(response, largest, end);
    });
    asked.on("error", (error: Error) => {
      const code = "code" in error ? String(error.code) : "";
      resolve(failed(/CERT|SIGNATURE|ISSUER/.test(code) ? "certificate" : "unreachable", error.message));
    });
    asked.end(body);
  });
}

function read(response: IncomingMessage, largest: number, end: (answer: HttpsAnswer) => void): void {
  const chunks: Uint8Array[] = [];
  let size = 0;
  response.on("data", (chunk: Uint8Array) => {
    size += chunk.length;
    chunks.push(chunk);
    if (size > largest) end(failed("too-long", `the answer is longer than ${largest} octets`));
  });
  response.on("end", () => {
    if (!response.complete) return end(failed("unreachable", "the answer was cut off"));
    const type = response.headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
    end({ kind: "answered", status: response.statusCode ?? 0, type, body: join(chunks, size) });
  });
  response.on("error", (error) => end(failed("unreachable", error.message)));
  response.on("close", () => end(failed("unreachable", "the answer was cut off")));
}

/** What `lookup` answers with. */
interface Address {
  readonly address: string;
  readonly family: number;
}

function failed(because: "unreachable" | "certificate" | "too-long", text: string): HttpsAnswer {
  return { kind: "failed", because, text: printable(text) };
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function join(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
