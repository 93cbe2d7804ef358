/** What the server owes to hostile and strange input, row by row. The id of a row stands in the names of its tests. */

/** One row. */
export interface Case {
  /** A letter and two digits. */
  readonly id: string;
  /** The rule, in a sentence; may hold Markdown. */
  readonly rule: string;
}

/** Rows that belong together. */
export interface Chapter {
  readonly title: string;
  readonly cases: readonly Case[];
}

const chapter = (title: string, rows: Readonly<Record<string, string>>): Chapter => ({
  title,
  cases: Object.entries(rows).map(([id, rule]) => ({ id, rule })),
});

/** All of them. A row without a test is an error of `deno task docs`, and so is a test with an id that no row has. */
export const chapters: readonly Chapter[] = [
  chapter("Commands", {
    C01:
      "A client that speaks before the greeting gets the greeting, then its reply; `earlytalker` refuses it",
    C02: "Verbs and keywords count in any case, and as ASCII: `STARTTLſ` is no `STARTTLS`",
    C03:
      "`EHLO` without a name is `501`; any printable name of up to 255 octets is taken; no enhanced code there",
    C04:
      "A line over its limit (512 octets; `MAIL`, `RCPT` 2,048; SASL 12,288) is `500`; one without end closes",
    C05:
      "A lone CR, a lone LF or NUL in a command is `500`, and never two commands; other control octets are `501`",
    C06: "One octet a segment, CR and LF apart: as if it had come whole",
    C07: "Another protocol (HTTP, a header line, a TLS hello) ends the connection at once",
    C08: "Unknown verbs are `500`, obsolete ones `502`, arguments where there are none `501`",
    C09: "`HELP` names no version and no path; `VRFY` and `EXPN` tell nobody who exists",
    C10:
      "Spaces behind `FROM:` and an address without brackets are tolerated; half a pair of brackets is not",
    C11: "One protocol error, refused recipient or idle command too many closes; not amid a good transaction",
    C12: "A client may go at any moment: nothing is kept, nothing stays open, every count is as before",
  }),
  chapter("Addresses", {
    A01: "`<>` is a sender and no recipient; `<postmaster>` is always taken, in any case",
    A02: 'Quoted local parts come back exactly, and are compared by meaning; `"x@evil"@local` is at `local`',
    A03: "Source routes are dropped, and lead nobody through",
    A04: "Address literals are read strictly: no `[127.1]`, no `[2130706433]`, no `[IPv6:1::2::3]`",
    A05: "A path has 256 octets at most, a domain 255, a label 63; longer local parts than 64 are taken",
    A06:
      "Doubled dots in a domain, stray hyphens, comments, control octets: `501`; `_` and stray dots in a local part pass",
    A07: "A domain with a dot at its end is `501`, never somebody else's",
    A08: "Shell, path and template text is inert wherever it goes",
    A09: "Domains compare without case, as A-labels; one that IDNA can't map is `501`",
    A10: "An address beyond ASCII needs `SMTPUTF8`; broken UTF-8 is `501`",
  }),
  chapter("Sequence and pipelining", {
    S01: "Commands out of order are `503`; `EHLO` and `RSET` end the transaction",
    S02: "A command that failed leaves everything as it was; nothing of one message is in the next",
    S03:
      "Good and bad recipients mixed; one twice is delivered once; one too many is `452`, and the others stay",
    P01: "A group of commands is answered in order, in one write",
    P02: "Octets behind `EHLO`, `DATA`, `STARTTLS` or AUTH that came before our reply are refused, never run",
    P03: "A client that floods and reads nothing costs bounded memory, and its connection in the end",
  }),
  chapter("DATA", {
    D01:
      "Only CRLF, dot, CRLF ends a message, however it is cut, under TLS and behind the limit of size, too",
    D02:
      "Lone CR, LF and NUL around dots are content in every combination: never two messages, never a command",
    D03: "Dots are stuffed and unstuffed exactly; a lone dot is an empty message",
    D04: "Lines of any length, and NUL, are kept as they are",
    D05: "Endless headers, 10,000 foldings, none at all: linear time, and no header is made up",
    D06: "What crosses the limit of size is read, dropped and `552`; nothing of it stays",
    D07: "More than `limits.hops` `Received` are a loop; so is a `Delivered-To` of this very recipient",
    D08: "Results that claim our name, a foreign `Return-Path`, a submitted `Bcc` are taken out",
    D09: "Silence is `421` at the time-out, and nothing is kept",
  }),
  chapter("BDAT", {
    B01: "Chunks are data, whatever they hold, answered in order; `BDAT 0 LAST` ends",
    B02: "A size that can't be read closes; a chunk out of place or too large is read and refused",
    B03: "No `DATA`, `MAIL` or `RCPT` between chunks; nothing is allocated by announced sizes",
    B04: "`BODY=BINARYMIME` is not offered, and refused",
  }),
  chapter("AUTH", {
    U01: "Not offered in the clear, and refused there; on submission `MAIL` waits for it",
    U02: "Bad base64, wrong NULs, empty names, `*`: `501`, and the session is as it was",
    U03:
      "A wrong password and an unknown user get the same reply in the same time; other sessions don't wait",
    U04: "The third failure closes; then networks wait longer and longer, and no owner is locked out",
    U05: "Nobody acts as somebody else; `STARTTLS` forgets who had logged in",
    U06: "Nobody sends as another than himself, in the envelope and in `From`",
  }),
  chapter("TLS", {
    T01: "What came before our `220` to `STARTTLS` is refused; behind the handshake all begins anew",
    T02: "No hello, half a handshake, a stall: closed in time, nothing said in the clear",
    T03: "TLS 1.2 and 1.3; names choose the certificate; a reload fails no session; bad keys change nothing",
    T04: "Without a certificate `STARTTLS` is not offered",
  }),
  chapter("Reports to senders", {
    N01: "`NOTIFY`, `RET`, `ENVID`, `ORCPT` are read strictly; xtext begins no header line",
    N02: "`NEVER` is silent, `SUCCESS` is told, and both go on to hosts that know them",
  }),
  chapter("Relaying and trust", {
    R01: "No form of an address relays for a stranger, nor does a HELO name or a PTR",
    R02: "Networks match by CIDR, mapped IPv6 as IPv4; `example.com` is not `notexample.com`",
    R03: "PROXY is believed from listed proxies only, strictly, before everything else",
  }),
  chapter("Sending to hosts that misbehave", {
    O01: "Replies of many lines, bare codes, codes that differ, 64 KiB and more: read, or put off",
    O02: "A host that refuses is followed by the next one, a few at most",
    O03: "Whatever is said to RCPT, each recipient has one outcome",
    O04: "Lost behind the final dot: nobody knows, it is tried again; lost at `QUIT`: delivered",
    O05:
      "`STARTTLS` that fails: in the clear, or put off where TLS is required; what stood behind `220` is dropped",
    O06: "Extensions are used where the peer offers them; what it can't take is not sent",
    O07: "A slow host delays itself only; a dead kept connection costs one quiet retry",
    O08: "A peer's words are shown escaped and cut; nothing of ours breaks a line on the wire",
    G01: "DNS: no such name and null MX fail; trouble only puts off",
    G02: "Our own name among the MX, chains of CNAMEs, MX that are IP addresses",
    G03: "DNS answers that are forged, cut or looped are no answers",
  }),
  chapter("Queue and disk", {
    Q01: "A kill at any instant loses nothing that was said yes to, and delivers nothing half",
    Q02: "A damaged segment is set aside, and the rest flows",
    Q03: "A disk that is full or broken is `4xx`, leaves nothing half-made, and heals by itself",
    Q04: "Clocks that jump or stop make no storm and expire nothing early",
    Q05: "Reports have a null sender, and are never reported; every other failure is",
    Q06: "A second server on one state directory is refused",
    Q07: "SIGTERM under load: sessions finish or hear `421`, the queue is whole",
    Q08: "Segments go in an order that brings back nothing that was delivered",
  }),
  chapter("Maildir", {
    M01: "Written, synced, linked, synced; a thousand at once are a thousand files",
    M02: "Names that would lead out of the folder are refused",
    M03: "A full mailbox puts off itself only; Dovecot reads everything",
  }),
  chapter("LMTP", {
    L01: "`LHLO` only; behind the dot one reply for each accepted recipient; no relaying for strangers",
  }),
  chapter("Load and faults", {
    X01: "Idle and slow clients by the hundred: the others notice nothing; an address has its limit",
    X02: "Connections reset by the thousand, descriptors exhausted: it serves again",
    X03: "A plugin that throws, rejects, hangs or talks nonsense harms its own transaction only",
    X04: "A log line an event, nothing secret in it, and mail doesn't wait for the log",
  }),
];

/** By id. */
export const cases: ReadonlyMap<string, Case> = new Map(
  chapters.flatMap((one) => one.cases).map((one) => [one.id, one]),
);
