/** SMTP servers on 127.0.0.1 that behave, or misbehave, as a test says. */
import { createServer as createTcpServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer } from "node:tls";
import { testCertificate } from "../../channel/fixtures.ts";

/** A key pair of `../../channel/certs`, or files of one. */
export type PeerCertificate = "mx.example.test" | "other.example.test" | {
  readonly cert: string;
  readonly key: string;
};

/** How one connection is served. */
export interface Behaviour {
  /** `""`: none. Default: `220 peer`. */
  readonly greeting?: string;
  /** Default: PIPELINING. */
  readonly offers?: readonly string[];
  /** The reply to a command, or to a message (`.`; in LMTP `. RCPT TO:…` for each recipient); `undefined`: the usual one; `drop`: the connection is reset; `hang`: none. */
  readonly reply?: (command: string) => string | undefined;
  /** TLS, with this certificate, by STARTTLS; `implicit` from the first byte on. */
  readonly tls?: {
    readonly certificate: PeerCertificate;
    readonly implicit?: boolean;
    /** Stands behind the 220 of STARTTLS, in the clear: someone on the way put it there. */
    readonly injected?: string;
  };
}

/** A message that was taken. */
export interface Taken {
  /** Index of the connection. */
  readonly connection: number;
  readonly tls: boolean;
  readonly mail: string;
  readonly rcpt: readonly string[];
  /** As it came by DATA, without the final dot but with its stuffing; or by BDAT. */
  readonly content: string;
}

/** A running server. */
export interface TestPeer extends AsyncDisposable {
  readonly port: number;
  readonly messages: readonly Taken[];
  /** Every line that was received, `[n] EHLO …`, without the content. */
  readonly lines: readonly string[];
  readonly connections: number;
  /** Resolves once so many lines like this have come. */
  untilLine(pattern: RegExp, count?: number): Promise<void>;
  /** Closes the connections there are, as a restart does. */
  hangUp(): Promise<void>;
}

const encode = (text: string) => new TextEncoder().encode(text);
const latin1 = (bytes: Uint8Array) => bytes.reduce((text, octet) => text + String.fromCharCode(octet), "");

class Peer implements TestPeer {
  readonly messages: Taken[] = [];
  readonly lines: string[] = [];
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #watchers = new Set<() => void>();
  port = 0;

