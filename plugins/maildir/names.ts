/** Names of message files, and of mailboxes. Pure. */

/** What a name is made of besides the counter. */
export interface NameParts {
  /** Milliseconds since 1970. */
  now(): number;
  readonly pid: number;
  readonly hostname: string;
  /** 32 random bits, new on each call. */
  random(): number;
}

// One for the process, however many instances and reloads there are.
let counter = 0;

/**
 * A source of names that no other delivery has, here or elsewhere, as the Maildir format wants them
 * (https://cr.yp.to/proto/maildir.html): time, what tells processes apart, the host.
 */
export function uniqueNames({ now, pid, hostname, random }: NameParts): () => string {
  // `/` and `:` as that page says; a comma would start the `,S=` fields.
  const host = hostname.replace(/[/:,]/g, (byte) => `\\${byte.charCodeAt(0).toString(8).padStart(3, "0")}`);
  return () => {
    const time = now();
    const seconds = Math.floor(time / 1000);
    const microseconds = Math.floor((time - seconds * 1000) * 1000);
    counter = (counter + 1) % Number.MAX_SAFE_INTEGER;
    const chance = random().toString(16).padStart(8, "0");
    return `${seconds}.M${microseconds}P${pid}Q${counter}R${chance}.${host}`;
  };
}

/** 32 random bits from the machine, asked for many at a time. */
export function machineRandom(): () => number {
  const pool = new Uint32Array(256);
  let at = pool.length;
  return () => {
    if (at === pool.length) {
      crypto.getRandomValues(pool);
      at = 0;
    }
    return pool[at++]!;
  };
}

const encoder = new TextEncoder();

/** Whether a name can't be that of a mailbox: it would lead elsewhere, hide, or not fit (CASES M02). Never rewritten. */
export function isUnusable(name: string): boolean {
  return name === "" || name.startsWith(".") || /[/\p{Cc}]/u.test(name) ||
    (name.length > 66 && encoder.encode(name).length > 200);
}
