/** What an inspection tells: data that crosses from the Worker that looks to the plugin that decides. */

/** A part of a message, or an entry of an archive. */
export interface Found {
  /** Whose inside it is, the outermost first: names of archives and messages. */
  readonly inside: readonly string[];
  /** All names it goes by; a client takes one of them. `[]`: it has none. */
  readonly names: readonly string[];
  /** The media type it claims, lower case; absent for an entry of an archive. */
  readonly type?: string | undefined;
  /** What its first octets say it is, where they say something. */
  readonly magic?: { readonly extension: string; readonly type: string } | undefined;
  /** Octets, decoded; what an archive says of its entry. */
  readonly size: number;
  /** `part`: an attachment of the message; `text`: what is read as its text; `entry`: stands in an archive. */
  readonly kind: "part" | "text" | "entry";
}

/** Something that could not be looked into. */
export interface Closed {
  readonly inside: readonly string[];
  readonly name: string;
  /** `encrypted`: nobody can without a password; the others: this inspection couldn't. */
  readonly why: "encrypted" | "damaged" | "too deep" | "too much";
}

/** All that an inspection came to. */
export interface Inspection {
  readonly found: readonly Found[];
  readonly closed: readonly Closed[];
}

/** How far an inspection goes. */
export interface Limits {
  /** Archives and messages inside each other. */
  readonly depth: number;
  /** Parts and entries, all together. */
  readonly entries: number;
  /** Entries of archives that are unpacked: each takes milliseconds, however small it is. */
  readonly unpackings: number;
  /** Octets unpacked, all together. */
  readonly unpacked: number;
}
