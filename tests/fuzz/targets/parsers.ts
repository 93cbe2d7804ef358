/** What reads a peer's text: addresses, parameters, SASL, where-expressions, header sections, senders of a `From:`. */
import { readAuthors } from "../../../plugins/auth/from.ts";
import { longestWhere, matches, parseWhere, type Row, WhereProblem } from "../../../server/control/where.ts";
import { isIP } from "node:net";
import { claimsOurName } from "../../../server/message/submission.ts";
import { readHeader } from "../../../server/message/header.ts";
import {
  type Address,
  makeAddress,
  parseAddress,
  parsePath,
  sameMailbox,
} from "../../../server/smtp/address.ts";
import { wireAddress } from "../../../server/smtp/client_command.ts";
import { encodeXtext, parseMailParams, parseRcptParams } from "../../../server/smtp/params.ts";
import { type Mechanism, startSasl } from "../../../server/smtp/sasl.ts";
import { readXclient } from "../../../server/smtp/xclient.ts";
import { latin1, must, mustBeSame, octets, type Target } from "../target.ts";

const utf8 = new TextDecoder();
const control = /\p{Cc}/u;

export const address: Target = {
  name: "address",
  holds:
    "an address that is read is read again from what it says, quotes and all, and can break no line it stands in",
  seeds: [
    "<a@b.test>",
    "<>",
    "<postmaster>",
    '<"a b"@c.test> SIZE=1',
    '<"\\"@\\>"@c.test>',
    "<@a.test,@b.test:c@d.test> X=1",
    "a@b.test",
    "<a@[127.0.0.1]>",
    "<a@[IPv6:2001:db8::1]>",
    "<j\xc3\xbcrgen@stra\xc3\x9fe.test> SMTPUTF8",
    "<a+b+c@d.test>",
    "<a..b@xn--strae-oqa.test>",
    "<a%b!c@d.test>",
  ].map(octets),
  try(input, random) {
    const text = utf8.decode(input);
    for (const how of [{ utf8: true, null: true }, { utf8: false, null: random.chance(0.5) }]) {
      const read = parsePath(text, how);
      if (read.kind === "bad") {
        must(
          !control.test(read.text) && /^[ -~]+$/.test(read.text),
          () => "a reason that repeats the peer's text",
        );
        continue;
      }
      must(
        how.utf8 || !/[^\0-\x7f]/.test(read.address.address),
        () => "an address beyond ASCII without SMTPUTF8",
      );
      mustBeSound(read.address);
    }
    const bare = parseAddress(text);
    if (bare) {
      mustBeSame(bare.address, text, "an address as it was given");
      mustBeSound(bare);
    }
  },
  work(input) {
    const text = latin1(input);
    parsePath(text, { utf8: true, null: true });
    parseAddress(text);
    wireAddress(text);
  },
};

function mustBeSound(read: Address): void {
  const { address, local, domain } = read;
  must(!control.test(address), () => "a control character in an address");
  must(new TextEncoder().encode(address).length <= 254, () => "an address that is too long");
  must(
    address === "" || domain === "" || /^(?:[a-z0-9_.-]+|\[[a-z0-9:.]+\])$/.test(domain),
    () => `the domain ${domain}`,
  );
  if (address === "" || domain === "") return;
  const again = parseAddress(address);
  must(again !== undefined && sameMailbox(again, read), () => `${address} is not read again as it was`);
  const made = makeAddress(local, domain);
  // Quotes may make it longer than an address may be.
  must(
    made === undefined ? address.length > 120 : sameMailbox(made, read),
    () => `${address} is another when written anew`,
  );
  const wire = wireAddress(address);
  must(wire.kind === "sendable", () => `${address} can be received and not sent`);
  const line = parsePath(`<${wire.text}>`, { utf8: true, null: false });
  must(
    line.kind === "path" && line.rest === "" && sameMailbox(line.address, read),
    () => `${address} is another on the wire`,
  );
}

