/**
 * The server's side of SASL (RFC 4954, 4422): PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login), XOAUTH2 (as
 * Google documents it), OAUTHBEARER (RFC 7628). Each is a machine that is fed the client's lines; who asks whether the credentials are good,
 * and what the replies are, is the session's business.
 */

/** Mechanisms whose client sends a secret. */
export type SecretMechanism = "PLAIN" | "LOGIN" | "XOAUTH2" | "OAUTHBEARER";
/** Mechanisms whose client proves that it has one: what is said back and forth is somebody else's to read and to make. */
export type ProofMechanism = "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS";
/** The mechanisms there are machines for. */
export type Mechanism = SecretMechanism | ProofMechanism;

/** What an exchange says next. */
export type SaslStep =
  /** 334 with this text, which is base64 already and may be empty. */
  | { readonly kind: "challenge"; readonly text: string }
  | SaslCredentials
  /** What the client of a proof says, decoded; `first`: it begins. */
  | {
    readonly kind: "message";
    readonly mechanism: ProofMechanism;
    readonly text: string;
    readonly turn: "first" | "next";
  }
  /** 501 5.5.2, `cancelled` 501 5.7.0 (RFC 4954 §4); the exchange is over. */
  | { readonly kind: "bad"; readonly problem: "base64" | "cancelled" | "malformed" };

/** What the client wants to log in with. */
export interface SaslCredentials {
  readonly kind: "credentials";
  /** Whom the client wants to act as; `""` for nobody else. Another than the account is refused (CASES U05). */
  readonly authorizationId: string;
  /** Never empty, and without control characters. */
  readonly user: string;
  /** The password, or the bearer token. Never empty. */
  readonly secret: SecretText;
  readonly mechanism: SecretMechanism;
}

/** One running AUTH command: begin it with `begin`, or with `next` where the command line has an initial response. */
export interface SaslExchange {
  readonly mechanism: Mechanism;
  /** Begins without an initial response: asks for the first one. */
  begin(): SaslStep;
  /**
   * Takes the client's next line, without its CRLF, or to begin with the initial response of the command line, in which
   * `=` stands for an empty one. After the end it is `malformed`, whatever it is.
   */
  next(response: string): SaslStep;
}

/** A secret that no log line, template string or JSON takes by accident. */
export class SecretText {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The secret itself. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }

  [Symbol.for("Deno.customInspect")](): string {
    return "[secret]";
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return "[secret]";
  }
}

type Offered = Omit<SaslCredentials, "mechanism">;

/** A mechanism: what it asks for, answer by answer, and what it makes of the answers. */
interface Script {
  /** One for each answer of the client, in base64. With an initial response the first is not sent. */
  readonly challenges: readonly string[];
  readonly read: (answers: readonly string[]) => Offered | undefined;
}

const scripts: Record<SecretMechanism, Script> = {
  PLAIN: { challenges: [""], read: ([message = ""]) => readPlain(message) },
  LOGIN: {
    challenges: [btoa("Username:"), btoa("Password:")],
    read: ([user = "", password = ""]) => offer("", user, password),
  },
  XOAUTH2: { challenges: [""], read: ([message = ""]) => readXoauth2(message) },
  OAUTHBEARER: { challenges: [""], read: ([message = ""]) => readOauthBearer(message) },
};

/**
 * Starts an exchange.
 *
 * @param mechanism Its canonical name; whether it is offered has been checked.
 */
export function startSasl(mechanism: Mechanism): SaslExchange {
  return isProof(mechanism) ? new ProofExchange(mechanism) : new Exchange(mechanism);
}

const isProof = (mechanism: Mechanism): mechanism is ProofMechanism =>
  mechanism === "SCRAM-SHA-256" || mechanism === "SCRAM-SHA-256-PLUS";

/** Decodes what the client says, for as many turns as it takes. */
class ProofExchange implements SaslExchange {
  readonly mechanism: ProofMechanism;
  #state: "new" | "asked" | "goes-on" | "over" = "new";

  constructor(mechanism: ProofMechanism) {
    this.mechanism = mechanism;
  }

