/**
 * SPF by RFC 7208, section by section: what the test suite published with it covers (openspf.org, rfc7208-tests), written
 * anew as zones. Each says what a client with `ip` that calls itself `helo` gets for `from`.
 */
import type { FakeName } from "../../../server/testing/mod.ts";

/** One case; what isn't given is as in `usual`. */
export interface SpfCase {
  readonly title: string;
  readonly zone: Readonly<Record<string, FakeName>>;
  readonly from?: string;
  readonly ip?: string;
  readonly helo?: string;
  readonly result: string;
}

const txt = (...TXT: string[]): FakeName => ({ TXT });
const spf = (terms: string) => ({ "example.com": txt(`v=spf1 ${terms}`) });
const a = (...A: string[]): FakeName => ({ A });
const aaaa = (...AAAA: string[]): FakeName => ({ AAAA });
const mx = (...hosts: string[]): FakeName => ({ MX: hosts.map((host, n) => ({ preference: n, host })) });

type Rows = readonly (readonly [
  title: string,
  result: string,
  zone: Readonly<Record<string, FakeName>>,
  more?: Partial<Pick<SpfCase, "from" | "ip" | "helo">>,
])[];

/** `n` includes in a row, each in a record of its own. */
function chain(n: number): Record<string, FakeName> {
  const zone: Record<string, FakeName> = { "example.com": txt("v=spf1 include:i1.example.com -all") };
  for (let i = 1; i <= n; i++) {
    zone[`i${i}.example.com`] = txt(
      i < n ? `v=spf1 include:i${i + 1}.example.com ?all` : "v=spf1 ip4:192.0.2.1 ?all",
    );
  }
  return zone;
}

const many = (term: (n: number) => string, count: number) =>
  Array.from({ length: count }, (_, n) => term(n)).join(" ");

const hosts = Object.fromEntries(
  Array.from({ length: 12 }, (_, n) => [`h${n}.example.com`, a(`203.0.113.${n}`)]),
);

