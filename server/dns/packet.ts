/**
 * DNS messages (RFC 1035 §4): a query as bytes, and what a received message says about it. Pure. `dns-packet` reads names
 * and records; the sections are walked here, by each record's own length, so that a record of a kind nobody asked for is
 * stepped over rather than read, and one that claims another length than it has is found out.
 */
import { Buffer } from "node:buffer";
import packet from "dns-packet";

/** What each type of record holds. Names are without the dot at their end; the root is `"."`. */
export interface RecordData {
  /** An IPv4 address. */
  A: string;
  /** An IPv6 address. */
  AAAA: string;
  /** Host `"."`: a null MX (RFC 7505). */
  MX: { readonly preference: number; readonly host: string };
  /** The record's strings joined. */
  TXT: string;
  /** The name an address belongs to. */
  PTR: string;
  /** The name this one stands for. */
  CNAME: string;
  /** RFC 6698 §2.1. */
  TLSA: {
    readonly usage: number;
    readonly selector: number;
    readonly matchingType: number;
    readonly certificate: Uint8Array;
  };
}

/** The types of records that can be asked for. */
export type RecordType = keyof RecordData;

/** What is asked: a name in ASCII that {@linkcode askableName} made. */
export interface Question {
  readonly name: string;
  readonly type: RecordType;
}

/** What a message says about a question. */
export type Reply =
  /** Not an answer to this query at all: wrong id, wrong question, no response. To be ignored (RFC 5452 §9). */
  | { readonly kind: "foreign" }
  | { readonly kind: "malformed" }
  | { readonly kind: "truncated" }
  /** The server understood no EDNS, or nothing. */
  | { readonly kind: "not-understood" }
  | { readonly kind: "servfail" | "refused" }
  | Answer;

export interface Answer {
  readonly kind: "answer";
  readonly exists: "yes" | "no such name";
  /** Of the question's type, at the end of the chain of CNAMEs. */
  readonly records: readonly RecordData[RecordType][];
  /** Seconds: the least of the records and CNAMEs on the way. */
  readonly ttl: number;
  /** The name at the end of the chain of CNAMEs. */
  readonly canonical: string;
  /** Seconds "nothing there" holds (RFC 2308 §5); `undefined` without an SOA. */
  readonly negativeTtl: number | undefined;
  /** The AD bit: the server says that it has validated the answer (RFC 4035 §3.2.3). */
  readonly authenticated: boolean;
}

/** RFC 1035 §3.2.2, RFC 3596, RFC 6698. */
const typeNumbers: Record<RecordType | "SOA", number> = {
  A: 1,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  TLSA: 52,
};

const classIn = 1;
/** More links than this are a loop or a joke (CASES G02). */
export const longestChain = 8;
/** UDP answers up to this size leave in one piece on any path (RFC 9715). */
const udpPayload = 1232;

interface Decoder<T> {
  decode: ((bytes: Buffer, offset: number) => T) & { bytes: number };
}

/** The part of dns-packet used here: it brings no types, and those there are don't know how many bytes were read. */
const codec = packet as unknown as {
  readonly name: Decoder<string>;
  record(type: string): Decoder<unknown>;
  encode(message: object): Buffer;
  readonly RECURSION_DESIRED: number;
  readonly AUTHENTIC_DATA: number;
};

/**
 * A query as bytes. The AD bit asks for the answer's own without asking for its signatures (RFC 6840 §5.7).
 *
 * @param edns Whether to offer larger UDP answers (RFC 6891).
 */
export function encodeQuery(id: number, { name, type }: Question, edns: boolean): Uint8Array {
  return codec.encode({
    type: "query",
    id,
    flags: codec.RECURSION_DESIRED | codec.AUTHENTIC_DATA,
    questions: [{ name, type }],
    additionals: edns ? [{ type: "OPT", name: ".", udpPayloadSize: udpPayload, flags: 0, options: [] }] : [],
  });
}

