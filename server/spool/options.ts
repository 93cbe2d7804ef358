/** How a spool on disk is set up. */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { type Disk, systemDisk } from "./disk.ts";
import type { Follower } from "./follower.ts";

/** How a spool keeps what it keeps; all sizes in octets. */
export interface LogSpoolOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Default: the machine's own. */
  readonly disk?: Disk;
  /** A segment is closed when it is this large; default 64 MiB, 1 GiB at most. */
  readonly segment?: number;
  /** `ahead`: the next segment is made while this one is filled, which halves the time of a commit; default. */
  readonly spares?: "ahead" | "none";
  /** Contents up to this go into the log, larger ones are files; default 256 KiB. */
  readonly inLog?: number;
  /** Contents in memory: those that are being received, see `BodyStore`. */
  readonly bodies?: { readonly each?: number; readonly together?: number };
  /** Contents that stay in memory after they were kept, for the first attempt; default 16 MiB. */
  readonly recent?: number;
  /** What is left for outcomes on a full disk; default 64 MiB. */
  readonly reserve?: number;
  /** Free space that is not for messages: max(2 × `limits.message`, 256 MiB); default 256 MiB. */
  readonly room?: number;
  /** Rewriting of old segments, octets a second; default 8 MiB. */
  readonly rate?: number;
  /** Milliseconds before a closed segment is rewritten; default 5 minutes. */
  readonly patience?: number;
  /** So many ends of the process in a row, each during an attempt: the message is held; default 2. */
  readonly crashes?: number;
  /** Who reads the log besides; absent: nobody, and nothing is noted. */
  readonly follower?: Follower;
}

/** All of them; nobody need follow. */
export type CompleteOptions = Required<Omit<LogSpoolOptions, "follower">> & Pick<LogSpoolOptions, "follower">;

const MiB = 1024 * 1024;

/** All options, with their defaults. */
export function withDefaults(options: LogSpoolOptions): CompleteOptions {
  return {
    disk: systemDisk,
    spares: "ahead",
    inLog: 256 * 1024,
    bodies: {},
    recent: 16 * MiB,
    reserve: 64 * MiB,
    room: 256 * MiB,
    rate: 8 * MiB,
    patience: 300_000,
    crashes: 2,
    ...options,
    segment: Math.min(options.segment ?? 64 * MiB, 1024 * MiB),
  };
}
