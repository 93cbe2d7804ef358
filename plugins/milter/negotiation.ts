/** What both sides agree on first (libmilter's SMFIC_OPTNEG): which changes are possible, which steps are wanted. Pure. */
import { MilterProtocolError, type Packet, packet } from "./frames.ts";

/** What a filter may want done (SMFIF_…). */
export const Action = {
  addHeaders: 0x01,
  changeBody: 0x02,
  addRecipients: 0x04,
  removeRecipients: 0x08,
  changeHeaders: 0x10,
  quarantine: 0x20,
  changeSender: 0x40,
  setMacros: 0x100,
} as const;

/** Steps it wants to be spared, and replies it won't give (SMFIP_…). */
export const Step = {
  noConnect: 0x01,
  noHelo: 0x02,
  noMail: 0x04,
  noRcpt: 0x08,
  noBody: 0x10,
  noHeaders: 0x20,
  noEndOfHeader: 0x40,
  silentHeader: 0x80,
  noUnknown: 0x100,
  noData: 0x200,
  skip: 0x400,
  silentConnect: 0x1000,
  silentHelo: 0x2000,
  silentMail: 0x4000,
  silentRcpt: 0x8000,
  silentData: 0x1_0000,
  silentUnknown: 0x2_0000,
  silentEndOfHeader: 0x4_0000,
  silentBody: 0x8_0000,
  leadingSpace: 0x10_0000,
} as const;

/** 6 is libmilter's since 2009; 2 is what older ones speak. */
export type Version = 2 | 6;

const all = (flags: Readonly<Record<string, number>>) =>
  Object.values(flags).reduce((sum, one) => sum | one, 0);
const actions = all(Action);
const offered = {
  2: {
    actions: actions & 0x3f,
    steps: Step.noConnect | Step.noHelo | Step.noMail | Step.noRcpt | Step.noBody | Step.noHeaders |
      Step.noEndOfHeader,
  },
  6: { actions, steps: all(Step) },
} as const;

/** What was agreed on. */
export interface Agreed {
  readonly version: number;
  readonly actions: number;
  readonly steps: number;
  /** The macros it wants at a command, by the command's letter; absent: the usual ones. */
  readonly macros: ReadonlyMap<string, readonly string[]>;
}

/** What is offered. @param withheld Actions that aren't possible here. */
export function offer(version: Version, withheld = 0): Uint8Array {
  const numbers = new DataView(new ArrayBuffer(12));
  numbers.setUint32(0, version);
  numbers.setUint32(4, offered[version].actions & ~withheld);
  numbers.setUint32(8, offered[version].steps);
  return packet("O", new Uint8Array(numbers.buffer));
}

/** Commands by the numbers under which their macros are asked for (SMFIM_…). */
const commands = ["C", "H", "M", "R", "T", "E", "N"];

/** Reads what the filter makes of the offer. @throws {MilterProtocolError} when it wants what isn't offered. */
export function readAgreed({ code, data }: Packet, version: Version, withheld = 0): Agreed {
  if (code !== "O" || data.length < 12) {
    throw new MilterProtocolError("no negotiation: it does not speak the milter protocol");
  }
  const numbers = new DataView(data.buffer, data.byteOffset, data.length);
  const [its, actions, steps] = [numbers.getUint32(0), numbers.getUint32(4), numbers.getUint32(8)];
  if (its < 2 || its > version) {
    throw new MilterProtocolError(
      `version ${its} of the milter protocol: versions 2 to ${version} are known`,
    );
  }
  const known = offered[version];
  const unknown = [actions & ~(known.actions & ~withheld), steps & ~known.steps].map((flags) => flags >>> 0);
  if (unknown.some((flags) => flags !== 0)) {
    const which = unknown.map((flags) => `0x${flags.toString(16)}`).join(" and ");
    throw new MilterProtocolError(`actions and steps that weren't offered: ${which}`);
  }
  return { version: its, actions, steps, macros: readMacros(data.subarray(12)) };
}

/** Pairs of a number and a list of names, as far as there are any. */
function readMacros(data: Uint8Array): Map<string, readonly string[]> {
  const macros = new Map<string, readonly string[]>();
  for (let at = 0; at + 4 < data.length;) {
    const stage = new DataView(data.buffer, data.byteOffset + at).getUint32(0);
    const end = data.indexOf(0, at + 4);
    if (end === -1) throw new MilterProtocolError("a list of macros that has no end");
    const command = commands[stage];
    const names = new TextDecoder("latin1").decode(data.subarray(at + 4, end)).split(/[ ,\t]+/);
    if (command) macros.set(command, names.filter((name) => name !== ""));
    at = end + 1;
  }
  return macros;
}
