/** What finds an end in a stream: a message's, a PROXY header's, a DNS message's, a certificate's, a report's parts. */
import { Buffer } from "node:buffer";
import packet from "dns-packet";
import { readCertificate } from "../../../server/channel/x509/certificate.ts";
import { readStsPolicy } from "../../../server/delivery/mta_sts/policy.ts";
import { encodeQuery, type Question, readReply } from "../../../server/dns/packet.ts";
import { parseProxyHeader } from "../../../server/listen/proxy_protocol.ts";
import { makeDsn } from "../../../server/message/dsn.ts";
import { dsnTexts } from "../../../server/message/dsn_text.ts";
import { readHeader } from "../../../server/message/header.ts";
import { ChunkDecoder, DataDecoder, DotStuffer } from "../../../server/smtp/data.ts";
import type { Random } from "../../spool/random.ts";
import { addresses4, addresses6, tlv, v1, v2 } from "../../listen/proxy_headers.ts";
import { type Cut, cutUp, latin1, must, mustBeSame, octets, type Target } from "../target.ts";

const cuts: readonly Cut[] = ["whole", "one octet at a time", "anywhere"];

export const data: Target = {
  name: "data",
  holds:
    "one end, the same wherever the stream is cut; only CRLF ends lines in what comes out; what is stuffed is read again",
  seeds: [
    "Subject: x\r\n\r\nhello\r\n.\r\nRSET\r\n",
    "\r\n..a\r\n...\r\n.\r\n",
    ".\r\n",
    "a\n.\r\nb\r.\r\n\r\n.\n\r\n.\r\r\n.\r\n",
    "\0\r\n.\0\r\n.\r\n",
    "a\r\r\n.\r\n",
  ].map(octets),
  try(input, random) {
    const [whole, bytewise, anywhere] = cuts.map((cut) => decoded(input, cut, random));
    mustBeSame(whole!, bytewise!, "the message, whole and one octet at a time");
    mustBeSame(whole!, anywhere!, "the message, whole and cut anywhere");
    mustBeSame(whole!, plainly(latin1(input)), "the message and what RFC 5321 says of it");
    mustBeSame(chunked(input, "whole", random), chunked(input, "anywhere", random), "chunks");
    mustBeStuffed(input, random);
  },
  work(input) {
    new DataDecoder().decode(input);
    new DotStuffer().encode(input);
    new ChunkDecoder().decode(input);
  },
};

function decoded(input: Uint8Array, cut: Cut, random: Random): string {
  const decoder = new DataDecoder();
  let [content, consumed, ended] = ["", 0, false];
  for (const piece of cutUp(input, cut, random)) {
    const found = decoder.decode(piece);
    content += latin1(found.content);
    consumed += found.consumed;
    ended = found.end;
    if (ended) break;
  }
  // A CR that came last may be half of a CRLF: whether it was content is known with the next octet.
  return JSON.stringify([ended ? content : content.replace(/\r$/, ""), ended ? consumed : "open"]);
}

/** The same by patterns over the whole, which no server could do. */
function plainly(stream: string): string {
  const found = /(?:^|\r\n)\.\r\n/.exec(stream);
  const until = found ? stream.slice(0, found.index) + (found[0].startsWith("\r") ? "\r\n" : "") : stream;
  let content = until.replaceAll(/(^|\r\n)\./g, "$1").replaceAll(/\r\n|\r(?!$)|\n/g, "\r\n");
  if (!found) {
    // What may still become an end, or half of one, hasn't come out yet.
    if (/(?:^|\r\n)\.\r$/.test(stream)) content = content.replace(/\r$/, "");
    content = content.replace(/\r$/, "");
  } else content = content.replace(/\r$/, "\r\n");
  return JSON.stringify([content, found ? found.index + found[0].length : "open"]);
}

function chunked(input: Uint8Array, cut: Cut, random: Random): string {
  const decoder = new ChunkDecoder();
  let content = "";
  for (const piece of cutUp(input, cut, random)) content += latin1(decoder.decode(piece));
  content += latin1(decoder.flush());
  mustBeSame(content, latin1(input).replaceAll(/\r\n|\r|\n/g, "\r\n"), "chunks and their content");
  return content;
}

function mustBeStuffed(input: Uint8Array, random: Random): void {
  const stuffer = new DotStuffer();
  let wire = "";
  for (const piece of cutUp(input, "anywhere", random)) wire += latin1(stuffer.encode(piece));
  wire += latin1(stuffer.finish());
  must(
    wire.search(/(?:^|\r\n)\.\r\n/) + 5 >= wire.length || wire === ".\r\n",
    () => "content with an end inside",
  );
  const text = latin1(input).replaceAll(/\r\n|\r|\n/g, "\r\n");
  const ends = text === "" || text.endsWith("\r\n") ? text : `${text}\r\n`;
  mustBeSame(
    decoded(octets(wire), "anywhere", random),
    JSON.stringify([ends, wire.length]),
    "stuffed and read again",
  );
}

