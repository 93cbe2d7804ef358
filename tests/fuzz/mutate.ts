/** From good inputs to bad ones: cut, doubled, crossed, with SMTP's own alphabet folded in. */
import type { Random } from "../spool/random.ts";
import { octets } from "./target.ts";

/** No input is longer: the slow work is found by `linear.ts`, not by long inputs. */
const longest = 16 * 1024;

/** What trips readers of mail: verbs, line ends of every kind, dots, sizes, base64, octets above 127, invisible ones. */
const alphabet: readonly Uint8Array[] = [
  ..."EHLO a\r\n|HELO b\r\n|LHLO c\r\n|MAIL FROM:<a@b.test>\r\n|MAIL FROM:<>\r\n|RCPT TO:<c@d.test>\r\n|RCPT TO:<postmaster>\r\n"
    .split("|"),
  ..."DATA\r\n|RSET\r\n|NOOP\r\n|QUIT\r\n|VRFY x\r\n|EXPN x\r\n|HELP\r\n|STARTTLS\r\n|XCLIENT ADDR=192.0.2.7 HELO=c.test\r\n|AUTH PLAIN\r\n|AUTH LOGIN\r\n|TURN\r\n"
    .split("|"),
  ..."BDAT 0\r\n|BDAT 0 LAST\r\n|BDAT 1\r\n|BDAT 5 LAST\r\n|BDAT 18446744073709551616\r\n|BDAT -1\r\n|BDAT 99999999999999999999\r\n"
    .split("|"),
  ..." SIZE=1000| SIZE=99999999999999999999| BODY=8BITMIME| BODY=BINARYMIME| SMTPUTF8| RET=HDRS| ENVID=a+2Bb| NOTIFY=NEVER"
    .split("|"),
  ..." NOTIFY=SUCCESS,DELAY| ORCPT=rfc822;a+40b| ORCPT=utf-8;ü| AUTH=<>| =| X=".split("|"),
  ..."\r|\n|\r\n|\n\r|\r\r\n|\r\n\r\n|.|..|\r\n.\r\n|\n.\n|\r.\r|\r\n.\n|\n.\r\n|\r\n..\r\n|\r\n.\r|\0| |\t|\r\n |\r\n\t"
    .split("|"),
  ..."<|>|@|:|;|,|\"|\\|(|)|[|]|%|!|=|+|-|_|~|*|/|'|`|#|&|$|^|{|}".split("|"),
  ..."=|*|AGEAYg==|YWxpY2U=|====|dXNlcj1hAWF1dGg9QmVhcmVyIGIBAQ==".split("|"),
  ..."220 x\r\n|250 x\r\n|250-x\r\n|354 x\r\n|421 x\r\n|450 x\r\n|550 x\r\n|250\r\n|334 \r\n|235 x\r\n|250-PIPELINING\r\n"
    .split("|"),
  ..."250-CHUNKING\r\n|250-SIZE 10\r\n|250 STARTTLS\r\n|250 SMTPUTF8\r\n|250-DSN\r\n|250-8BITMIME\r\n".split(
    "|",
  ),
  ..."Subject: x\r\n|Received: from a by b\r\n|__proto__: x\r\n|From : a@b\r\n|From a@b\r\n|--=_b\r\n|--=_b--\r\n|:x\r\n"
    .split("|"),
  ..."[127.0.0.1]|[IPv6:::1]|[IPv6:1::2::3]|xn--a|a..b|.a|a.|0x7f.1|1.2.3.4|::ffff:1.2.3.4|255|256|65535|65536"
    .split("|"),
  ..."\xc3\xbc|\xc5\xbf|\xe2\x84\xaa|\xff|\x80|\xc0\xaf|\xed\xa0\x80|\xf4\x90\x80\x80|\xe2\x80\xae|\xef\xbb\xbf|\x7f|\x1b[2J|\x16\x03\x01"
    .split("|"),
  ..." and | or | not |not(|domain = |age > |attempts >= |reply ~ |*|'|state != held|size < 1MiB|((((".split(
    "|",
  ),
  ..."\xc0\x0c|\xc0\x00|\xff\xff|\x00\x00|\x00\x01|\x00\x05|\x00\x10|\x30\x82|\x30\x80|\x02\x01|\xa0\x03"
    .split("|"),
].map(octets);

