/** What the client's machine says to peers of many kinds, and what it makes of them. */
import type { ClientOptions, ClientTransaction } from "../../server/smtp/client.ts";
import { SecretText } from "../../server/smtp/sasl.ts";
import { mail, message, type Peer } from "./client_kit.ts";

const encode = (text: string) => new TextEncoder().encode(text);

export const plain: ClientOptions = { name: "us.example", tls: "if-offered" };

export interface Dialog {
  readonly name: string;
  readonly options?: ClientOptions;
  readonly peer: Peer;
  readonly transaction?: ClientTransaction;
  /** Each write. */
  readonly writes: string[];
  readonly results?: string[];
  readonly end: string;
}

export const lmtp: ClientOptions = { ...plain, protocol: "lmtp" };

const hello = "EHLO us.example\r\n";
const lhello = "LHLO us.example\r\n";
export const all = ["PIPELINING", "SIZE 100000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING"];

export const dialogs: Dialog[] = [
  {
    name: "all in one write where PIPELINING and CHUNKING are offered",
    peer: { offers: all },
    transaction: mail({ to: ["b@x.org", "c@x.org"], eightBit: "send" }),
    writes: [
      hello,
      "MAIL FROM:<a@example.com> SIZE=21 BODY=8BITMIME\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<c@x.org>\r\nBDAT 21 LAST\r\n" +
      message,
    ],
    results: ["delivered", "delivered"],
    end: "ready",
  },
  {
    name: "the envelope in one write where only PIPELINING is offered",
    peer: { offers: ["PIPELINING"] },
    transaction: mail({ to: ["b@x.org", "c@x.org"] }),
    writes: [
      hello,
      "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<c@x.org>\r\nDATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered", "delivered"],
    end: "ready",
  },
  {
    name: "one command at a time where nothing is offered",
    peer: { offers: [] },
    transaction: mail({ to: ["b@x.org", "c@x.org"], eightBit: "send", ret: "FULL", envid: "x" }),
    writes: [
      hello,
      "MAIL FROM:<a@example.com>\r\n",
      "RCPT TO:<b@x.org>\r\n",
      "RCPT TO:<c@x.org>\r\n",
      "DATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered", "delivered"],
    end: "ready",
  },
  {
    name: "HELO where EHLO is not known",
    peer: { offers: [], replies: { EHLO: ["502 what"] } },
    transaction: mail(),
    writes: [
      hello,
      "HELO us.example\r\n",
      "MAIL FROM:<a@example.com>\r\n",
      "RCPT TO:<b@example.org>\r\n",
      "DATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered"],
    end: "ready",
  },
  {
    name: "D03 dots are stuffed, a missing line end is added, and chunks are not used for it",
    peer: { offers: all },
    transaction: mail({ content: encode(".\r\n..\r\nx"), sender: "" }),
    writes: [
      hello,
      "MAIL FROM:<> SIZE=8\r\nRCPT TO:<b@example.org>\r\nDATA\r\n",
      "..\r\n...\r\nx\r\n.\r\n",
    ],
    results: ["delivered"],
    end: "ready",
  },
  {
    name: "large content waits for the envelope's replies",
    peer: { offers: all },
    transaction: mail({ content: encode("x".repeat(70_000) + "\r\n") }),
    writes: [
      hello,
      "MAIL FROM:<a@example.com> SIZE=70002\r\nRCPT TO:<b@example.org>\r\n",
      `BDAT 70002 LAST\r\n${"x".repeat(70_000)}\r\n`,
    ],
    results: ["delivered"],
    end: "ready",
  },
  {
    name: "O03 mixed replies to RCPT: each recipient has its own result",
    peer: { offers: ["PIPELINING"], replies: { RCPT: ["250 ok", "550 no", "450 later", "251 there"] } },
    transaction: mail({ to: ["a@x.org", "b@x.org", "c@x.org", "d@x.org"] }),
    writes: [
      hello,
      "MAIL FROM:<a@example.com>\r\n" +
      ["a", "b", "c", "d"].map((who) => `RCPT TO:<${who}@x.org>\r\n`).join("") +
      "DATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered", "rcpt 550", "rcpt 450", "delivered"],
    end: "ready",
  },
  {
    name: "O03 no good recipient, and 354: a lone dot, then RSET",
    peer: { offers: ["PIPELINING"], replies: { RCPT: ["550 no"], DATA: ["354 go on"] } },
    transaction: mail(),
    writes: [hello, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", ".\r\n", "RSET\r\n"],
    results: ["rcpt 550"],
    end: "ready",
  },
  {
    name: "O03 no good recipient, and DATA refused: RSET",
    peer: { offers: ["PIPELINING"], replies: { RCPT: ["450 later"] } },
    transaction: mail(),
    writes: [hello, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "RSET\r\n"],
    results: ["rcpt 450"],
    end: "ready",
  },
  {
    name: "O03 no good recipient of a chunk that was sent: RSET",
    peer: { offers: all, replies: { RCPT: ["550 no"] } },
    transaction: mail(),
    writes: [
      hello,
      `MAIL FROM:<a@example.com> SIZE=21\r\nRCPT TO:<b@example.org>\r\nBDAT 21 LAST\r\n${message}`,
      "RSET\r\n",
    ],
    results: ["rcpt 550"],
    end: "ready",
  },
  {
    name: "O03 no good recipient without pipelining: no DATA",
    peer: { offers: [], replies: { RCPT: ["550 no"] } },
    transaction: mail(),
    writes: [hello, "MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.org>\r\n", "RSET\r\n"],
    results: ["rcpt 550"],
    end: "ready",
  },
  {
    name: "MAIL refused: everybody is, and nothing is undone",
    peer: { offers: ["PIPELINING"], replies: { MAIL: ["451 later"] } },
    transaction: mail({ to: ["b@x.org", "c@x.org"] }),
    writes: [hello, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<c@x.org>\r\nDATA\r\n"],
    results: ["mail 451", "mail 451"],
    end: "ready",
  },
  {
    name: "MAIL refused without pipelining: nothing else is said",
    peer: { offers: [], replies: { MAIL: ["550 no"] } },
    transaction: mail({ to: ["b@x.org", "c@x.org"] }),
    writes: [hello, "MAIL FROM:<a@example.com>\r\n"],
    results: ["mail 550", "mail 550"],
    end: "ready",
  },
  {
    name: "DATA refused: those accepted are, and RSET",
    peer: { offers: ["PIPELINING"], replies: { RCPT: ["250 ok", "550 no"], DATA: ["554 no"] } },
    transaction: mail({ to: ["b@x.org", "c@x.org"] }),
    writes: [
      hello,
      "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<c@x.org>\r\nDATA\r\n",
      "RSET\r\n",
    ],
    results: ["data 554", "rcpt 550"],
    end: "ready",
  },
  {
    name: "the message refused: those accepted are",
    peer: { offers: all, replies: { RCPT: ["250 ok", "550 no"], content: ["552 5.3.4 big"] } },
    transaction: mail({ to: ["b@x.org", "c@x.org"] }),
    writes: [
      hello,
      `MAIL FROM:<a@example.com> SIZE=21\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<c@x.org>\r\nBDAT 21 LAST\r\n${message}`,
    ],
    results: ["final 552", "rcpt 550"],
    end: "ready",
  },
  {
    name: "O01 421 to RCPT: nobody is refused for good, those before it keep their results",
    peer: { offers: ["PIPELINING"], replies: { RCPT: ["550 no", "421 bye"] } },
    transaction: mail({ to: ["b@x.org", "c@x.org", "d@x.org"] }),
    writes: [
      hello,
      "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<c@x.org>\r\nRCPT TO:<d@x.org>\r\nDATA\r\n",
    ],
    results: ["rcpt 550", "lost", "lost"],
    end: "refused at rcpt",
  },
  {
    name: "O04 the connection is lost behind the final dot: nobody knows",
    peer: { offers: ["PIPELINING"], replies: { RCPT: ["250 ok", "550 no"], content: [{ ends: "lost" }] } },
    transaction: mail({ to: ["b@x.org", "c@x.org"] }),
    writes: [
      hello,
      "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<c@x.org>\r\nDATA\r\n",
      message + ".\r\n",
    ],
    results: ["unknown", "rcpt 550"],
    end: "lost at final",
  },
  {
    name: "O04 lost with the message already sent by BDAT: nobody knows",
    peer: { offers: all, replies: { MAIL: [{ ends: "lost" }] } },
    transaction: mail(),
    writes: [
      hello,
      `MAIL FROM:<a@example.com> SIZE=21\r\nRCPT TO:<b@example.org>\r\nBDAT 21 LAST\r\n${message}`,
    ],
    results: ["unknown"],
    end: "lost at mail",
  },
  {
    name: "O04 lost before DATA is answered: the peer has nothing",
    peer: { offers: ["PIPELINING"], replies: { DATA: [{ ends: "lost" }] } },
    transaction: mail(),
    writes: [hello, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"],
    results: ["lost"],
    end: "lost at data",
  },
  {
    name: "421 instead of the reply to the message: it was not taken",
    peer: { offers: ["PIPELINING"], replies: { content: ["421 going down"] } },
    transaction: mail(),
    writes: [hello, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", message + ".\r\n"],
    results: ["lost"],
    end: "refused at final",
  },
  {
    name: "354 where it makes no sense",
    peer: { offers: [], replies: { MAIL: ["354 go on"] } },
    transaction: mail(),
    writes: [hello, "MAIL FROM:<a@example.com>\r\n"],
    results: ["lost"],
    end: "out-of-order at mail",
  },
  {
    name: "250 to DATA is no answer to it",
    peer: { offers: [], replies: { DATA: ["250 ok"] } },
    transaction: mail(),
    writes: [hello, "MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.org>\r\n", "DATA\r\n"],
    results: ["lost"],
    end: "out-of-order at data",
  },
  {
    name: "O06 SIZE below ours: nothing is sent",
    peer: { offers: ["SIZE 20"] },
    transaction: mail(),
    writes: [hello],
    results: ["5.3.4"],
    end: "ready",
  },
  {
    name: "O06 SIZE 0 and SIZE alone are no limit",
    peer: { offers: ["SIZE 0", "PIPELINING"] },
    transaction: mail(),
    writes: [
      hello,
      "MAIL FROM:<a@example.com> SIZE=21\r\nRCPT TO:<b@example.org>\r\nDATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered"],
    end: "ready",
  },
  {
    name: "O06 SMTPUTF8 is said only where something needs it; a domain goes as A-labels",
    peer: { offers: all },
    transaction: mail({ sender: "a@straße.de", to: ["b@bücher.example"] }),
    writes: [
      hello,
      `MAIL FROM:<a@xn--strae-oqa.de> SIZE=21\r\nRCPT TO:<b@xn--bcher-kva.example>\r\nBDAT 21 LAST\r\n${message}`,
    ],
    results: ["delivered"],
    end: "ready",
  },
  {
    name: "O06 a local part needs SMTPUTF8",
    peer: { offers: all },
    transaction: mail({ to: ["jürgen@x.org"] }),
    writes: [
      hello,
      `MAIL FROM:<a@example.com> SIZE=21 SMTPUTF8\r\nRCPT TO:<jürgen@x.org>\r\nBDAT 21 LAST\r\n${message}`,
    ],
    results: ["delivered"],
    end: "ready",
  },
  {
    name: "O06 without SMTPUTF8 only those who need it fail",
    peer: { offers: ["PIPELINING"] },
    transaction: mail({ to: ["jürgen@x.org", "b@x.org"] }),
    writes: [hello, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nDATA\r\n", message + ".\r\n"],
    results: ["5.6.7", "delivered"],
    end: "ready",
  },
  {
    name: "O06 a header that needs SMTPUTF8, and a peer without",
    peer: { offers: ["PIPELINING"] },
    transaction: mail({ utf8Header: true }),
    writes: [hello],
    results: ["5.6.7"],
    end: "ready",
  },
  {
    name: "O06 8-bit content for a peer without 8BITMIME: sent as it is",
    peer: { offers: ["PIPELINING"] },
    transaction: mail({ content: encode("ü\r\n"), eightBit: "send" }),
    writes: [hello, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "ü\r\n.\r\n"],
    results: ["delivered"],
    end: "ready",
  },
  {
    name: "O06 8-bit content for a peer without 8BITMIME: bounced where the operator wants that",
    peer: { offers: ["PIPELINING"] },
    transaction: mail({ content: encode("ü\r\n"), eightBit: "bounce" }),
    writes: [hello],
    results: ["5.6.3"],
    end: "ready",
  },
  {
    name: "N02 DSN parameters are not said to peers that don't offer DSN",
    peer: { offers: ["PIPELINING"] },
    transaction: mail({
      ret: "HDRS",
      envid: "Q",
      recipients: [
        { address: "b@x.org", notify: ["SUCCESS"], orcpt: { type: "rfc822", address: "c@y.org" } },
        { address: "d@x.org", original: "list@x.org" },
      ],
    }),
    writes: [
      hello,
      "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<d@x.org>\r\nDATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered", "delivered"],
    end: "ready",
  },
  {
    name: "N02 DSN parameters go to peers that offer DSN",
    peer: { offers: ["PIPELINING", "DSN"] },
    transaction: mail({
      ret: "HDRS",
      envid: "Q+Q=1 2",
      recipients: [
        { address: "b@x.org", notify: ["SUCCESS", "DELAY"], orcpt: { type: "rfc822", address: "b+c@y.org" } },
        { address: "c@x.org", notify: "NEVER" },
        { address: "d@x.org", original: "list@x.org" },
        { address: "e@x.org", original: "e@x.org" },
        { address: "f@x.org", orcpt: { type: "utf-8", address: "ü+@x.org" } },
      ],
    }),
    writes: [
      hello,
      "MAIL FROM:<a@example.com> RET=HDRS ENVID=Q+2BQ+3D1+202\r\n" +
      "RCPT TO:<b@x.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@y.org\r\n" +
      "RCPT TO:<c@x.org> NOTIFY=NEVER\r\n" +
      "RCPT TO:<d@x.org> ORCPT=rfc822;list@x.org\r\n" +
      "RCPT TO:<e@x.org>\r\n" +
      "RCPT TO:<f@x.org> ORCPT=utf-8;\\x{FC}+2B@x.org\r\nDATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered", "delivered", "delivered", "delivered", "delivered"],
    end: "ready",
  },
  {
    name: "the greeting refuses",
    peer: { offers: [], greeting: "554 no" },
    writes: [],
    end: "refused at greeting",
  },
  { name: "no greeting", peer: { offers: [], greeting: "" }, writes: [], end: "timeout at greeting" },
  {
    name: "EHLO deferred",
    peer: { offers: [], replies: { EHLO: ["450 later"] } },
    writes: [hello],
    end: "refused at hello",
  },
  {
    name: "TLS first, then EHLO anew",
    peer: { offers: ["STARTTLS", "PIPELINING"], offersUnderTls: ["CHUNKING"] },
    transaction: mail(),
    writes: [
      hello,
      "STARTTLS\r\n",
      "[TLS]",
      hello,
      "MAIL FROM:<a@example.com>\r\n",
      "RCPT TO:<b@example.org>\r\n",
      `BDAT 21 LAST\r\n${message}`,
    ],
    results: ["delivered"],
    end: "ready",
  },
  {
    name: "O05 what stands behind STARTTLS' reply is dropped",
    peer: {
      offers: ["STARTTLS"],
      replies: { STARTTLS: ["220 go\r\n250-evil\r\n250 SIZE 1"] },
      offersUnderTls: ["PIPELINING"],
    },
    transaction: mail(),
    writes: [
      hello,
      "STARTTLS\r\n",
      "[TLS]",
      hello,
      "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered"],
    end: "ready",
  },
  {
    name: "O05 STARTTLS refused",
    peer: { offers: ["STARTTLS"], replies: { STARTTLS: ["454 no"] } },
    writes: [hello, "STARTTLS\r\n"],
    end: "refused at starttls",
  },
  {
    name: "O05 TLS required and not offered",
    options: { name: "us.example", tls: "always" },
    peer: { offers: [] },
    writes: [hello],
    end: "no-tls at starttls",
  },
  {
    name: "TLS never, though it is offered",
    options: { name: "us.example", tls: "never" },
    peer: { offers: ["STARTTLS"] },
    writes: [hello],
    end: "ready",
  },
  {
    name: "AUTH PLAIN",
    options: { ...plain, auth: { user: "u", password: new SecretText("pä"), inTheClear: true } },
    peer: { offers: ["AUTH LOGIN PLAIN"] },
    writes: [hello, "AUTH PLAIN AHUAcMOk\r\n"],
    end: "ready",
  },
  {
    name: "AUTH LOGIN",
    options: { ...plain, auth: { user: "u", password: new SecretText("p"), inTheClear: true } },
    peer: {
      offers: ["AUTH LOGIN"],
      replies: { AUTH: ["334 VXNlcm5hbWU6"], response: ["334 UGFzc3dvcmQ6", "235 in"] },
    },
    writes: [hello, "AUTH LOGIN\r\n", "dQ==\r\n", "cA==\r\n"],
    end: "ready",
  },
  {
    name: "AUTH refused",
    options: { ...plain, auth: { user: "u", password: new SecretText("p"), inTheClear: true } },
    peer: { offers: ["AUTH PLAIN"], replies: { AUTH: ["535 no"] } },
    writes: [hello, "AUTH PLAIN AHUAcA==\r\n"],
    end: "refused at auth",
  },
  {
    name: "a password is not sent in the clear",
    options: { ...plain, auth: { user: "u", password: new SecretText("p"), inTheClear: false } },
    peer: { offers: ["AUTH PLAIN"] },
    writes: [hello],
    end: "no-auth-in-clear at auth",
  },
  {
    name: "no mechanism that is known here",
    options: { ...plain, auth: { user: "u", password: new SecretText("p"), inTheClear: true } },
    peer: { offers: ["AUTH GSSAPI"] },
    writes: [hello],
    end: "no-auth at auth",
  },
  {
    name: "LMTP: a reply for each accepted recipient, in their order",
    options: lmtp,
    peer: {
      offers: ["PIPELINING"],
      replies: {
        RCPT: ["250 ok", "550 no", "250 ok", "250 ok"],
        content: ["250 ok", "452 4.2.2 full", "550 5.7.1 no"],
      },
    },
    transaction: mail({ to: ["b@x.org", "c@x.org", "d@x.org", "e@x.org"] }),
    writes: [
      lhello,
      "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<c@x.org>\r\nRCPT TO:<d@x.org>\r\nRCPT TO:<e@x.org>\r\nDATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered", "rcpt 550", "final 452", "final 550"],
    end: "ready",
  },
  {
    name: "LMTP: the same for a chunk that went with the envelope",
    options: lmtp,
    peer: { offers: all, replies: { content: ["250 ok", "550 no"] } },
    transaction: mail({ to: ["b@x.org", "c@x.org"] }),
    writes: [
      lhello,
      "MAIL FROM:<a@example.com> SIZE=21\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<c@x.org>\r\nBDAT 21 LAST\r\n" +
      message,
    ],
    results: ["delivered", "final 550"],
    end: "ready",
  },
  {
    name: "LMTP: lost between two replies: the first has it, of the other nobody knows",
    options: lmtp,
    peer: { offers: [], replies: { content: ["250 ok", { ends: "lost" }] } },
    transaction: mail({ to: ["b@x.org", "c@x.org"] }),
    writes: [
      lhello,
      "MAIL FROM:<a@example.com>\r\n",
      "RCPT TO:<b@x.org>\r\n",
      "RCPT TO:<c@x.org>\r\n",
      "DATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered", "unknown"],
    end: "lost at final",
  },
  {
    name: "LMTP: 421 between two replies: the other is not taken",
    options: lmtp,
    peer: { offers: ["PIPELINING"], replies: { content: ["250 ok", "421 bye"] } },
    transaction: mail({ to: ["b@x.org", "c@x.org"] }),
    writes: [
      lhello,
      "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nRCPT TO:<c@x.org>\r\nDATA\r\n",
      message + ".\r\n",
    ],
    results: ["delivered", "lost"],
    end: "refused at final",
  },
  {
    name: "LMTP: nobody accepted, DATA is refused",
    options: lmtp,
    peer: { offers: ["PIPELINING"], replies: { RCPT: ["550 no"] } },
    transaction: mail({ to: ["b@x.org"] }),
    writes: [lhello, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nDATA\r\n", "RSET\r\n"],
    results: ["rcpt 550"],
    end: "ready",
  },
  {
    name: "LMTP: 354 with nobody accepted breaks the rules, and the session is of no use any more",
    options: lmtp,
    peer: { offers: ["PIPELINING"], replies: { RCPT: ["550 no"], DATA: ["354 go on"] } },
    transaction: mail({ to: ["b@x.org"] }),
    writes: [lhello, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@x.org>\r\nDATA\r\n"],
    results: ["rcpt 550"],
    end: "out-of-order at data",
  },
  {
    name: "LMTP: a server that knows no LHLO is not asked in SMTP",
    options: lmtp,
    peer: { offers: [], replies: { LHLO: ["500 what"] } },
    writes: [lhello],
    end: "refused at hello",
  },
];