  begin(): SaslStep {
    if (this.#state !== "new") return this.#fail("malformed");
    this.#state = "asked";
    return { kind: "challenge", text: "" };
  }

  next(response: string): SaslStep {
    if (this.#state === "over") return this.#fail("malformed");
    if (response === "*") return this.#fail("cancelled");
    if (this.#state === "new" && response === "") return this.#fail("base64");
    const octets = decodeBase64(this.#state === "new" && response === "=" ? "" : response);
    if (octets === undefined) return this.#fail("base64");
    const text = decodeUtf8(octets);
    if (text === undefined) return this.#fail("malformed");
    const turn = this.#state === "goes-on" ? "next" : "first";
    this.#state = "goes-on";
    return { kind: "message", mechanism: this.mechanism, text, turn };
  }

  #fail(problem: "base64" | "cancelled" | "malformed"): SaslStep {
    this.#state = "over";
    return { kind: "bad", problem };
  }
}

class Exchange implements SaslExchange {
  readonly mechanism: SecretMechanism;
  #state: "new" | "asked" | "over" = "new";
  readonly #answers: string[] = [];

  constructor(mechanism: SecretMechanism) {
    this.mechanism = mechanism;
  }

  begin(): SaslStep {
    if (this.#state !== "new") return this.#fail("malformed");
    this.#state = "asked";
    return this.#ask();
  }

  next(response: string): SaslStep {
    if (this.#state === "over") return this.#fail("malformed");
    if (response === "*") return this.#fail("cancelled");
    if (this.#state === "asked") return this.#take(response);
    this.#state = "asked";
    // A response of no octets and no response at all are different things: hence "=" (RFC 4954 §4).
    return response === "" ? this.#fail("base64") : this.#take(response === "=" ? "" : response);
  }

  #take(response: string): SaslStep {
    const octets = decodeBase64(response);
    if (octets === undefined) return this.#fail("base64");
    const text = decodeUtf8(octets);
    if (text === undefined) return this.#fail("malformed");
    this.#answers.push(text);
    const { challenges, read } = scripts[this.mechanism];
    if (this.#answers.length < challenges.length) return this.#ask();
    const credentials = read(this.#answers);
    if (credentials === undefined) return this.#fail("malformed");
    this.#end();
    return { ...credentials, mechanism: this.mechanism };
  }

  #ask(): SaslStep {
    return { kind: "challenge", text: scripts[this.mechanism].challenges[this.#answers.length] ?? "" };
  }

  #fail(problem: "base64" | "cancelled" | "malformed"): SaslStep {
    this.#end();
    return { kind: "bad", problem };
  }

  #end(): void {
    this.#state = "over";
    this.#answers.length = 0; // passwords don't outlive the exchange
  }
}

/** `[authzid] NUL authcid NUL passwd` (RFC 4616 §2). */
function readPlain(message: string): Offered | undefined {
  const [authorizationId, user, password, ...more] = message.split("\0", 4);
  if (authorizationId === undefined || user === undefined || password === undefined) return undefined;
  return more.length === 0 ? offer(authorizationId, user, password) : undefined;
}

/** `user=…^Aauth=Bearer …^A^A`. */
function readXoauth2(message: string): Offered | undefined {
  const [user = "", authorization = "", ...end] = message.split("\x01", 5);
  if (!user.startsWith("user=") || !authorization.startsWith("auth=") || end.join("|") !== "|") {
    return undefined;
  }
  const token = readBearer(authorization.slice(5));
  return token === undefined ? undefined : offer("", user.slice(5), token);
}

/**
 * `n,a=user,^Akey=value^A…^A^A` (RFC 7628 §3.1). The identity may be left out there; who asks for credentials here
 * needs a name, so it may not. `p=` asks for channel binding, which a bearer token has none of.
 */
function readOauthBearer(message: string): Offered | undefined {
  const [header = "", ...pairs] = message.split("\x01");
  if (pairs.pop() !== "" || pairs.pop() !== "") return undefined;
  if (!pairs.every((pair) => /^[A-Za-z]+=/.test(pair))) return undefined;
  const authorizations = pairs.filter((pair) => /^[Aa][Uu][Tt][Hh]=/.test(pair));
  const token = authorizations.length === 1 ? readBearer(authorizations[0]?.slice(5)) : undefined;
  const user = decodeSaslName(/^[ny],a=([^,]*),$/.exec(header)?.[1] ?? "");
  return token === undefined || user === undefined ? undefined : offer(user, user, token);
}

/** `Bearer` and a token of RFC 6750 §2.1. */
function readBearer(text: string | undefined): string | undefined {
  return /^[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)$/.exec(text ?? "")?.[1];
}

/** `=2C` and `=3D` of a saslname (RFC 5801 §4); no other "=" may stand there. */
function decodeSaslName(text: string): string | undefined {
  if (/=(?!2C|3D)/.test(text)) return undefined;
  return text.replaceAll("=2C", ",").replaceAll("=3D", "=");
}

/**
 * A name goes to logs, to `Received` and to plugins: no control characters (RFC 4013 §2.3). An empty secret is refused
 * here because some directories take one for an anonymous login (RFC 4513 §5.1.2) and say yes.
 */
function offer(authorizationId: string, user: string, secret: string): Offered | undefined {
  const control = /\p{Cc}/u;
  if (user === "" || secret === "" || secret.includes("\0")) return undefined;
  if (control.test(user) || control.test(authorizationId)) return undefined;
  return { kind: "credentials", authorizationId, user, secret: new SecretText(secret) };
}

/** Canonical base64 only (RFC 4648 §3.3, §3.5): one text for one value, padded, nothing skipped. */
function decodeBase64(text: string): Uint8Array | undefined {
  // The runtime's decoder is strict about padding and left-over bits, but skips white space.
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    return undefined;
  }
}

function decodeUtf8(octets: Uint8Array): string | undefined {
  try {
    // `ignoreBOM` keeps a leading U+FEFF: it is part of the password.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    return undefined;
  }
}