/** Where limits stand: of lines, names, replies, headers. */
const boundaries = [
  2,
  3,
  10,
  63,
  64,
  65,
  77,
  78,
  79,
  100,
  107,
  252,
  253,
  255,
  256,
  257,
  500,
  510,
  511,
  512,
  513,
  998,
  999,
  1000,
]
  .concat([1023, 1024, 1025, 2046, 2047, 2048, 2049, 4000, 4001, 12_286, 12_287, 12_288, 12_289]);

/** A new input, made of these. */
export function mutated(seeds: readonly Uint8Array[], random: Random): Uint8Array<ArrayBuffer> {
  let bytes = random.chance(0.05) ? new Uint8Array(0) : Uint8Array.from(random.pick(seeds));
  for (let left = random.below(random.chance(0.3) ? 24 : 6); left >= 0; left--) {
    bytes = changed(bytes, seeds, random);
  }
  return bytes.slice(0, longest);
}

function changed(
  bytes: Uint8Array<ArrayBuffer>,
  seeds: readonly Uint8Array[],
  random: Random,
): Uint8Array<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const end = at + random.below(Math.min(bytes.length - at, random.chance(0.5) ? 8 : 200) + 1);
  switch (random.below(9)) {
    case 0: // one octet becomes another
      if (at < bytes.length) {
        bytes[at] = random.chance(0.5) ? random.below(256) : bytes[at]! ^ (1 << random.below(8));
      }
      return bytes;
    case 1:
      return spliced(bytes, at, end, new Uint8Array(0));
    case 2: // twice, or moved to elsewhere
      return spliced(bytes, random.below(bytes.length + 1), undefined, bytes.slice(at, end));
    case 3: { // a part of another
      const other = random.pick(seeds);
      const from = random.below(other.length + 1);
      return spliced(bytes, at, end, other.slice(from, from + random.below(300)));
    }
    case 4: // up to where a limit stands
      return spliced(
        bytes,
        at,
        undefined,
        repeated(random.chance(0.5) ? octets("a") : random.pick(alphabet), random),
      );
    case 5:
      return bytes.slice(0, at);
    default:
      return spliced(bytes, at, random.chance(0.3) ? end : undefined, random.pick(alphabet));
  }
}

function repeated(unit: Uint8Array, random: Random): Uint8Array {
  const wanted = random.pick(boundaries);
  const times = Math.max(1, random.chance(0.5) ? Math.floor(wanted / unit.length) : Math.min(wanted, 40));
  const all = new Uint8Array(unit.length * times);
  for (let n = 0; n < times; n++) all.set(unit, n * unit.length);
  return all;
}

function spliced(
  bytes: Uint8Array,
  from: number,
  to: number | undefined,
  put: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const rest = bytes.subarray(to ?? from);
  const all = new Uint8Array(from + put.length + rest.length);
  all.set(bytes.subarray(0, from));
  all.set(put, from);
  all.set(rest, from + put.length);
  return all;
}

/** Something short that an input can be made long with. */
export function unit(seeds: readonly Uint8Array[], random: Random): Uint8Array {
  if (random.chance(0.6)) return random.pick(alphabet);
  const seed = random.pick(seeds);
  const at = random.below(seed.length + 1);
  const cut = seed.slice(at, at + 1 + random.below(12));
  return cut.length > 0 ? cut : random.pick(alphabet);
}

/**
 * The shortest input found by leaving out parts that still does what it did.
 *
 * @param fails Whether the same goes wrong with this input.
 */
export async function shortened(
  bytes: Uint8Array,
  fails: (bytes: Uint8Array) => Promise<boolean>,
): Promise<Uint8Array> {
  let shortest = bytes;
  for (let size = Math.ceil(bytes.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < shortest.length;) {
      const shorter = spliced(shortest, at, Math.min(at + size, shortest.length), new Uint8Array(0));
      if (await fails(shorter)) shortest = shorter;
      else at += size;
    }
  }
  return shortest;
}

/** An input as a dialog or a test writes it. */
export function written(bytes: Uint8Array): string {
  let text = "";
  for (const octet of bytes) {
    if (octet === 0x22 || octet === 0x5c) text += `\\${String.fromCharCode(octet)}`;
    else if (octet === 0x0d) text += "\\r";
    else if (octet === 0x0a) text += "\\n";
    else if (octet >= 0x20 && octet < 0x7f) text += String.fromCharCode(octet);
    else text += `\\x${octet.toString(16).padStart(2, "0")}`;
  }
  return `"${text}"`;
}
