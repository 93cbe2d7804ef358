/** Where this server answers otherwise than most others do, and why that is wanted. */

/** One reason, for one place or more. */
export interface Reason {
  /** A sentence for people, with the RFC or the case (`CASES`, [D]: a decision). */
  readonly why: string;
  /** Where, and what ours says there; without `says` wherever it says so in that dialog. */
  readonly places: readonly { readonly dialog: string; readonly says?: string; readonly ours: string }[];
}

/** All of them. A difference that isn't here fails the end-to-end tests. */
export const reasons: readonly Reason[] = [
  {
    why:
      "**Nothing may follow what ends a group.** EHLO, HELO and DATA end a group of pipelined commands (RFC 2920 §3.1): the client " +
      "has to wait for the reply. Who doesn't speaks past the server, as smuggled or injected commands do, and is closed (P02 [D]); " +
      "so nothing of it is run or kept.",
    places: [
      { dialog: "P02-behind-EHLO", ours: "554 closed" },
      { dialog: "P02-behind-HELO", ours: "554 closed" },
      { dialog: "P02-behind-DATA", ours: "250 250 554 closed" },
      { dialog: "P02-behind-DATA", says: "kept", ours: "0" },
      { dialog: "P02-behind-DATA-half-a-line", ours: "554 closed" },
      { dialog: "P02-behind-DATA-refused", ours: "250 550 554 closed" },
    ],
  },
  {
    why:
      "**What is no SMTP is closed at once**: HTTP, a header line, a TLS ClientHello (C07). Others hear on, and run what a browser " +
      "was made to post, or wait for the rest of a line for minutes.",
    places: [
      { dialog: "C07-client-hello", ours: "554 closed" },
      { dialog: "C07-header-line", ours: "554 closed" },
      { dialog: "C07-http-connect", ours: "554 closed" },
      { dialog: "C07-http-get", ours: "554 closed" },
      { dialog: "C07-http-post", ours: "554 closed" },
      { dialog: "C07-http-post", says: "kept", ours: "0" },
    ],
  },
  {
    why:
      "**A lone CR, LF or NUL makes no command** (RFC 5321 §2.3.8; C05 [D]): 500, and nothing of it is run; others run one command " +
      "or two.",
    places: [{ dialog: "C05-bare-newlines-in-commands", ours: "500" }],
  },
  {
    why:
      "**Control bytes are no part of a sender's address** (RFC 5321 §4.1.2; C05): 501. Others took the first of these and " +
      "answer the next ones with 503.",
    places: [{ dialog: "C05-control-bytes", ours: "501" }, { dialog: "C05-control-bytes", ours: "250" }],
  },
  {
    why:
      "**A command line may have 512 octets**, of MAIL and RCPT 2,048 (RFC 5321 §4.5.3.1.4, §4.1.1.11; C04): longer ones are 500, " +
      "as soon as that is clear, also where no CRLF comes.",
    places: [{ dialog: "C04-endless-line", ours: "500" }, { dialog: "C04-long-lines", ours: "500" }],
  },
  {
    why:
      "**A domain may have 255 octets** (RFC 5321 §4.5.3.1.2), and so has what HELO names (C03 [D]): longer is 501, and MAIL is " +
      "out of sequence then.",
    places: [{ dialog: "C03-helo-argument", ours: "501" }, { dialog: "C03-helo-argument", ours: "503" }],
  },
  {
    why:
      "**What can't be an address is 501, whosever it were**: a path over 256 octets (RFC 5321 §4.5.3.1.3; A05), a label that ends " +
      "in a hyphen (§4.1.2; A06). 550 would say that it is one, and isn't here.",
    places: [{ dialog: "A05-lengths", ours: "501" }, { dialog: "A06-malformed", ours: "501" }],
  },
  {
    why:
      "**Addresses beyond ASCII want SMTPUTF8** (RFC 6531 §3.4, §3.5: 553 5.6.7; A10). Others take the sender as it is; the " +
      "second MAIL is out of sequence for them then.",
    places: [{ dialog: "A10-smtputf8", ours: "553" }, { dialog: "A10-smtputf8", ours: "250" }],
  },
  {
    why:
      "**BDAT out of sequence is 503** (RFC 3030 §2, RFC 5321 §4.1.4; B02), also where no recipient was good; its octets are read all the same.",
    places: [
      { dialog: "B02-out-of-sequence", ours: "503" },
      { dialog: "B02-out-of-sequence", ours: "550 503" },
    ],
  },
  {
    why:
      "**BDAT without a size that can be read is 501, and the connection is closed** (B02): where its content ends, nobody knows.",
    places: [
      { dialog: "B02-no-size", ours: "501 closed" },
      { dialog: "B02-unknown-word", ours: "501 closed" },
      { dialog: "B02-bad-size", ours: "501 closed" },
      { dialog: "B02-too-many-digits", ours: "501 closed" },
    ],
  },
  {
    why:
      "**Old verbs are known and not implemented**: 502 (RFC 5321 §4.2.4; C08); 500 is for what no RFC has.",
    places: [{ dialog: "C08-unknown-verbs", ours: "502" }],
  },
  {
    why:
      "**DSN is offered** (RFC 3461; N01), which Exim, OpenSMTPD and aiosmtpd don't by default, or read otherwise: the sender's " +
      "wishes are taken, and those keywords in any case (RFC 5321 §2.4; C02).",
    places: [
      { dialog: "N01-parameters", ours: "250" },
      { dialog: "C02-any-case", says: "kept", ours: "1" },
      { dialog: "C02-any-case", ours: "250 250 354" },
    ],
  },
  {
    why:
      "**A transaction goes on behind a refused command** (RFC 5321 §4.1.4; B03, B04): what is out of sequence between chunks, or a " +
      "kind of body that isn't offered, is refused and changes nothing. OpenSMTPD and aiosmtpd have no BDAT at all, and Exim ends it.",
    places: [
      { dialog: "B03-between-chunks", says: "kept", ours: "1" },
      { dialog: "B04-binarymime", says: "kept", ours: "1" },
    ],
  },
];