export const params: Target = {
  name: "params",
  holds:
    "what is read of MAIL's and RCPT's parameters can begin no line, and is read again from what it is written as",
  seeds: [
    "SIZE=1000 BODY=8BITMIME SMTPUTF8",
    "RET=HDRS ENVID=a+2Bb AUTH=<>",
    "AUTH=a+40b.test",
    "NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+40b.test",
    "NOTIFY=NEVER ORCPT=utf-8;j\xc3\xbcrgen+40b",
    "BODY=7BIT SIZE=18446744073709551615",
  ].map(octets),
  try(input) {
    const text = utf8.decode(input);
    const mail = parseMailParams(text);
    const rcpt = parseRcptParams(text, undefined, { utf8: true });
    for (const read of [mail, rcpt]) {
      if (read.kind === "bad") {
        must(/^[!-~]{1,64}$|^number \d+$/.test(read.text), () => `a reason: ${read.text}`);
      } else {for (const [name, value] of read.params) {
          must(!control.test(value) && /^[A-Z0-9-]+$/.test(name), () => name);
        }}
    }
    if (mail.kind === "params") {
      for (const decoded of [mail.envid, mail.auth]) {
        if (decoded === undefined) continue;
        must(/^[ -~]+$/.test(decoded), () => `decoded to ${JSON.stringify(decoded)}`);
        const again = parseMailParams(`AUTH=${encodeXtext(decoded)}`);
        must(
          again.kind === "params" && again.auth === decoded || decoded.length > 160,
          () => "xtext is not read again",
        );
      }
    }
    if (rcpt.kind === "params" && rcpt.orcpt) {
      must(
        !control.test(rcpt.orcpt.address) && !/[\x80-\x9f]/.test(rcpt.orcpt.address),
        () => "a control character",
      );
    }
  },
  work(input) {
    const text = latin1(input);
    parseMailParams(text);
    parseRcptParams(text, undefined, { utf8: true });
  },
};

const mechanisms: readonly Mechanism[] = ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"];
const base64 = (text: string) => octets(octets(text).toBase64());

export const sasl: Target = {
  name: "sasl",
  holds: "an exchange ends, and whoever logs in has a name without control characters and a secret",
  seeds: [
    base64("\0ann\0secret"),
    base64("ann"),
    base64("user=ann\x01auth=Bearer abc\x01\x01"),
    base64("n,a=ann,\x01auth=Bearer abc\x01\x01"),
    octets("="),
    octets("*"),
    ...[
      "\0ann\0secret",
      "user=ann\x01auth=Bearer abc\x01\x01",
      "n,a=ann=2Cb,\x01host=x\x01auth=Bearer abc\x01\x01",
    ].map(octets),
  ],
  try(input, random) {
    const exchange = startSasl(random.pick(mechanisms));
    // Mutated base64 is mostly no base64: half of the inputs are what stands in it.
    const text = random.chance(0.5) ? latin1(input) : input.toBase64();
    const lines = text.split(/\r?\n/);
    let step = random.chance(0.5) ? exchange.begin() : exchange.next(lines.shift() ?? "");
    for (const line of [...lines, "YQ==", "YQ=="]) {
      if (step.kind !== "challenge") {
        const after = exchange.next(line);
        must(
          after.kind === "bad" && after.problem === "malformed",
          () => "an exchange goes on behind its end",
        );
        break;
      }
      must(/^[A-Za-z0-9+/=]*$/.test(step.text), () => "a challenge that is no base64");
      step = exchange.next(line);
    }
    if (step.kind !== "credentials") return;
    must(
      step.user !== "" && !control.test(step.user + step.authorizationId),
      () => "a name with a control character",
    );
    must(
      step.secret.reveal() !== "" && !step.secret.reveal().includes("\0"),
      () => "an empty secret, or one with NUL",
    );
    must(
      !JSON.stringify(step).includes(JSON.stringify(step.secret.reveal()).slice(1, -1)) ||
        step.secret.reveal().length < 9,
      () => "a secret that can be read",
    );
  },
  // No `work`: a line of SASL has 12,288 octets at most (CASES C04).
};

export const xclient: Target = {
  name: "xclient",
  holds:
    "who is introduced has an IP address or none, a name that can be said, and a login only where that is believed",
  seeds: [
    "NAME=c.test ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=client.test LOGIN=alice+40a.test",
    "ADDR=IPV6:2001:db8::1 DESTADDR=IPV6:2001:db8::2 DESTPORT=25",
    "ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL] HELO=a+20b+2Bc",
    "ADDR=::ffff:192.0.2.1 PORT=0",
  ].map(octets),
  try(input, random) {
    const login = random.chance(0.5) ? "login-believed" : "login-not-believed";
    const read = readXclient(utf8.decode(input), login);
    if (read.kind !== "client") return;
    const { address, port, helo, destination, login: user } = read.client;
    must(address === undefined || isIP(address) !== 0, () => `the address ${address}`);
    must(destination === undefined || isIP(destination.address) !== 0, () => "a destination that is none");
    must(port >= 0 && port <= 65_535 && (address !== undefined || port === 0), () => `the port ${port}`);
    must(!control.test(`${helo}${user}`) && helo !== "" && user !== "", () => "a name that can't be said");
    must(user === undefined || login === "login-believed", () => "a login that nobody believes");
  },
  work(input) {
    readXclient(latin1(input), "login-believed");
  },
};

