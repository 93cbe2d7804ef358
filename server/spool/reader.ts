/** Reads messages back from the log and from their files, and checks what it reads. */
import type { Content } from "../message/content.ts";
import { memoryContent } from "../message/content.ts";
import { readFile, readHead } from "./body.ts";
import { checksum } from "./checksum.ts";
import type { Disk } from "./disk.ts";
import { decodeText } from "./encoder.ts";
import type { MessageDetail, RedirectDetail } from "./jobs.ts";
import type { Entry, Place } from "./queue.ts";
import {
  headLength,
  type Nonce,
  readRecordHeader,
  type RecordHeader,
  recordHeaderSize,
  RecordType,
} from "./record.ts";
import type { Segment } from "./segment.ts";
import { Damaged, type RecipientState } from "./spool.ts";
import { decodeAbout, decodeOutcomes, StateCode } from "./summary.ts";

/** What most records of outcomes fit in. */
const firstGuess = 1024;

/** A record that was read and checked, without its body. */
interface Head {
  readonly header: RecordHeader;
  readonly summary: Uint8Array;
  readonly detail: unknown;
}

/** A message record as it was read. */
export interface ReadMessage extends MessageDetail {
  readonly header: RecordHeader;
  /** Where an operator sent it can't be read: the recipients are those of before. */
  readonly lost?: "redirect";
}

export class Reader {
  /** @param segmentOf Finds a segment by its number. */
  constructor(
    readonly disk: Disk,
    readonly folder: string,
    readonly segmentOf: (number: number) => Segment | undefined,
  ) {}

  /** The record of a message, without its content. @throws {Damaged} and what the disk throws. */
  async message(entry: Entry): Promise<ReadMessage> {
    const { segment, offset, head, id, redirected } = entry; // it may move meanwhile
    const { header, detail } = parse(await this.#read(segment.path, offset, head), segment.key, offset, id);
    const message = { header, ...(detail as MessageDetail) };
    if (!redirected) return message;
    try {
      const { recipients } = (await this.#record(redirected)).detail as RedirectDetail;
      return { ...message, envelope: { ...message.envelope, recipients } };
    } catch (error) {
      if (error instanceof Damaged) return { ...message, lost: "redirect" };
      throw error;
    }
  }

  /** How the recipients stand, with the words. Where those are damaged, the rest still counts. @throws what the disk throws. */
  async states(entry: Entry, message: MessageDetail): Promise<RecipientState[]> {
    const read = new Map<string, Promise<Map<number, RecipientState>>>();
    const states: RecipientState[] = [];
    for (let recipient = 0; recipient < entry.recipients; recipient++) {
      const place = entry.words(recipient);
      let said: RecipientState | undefined;
      if (place?.segment === entry.segment.number && place.offset === entry.offset) {
        said = message.states?.[recipient];
      } else if (place) {
        const key = `${place.segment} ${place.offset}`;
        const reading = read.get(key) ?? this.#outcomes(place).catch(nothingIfDamaged);
        read.set(key, reading);
        said = (await reading).get(recipient);
      }
      states.push(stateOf(entry, recipient, said));
    }
    return states;
  }

  async #outcomes(place: Place): Promise<Map<number, RecipientState>> {
    const { header, summary, detail } = await this.#record(place);
    const outcomes = decodeOutcomes(decodeAbout(summary).rest);
    const states = header.type === RecordType.redirect
      ? (detail as RedirectDetail).states
      : detail as RecipientState[];
    return new Map(outcomes.map(([recipient], i) => [recipient, states[i]!]));
  }

  /** A record that is no message's. */
  async #record(place: Place): Promise<Head> {
    const segment = this.segmentOf(place.segment);
    if (!segment) throw new Deno.errors.NotFound(`The segment ${place.segment} has gone meanwhile.`);
    let bytes = await this.#read(segment.path, place.offset, firstGuess);
    const header = readRecordHeader(bytes, 0, segment.key, place.offset);
    if (header && headLength(header) > bytes.length) {
      bytes = await this.#read(segment.path, place.offset, headLength(header));
    }
    return parse(bytes, segment.key, place.offset, "");
  }

  /** The content, all of it checked. @throws {Damaged} and what the disk throws. */
  async content(entry: Entry): Promise<Content> {
    if (entry.file !== undefined) return await this.#fileContent(entry, entry.file);
    const { segment, offset, head, octets } = entry; // it may move meanwhile
    const bytes = await this.#read(segment.path, offset, octets);
    const header = readRecordHeader(bytes, 0, segment.key, offset);
    const body = bytes.subarray(head);
    if (!header || header.body !== body.length || checksum(body) !== header.bodyCheck) {
      throw damaged(entry.id);
    }
    return memoryContent(body);
  }

  /** The octets of a message's content as they are, damaged or not, with the checksum they should have. */
  async body(entry: Entry): Promise<Uint8Array | undefined> {
    if (entry.file !== undefined) return undefined;
    return await this.#read(entry.segment.path, entry.offset + entry.head, entry.size);
  }

  async #fileContent(entry: Entry, file: string): Promise<Content> {
    const path = `${this.folder}/body/${file}`;
    const { header } = await this.message(entry);
    const size = await this.disk.size(path).catch((error) => {
      throw error instanceof Deno.errors.NotFound ? damaged(entry.id) : error;
    });
    if (size !== entry.size) throw damaged(entry.id);
    // All of it before any of it is given away: who relays it can't take back the first half.
    let check = 0;
    for await (const piece of readFile(this.disk, path, 0, size, "lent")) check = checksum(piece, check);
    if (check !== header.bodyCheck) throw damaged(entry.id);
    const head = await readHead(this.disk, path, size);
    return {
      size,
      memory: undefined,
      head,
      read: (offset = 0, pieces) => readFile(this.disk, path, offset, size, pieces),
    };
  }

  async #read(path: string, offset: number, octets: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(octets);
    return bytes.subarray(0, await this.disk.readRange(path, offset, bytes));
  }
}

function nothingIfDamaged(error: unknown): Map<number, RecipientState> {
  if (error instanceof Damaged) return new Map();
  throw error;
}

function parse(bytes: Uint8Array, key: Nonce, offset: number, id: string): Head {
  const header = readRecordHeader(bytes, 0, key, offset);
  if (!header || headLength(header) > bytes.length) throw damaged(id);
  const summary = bytes.subarray(recordHeaderSize, recordHeaderSize + header.summary);
  const detail = bytes.subarray(recordHeaderSize + header.summary, headLength(header));
  if (checksum(summary, key.seed) !== header.summaryCheck || checksum(detail) !== header.detailCheck) {
    throw damaged(id);
  }
  return { header, summary, detail: JSON.parse(decodeText(detail)) };
}

function damaged(id: string): Damaged {
  return new Damaged(`The message ${id} is not what was written: the disk has damaged it.`);
}

/** The numbers are memory's; the words are the disk's. */
export function stateOf(entry: Entry, recipient: number, said: RecipientState | undefined): RecipientState {
  const { code, attempts, due } = entry.standing(recipient);
  if (code === StateCode.due) return { reply: "", ...said, state: "due", attempts, due };
  const state = code === StateCode.delivered ? "delivered" : "failed";
  return { reply: "", ...said, state };
}
