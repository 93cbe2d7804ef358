/** DNS as `mailauth` asks for it, by the server's resolver: "there is none" and "could not be asked" stay apart. */
import type { DnsFailure, Host, RecordType } from "../../server/plugin.ts";

/** Answers records in the shape of `node:dns`, or throws an error with one of its codes. */
export type Ask = (name: string, type: string) => Promise<unknown[]>;

/** The lookups of one message. */
export interface Lookups {
  readonly ask: Ask;
  /** Whether something could not be asked: a result that depends on it is not the last word. */
  readonly failed: boolean;
}

/** @param signal Ends what is under way: the plugin's time-out, or the client has gone. */
export function lookups({ query }: Host["dns"], signal: AbortSignal): Lookups {
  let failed = false;
  return {
    get failed() {
      return failed;
    },
    async ask(name, type) {
      if (!isAskable(type)) throw coded("ENODATA", `${type} of ${name}: not asked for here`);
      const answer = await query(name, type, signal);
      if (answer.kind === "found") return answer.records.map(shapes[type] as (record: unknown) => unknown);
      if (answer.kind === "none") {
        throw coded(
          answer.reason === "nxdomain" ? "ENOTFOUND" : "ENODATA",
          `${type} of ${name}: there is none`,
        );
      }
      failed = true;
      throw coded(codes[answer.reason], `${type} of ${name}: DNS server ${answer.server}: ${answer.reason}`);
    },
  };
}

const shapes = {
  A: (address: string) => address,
  AAAA: (address: string) => address,
  PTR: (name: string) => name,
  CNAME: (name: string) => name,
  TXT: (text: string) => [text],
  MX: ({ preference, host }: { preference: number; host: string }) => ({
    priority: preference,
    exchange: host,
  }),
} satisfies Partial<Record<RecordType, unknown>>;

const isAskable = (type: string): type is keyof typeof shapes => Object.hasOwn(shapes, type);

const codes: Record<DnsFailure, string> = {
  servfail: "ESERVFAIL",
  refused: "EREFUSED",
  timeout: "ETIMEOUT",
  malformed: "EBADRESP",
  network: "ECONNREFUSED",
};

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
