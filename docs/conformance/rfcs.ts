/** Each RFC that is spoken, by the sections that ask something of a server or a client, and where each is held. */

/** A section. */
export interface Section {
  /** `§4.5.3.1`. */
  readonly section: string;
  readonly asks: string;
  /** Where it is done, or why it isn't. */
  readonly held: { readonly by: string; readonly tests: readonly Proof[] } | { readonly not: string };
}

/** What proves it: a case of the table above by its id, or a file of tests and a part of a test's name in it. */
export type Proof = string | { readonly file: string; readonly name: string };

/** One RFC. */
export interface Rfc {
  readonly number: string;
  readonly title: string;
  readonly sections: readonly Section[];
}

/** A test's file under `tests/`, and a part of its name. */
const t = (file: string, name: string): Proof => ({ file: `tests/${file}`, name });
const held = (section: string, asks: string, by: string, ...tests: Proof[]): Section => ({
  section,
  asks,
  held: { by, tests },
});
const not = (section: string, asks: string, why: string): Section => ({ section, asks, held: { not: why } });
const rfc = (number: string, title: string, ...sections: Section[]): Rfc => ({ number, title, sections });

const session = "server/smtp/session.ts";
const client = "server/smtp/client.ts";

/** The table. */
export const rfcs: readonly Rfc[] = [
  rfc(
    "5321",
    "Simple Mail Transfer Protocol",
    held("§2.3.8", "Only CRLF ends a line", "server/smtp/line.ts", "C05", "D02"),
    held("§2.4", "Verbs in any case, local parts as they are", "server/smtp/command.ts", "C02", "A02"),
    held(
      "§3.1",
      "A greeting first, `554` where there is no service",
      session,
      "C01",
      t("dialogs/C01-before-the-greeting.smtp", "220"),
    ),
    held(
      "§3.3",
      "MAIL, RCPT, DATA in this order; the transaction is whole or nothing",
      session,
      "S01",
      "S02",
    ),
    held("§3.3, §4.1.1.3", "Source routes are dropped", "server/smtp/address.ts", "A03"),
    held("§3.5.3, §7.3", "VRFY and EXPN may say nothing of who exists", "server/phases.ts", "C09"),
    held("§3.6.2, §7.9", "No relaying but for whom it was arranged", "server/resolve.ts", "R01"),
    held(
      "§4.4",
      "`Received` on top when mail is taken, `Return-Path` at final delivery",
      "server/message/received.ts",
      "D08",
      t("message/received_test.ts", "transmission type"),
    ),
    held("§3.8", "`421` at any time; what isn't closed by QUIT is put off", client, "O01", "O04"),
    held(
      "§3.9.1",
      "Aliases keep the sender of the envelope",
      "server/resolve.ts",
      "S03",
      t("plugins/aliases_test.ts", "aliases"),
    ),
    held(
      "§3.9.2",
      "Lists send under a sender of their own",
      "plugins/lists/mod.ts",
      t(
        "plugins/lists/lists_test.ts",
        "what a member posts is each member's once, under the list's sender, with its fields",
      ),
    ),
    held(
      "§4.1.1.1, §4.1.4",
      "EHLO before mail; no refusal for a name that doesn't check",
      session,
      "C03",
      "S01",
    ),
    held("§4.1.1.4, §4.5.2", "DATA to the final dot, dots stuffed", "server/smtp/data.ts", "D01", "D03"),
    held("§4.1.1.5–§4.1.1.10", "RSET, VRFY, EXPN, HELP, NOOP, QUIT", session, "C08", "C09", "C11"),
    held("§4.1.1.11", "`555` to parameters that are unknown", "server/smtp/params.ts", "N01"),
    held("§4.1.2", "Syntax of paths and mailboxes", "server/smtp/address.ts", "A02", "A06"),
    held("§4.1.3", "Address literals", "server/smtp/address.ts", "A04"),
    held(
      "§4.2",
      "Replies of several lines, also from peers that bend the rules",
      "server/smtp/client_reply.ts",
      "O01",
    ),
    held(
      "§4.2.5, §6.1",
      "`250` behind the dot means responsible for it",
      "server/keeping.ts",
      "Q01",
      t("keeping_test.ts", "promise 1: no 250 before the disk has it"),
    ),
    held("§4.3.2", "Each command's replies", "server/smtp/reply.ts", "S01", "C08"),
    held("§4.5.1", "`postmaster` is always reached", "server/resolve.ts", "A01"),
    held("§4.5.3.1", "Limits of sizes, and more where it can", "server/smtp/line.ts", "C04", "A05", "S03"),
    held("§4.5.3.2", "Time-outs of server and client", "server/connection.ts", "D09", "O07"),
    held(
      "§4.5.4.1",
      "Retries for days, further and further apart",
      "server/delivery/schedule.ts",
      "Q04",
      t(
        "delivery/schedule_test.ts",
        "expiry: five days of failures end with an attempt just after the fifth day",
      ),
    ),
    held("§4.5.5", "The null sender, for what nobody answers", "server/delivery/reports.ts", "Q05"),
    held(
      "§5.1",
      "MX by preference, equal ones by chance; no MX: the host itself",
      "server/delivery/smtp/mx.ts",
      "G01",
      "G02",
      t("delivery/smtp/routing_test.ts", "MX of one preference: chance decides"),
    ),
    held("§6.2", "Nothing that was taken is dropped in silence", "server/delivery/outcomes.ts", "Q05"),
    held("§6.3", "Loops are found by counting `Received`", "server/intake.ts", "D07"),
    held(
      "§6.4",
      "Submitted mail may be completed; relayed mail is left alone",
      "server/message/submission.ts",
      "D08",
    ),
    held("§7.5", "No software version where a stranger can read it", session, "C09"),
  ),
  rfc(
    "5322",
    "Internet Message Format",
    held(
      "§2.1.1",
      "Lines that are made have 78 octets where they can, 998 at most",
      "server/message/field.ts",
      t("message/field_test.ts", "a made field is read as one"),
    ),
    held(
      "§2.2, §3.6.8",
      "Header fields are read octet by octet, and what isn't one is body",
      "server/message/header.ts",
      "D05",
    ),
    held(
      "§2.2.3",
      "Folding and unfolding",
      "server/message/field.ts",
      t("message/header_test.ts", "header: a value"),
    ),
    held(
      "§3.3, §3.6.1",
      "Dates",
      "server/message/received.ts",
      t("message/received_test.ts", "received: dates"),
    ),
    held(
      "§3.6.2",
      "Authors, also of malformed fields, for who may write in whose name",
      "plugins/auth/from.ts",
      "U06",
    ),
    held(
      "§3.6.4",
      "A Message-ID where a submitted message has none",
      "server/message/submission.ts",
      t("message/received_test.ts", "a Message-ID is random"),
    ),
    held(
      "§3.6.7",
      "Trace fields on top",
      "server/message/received.ts",
      t("message/received_test.ts", "whatever it is made of, it is one field"),
    ),
    not(
      "§3.4, §4",
      "Parsing of all structured fields and their obsolete forms",
      "The core reads the structure of `From`, `Received` and `Authentication-Results`; plugins have packages for more.",
    ),
  ),
  rfc(
    "6531",
    "SMTP Extension for Internationalized Email",
    held(
      "§3.1, §3.4",
      "SMTPUTF8 is offered, and asked for before addresses beyond ASCII",
      "server/smtp/params.ts",
      "A10",
    ),
    held(
      "§3.2, §3.7",
      "A client asks for it only where something needs it; a peer without: `5.6.7`",
      "server/smtp/client_transaction.ts",
      "O06",
    ),
    held("§3.3", "Mailboxes in UTF-8, domains compared as A-labels", "server/smtp/address.ts", "A09", "A10"),
    held(
      "§3.7.3",
      "`Received` says `UTF8SMTP…`",
      "server/message/received.ts",
      t("message/received_test.ts", "transmission type"),
    ),
    held(
      "RFC 6533",
      "Reports in UTF-8 to who can read them, else `\\x{…}`",
      "server/message/dsn.ts",
      t("message/dsn_test.ts", "RFC 6533: under SMTPUTF8 addresses and replies stand as they are"),
    ),
  ),
  rfc(
    "2920",
    "Command Pipelining",
    held(
      "§3.1",
      "A client sends groups where it is offered, and none behind what ends one",
      "server/smtp/client_transaction.ts",
      t("smtp/client_dialogs.ts", "the envelope in one write where only PIPELINING is offered"),
    ),
    held(
      "§3.2",
      "Replies of a group leave together; what came early behind its end is no command",
      session,
      "P01",
      "P02",
    ),
  ),
  rfc(
    "1870",
    "Message Size Declaration",
    held(
      "§4, §6.1",
      "The limit stands behind `SIZE`; what is declared larger is refused at MAIL",
      session,
      "D06",
    ),
    held("§6.3", "What turns out larger is refused behind the dot", "server/smtp/reader.ts", "D06"),
    held(
      "§5",
      "A client declares the size, and doesn't send what is over the peer's limit",
      "server/smtp/client_transaction.ts",
      "O06",
    ),
  ),
  rfc(
    "6152",
    "8-bit MIME Transport",
    held(
      "§2",
      "8BITMIME is offered; `BODY=7BIT`, `BODY=8BITMIME`",
      "server/smtp/params.ts",
      t("smtp/params_test.ts", "any case"),
    ),
    held(
      "§3",
      "A peer without: sent as it is, or bounced, as configured",
      "server/smtp/client_transaction.ts",
      "O06",
    ),
    not(
      "§3",
      "Conversion to 7 bits for such a peer",
      "It would break signatures (`outbound.eightBit: send | bounce` instead).",
    ),
  ),
  rfc(
    "2034, 3463",
    "Enhanced Status Codes",
    held(
      "2034 §4",
      "In all replies but greetings, EHLO's and 3xx",
      "server/smtp/reply.ts",
      "C03",
      t("ruling_test.ts", "ruling: default codes, by hook"),
    ),
    held(
      "3463 §2",
      "`class.subject.detail`; a plugin's verdict without is malformed",
      "server/ruling.ts",
      t("ruling_test.ts", "a malformed verdict is said to be one, whatever it is"),
    ),
    held(
      "2034 §4",
      "A peer's codes are read, where they agree with its reply",
      "server/smtp/client_reply.ts",
      t("smtp/client_reply_test.ts", "status"),
    ),
  ),
  rfc(
    "3461",
    "SMTP Extension for Delivery Status Notifications",
    held("§4.1–§4.4", "`NOTIFY`, `ORCPT`, `RET`, `ENVID`, strictly", "server/smtp/params.ts", "N01"),
    held("§5.2.1", "Parameters go on to peers that offer DSN", "server/smtp/client_command.ts", "N02"),
    held(
      "§5.2.2",
      "`NOTIFY=SUCCESS` and a peer without DSN: a `relayed` report",
      "server/delivery/reports.ts",
      "N02",
    ),
    held(
      "§5.2.3–§5.2.7",
      "Local delivery, aliases: who is told of what",
      "server/delivery/reports.ts",
      t("delivery/reports_test.ts", "ENVID and ORCPT come back; an alias's target stays unknown"),
    ),
    held(
      "§6.2, §6.3",
      "What of the message comes back",
      "server/delivery/reports.ts",
      t("delivery/reports_test.ts", "RET decides what is attached"),
    ),
  ),
  rfc(
    "3464, 6522",
    "Format of Delivery Status Notifications",
    held(
      "§2",
      "`multipart/report` of three parts; fields of message and recipients",
      "server/message/dsn.ts",
      t("message/dsn_test.ts", "the machine's part has all the fields of RFC 3464"),
    ),
    held(
      "§2.3.6",
      "The peer's own words, and nothing that breaks out of them",
      "server/message/dsn.ts",
      "O08",
    ),
    held("§2", "A null sender, and no report of a report", "server/delivery/reports.ts", "Q05"),
  ),
  rfc(
    "3030",
    "Large and Binary Messages",
    held("§2", "CHUNKING: BDAT, `LAST`, pipelined; a lost place closes", session, "B01", "B02", "B03"),
    held(
      "§2",
      "A client sends chunks where they are offered",
      "server/smtp/client_transaction.ts",
      t("smtp/client_dialogs.ts", "all in one write where PIPELINING and CHUNKING are offered"),
    ),
    not(
      "§3",
      "BINARYMIME",
      "Not offered, and `BODY=BINARYMIME` is refused (B04): most next hops couldn't take it on.",
    ),
  ),
  rfc(
    "4954",
    "SMTP AUTH",
    held(
      "§3, §4",
      "Mechanisms are offered, initial responses, `=`, `*`; one login a session",
      "server/smtp/sasl.ts",
      "U01",
      "U02",
    ),
    held("§4", "Lines of 12,288 octets", "server/smtp/command.ts", "C04"),
    held(
      "§4",
      "A client logs in, with PLAIN or LOGIN, and never in the clear unasked",
      client,
      t("smtp/client_dialogs.ts", "a password is not sent in the clear"),
    ),
    held(
      "§5",
      "`AUTH=` at MAIL is read, and trusted for nothing",
      "server/smtp/params.ts",
      t("smtp/params_test.ts", "AUTH="),
    ),
    held("§6", "`535`, `454`, `530`, with their enhanced codes", "server/smtp/reply.ts", "U01", "U03"),
    not(
      "§4",
      "A security layer (SASL integrity or confidentiality)",
      "No mechanism here has one: TLS is the layer.",
    ),
  ),
  rfc(
    "4616, 7628",
    "SASL PLAIN, OAUTHBEARER",
    held(
      "4616 §2",
      "Identity, name, password; UTF-8; nobody acts as another",
      "server/smtp/sasl.ts",
      "U02",
      "U05",
    ),
    held(
      "7628 §3.1",
      "Bearer tokens, for plugins that can check them",
      "server/smtp/sasl.ts",
      t("smtp/sasl_test.ts", "OAUTHBEARER"),
    ),
    not("7628 §3.2.2", "The server's JSON error", "The reply is the same `535` as for a wrong password."),
  ),
  rfc(
    "5802, 7677",
    "SCRAM-SHA-256",
    held(
      "5802 §5, 7677 §3",
      "The exchange; the server proves itself, too",
      "server/scram.ts",
      t("scram_test.ts", "the exchange of RFC 7677 §3"),
    ),
    held(
      "5802 §6",
      "Channel binding (`tls-server-end-point`), and offers that somebody took out",
      "server/scram.ts",
      t("scram_test.ts", "channel binding, and an offer that somebody took out on the way"),
    ),
    held("5802 §9", "Unknown names are told by nothing", "server/scram.ts", "U03"),
    held(
      "4013",
      "SASLprep",
      "plugins/auth/scram.ts",
      t("plugins/auth/scram_test.ts", "SASLprep makes one password of what looks alike"),
    ),
  ),
  rfc(
    "3207, 8314",
    "SMTP over TLS",
    held(
      "3207 §4",
      "STARTTLS; without a certificate `502`, behind early octets a refusal",
      "server/channel/node.ts",
      "T01",
      "T04",
    ),
    held("3207 §4.2", "All that was known is forgotten, on both sides", session, "U05", "O05"),
    held(
      "3207 §4.1",
      "A client goes on in the clear or not at all, as policy has it",
      "server/delivery/smtp/demand.ts",
      "O05",
    ),
    held(
      "8314 §3.3",
      "Submission with TLS from the first octet",
      "server/listen.ts",
      t("e2e/swaks_test.ts", "implicit"),
    ),
    held("8314 §4.1, 8996", "TLS 1.2 and 1.3 only", "server/channel/certificates.ts", "T03"),
    held(
      "3207 §4",
      "Certificates of clients, asked for where configured; who may relay by one",
      "plugins/relay.ts",
      t(
        "plugins/relay_test.ts",
        "a fingerprint is one certificate, a name counts where an authority is trusted",
      ),
    ),
  ),
  rfc(
    "6409",
    "Message Submission",
    held("§3.1, §4.3", "A port of its own; AUTH before MAIL", session, "U01"),
    held("§6.1", "Who may send as whom", "plugins/auth/senders.ts", "U06"),
    held(
      "§8",
      "What a message lacks is added: `Date`, `Message-ID`",
      "server/message/submission.ts",
      t("message/submission_test.ts", "submission"),
    ),
    not(
      "§4.2",
      "Completing domains that aren't fully qualified",
      "An address without a domain is refused; a domain of one label is taken as it is.",
    ),
    not("§8.1, §8.4", "Adding `Sender`, encoding anew", "What was signed before would be broken."),
  ),
  rfc(
    "2033",
    "LMTP",
    held("§4.1", "LHLO instead of HELO and EHLO", session, "L01"),
    held("§4.2", "One reply behind the dot for each accepted recipient", "server/intake.ts", "L01"),
    held("§4.3", "The same for BDAT", session, t("dialogs/L01-bdat.smtp", "LHLO")),
    held(
      "§5",
      "Never on port 25",
      "server/config/config.ts",
      t("config/broken.ts", "LMTP must not be spoken on port 25"),
    ),
    held(
      "§4.2",
      "As a client: an outcome for each recipient",
      "server/smtp/client_transaction.ts",
      t("delivery/smtp/lmtp_test.ts", "an outcome for each recipient, over one connection that is kept"),
    ),
  ),
  rfc(
    "1985",
    "Remote Message Queue Starting (ETRN)",
    held(
      "§5",
      "A domain's queue is tried now, for those who may ask",
      "plugins/etrn.ts",
      t("plugins/etrn_test.ts", "a domain's mail is tried now, that of others and held mail isn't"),
    ),
    held(
      "§5",
      "Its replies",
      "plugins/etrn.ts",
      t("plugins/etrn_test.ts", "what it can't do, in RFC 1985's words"),
    ),
    not("§5.2", "`#` queues with names of their own", "Refused: queues go by domain here."),
  ),
  rfc(
    "8461",
    "MTA-STS",
    held(
      "§3.1",
      "The TXT record",
      "server/delivery/mta_sts/policy.ts",
      t("delivery/mta_sts/policy_test.ts", "RFC 8461 §3.1"),
    ),
    held(
      "§3.2",
      "Policies",
      "server/delivery/mta_sts/policy.ts",
      t("delivery/mta_sts/policy_test.ts", "RFC 8461 §3.2"),
    ),
    held(
      "§3.3",
      "Fetched by HTTPS, certificate and all, no redirects",
      "server/delivery/mta_sts/fetch.ts",
      t("delivery/mta_sts/fetch_test.ts", "RFC 8461 §3.3"),
    ),
    held(
      "§4.1",
      "Hosts are matched",
      "server/delivery/mta_sts/policy.ts",
      t("delivery/mta_sts/policy_test.ts", "RFC 8461 §4.1"),
    ),
    held(
      "§5.1, §10.2",
      "Kept for its time, and fetched again before",
      "server/delivery/mta_sts/policies.ts",
      t("delivery/mta_sts/policies_test.ts", "RFC 8461 §10.2"),
    ),
    not("§3", "Publishing a policy of our own", "A web server does that; the records are an operator's."),
  ),
  rfc(
    "7672, 7671, 6698",
    "DANE for SMTP",
    held(
      "7672 §2.2",
      "Only validated answers count",
      "server/delivery/smtp/demand.ts",
      t("delivery/smtp/dane_test.ts", "RFC 7672 §2.2.2"),
    ),
    held(
      "7672 §3.1",
      "DANE-EE and DANE-TA; others are not usable",
      "server/delivery/smtp/dane.ts",
      t("delivery/smtp/dane_test.ts", "DANE: records that can't be used"),
    ),
    held(
      "7671 §9",
      "Of digests of one kind the strongest",
      "server/delivery/smtp/dane.ts",
      t("delivery/smtp/dane_test.ts", "RFC 7671 §9"),
    ),
    not("4033", "Validating DNSSEC itself", "The resolver does (AD from loopback, or with `dns.trustAd`)."),
  ),
  rfc(
    "8460",
    "SMTP TLS Reporting",
    held(
      "§3",
      "Who wants reports",
      "server/delivery/tls_reports/record.ts",
      t("delivery/tls_reports/record_test.ts", "RFC 8460 §3"),
    ),
    held(
      "§4.4",
      "A day's report",
      "server/delivery/tls_reports/report.ts",
      t("delivery/tls_reports/reports_test.ts", "RFC 8460 §4.4"),
    ),
    held(
      "§5.3, §5.4",
      "By mail and by HTTPS",
      "server/delivery/tls_reports/reports.ts",
      t("delivery/tls_reports/reports_test.ts", "RFC 8460 §5.4"),
    ),
    not("§5", "Reading others' reports", "They are mail to an address of the operator's."),
  ),
  rfc(
    "7505",
    "Null MX",
    held(
      "§3, §4.1",
      "A domain that takes no mail fails at once with `5.1.10`",
      "server/delivery/smtp/mx.ts",
      "G01",
    ),
    not(
      "§4.2",
      "Refusing senders whose domain has a null MX",
      "The plugin `helo` and its kind don't look at it yet.",
    ),
  ),
  rfc(
    "8601",
    "Authentication-Results",
    held(
      "§2.2",
      "The field's syntax",
      "server/message/results.ts",
      t("message/results_test.ts", "RFC 8601 §2.2"),
    ),
    held("§5", "Results that claim our name are removed on arrival", "server/message/submission.ts", "D08"),
  ),
  rfc(
    "7208",
    "SPF",
    held(
      "§2.6, §4–§6",
      "Evaluation with its limits; results",
      "plugins/spf.ts",
      t("plugins/spf_test.ts", "spf: RFC 7208"),
    ),
    held(
      "§8",
      "What is refused, with the owner's explanation",
      "plugins/spf.ts",
      t("plugins/spf_test.ts", "what it is told to refuse it refuses at RCPT"),
    ),
    held(
      "§2.6.6",
      "DNS that doesn't answer refuses nobody for good",
      "plugins/spf.ts",
      t("plugins/spf_test.ts", "DNS that does not answer is no refusal"),
    ),
  ),
  rfc(
    "6376, 8301, 8463",
    "DKIM",
    held(
      "6376 §3, §6",
      "Verification of each signature, as the body was received",
      "plugins/dkim.ts",
      t("plugins/dkim_test.ts", "each of several signatures has its result"),
    ),
    held(
      "6376 §5",
      "Signing; what is added below a signed field breaks it",
      "plugins/dkim_sign/mod.ts",
      t("plugins/dkim_sign_test.ts", "breaks the signature"),
    ),
    held(
      "8301 §3",
      "No SHA-1, no short keys",
      "plugins/dkim.ts",
      t("plugins/dkim_test.ts", "dkim: ${result}: ${title}"),
    ),
    held("8463 §3", "Ed25519", "plugins/dkim_sign/mod.ts", t("plugins/dkim_test.ts", "RFC 8463 §A")),
  ),
  rfc(
    "7489, 9989",
    "DMARC",
    held(
      "9989",
      "Policy of the author's domain, alignment, quarantine and reject",
      "plugins/dmarc/mod.ts",
      t("plugins/dmarc_test.ts", "dmarc: RFC 9989"),
    ),
    not("7489 §7", "Aggregate and failure reports", "None are sent."),
  ),
  rfc(
    "8617",
    "ARC",
    held("§5.2", "Chains are verified", "plugins/arc/mod.ts", t("plugins/arc_test.ts", "arc: RFC 8617")),
    held(
      "§5.1",
      "What is forwarded is sealed, broken chains as broken",
      "plugins/arc/mod.ts",
      t("plugins/arc_test.ts", "§5.1.2 a broken chain is sealed as broken, once"),
    ),
  ),
  rfc(
    "PROXY",
    "The PROXY protocol, versions 1 and 2",
    held("§2", "Only from listed proxies, and from those always", "server/listen/introduction.ts", "R03"),
    held(
      "§2.1, §2.2",
      "Both versions, strictly, checksum and bounds included",
      "server/listen/proxy_protocol.ts",
      "R03",
      t("e2e/haproxy_test.ts", "PROXY"),
    ),
    held(
      "§2.2.3",
      "TLVs are stepped over, but for the checksum",
      "server/listen/proxy_protocol.ts",
      t("listen/proxy_protocol_test.ts", "checksum"),
    ),
  ),
  rfc(
    "XCLIENT, XFORWARD",
    "As Postfix defines them",
    held(
      "XCLIENT_README",
      "From listed proxies, before a client's own commands; the session begins anew",
      session,
      "R03",
      t("e2e/xclient_test.ts", "R03 XCLIENT from our own proxy"),
    ),
    held(
      "XCLIENT_README",
      "A login, where it is believed",
      "server/smtp/xclient.ts",
      t("smtp/xclient_test.ts", "LOGIN is not offered, and refused, unless it is believed"),
    ),
    held(
      "XCLIENT_README, XFORWARD_README",
      "Said to next hops that offer them",
      "server/smtp/client_identity.ts",
      t("smtp/client_stepwise_test.ts", "XCLIENT starts the session anew"),
    ),
    not("XFORWARD_README", "Heard from clients", "Not offered: it is for logs only."),
  ),
  rfc(
    "1035, 2181, 2308, 5452, 6891",
    "DNS, as a stub resolver",
    held("1035 §4", "Messages, names, pointers", "server/dns/packet.ts", "G03"),
    held(
      "2308 §5",
      "Absence is kept as long as its SOA says",
      "server/dns.ts",
      t("dns_test.ts", "absence is kept for the SOA"),
    ),
    held("5452 §9", "Answers to other questions, ids or ports are none", "server/dns/exchange.ts", "G03"),
    held(
      "6891",
      "EDNS, and without for who doesn't know it",
      "server/dns.ts",
      t("dns_test.ts", "a server that knows no EDNS is asked without"),
    ),
  ),
  rfc(
    "2369, 2919, 8058",
    "Header fields of mailing lists",
    held(
      "",
      "`List-…` on what is posted, and nobody else's",
      "plugins/lists/mod.ts",
      t("plugins/lists/lists_test.ts", "what the author's message says as a list would"),
    ),
    held(
      "8058",
      "Unsubscribing by one click, a link for each member",
      "plugins/lists/mod.ts",
      t("plugins/lists/lists_test.ts", "one click: each member has a message of its own"),
    ),
  ),
  rfc(
    "3834",
    "Automatic responses",
    held(
      "§2, §5",
      "`Auto-Submitted` on what we write; no delay notices to automatic mail",
      "server/delivery/reports.ts",
      "Q05",
    ),
  ),
  rfc("8689", "REQUIRETLS", not("§2", "The extension", "Not offered; MAIL with it is refused.")),
  rfc("4865, 2852, 6710", "FUTURERELEASE, DELIVERBY, MT-PRIORITY", not("", "The extensions", "Not offered.")),
];