/** Reads a message that arrived after a query of this id. Never throws, and ends for any bytes (CASES G03). */
export function readReply(bytes: Uint8Array, id: number, question: Question): Reply {
  if (bytes.length < 12) return { kind: "foreign" };
  const reader = new Reader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  const [foundId, flags, questions, answers, authorities] = [0, 2, 4, 6, 8].map((offset) =>
    reader.u16(offset)
  );
  const isResponse = (flags! & 0x8000) !== 0;
  if (foundId !== id || !isResponse) return { kind: "foreign" };
  try {
    const rcode = flags! & 0xf;
    // A server that could not read the query may be unable to repeat the question.
    if (questions !== 1 && !(questions === 0 && rcode === 1)) return { kind: "malformed" };
    if (questions === 1 && !reader.isQuestion(question)) return { kind: "foreign" };
    if (flags! & 0x0200) return { kind: "truncated" };
    if (rcode === 1 || rcode === 4) return { kind: "not-understood" };
    if (rcode === 5) return { kind: "refused" };
    if (rcode !== 0 && rcode !== 3) return { kind: "servfail" };
    const found = reader.records(answers!, [question.type, "CNAME"]);
    const chain = follow(found, question);
    if (chain === undefined) return { kind: "malformed" };
    const soa = chain.records.length === 0 ? reader.records(authorities!, ["SOA"])[0] : undefined;
    return {
      kind: "answer",
      exists: rcode === 3 && chain.records.length === 0 ? "no such name" : "yes",
      ...chain,
      negativeTtl: soa && Math.min(soa.ttl, (soa.data as { minimum: number }).minimum),
      authenticated: (flags! & 0x0020) !== 0,
    };
  } catch {
    return { kind: "malformed" }; // dns-packet throws at pointer loops and at the end of the bytes
  }
}

interface ResourceRecord {
  readonly name: string;
  readonly type: RecordType | "SOA";
  readonly ttl: number;
  readonly data: unknown;
}

/** A place in a message, moved on by what is read. */
class Reader {
  #offset = 12;

  constructor(private readonly bytes: Buffer) {}

  u16(offset: number): number {
    return this.bytes.readUInt16BE(offset);
  }

  isQuestion({ name, type }: Question): boolean {
    const found = this.#name();
    const matches = same(found, name) && this.u16(this.#offset) === typeNumbers[type] &&
      this.u16(this.#offset + 2) === classIn;
    this.#offset += 4;
    return matches;
  }

  /** The records of these types in a section of so many. */
  records(count: number, types: readonly (RecordType | "SOA")[]): ResourceRecord[] {
    const found: ResourceRecord[] = [];
    for (let n = 0; n < count; n++) {
      const name = this.#name();
      const number = this.u16(this.#offset);
      const isIn = this.u16(this.#offset + 2) === classIn;
      const ttl = this.bytes.readInt32BE(this.#offset + 4);
      const length = this.u16(this.#offset + 8);
      const at = this.#offset + 8;
      this.#offset += 10 + length;
      if (this.#offset > this.bytes.length) throw new RangeError("a record is longer than its message");
      const type = isIn ? types.find((one) => typeNumbers[one] === number) : undefined;
      if (type === undefined) continue;
      // A set top bit is read as 0 (RFC 2181 §8).
      found.push({ name, type, ttl: Math.max(0, ttl), data: this.#data(type, at, length) });
    }
    return found;
  }

  #data(type: RecordType | "SOA", at: number, length: number): unknown {
    if (type === "TLSA" && length < 4) throw new RangeError("a TLSA record without a certificate");
    const { decode } = codec.record(type);
    const data = decode(this.bytes, at);
    if (decode.bytes !== length + 2) throw new RangeError("a record's length is not its own");
    if (type === "TXT") return Buffer.concat(data as Buffer[]).toString();
    if (type === "MX") {
      const { preference, exchange } = data as { preference: number; exchange: string };
      return { preference, host: exchange };
    }
    if (type === "TLSA") {
      const tlsa = data as RecordData["TLSA"];
      return { ...tlsa, certificate: new Uint8Array(tlsa.certificate) }; // a copy: the datagram's memory is large
    }
    return data;
  }

  #name(): string {
    const { decode } = codec.name;
    const name = decode(this.bytes, this.#offset);
    this.#offset += decode.bytes;
    return name;
  }
}

/** Follows CNAMEs from the question's name, in whatever order they stand; `undefined` where they go in a circle. */
function follow(
  found: readonly ResourceRecord[],
  { name, type }: Question,
): { records: RecordData[RecordType][]; ttl: number; canonical: string } | undefined {
  let canonical = name;
  let ttl = Infinity;
  for (let links = 0; links <= longestChain; links++) {
    const here = found.filter((record) => same(record.name, canonical));
    const wanted = here.filter((record) => record.type === type);
    if (wanted.length > 0) {
      for (const record of wanted) ttl = Math.min(ttl, record.ttl);
      return { records: wanted.map((record) => record.data as RecordData[RecordType]), ttl, canonical };
    }
    const alias = here.find((record) => record.type === "CNAME");
    if (alias === undefined) return { records: [], ttl: ttl === Infinity ? 0 : ttl, canonical };
    ttl = Math.min(ttl, alias.ttl);
    canonical = alias.data as string;
  }
  return undefined;
}

function same(one: string, other: string): boolean {
  return one === other || one.toLowerCase() === other.toLowerCase();
}