const row: Row = {
  domain: "a.test",
  sender: "",
  recipient: "b@a.test",
  state: "deferred",
  size: 4000,
  age: 1000,
  attempts: 3,
  reply: `450 4.2.0 ${"ab".repeat(400)} later`,
  transport: "smtp",
  destination: "mx.a.test:25",
};

export const where: Target = {
  name: "where",
  holds: "an expression is understood, or its one problem has a place; a condition is as long as its text",
  seeds: [
    "domain = yahoo.com and attempts > 3 and age > 2h",
    "not (sender = <> or state = held) and reply ~ 'a*b*c'",
    'recipient != "a \\"b\\"@c" or size >= 64KiB',
    "transport = smtp and destination ~ mx.*:25",
    "reply ~ *a*b*a*b*a*b*a*b*c",
  ].map(octets),
  try(input) {
    const text = utf8.decode(input);
    try {
      matches(parseWhere(text), row);
    } catch (error) {
      if (!(error instanceof WhereProblem)) throw error;
      must(error.at >= 0 && error.at <= text.length && error.message !== "", () => `the place ${error.at}`);
    }
  },
  work(input) {
    // Longer ones are refused at once: what may be slow is to compare one with long text.
    for (
      const text of [
        latin1(input),
        `reply ~ "${latin1(input.subarray(0, longestWhere - 20)).replaceAll('"', "*")}"`,
      ]
    ) {
      try {
        matches(parseWhere(text), { ...row, reply: latin1(input) });
      } catch (error) {
        if (!(error instanceof WhereProblem)) throw error;
      }
    }
  },
};

export const header: Target = {
  name: "header",
  holds: "the fields of a header section are the content, octet by octet; no name or value holds a line end",
  seeds: [
    "Received: from a\r\n\tby b; now\r\nSubject: x\r\n\r\nbody\r\n",
    "From: a@b\r\nTo : c\r\n\r\n",
    "From a@b now\r\nSubject: x\r\n\r\n",
    "__proto__: x\r\nconstructor: y\r\n folded\r\n \r\nbody",
    "Authentication-Results: mx.test; spf=pass\r\nX: y",
    "\r\nno header",
    " begins with white space\r\n",
    "Subject: =?utf-8?B?w7w=?= \xc3\xbc\r\n\r\n--=_b\r\nContent-Type: text/plain\r\n\r\n--=_b--\r\n",
  ].map(octets),
  try(input, random) {
    const content = Uint8Array.from(input);
    const section = readHeader(content);
    let at = 0;
    for (let field = 0; field < section.length; field++) {
      must(
        section.start(field) === at,
        () => `field ${field} begins at ${section.start(field)}, not at ${at}`,
      );
      at = section.stop(field);
      must(/^[!-9;-~]+$/.test(section.name(field)), () => `the name ${JSON.stringify(section.name(field))}`);
      must(!/[\r\n]/.test(section.value(field)), () => "a value with a line end");
      must(section.find(section.name(field)).includes(field), () => `${section.name(field)} is not found`);
      claimsOurName(section.value(field), "mx.test");
      readAuthors(section.value(field));
    }
    must(
      at === section.fieldsEnd && section.end >= at && section.end <= content.length,
      () => "the section's end",
    );
    must(
      [0, 2].includes(section.end - section.fieldsEnd),
      () => "the section ends with another than an empty line",
    );
    // Of a longer content only whole fields are taken: the same ones, if there is more to come.
    const cut = readHeader(content.slice(0, random.below(content.length + 1)), content.length);
    must(cut.length <= section.length || section.length === 0, () => "a part has more fields than the whole");
    for (let field = 0; field < cut.length; field++) {
      must(
        cut.start(field) === section.start(field) && cut.stop(field) === section.stop(field),
        () => `field ${field} of a part is another`,
      );
    }
  },
  work(input) {
    const section = readHeader(Uint8Array.from(input));
    for (let field = 0; field < section.length; field++) section.value(field);
    section.all("subject");
    claimsOurName(latin1(input), "mx.test");
    readAuthors(latin1(input));
  },
};