  constructor(behave: (connection: number) => Behaviour) {
    this.#server = createTcpServer((socket) => {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      const connection = this.connections++;
      new Connection(this, connection, behave(connection), socket).begin();
    });
  }

  listen(path?: string): Promise<void> {
    if (path !== undefined) return new Promise((resolve) => this.#server.listen(path, () => resolve()));
    return new Promise((resolve) =>
      this.#server.listen(0, "127.0.0.1", () => {
        this.port = (this.#server.address() as { port: number }).port;
        resolve();
      })
    );
  }

  note(line: string): void {
    this.lines.push(line);
    for (const watcher of this.#watchers) watcher();
  }

  untilLine(pattern: RegExp, count = 1): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (this.lines.filter((line) => pattern.test(line)).length < count) return;
        this.#watchers.delete(check);
        resolve();
      };
      this.#watchers.add(check);
      check();
    });
  }

  async hangUp(): Promise<void> {
    const closed = [...this.#sockets].map((socket) =>
      new Promise<void>((resolve) => {
        socket.once("close", () => resolve());
        socket.end();
        socket.destroySoon();
      })
    );
    await Promise.all(closed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** Starts one; `behave` says how each connection is served. @param path A Unix socket to listen on, instead. */
export async function startPeer(
  behave: Behaviour | ((connection: number) => Behaviour) = {},
  path?: string,
): Promise<TestPeer> {
  const peer = new Peer(typeof behave === "function" ? behave : () => behave);
  await peer.listen(path);
  return peer;
}

function tlsServer(certificate: PeerCertificate): TlsServer {
  const { cert, key } = typeof certificate === "string" ? testCertificate(certificate) : certificate;
  return createTlsServer({ cert: Deno.readTextFileSync(cert), key: Deno.readTextFileSync(key) });
}

class Connection {
  #input = "";
  #mode: "commands" | { data: string } | { octets: number; content: string } = "commands";
  #mail = "";
  #rcpt: string[] = [];
  #socket: Socket;
  #encrypted = false;
  #lmtp = false;
  readonly #onData = (bytes: Uint8Array) => this.#take(bytes);

  constructor(
    private readonly peer: Peer,
    private readonly index: number,
    private readonly behaviour: Behaviour,
    socket: Socket,
  ) {
    this.#socket = socket;
  }

  begin(): void {
    if (this.behaviour.tls?.implicit) return this.#encrypt();
    this.#listen();
    this.#greet();
  }

  #greet(): void {
    const { greeting = "220 peer" } = this.behaviour;
    if (greeting === "drop") this.#socket.resetAndDestroy();
    else if (greeting !== "") this.#say(greeting);
  }

  #listen(): void {
    this.#socket.on("data", this.#onData);
  }

  #say(reply: string): void {
    this.#socket.write(encode(reply.endsWith("\n") ? reply : `${reply}\r\n`));
    if (/^[0-9]{3} .*bye$/.test(reply)) this.#socket.end();
  }

  #take(bytes: Uint8Array): void {
    this.#input += latin1(bytes);
    for (;;) {
      if (this.#mode === "commands") {
        const end = this.#input.indexOf("\r\n");
        if (end < 0) return;
        const line = this.#input.slice(0, end);
        this.#input = this.#input.slice(end + 2);
        this.peer.note(`[${this.index}] ${line}`);
        if (!this.#command(line)) return;
      } else if ("data" in this.#mode) {
        const end = this.#input.startsWith(".\r\n") ? 0 : this.#input.indexOf("\r\n.\r\n");
        if (end < 0) return;
        const content = end === 0 ? "" : this.#input.slice(0, end + 2);
        this.#input = this.#input.slice(end === 0 ? 3 : end + 5);
        this.#mode = "commands";
        if (!this.#keep(content)) return;
      } else {
        const { octets } = this.#mode;
        if (this.#input.length < octets) return;
        const content = this.#input.slice(0, octets);
        this.#input = this.#input.slice(octets);
        this.#mode = "commands";
        if (!this.#keep(content)) return;
      }
    }
  }

  #keep(content: string): boolean {
    return this.#lmtp ? this.#keepForEach(content) : this.#keepForAll(content);
  }

  /** RFC 2033 §4.2. */
  #keepForEach(content: string): boolean {
    const said = this.#rcpt.splice(0).map((rcpt) => [rcpt, this.behaviour.reply?.(`. ${rcpt}`)] as const);
    const rcpt = said.filter(([, said]) => said === undefined || said.startsWith("2")).map(([rcpt]) => rcpt);
    if (rcpt.length > 0) {
      const { index: connection } = this;
      this.peer.messages.push({ connection, tls: this.#encrypted, mail: this.#mail, rcpt, content });
    }
    return said.every(([, said]) => this.#answer(said, "250 2.0.0 in the mailbox"));
  }

  #keepForAll(content: string): boolean {
    const said = this.behaviour.reply?.(".");
    const wanted = this.#rcpt.length > 0;
    if (wanted && (said === undefined || said.startsWith("2"))) {
      this.peer.messages.push({
        connection: this.index,
        tls: this.#encrypted,
        mail: this.#mail,
        rcpt: this.#rcpt,
        content,
      });
    }
    this.#rcpt = [];
    return this.#answer(said, wanted ? "250 2.0.0 kept" : "503 no recipients");
  }

  #answer(said: string | undefined, usual: string): boolean {
    if (said === "hang") return false;
    if (said === "drop") {
      this.#socket.destroy();
      return false;
    }
    this.#say(said ?? usual);
    return true;
  }

  #command(line: string): boolean {
    const said = this.behaviour.reply?.(line);
    const verb = line.split(/[ :]/)[0]!;
    const good = said === undefined || /^[23]/.test(said);
    switch (verb) {
      case "LHLO":
      case "EHLO": {
        this.#lmtp = verb === "LHLO";
        const { offers = ["PIPELINING"], tls } = this.behaviour;
        const all = ["peer", ...offers, ...(tls && !this.#encrypted ? ["STARTTLS"] : [])];
        return this.#answer(
          said,
          all.map((one, at) => `250${at < all.length - 1 ? "-" : " "}${one}`).join("\r\n"),
        );
      }
      case "STARTTLS":
        if (said !== undefined || !this.behaviour.tls) return this.#answer(said, "502 no");
        this.#socket.off("data", this.#onData);
        this.#socket.pause();
        this.#say(`220 go on\r\n${this.behaviour.tls.injected ?? ""}`);
        this.#encrypt();
        return false;
      case "MAIL":
        this.#mail = line;
        this.#rcpt = [];
        return this.#answer(said, "250 2.1.0 sender");
      case "RCPT":
        if (good) this.#rcpt.push(line);
        return this.#answer(said, "250 2.1.5 recipient");
      case "DATA":
        if (good && this.#rcpt.length > 0) this.#mode = { data: "" };
        return this.#answer(said, this.#rcpt.length > 0 ? "354 go on" : "503 no recipients");
      case "BDAT":
        this.#mode = { octets: Number(line.split(" ")[1]), content: "" };
        return true;
      case "AUTH":
        return this.#answer(said, "235 welcome");
      case "QUIT":
        return this.#answer(said, "221 bye");
      default:
        return this.#answer(said, "250 ok");
    }
  }

  #encrypt(): void {
    const server = tlsServer(this.behaviour.tls!.certificate);
    server.on("tlsClientError", () => {});
    server.on("secureConnection", (encrypted) => {
      encrypted.on("error", () => {});
      this.#socket = encrypted;
      this.#encrypted = true;
      this.#input = "";
      this.#listen();
      if (this.behaviour.tls!.implicit) this.#greet();
    });
    server.emit("connection", this.#socket);
  }
}