export const proxy: Target = {
  name: "proxy",
  holds: "a PROXY header is decided on once, from its own octets only",
  seeds: [
    v1("TCP4 192.0.2.7 198.51.100.25 4711 25"),
    v1("TCP6 2001:db8::7 ::ffff:192.0.2.1 0 65535"),
    v1("UNKNOWN"),
    v1("UNKNOWN anything at all"),
    v2(0x21, 0x11, addresses4),
    v2(0x21, 0x21, [...addresses6, ...tlv(0x02, [0x61, 0x62]), ...tlv(0x04, [])]),
    v2(0x20, 0x00, []),
    v2(0x21, 0x31, Array<number>(216).fill(0)),
    v2(0x21, 0x11, [...addresses4, ...tlv(0x03, [1, 2, 3, 4])]),
  ],
  try(input) {
    let decided: string | undefined;
    for (let length = 0; length <= Math.min(input.length, 600); length++) {
      const found = parseProxyHeader(input.slice(0, length));
      if (found.kind === "incomplete") {
        must(decided === undefined, () => "decided, and incomplete again");
        continue;
      }
      const says = JSON.stringify(found);
      if (decided !== undefined) mustBeSame(says, decided, "a header and the same with more behind it");
      decided = says;
      if (found.kind === "bad") continue;
      must(found.length <= length, () => "a header that is longer than what came");
      if (found.kind !== "client") continue;
      for (const { address, port } of [found.source, found.destination]) {
        must(
          /^[0-9a-f.:]+$/.test(address) && !/^::ffff:[0-9a-f]+:[0-9a-f]+$/.test(address) && port >= 0 &&
            port <= 65_535,
          () => `${address} ${port}`,
        );
      }
    }
    parseProxyHeader(input);
  },
  work(input) {
    parseProxyHeader(input);
  },
};

const question: Question = { name: "a.test", type: "MX" };
const questions: readonly Question[] = [question, { name: "a.test", type: "TXT" }, {
  name: "a.test",
  type: "A",
}]
  .concat([{ name: "_25._tcp.a.test", type: "TLSA" }, { name: "a.test", type: "AAAA" }]) as Question[];
const encodeMessage = (packet as unknown as { encode(message: object): Uint8Array }).encode;
const answer = (type: string, name: string, found: unknown, more: object = {}) =>
  Uint8Array.from(encodeMessage({
    type: "response",
    id: 7,
    flags: 0x100,
    questions: [{ name, type }],
    answers: [{ type, name, ttl: 60, data: found }, { type: "CNAME", name: `x.${name}`, ttl: 1, data: name }],
    ...more,
  }));

export const dns: Target = {
  name: "dns",
  holds: "any octets are an answer, a known failure or not ours; what is answered has its record's shape",
  seeds: [
    answer("MX", "a.test", { preference: 10, exchange: "mx.a.test" }),
    answer("MX", "a.test", { preference: 0, exchange: "." }),
    answer("TXT", "a.test", ["v=spf1", " -all"]),
    answer("A", "a.test", "192.0.2.1"),
    answer("AAAA", "a.test", "2001:db8::1"),
    answer("TLSA", "_25._tcp.a.test", {
      usage: 3,
      selector: 1,
      matchingType: 1,
      certificate: Buffer.from("x".repeat(32)),
    }),
    answer("CNAME", "a.test", "b.test"),
    encodeQuery(7, question, true),
  ],
  try(input, random) {
    const bytes = Uint8Array.from(input);
    if (bytes.length >= 12 && random.chance(0.8)) { // else nearly all would be somebody else's
      [bytes[0], bytes[1], bytes[2]] = [0, 7, bytes[2]! | 0x80];
      [bytes[3], bytes[4], bytes[5]] = [bytes[3]! & (random.chance(0.7) ? 0xf0 : 0xff), 0, 1];
    }
    for (const asked of questions) mustBeAnswer(readReply(bytes, 7, asked), asked);
  },
  work(input) {
    const bytes = Uint8Array.from(input);
    bytes.set(answer("A", "a.test", "192.0.2.1").subarray(0, 24));
    bytes.set([0xff, 0xff], 6); // as many answers as there can be
    readReply(bytes, 7, { name: "a.test", type: "A" });
  },
};

const failures = ["foreign", "malformed", "truncated", "not-understood", "servfail", "refused"];