const rows: Rows = [
  // §4.3 initial processing
  ["§4.3 a domain of one label", "none", {}, { from: "a@localhost" }],
  ["§4.3 an address literal", "none", {}, { from: "a@[192.0.2.1]" }],
  ["§4.3 a label that is too long is no domain", "none", {}, { from: "", helo: `${"x".repeat(64)}.com` }],
  ["§2.4 the null sender: HELO's name is checked", "pass", {
    "mail.example.com": txt("v=spf1 ip4:192.0.2.1 -all"),
  }, {
    from: "",
    helo: "mail.example.com",
  }],
  ["§2.4 the null sender, HELO an address literal", "none", {}, { from: "", helo: "[192.0.2.1]" }],
  // §4.4 record lookup
  ["§4.4 no such name", "none", {}],
  ["§4.4 a name without TXT", "none", { "example.com": a("192.0.2.1") }],
  ["§4.4 SERVFAIL", "temperror", { "example.com": "servfail" }],
  ["§4.4 REFUSED", "temperror", { "example.com": "refused" }],
  ["§4.4 no answer", "temperror", { "example.com": "timeout" }],
  ["§4.4 an answer that can't be read", "temperror", { "example.com": "malformed" }],
  // §4.5 selecting records
  ["§4.5 other TXT records are passed over", "pass", {
    "example.com": txt("hello", "v=spf1 ip4:192.0.2.1 -all", "v=spf2.0/pra ?all"),
  }],
  ["§4.5 two records", "permerror", { "example.com": txt("v=spf1 +all", "v=spf1 -all") }],
  ["§4.5 v=spf10 is none", "none", { "example.com": txt("v=spf10 +all") }],
  ["§4.5 the version in any case", "pass", { "example.com": txt("V=SPF1 +ALL") }],
  ["§4.5 the version alone", "neutral", { "example.com": txt("v=spf1") }],
  ["§3.1 no white space before the version", "none", { "example.com": txt(" v=spf1 +all") }],
  // §4.6 evaluation
  ["§4.6.1 a term nobody knows", "permerror", spf("foo -all")],
  ["§4.6.1 an error behind what matches counts all the same", "permerror", spf("ip4:192.0.2.1 foo")],
  ["§4.6.1 a modifier nobody knows", "pass", spf("moo=%{i} +all")],
  ["§4.6.1 a mechanism's name with = is a modifier nobody knows", "neutral", spf("all=foo")],
  ["§4.6.2 the first match counts", "softfail", spf("~all -all +all")],
  ["§4.6.2 qualifier +", "pass", spf("+ip4:192.0.2.1")],
  ["§4.6.2 qualifier -", "fail", spf("-ip4:192.0.2.1")],
  ["§4.6.2 qualifier ~", "softfail", spf("~ip4:192.0.2.1")],
  ["§4.6.2 qualifier ?", "neutral", spf("?ip4:192.0.2.1")],
  ["§4.7 nothing matches", "neutral", spf("ip4:203.0.113.1")],
  ["§4.6.1 terms are separated by one or more spaces", "pass", spf("  ip4:203.0.113.1    +all  ")],
  // §4.6.4 limits
  ["§4.6.4 ten lookups", "pass", chain(10)],
  ["§4.6.4 eleven lookups", "permerror", chain(11)],
  ["§4.6.4 ten terms that ask", "pass", {
    ...spf(`${many((n) => `a:h${n}.example.com`, 10)} +all`),
    ...hosts,
  }],
  ["§4.6.4 eleven terms that ask", "permerror", {
    ...spf(`${many((n) => `a:h${n}.example.com`, 11)} +all`),
    ...hosts,
  }],
  ["§4.6.4 redirect counts", "permerror", {
    ...spf(`${many((n) => `a:h${n}.example.com`, 10)} redirect=r.example.com`),
    ...hosts,
    "r.example.com": txt("v=spf1 +all"),
  }],
  [
    "§4.6.4 terms behind a match are not asked for",
    "pass",
    spf(`ip4:192.0.2.1 ${many((n) => `a:h${n}.example.com`, 15)}`),
  ],
  ["§4.6.4 two void lookups", "pass", spf("a:v1.example.com a:v2.example.com +all")],
  ["§4.6.4 three void lookups", "permerror", spf("a:v1.example.com a:v2.example.com a:v3.example.com +all")],
  ["§4.6.4 ten MX hosts", "pass", {
    "example.com": {
      TXT: ["v=spf1 mx -all"],
      ...mx(...Array.from({ length: 10 }, (_, n) => `h${n}.example.com`)) as object,
    },
    ...hosts,
    "h9.example.com": a("192.0.2.1"),
  }],
  ["§4.6.4 eleven MX hosts", "permerror", {
    "example.com": {
      TXT: ["v=spf1 mx -all"],
      ...mx(...Array.from({ length: 11 }, (_, n) => `h${n}.example.com`)) as object,
    },
    ...hosts,
  }],
  ["§4.6.4 a loop of includes ends", "permerror", spf("include:example.com")],
  ["§4.6.4 a loop of redirects ends", "permerror", spf("redirect=example.com")],
  // §5.1 all
  ["§5.1 all takes no argument", "permerror", spf("all:example.com")],
  ["§5.1 all takes no length", "permerror", spf("all/8")],
  // §5.2 include
  ["§5.2 include that passes", "pass", {
    ...spf("include:i.example.com -all"),
    "i.example.com": txt("v=spf1 ip4:192.0.2.1 -all"),
  }],
  ["§5.2 include that fails does not match", "softfail", {
    ...spf("include:i.example.com ~all"),
    "i.example.com": txt("v=spf1 -all"),
  }],
  ["§5.2 include that softfails does not match", "fail", {
    ...spf("include:i.example.com -all"),
    "i.example.com": txt("v=spf1 ~all"),
  }],
  ["§5.2 include that is neutral does not match", "fail", {
    ...spf("include:i.example.com -all"),
    "i.example.com": txt("v=spf1 ?all"),
  }],
  ["§5.2 include of a permerror", "permerror", {
    ...spf("include:i.example.com -all"),
    "i.example.com": txt("v=spf1 foo"),
  }],
  ["§5.2 include of nothing", "permerror", spf("include:i.example.com +all")],
  ["§5.2 include that can't be asked", "temperror", {
    ...spf("include:i.example.com -all"),
    "i.example.com": "servfail",
  }],
  ["§5.2 include needs a domain", "permerror", spf("include +all")],
  ["§5.2 include takes no length", "permerror", {
    ...spf("include:i.example.com/24 +all"),
    "i.example.com": txt("v=spf1 +all"),
  }],
  // §5.3 a
  ["§5.3 a", "pass", { "example.com": { TXT: ["v=spf1 a -all"], A: ["192.0.2.1"] } }],
  ["§5.3 a of another name", "pass", {
    ...spf("a:h.example.com -all"),
    "h.example.com": a("203.0.113.1", "192.0.2.1"),
  }],
  ["§5.3 a with a length", "pass", { ...spf("a:h.example.com/24 -all"), "h.example.com": a("192.0.2.200") }],
  ["§5.3 a outside of its length", "fail", {
    ...spf("a:h.example.com/25 -all"),
    "h.example.com": a("192.0.2.200"),
  }],
  ["§5.3 a with length 0", "pass", { ...spf("a:h.example.com/0 -all"), "h.example.com": a("203.0.113.1") }],
  ["§5.3 a with a length over 32", "permerror", spf("a:h.example.com/33")],
  ["§5.3 a with a length with a zero in front", "permerror", spf("a:h.example.com/024")],
  ["§5.3 a for IPv6", "pass", { ...spf("a:h.example.com -all"), "h.example.com": aaaa("2001:db8::1") }, {
    ip: "2001:db8::1",
  }],
  ["§5.3 a for IPv6 with both lengths", "pass", {
    ...spf("a:h.example.com/8//64 -all"),
    "h.example.com": aaaa("2001:db8::99"),
  }, { ip: "2001:db8::1" }],
  ["§5.3 a asks AAAA only for IPv6", "fail", {
    ...spf("a:h.example.com -all"),
    "h.example.com": a("192.0.2.1"),
  }, { ip: "2001:db8::1" }],
  ["§5.3 a that can't be asked", "temperror", {
    ...spf("a:h.example.com -all"),
    "h.example.com": "servfail",
  }],
  ["§5.3 a without records does not match", "fail", spf("a -all")],
  ["§5.3 a with an empty name", "permerror", spf("a:")],
  ["§5.3 a with a NUL's escape in it", "permerror", spf("a:h%00.example.com")],
  ["§5.3 a of a top-level name that is a number", "permerror", spf("a:111.222.33.44")],
  // §5.4 mx
  ["§5.4 mx", "pass", {
    "example.com": { TXT: ["v=spf1 mx -all"], ...mx("m.example.com") as object },
    "m.example.com": a("192.0.2.1"),
  }],
  ["§5.4 mx with a length", "pass", {
    "example.com": { TXT: ["v=spf1 mx/24 -all"], ...mx("m.example.com") as object },
    "m.example.com": a("192.0.2.77"),
  }],
  ["§5.4 mx of another name", "pass", {
    ...spf("mx:m.example.com -all"),
    "m.example.com": mx("h.example.com"),
    "h.example.com": a("192.0.2.1"),
  }],
  ["§5.4 no MX: its A is not taken instead", "fail", {
    "example.com": { TXT: ["v=spf1 mx -all"], A: ["192.0.2.1"] },
  }],
  ["§5.4 mx for IPv6", "pass", {
    "example.com": { TXT: ["v=spf1 mx -all"], ...mx("m.example.com") as object },
    "m.example.com": aaaa("2001:db8::1"),
  }, { ip: "2001:db8::1" }],
  ["§5.4 a null MX", "fail", { "example.com": { TXT: ["v=spf1 mx -all"], ...mx(".") as object } }],
  ["§5.4 mx that can't be asked", "temperror", {
    "example.com": { TXT: ["v=spf1 mx -all"], MX: "servfail" },
  }],
  // §5.5 ptr
  ["§5.5 ptr", "pass", {
    ...spf("ptr -all"),
    "192.0.2.1": { PTR: ["mail.example.com"] },
    "mail.example.com": a("192.0.2.1"),
  }],
  ["§5.5 ptr that does not lead back", "fail", {
    ...spf("ptr -all"),
    "192.0.2.1": { PTR: ["mail.example.com"] },
    "mail.example.com": a("203.0.113.1"),
  }],
  ["§5.5 ptr of another domain", "fail", {
    ...spf("ptr -all"),
    "192.0.2.1": { PTR: ["mail.badexample.com"] },
    "mail.badexample.com": a("192.0.2.1"),
  }],
  ["§5.5 ptr with a name", "pass", {
    ...spf("ptr:other.example -all"),
    "192.0.2.1": { PTR: ["x.other.example"] },
    "x.other.example": a("192.0.2.1"),
  }],
  ["§5.5 ptr that can't be asked does not match", "fail", { ...spf("ptr -all"), "192.0.2.1": "servfail" }],
  ["§5.5 ptr for IPv6", "pass", {
    ...spf("ptr -all"),
    "2001:db8::1": { PTR: ["mail.example.com"] },
    "mail.example.com": aaaa("2001:db8::1"),
  }, { ip: "2001:db8::1" }],
  ["§5.5 ptr takes no length", "permerror", spf("ptr/24")],
  // §5.6 ip4 and ip6
  ["§5.6 ip4", "pass", spf("ip4:192.0.2.1 -all")],
  ["§5.6 ip4 with a length", "pass", spf("ip4:192.0.2.128/24 -all")],
  ["§5.6 ip4 with length 0", "pass", spf("ip4:203.0.113.1/0 -all")],
  ["§5.6 ip4 with length 33", "permerror", spf("ip4:192.0.2.1/33 -all")],
  ["§5.6 ip4 with length 032", "permerror", spf("ip4:192.0.2.1/032 -all")],
  ["§5.6 ip4 without an address", "permerror", spf("ip4 -all")],
  ["§5.6 ip4 of three numbers", "permerror", spf("ip4:192.0.2 -all")],
  ["§5.6 ip4 with a port", "permerror", spf("ip4:192.0.2.1:8080 -all")],
  ["§5.6 ip4 with two lengths", "permerror", spf("ip4:192.0.2.0//24 -all")],
  ["§5.6 ip4 does not match IPv6", "fail", spf("ip4:0.0.0.0/0 -all"), { ip: "2001:db8::1" }],
  ["§5.6 ip6", "pass", spf("ip6:2001:db8::1 -all"), { ip: "2001:db8::1" }],
  ["§5.6 ip6 with a length", "pass", spf("ip6:2001:db8::/32 -all"), { ip: "2001:db8:1::1" }],
  ["§5.6 ip6 with length 129", "permerror", spf("ip6:2001:db8::/129"), { ip: "2001:db8::1" }],
  ["§5.6 ip6 that is none", "permerror", spf("ip6:2001:db8::1::2")],
  ["§5.6 ip6 does not match IPv4", "fail", spf("ip6:::/0 -all")],
  ["§5 an IPv4-mapped client is an IPv4 one", "pass", spf("ip4:192.0.2.1 -all"), { ip: "::ffff:192.0.2.1" }],
  // §5.7 exists
  ["§5.7 exists", "pass", {
    ...spf("exists:%{ir}.list.example -all"),
    "1.2.0.192.list.example": a("127.0.0.2"),
  }],
  ["§5.7 exists of nothing", "fail", spf("exists:%{ir}.list.example -all")],
  ["§5.7 exists asks A also for IPv6", "pass", {
    ...spf("exists:e.example.com -all"),
    "e.example.com": a("127.0.0.1"),
  }, { ip: "2001:db8::1" }],
  ["§5.7 exists never asks AAAA", "fail", {
    ...spf("exists:e.example.com -all"),
    "e.example.com": aaaa("2001:db8::1"),
  }, { ip: "2001:db8::1" }],
  ["§5.7 exists that can't be asked", "temperror", {
    ...spf("exists:e.example.com -all"),
    "e.example.com": "timeout",
  }],
  ["§5.7 exists needs a domain", "permerror", spf("exists -all")],
  ["§5.7 exists takes no length", "permerror", spf("exists:e.example.com/24 -all")],
  // §6.1 redirect
  ["§6.1 redirect", "fail", { ...spf("redirect=r.example.com"), "r.example.com": txt("v=spf1 -all") }],
  ["§6.1 redirect is not asked where something matches", "pass", {
    ...spf("ip4:192.0.2.1 redirect=r.example.com"),
    "r.example.com": "servfail",
  }],
  ["§6.1 redirect in front changes nothing", "pass", {
    ...spf("redirect=r.example.com ip4:192.0.2.1"),
    "r.example.com": txt("v=spf1 -all"),
  }],
  ["§6.1 redirect to nothing", "permerror", spf("redirect=r.example.com")],
  ["§6.1 redirect that can't be asked", "temperror", {
    ...spf("redirect=r.example.com"),
    "r.example.com": "servfail",
  }],
  ["§6.1 redirect twice", "permerror", spf("redirect=r.example.com redirect=s.example.com")],
  ["§6.1 an empty redirect", "permerror", spf("redirect=")],
  ["§6 exp twice", "permerror", spf("exp=a.example.com exp=b.example.com -all")],
  ["§6 a modifier's name that is none", "permerror", spf("+redirect=r.example.com")],
  ["§6 white space around =", "permerror", spf("redirect = r.example.com")],
  // §7 macros
  ["§7.2 %{s}", "pass", {
    ...spf("exists:%{s}.m.example -all"),
    "alice@example.com.m.example": a("127.0.0.1"),
  }, { from: "alice@example.com" }],
  ["§7.2 %{l} and %{o}", "pass", {
    ...spf("exists:%{l}._%{o}.m.example -all"),
    "alice._example.com.m.example": a("127.0.0.1"),
  }, { from: "alice@example.com" }],
  ["§7.2 %{d} in an include is the included domain", "pass", {
    ...spf("include:i.example.com -all"),
    "i.example.com": txt("v=spf1 exists:%{d}.m.example"),
    "i.example.com.m.example": a("127.0.0.1"),
  }],
  [
    "§7.2 %{h}",
    "pass",
    { ...spf("exists:%{h}.m.example -all"), "client.example.m.example": a("127.0.0.1") },
    { helo: "client.example" },
  ],
  ["§7.2 %{v}", "pass", { ...spf("exists:%{v}.m.example -all"), "in-addr.m.example": a("127.0.0.1") }],
  ["§7.2 %{i} of IPv6", "pass", {
    ...spf("exists:%{ir}.%{v}.m.example -all"),
    [`${"1.".padEnd(2)}${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.m.example`]: a("127.0.0.1"),
  }, { ip: "2001:db8::1" }],
  ["§7.3 %{l-}", "pass", { ...spf("exists:%{lr-}.m.example -all"), "bad.strong.m.example": a("127.0.0.1") }, {
    from: "strong-bad@example.com",
  }],
  ["§7.3 %{d2}", "pass", {
    "mail.example.com": txt("v=spf1 exists:%{d2}.m.example -all"),
    "example.com.m.example": a("127.0.0.1"),
  }, { from: "a@mail.example.com" }],
  ["§7.3 %{d1r}", "pass", { ...spf("exists:%{d1r}.m.example -all"), "example.m.example": a("127.0.0.1") }],
  ["§7.3 %{d0}", "permerror", spf("exists:%{d0}.m.example -all")],
  ["§7.2 %% %_ %-", "pass", { ...spf("exists:a%%b%-c.m.example -all"), "a%b%20c.m.example": a("127.0.0.1") }],
  ["§7.2 a % alone", "permerror", spf("exists:a%b.m.example")],
  ["§7.2 a letter nobody knows", "permerror", spf("exists:%{x}.m.example")],
  ["§7.2 %{c} only in explanations", "permerror", spf("exists:%{c}.m.example -all")],
  ["§7.2 %{t} only in explanations", "permerror", spf("exists:%{t}.m.example -all")],
  ["§7.3 a name over 253 octets loses labels on its left", "pass", {
    ...spf(`exists:%{l}.${"x".repeat(60)}.${"x".repeat(60)}.${"x".repeat(60)}.m.example -all`),
    [`${"a".repeat(30)}.${"x".repeat(60)}.${"x".repeat(60)}.${"x".repeat(60)}.m.example`]: a("127.0.0.1"),
  }, { from: `${"b".repeat(33)}.${"a".repeat(30)}@example.com` }],
  ["§7.3 upper-case letters are URL-encoded", "pass", {
    ...spf("exists:%{L}.m.example -all"),
    "o%27neil.m.example": a("127.0.0.1"),
  }, { from: "o'neil@example.com" }],
  // §4.3, RFC 8616
  ["RFC 8616 a domain in U-labels is asked for in A-labels", "pass", {
    "xn--mller-kva.example": txt("v=spf1 ip4:192.0.2.1 -all"),
  }, { from: "a@xn--mller-kva.example" }],
];

/** All of them. */
export const spfCases: readonly SpfCase[] = rows.map(([title, result, zone, more]) => ({
  title,
  result,
  zone,
  ...more,
}));
