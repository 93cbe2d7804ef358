/** What crosses between the server and an isolated plugin's Worker. All of it is plain data; what the Worker says is not trusted. */
import type { Path } from "../config/problem.ts";
import type {
  Credentials,
  Defer,
  Disconnected,
  Hooks,
  Json,
  Plugin,
  Reject,
  Rejected,
  Session,
  Target,
} from "../plugin.ts";

/** Who an object is, on both sides: handlers get the same one from hook to hook. */
export type Ref = number;

export interface AddressData {
  readonly address: string;
  readonly local: string;
  readonly domain: string;
}

/** What plugins above have told, as far as this one needs it. */
type Told = readonly (readonly [fact: string, value: Json])[];

export interface SessionData extends Omit<Session, "toString"> {
  readonly ref: Ref;
  readonly told: Told;
}

export interface RecipientData extends AddressData {
  readonly ref: Ref;
  readonly id: string;
  readonly params: ReadonlyMap<string, string>;
  readonly targets: readonly { readonly address: string; readonly via: string; readonly by: string }[];
}

export interface TransactionData {
  readonly ref: Ref;
  readonly id: string;
  readonly sender: AddressData;
  readonly recipients: readonly RecipientData[];
  readonly params: ReadonlyMap<string, string>;
  readonly told: Told;
}

/** A message's first octets, its header among them; the rest is asked for as it is read. */
export interface ContentData {
  readonly size: number;
  readonly head: Uint8Array<ArrayBuffer>;
}

export interface MessageData {
  readonly id: string;
  readonly now: ContentData;
  /** Before anybody's edits; absent where that is the same, or is nobody's to see. */
  readonly received?: ContentData;
}

/** A question to the plugin. What belongs to one step of a transaction is one question. */
export type Question =
  | { readonly about: "connect"; readonly session: SessionData }
  | { readonly about: "helo"; readonly session: SessionData; readonly name: string }
  | { readonly about: "auth"; readonly session: SessionData; readonly credentials: CredentialsData }
  | {
    /** `mail` where it wasn't asked yet, then `rcpt`, then `resolve`. */
    readonly about: "rcpt";
    readonly session: SessionData;
    readonly transaction: TransactionData;
    readonly recipient: RecipientData;
    readonly withMail: boolean;
  }
  | { readonly about: "resolve"; readonly recipient: AddressData }
  | {
    /** `data`, unless it was asked, then `dataFor` of each of these. */
    readonly about: "data";
    readonly session: SessionData;
    readonly transaction: TransactionData;
    readonly message: MessageData;
    readonly withData: boolean;
    readonly each: readonly string[];
  }
  | { readonly about: "route"; readonly recipient: AddressData; readonly message: MessageData }
  | { readonly about: "vrfy" | "expn"; readonly session: SessionData; readonly text: string }
  | {
    readonly about: "command";
    readonly session: SessionData;
    readonly verb: string;
    readonly argument: string;
  }
  | {
    readonly about: "deliver";
    readonly transport: string;
    readonly message: MessageData;
    readonly recipients: readonly TargetData[];
    readonly attempt: number;
  }
  | { readonly about: "report"; readonly hook: keyof Hooks; readonly event: ReportData };

export type TargetData = AddressData & Pick<Target, "sender" | "original">;

export type CredentialsData = {
  readonly mechanism: Credentials["mechanism"];
  readonly user: string;
  /** The password or token, where one is given. */
  readonly secret: string | undefined;
  /** SCRAM: what came of it so far. */
  readonly proof: "awaited" | "right" | "wrong" | undefined;
};

/** A report, its session and recipient as data. */
export type ReportData = {
  readonly session?: SessionData;
  readonly recipient?: AddressData;
  readonly rest: Omit<Partial<Disconnected & Rejected>, "session" | "recipient">;
};

/** An edit: what was called, on whom, with which arguments. */
export interface EditData {
  /** A recipient's `id`. */
  readonly on: "message" | "transaction" | { readonly recipient: string };
  readonly edit: string;
  readonly args: readonly unknown[];
}

/** What one handler said; `error` is its stack. */
export type Said = { readonly verdict: unknown; readonly edits: readonly EditData[] } | {
  readonly error: string;
};

/** What came of a question: one answer for each handler that was asked. */
export interface Answers {
  readonly mail?: Said;
  readonly main?: Said;
  readonly resolve?: Said;
  /** `dataFor`, by the recipient's `id`. */
  readonly each?: ReadonlyMap<string, Said>;
}