function mustBeAnswer(reply: ReturnType<typeof readReply>, { type }: Question): void {
  if (reply.kind !== "answer") return must(failures.includes(reply.kind), () => reply.kind);
  must(reply.ttl >= 0 && (reply.negativeTtl ?? 0) >= 0, () => "a ttl below zero");
  for (const record of reply.records) {
    if (type === "MX") {
      must(typeof (record as { host: string }).host === "string", () => "an MX without a host");
    } else if (type === "TLSA") {
      must(
        (record as { certificate: Uint8Array }).certificate instanceof Uint8Array,
        () => "a TLSA without octets",
      );
    } else must(typeof record === "string", () => `${type} is of type ${typeof record}`);
  }
}

const pem = await Deno.readTextFile(new URL("../../delivery/smtp/certs/server.pem", import.meta.url));
const certificateOctets = Uint8Array.fromBase64(pem.replaceAll(/-----[^-]+-----|\s/g, ""));

export const certificate: Target = {
  name: "certificate",
  holds: "a peer's certificate is read or it is none, and nothing is read behind its end",
  seeds: [certificateOctets],
  try(input) {
    const found = readCertificate(Uint8Array.from(input));
    if (!found) return;
    const longer = new Uint8Array(input.length + 1);
    longer.set(input);
    must(readCertificate(longer) === undefined, () => "an octet behind the certificate goes unseen");
  },
  work(input) {
    readCertificate(Uint8Array.from(input));
  },
};

export const policy: Target = {
  name: "policy",
  holds: "a domain's MTA-STS policy is read, or why not is said on one short line",
  seeds: [
    "version: STSv1\r\nmode: enforce\r\nmx: mx.a.test\r\nmx: *.b.test\r\nmax_age: 604800\r\n",
    "version: STSv1\nmode: none\nmax_age: 1\n",
  ].map(octets),
  try(input) {
    const found = readStsPolicy(new TextDecoder().decode(input));
    if (typeof found === "string") {
      return must(!found.includes("\n") && found.length < 200, () => JSON.stringify(found));
    }
    must(["enforce", "testing", "none"].includes(found.mode), () => found.mode);
    must(found.mode === "none" || found.mx.length > 0, () => "a policy that no host can meet");
  },
  work(input) {
    readStsPolicy(latin1(input));
  },
};

export const report: Target = {
  name: "report",
  holds: "whatever a peer said, a report has its three parts, its own fields, and lines that mail can have",
  seeds: [
    "550 5.1.1 no such user",
    "550-5.1.1 a\r\n--=_b\r\nContent-Type: text/html\r\n\r\n550 b",
    "450 \xc3\xbc \xe2\x80\xae \x1b[2J",
    `554 ${"word ".repeat(300)}`,
  ].map(octets),
  try(input, random) {
    const said = new TextDecoder().decode(input);
    const original = octets("Subject: x\r\n");
    const dsn = makeDsn({
      kind: "failure",
      hostname: "mx.test",
      to: "a@b.test",
      now: 0,
      messageId: "<1@mx.test>",
      boundary: "=_0123456789abcdef",
      arrival: 0,
      utf8: random.chance(0.5),
      recipients: [{
        address: "c@d.test",
        action: "failed",
        status: "5.1.1",
        reply: said,
        host: said.slice(0, 40),
        lastAttempt: 0,
      }],
      original: { part: "headers", octets: original },
      texts: dsnTexts,
    });
    const text = latin1(dsn);
    must(!/\r(?!\n)|(?<!\r)\n/.test(text), () => "a lone CR or LF");
    must(text.split("\r\n").every((line) => line.length <= 998), () => "a line that is too long");
    must(text.split("--=_0123456789abcdef\r\n").length === 4, () => "another number of parts than three");
    const names = [...readHeader(dsn)].map(([name]) => name).join(" ");
    must(/^[A-Za-z -]+$/.test(names) && names.split(" ").length < 12, () => `fields: ${names}`);
    const machine = text.split("--=_0123456789abcdef\r\n")[2]!.split("\r\n\r\n").slice(1);
    must(machine.length === 2 || machine.length === 3, () => "another number of groups of fields than two");
  },
  work(input) {
    const said = latin1(input);
    makeDsn({
      kind: "failure",
      hostname: "mx.test",
      to: "a@b.test",
      now: 0,
      messageId: "<1@mx.test>",
      boundary: "=_b",
      arrival: 0,
      utf8: false,
      recipients: [{ address: "c@d.test", action: "failed", status: "5.1.1", reply: said, lastAttempt: 0 }],
      texts: dsnTexts,
    });
  },
};