/** A problem of options: its path is among them. */
export interface OptionProblem {
  readonly path: Path;
  readonly what: "key" | "value";
  readonly message: string;
}

/** What the plugin said of itself. */
export type Described = Pick<Plugin, "name" | "after" | "roles">;

/** What it registered in `setup`. */
export interface SetUp {
  readonly hooks: readonly (keyof Hooks)[];
  readonly owns: readonly string[];
  readonly transports: readonly {
    readonly name: string;
    readonly inline: boolean;
    readonly batch: number;
    readonly timeout: number | undefined;
  }[];
  readonly provides: readonly string[];
  readonly needs: readonly { readonly fact: string; readonly optional: boolean }[];
  readonly mechanisms: readonly Credentials["mechanism"][];
  /** Transports that its options name. */
  readonly named: readonly string[];
}

export type ToWorker =
  | {
    readonly kind: "setup";
    /** The instance's. */
    readonly name: string;
    /** The server's. */
    readonly hostname: string;
    readonly options: unknown;
    /** Paths of options in which variables stand. */
    readonly written: readonly (readonly [path: string, text: string])[];
    /** What options' paths are relative to. */
    readonly file: string;
    readonly as: string | undefined;
    readonly observed: boolean;
    readonly queued: boolean;
    readonly now: number;
  }
  | {
    readonly kind: "question";
    readonly id: number;
    readonly now: number;
    readonly dryRun: boolean;
    /** Objects that are no more. */
    readonly gone: readonly Ref[];
    readonly question: Question;
  }
  | { readonly kind: "abort"; readonly id: number }
  | { readonly kind: "result"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failed"; readonly id: number; readonly error: string }
  | { readonly kind: "ping"; readonly nonce: number }
  | { readonly kind: "end" };

/** What the host does for the plugin, over there. */
export type Wish =
  | { readonly wish: "store" | "cache" | "dns"; readonly method: string; readonly args: readonly unknown[] }
  | { readonly wish: "sleep"; readonly ms: number }
  | {
    readonly wish: "submit";
    readonly sender: string;
    readonly recipients: readonly string[];
    readonly content: string | Uint8Array<ArrayBuffer>;
    /** It wants to hear of those whom nobody takes, and the others get theirs. */
    readonly hearsRefused: boolean;
  }
  /** Whether the client of this `connect` speaks. */
  | { readonly wish: "listen"; readonly question: number; readonly ms: number }
  /** Octets of the message that this question is about. */
  | {
    readonly wish: "read";
    readonly question: number;
    readonly which: "now" | "received";
    readonly offset: number;
  };

/** What came of `submit`. */
export interface Submitted {
  /** Absent where it was refused as a whole: `error` says why. */
  readonly id: string | undefined;
  readonly error: string | undefined;
  readonly refused: readonly (readonly [recipient: string, why: Reject | Defer])[];
}

export type FromWorker =
  | { readonly kind: "described"; readonly plugin: Described }
  | { readonly kind: "no plugin"; readonly problem: string }
  | { readonly kind: "not imported"; readonly error: string; readonly message: string }
  | { readonly kind: "set up"; readonly registered: SetUp }
  | { readonly kind: "refused"; readonly problems: readonly OptionProblem[] }
  | { readonly kind: "not set up"; readonly error: string; readonly message: string }
  | { readonly kind: "answers"; readonly id: number; readonly answers: Answers }
  | { readonly kind: "no answer"; readonly id: number; readonly error: string }
  | { readonly kind: "wish"; readonly id: number; readonly wish: Wish }
  | { readonly kind: "unwish"; readonly id: number }
  /** Work at this question goes on. */
  | { readonly kind: "progress"; readonly id: number }
  | { readonly kind: "fact"; readonly of: Ref; readonly fact: string; readonly value: Json }
  | {
    readonly kind: "log";
    readonly level: "debug" | "info" | "warning" | "error";
    readonly text: string;
    readonly fields: Record<string, Json>;
  }
  /** `memory`: octets that this thread uses. */
  | { readonly kind: "pong"; readonly nonce: number; readonly memory: number }
  | { readonly kind: "exited" }
  | { readonly kind: "ended" };

/** Octets that go along with a question; what is larger is read in pieces. */
export const along = 256 * 1024;
